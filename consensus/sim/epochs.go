package sim

import (
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// reigns says who validates when, if the validators change: every turn blocks, and by how many keys of the cast. It is
// what an application would have agreed on, known to all beforehand.
type reigns struct {
	turn      consensus.Height // blocks from one closing block to the next; 0: nobody ever follows
	size      int
	step      int
	verifiers []*consensus.Verifier // by epoch, as far as the run has come
}

// closes reports whether the block at a height closes its epoch.
func (r *reigns) closes(h consensus.Height) bool { return r.turn > 0 && h%r.turn == 0 }

// set are the validators of an epoch: as many keys in a row as size, one more in every second epoch, each set so many
// keys further on, with changing weights.
func (c *cast) set(e consensus.Epoch) []consensus.Validator {
	if e == 0 {
		return c.genesis.Validators
	}
	var list []consensus.Validator
	for i := range min(c.size+int(e%2), len(c.keys)) {
		k := c.keys[(int(e)*c.step+i)%len(c.keys)]
		list = append(list, c.member(k, 1+(uint64(e)+uint64(i))%3, i))
	}
	return list
}

// at is the verifier of an epoch that has begun.
func (c *cast) at(e consensus.Epoch) *consensus.Verifier {
	if int(e) >= len(c.verifiers) {
		return nil
	}
	return c.verifiers[e]
}

// begin makes the verifier of the epoch that h begins, once for all nodes. The handover must hold.
func (c *cast) begin(h *consensus.Handover) error {
	e := h.Header().Epoch
	if _, err := h.Verify(c.genesis.ChainID(), e, c.at(e).Set()); err != nil {
		return violation("a handover does not hold: %w", err)
	}
	if c.at(e+1) != nil {
		return nil
	}
	v, err := c.at(e).After(h)
	if err != nil {
		return violation("a handover leads nowhere: %w", err)
	}
	c.verifiers = append(c.verifiers, v)
	return nil
}

// follows is what a block at height h in epoch e must name as the next set.
func (c *cast) follows(h consensus.Height, e consensus.Epoch) (digest.Digest, error) {
	if !c.closes(h) {
		return c.at(e).Set().Digest(), nil
	}
	set, err := consensus.StoredValidatorSet(c.set(e + 1)) // begin checks the proofs
	if err != nil {
		return digest.Digest{}, err
	}
	return set.Digest(), nil
}

// head is the last committed block.
func (n *node) head() *consensus.Block { return n.final[len(n.final)-1] }

// epoch is the one of the block after the head.
func (n *node) epoch() consensus.Epoch { return n.head().Header.NextEpoch() }

// rootOfEpoch is the block that the present epoch begins after.
func (n *node) rootOfEpoch() *consensus.Block {
	for h := n.height(); h > 0; h-- {
		if n.handovers[h] != nil {
			return n.final[h]
		}
	}
	return n.root
}

// verifier is the present epoch's.
func (n *node) verifier() *consensus.Verifier { return n.at(n.epoch()) }

// close keeps the proof of the closing block that was just committed, as the block itself, and lets the next epoch begin.
func (n *node) close() error {
	n.handovers[n.height()] = n.proof
	n.reached = max(n.reached, n.epoch())
	return n.begin(&consensus.Handover{Finality: *n.proof, Next: n.set(n.epoch())})
}

// succeed goes over into the next epoch: as a driver does it, with a new replica whose root is the closing block.
func (n *node) succeed() error {
	clear(n.blocks)
	return n.boot()
}

// epochOf is the epoch of a message.
func epochOf(m consensus.Message) consensus.Epoch {
	switch m := m.(type) {
	case *consensus.Vote:
		return m.Data.Epoch
	case *consensus.Timeout:
		return m.Data.Epoch
	case *consensus.Proposal:
		return m.Block.Header.Epoch
	case *consensus.Certificates:
		return m.QC.Data.Epoch
	}
	return 0
}

// elsewhere takes a message of another epoch: of a later one it cannot be understood, and means that there is something
// to fetch; of an earlier one it is of no more use.
func (n *node) elsewhere(e consensus.Epoch) {
	if e > n.epoch() && !n.lost {
		n.lost = true // until a timer or a commit
		n.fetch(consensus.Need{})
	}
}

// askAround asks for what is committed, at every second timer, as a driver does. When all validators change, the old ones
// fall silent with the closing block: a new one that missed it would hear of nothing.
func (n *node) askAround() {
	n.expired++
	if n.turn > 0 && n.expired%2 == 0 {
		n.fetch(consensus.Need{})
	}
}

// provable cuts a run of committed blocks to what one proof is for, and gives it: a run ends with its epoch.
func (n *node) provable(run []*consensus.Block) ([]*consensus.Block, *consensus.Finality) {
	for i, b := range run {
		if b.Header.Closes() {
			run = run[:i+1]
			break
		}
	}
	if len(run) > maxRun {
		run = run[:maxRun]
	}
	last := &run[len(run)-1].Header
	// The nearest proof at or above the last block: of its epoch's closing block, or of the head.
	end, proof := n.height(), n.proof
	for h := last.Height; h <= n.height(); h++ {
		if p := n.handovers[h]; p != nil {
			end, proof = h, p
			break
		}
	}
	if end == last.Height {
		return run, proof
	}
	f := &consensus.Finality{QC: proof.QC}
	for _, b := range n.final[last.Height:end] {
		f.Headers = append(f.Headers, b.Header)
	}
	f.Headers = append(f.Headers, proof.Headers...)
	return run, f
}
