package sim

import (
	"errors"
	"sort"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// maxRun bounds one answer to a node that catches up by height.
const maxRun = 16

// commit shows a commit and its proof to the referee and writes it down.
func (n *node) commit(c *consensus.Commit) error {
	for _, b := range c.Blocks {
		h, id := b.Header.Height, b.ID()
		if h != n.height()+1 || b.Header.Parent != n.final[h-1].ID() {
			return violation("node %d commits height %d after %d", n.id, h, n.height())
		}
		if err := n.referee.committed(h, id); err != nil {
			return err
		}
		n.trace.note(traceCommit, n.id, uint64(h), id)
		n.final = append(n.final, b)
		delete(n.blocks, id)
	}
	if err := n.referee.certificate(&c.QC); err != nil {
		return err
	}
	verifier := n.at(c.QC.Data.Epoch)
	for _, i := range []int{0, len(c.Blocks) - 1} {
		if err := verifier.Finality(c.Finality(i)); err != nil {
			return violation("node %d commits without a proof: %w", n.id, err)
		}
	}
	for id, b := range n.blocks {
		if b.Header.Height <= n.height() {
			delete(n.blocks, id)
		}
	}
	n.proof, n.lost = c.Finality(len(c.Blocks)-1), false
	if n.head().Header.Closes() {
		return n.close()
	}
	return nil
}

// fetch asks other nodes for a block.
func (n *node) fetch(need consensus.Need) {
	height := n.height()
	for _, from := range n.stage.sources(n) {
		n.stage.carry(n, from, n.replica.View(), func() error { return from.serve(n, need.Block, height) })
	}
}

// serve answers with the block, or with committed blocks if the asker is behind.
func (n *node) serve(to *node, id consensus.BlockID, height consensus.Height) error {
	if n.replica == nil {
		return nil
	}
	if b := n.blocks[id]; b != nil {
		n.answer(to, id, func() error { return to.got(b, id) })
	}
	if n.height() <= height {
		return nil
	}
	run, proof := n.provable(n.final[height+1:])
	n.answer(to, run[len(run)-1].ID(), func() error { return to.catchUp(run, proof) })
	return nil
}

func (n *node) answer(to *node, about digest.Digest, do func() error) {
	n.stage.carry(n, to, n.replica.View(), func() error {
		n.trace.note(traceReceive, to.id, uint64(n.id), about)
		return do()
	})
}

func (n *node) got(b *consensus.Block, id consensus.BlockID) error {
	if n.replica == nil || n.replica.Has(id) {
		return nil
	}
	if b.Header.Epoch != n.epoch() {
		return nil
	}
	v, err := n.verifier().Block(b, id)
	if err != nil {
		return violation("an honest block was refused: %w", err)
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
	if n.replica == nil {
		return nil
	}
	if run[0].Header.Epoch != n.epoch() {
		return nil
	}
	c, err := n.verifier().Chain(run, proof)
	if err != nil {
		return violation("an honest chain was refused: %w", err)
	}
	return n.step(c)
}

// adopt steps what waited for a parent that is here now. Outputs of a step come back here, so it does one at a time.
func (n *node) adopt() error {
	if n.replica == nil || len(n.orphans)+len(n.fetched) == 0 {
		return nil
	}
	var ids []consensus.BlockID
	for id := range n.orphans {
		ids = append(ids, id)
	}
	for id := range n.fetched {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i].Compare(ids[j]) < 0 })
	for _, id := range ids {
		if b, ok := n.fetched[id]; ok && !errors.Is(n.replica.Check(b), consensus.ErrUnknownParent) {
			delete(n.fetched, id)
			return n.step(b)
		}
		if p, ok := n.orphans[id]; ok && !errors.Is(n.replica.Check(p), consensus.ErrUnknownParent) {
			delete(n.orphans, id)
			return n.step(p)
		}
	}
	return nil
}
