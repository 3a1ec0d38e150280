package sim

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/consensus"
)

// maxRun bounds one answer to a node that catches up by height.
const maxRun = 16

// commit checks a commit against everyone's and the proof that goes with it, and writes it down.
func (n *node) commit(c *consensus.Commit) error {
	w := n.w
	for i, b := range c.Blocks {
		h, id := b.Header.Height, b.ID()
		if h != n.height()+1 || b.Header.Parent != n.committed[h-1].ID() {
			return fmt.Errorf("%w: node %d commits height %d after %d", ErrViolation, n.id, h, n.height())
		}
		if had, ok := w.chain[h]; ok && had != id {
			return fmt.Errorf("%w: node %d commits %s at height %d, another node %s", ErrViolation, n.id, id.Short(), h, had.Short())
		}
		w.chain[h] = id
		n.committed = append(n.committed, b)
		delete(n.blocks, id)
		if i == len(c.Blocks)-1 || w.rng.IntN(4) == 0 {
			if err := c.Finality(i).Verify(w.genesis.ChainID(), w.verifier.Set()); err != nil {
				return fmt.Errorf("%w: %w", ErrViolation, err)
			}
		}
	}
	for id, b := range n.blocks {
		if b.Header.Height <= n.height() {
			delete(n.blocks, id)
		}
	}
	n.proof = c.Finality(len(c.Blocks) - 1)
	return nil
}

// fetch asks a random other node for a block.
func (n *node) fetch(id consensus.BlockID) {
	from := n.w.nodes[n.w.rng.IntN(len(n.w.nodes))]
	if from == n {
		from = n.w.nodes[(n.id+1)%len(n.w.nodes)]
	}
	height := n.height()
	n.w.deliver(n, from, func() error { return from.serve(n, id, height) })
}

// serve answers with the block, or with committed blocks if the asker is behind.
func (n *node) serve(to *node, id consensus.BlockID, height consensus.Height) error {
	if b := n.blocks[id]; b != nil {
		n.w.deliver(n, to, func() error { return to.got(b, id) })
	}
	if n.height() <= height {
		return nil
	}
	run := n.committed[height+1:]
	proof := n.proof
	if len(run) > maxRun {
		return n.serveRun(to, run[:maxRun])
	}
	n.w.deliver(n, to, func() error { return to.catchUp(run, proof) })
	return nil
}

// serveRun serves a run whose last block is proved by the headers after it.
func (n *node) serveRun(to *node, run []*consensus.Block) error {
	f := &consensus.Finality{QC: n.proof.QC}
	for _, b := range n.committed[run[len(run)-1].Header.Height:] {
		f.Headers = append(f.Headers, b.Header)
	}
	f.Headers = append(f.Headers, n.proof.Headers[1:]...)
	n.w.deliver(n, to, func() error { return to.catchUp(run, f) })
	return nil
}

func (n *node) got(b *consensus.Block, id consensus.BlockID) error {
	if n.replica.Has(id) {
		return nil
	}
	v, err := n.w.verifier.Block(b, id)
	if err != nil {
		return fmt.Errorf("%w: an honest block was refused: %w", ErrViolation, err)
	}
	err = n.replica.Check(v)
	switch {
	case err == nil:
		return n.step(v)
	case errors.Is(err, consensus.ErrUnknownParent):
		if len(n.fetched) < maxOrphans {
			n.fetched[id] = v
		}
		for _, c := range v.Certificates() {
			if err := n.step(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *node) catchUp(run []*consensus.Block, proof *consensus.Finality) error {
	c, err := n.w.verifier.Chain(run, proof)
	if err != nil {
		return fmt.Errorf("%w: an honest chain was refused: %w", ErrViolation, err)
	}
	return n.step(c)
}
