package driver

import (
	"errors"
	"fmt"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
)

// errOutcome says that executing a block here gives other roots than its header has.
var errOutcome = errors.New("executing the block gives another outcome than its header states")

// execute runs b on its parent in the tree, compares the outcome with the header, and keeps it.
func (d *Driver) execute(b *consensus.Block, id consensus.BlockID) error {
	if d.tree.get(id) != nil {
		return nil
	}
	h := &b.Header
	parent := d.tree.get(h.Parent)
	if parent == nil {
		return fmt.Errorf("execute block %s: %w", id.Short(), consensus.ErrUnknownParent)
	}
	if root := parent.history.Root(); h.HistoryRoot != root || h.HistoryCount != parent.history.Count() {
		return fmt.Errorf("%w: block %d of view %d: history root %s, here %s", errOutcome, h.Height, h.View, h.HistoryRoot.Short(), root.Short())
	}
	if ph := &parent.block.Header; h.TimestampMs <= ph.TimestampMs || h.Height != ph.Height+1 {
		return fmt.Errorf("%w: block %d of view %d: time or height does not follow its parent's", errOutcome, h.Height, h.View)
	}
	if ph := &parent.block.Header; d.closing(ph) {
		if err := checkTrailing(h, ph, len(b.Txs)); err != nil {
			return err
		}
		d.tree.put(b, id, parent, nil)
		return nil
	}
	x, err := d.cfg.App.Execute(blockContext(h), b.Txs)
	if err != nil {
		return fmt.Errorf("execute block %d (%s): %w", h.Height, id.Short(), err)
	}
	d.count.executed.Add(1)
	next, err := nextOf(&x, d.own.Set().Digest())
	if err != nil {
		return fmt.Errorf("execute block %d (%s): %w", h.Height, id.Short(), err)
	}
	if h.NextVals != next {
		return fmt.Errorf("%w: block %d of view %d by %s: next validators %s, here %s", errOutcome, h.Height, h.View, h.Proposer.Short(), h.NextVals.Short(), next.Short())
	}
	if x.StateRoot != h.StateRoot || x.EventRoot != h.EventRoot {
		return fmt.Errorf("%w: block %d of view %d by %s: state root %s, here %s; event root %s, here %s", errOutcome,
			h.Height, h.View, h.Proposer.Short(), h.StateRoot.Short(), x.StateRoot.Short(), h.EventRoot.Short(), x.EventRoot.Short())
	}
	d.cfg.App.Keep(id, x.Handle)
	d.tree.put(b, id, parent, x.Next)
	return nil
}

func blockContext(h *consensus.Header) BlockContext {
	return BlockContext{Height: h.Height, TimestampMs: h.TimestampMs, Parent: h.Parent, View: h.View, Proposer: h.Proposer}
}

// stepBlock steps an input whose block was executed, and forgets the outcome if the replica did not take it.
func (d *Driver) stepBlock(in consensus.Input, id consensus.BlockID) error {
	if err := d.step(in); err != nil {
		return err
	}
	if n := d.tree.get(id); n != nil && !d.replica.Has(id) && d.tree.headID() != id && !d.committing(id) {
		d.tree.remove(id)
		if !n.block.Header.Trails() {
			d.cfg.App.Drop(id)
		}
		return nil
	}
	return d.wakeChildren(id)
}

// committing reports whether the replica has committed the block and applyCommits has it still to do.
func (d *Driver) committing(id consensus.BlockID) bool {
	for _, c := range d.commits {
		for _, b := range c.Blocks {
			if b.ID() == id {
				return true
			}
		}
	}
	return false
}

// onProposal executes a proposal and steps it, or holds it until its parent or its time has come.
func (d *Driver) onProposal(p consensus.VerifiedProposal) error {
	b := p.Block()
	err := d.replica.Check(p)
	if err != nil {
		d.accuse(d.replica.Note(p))
	}
	switch {
	case errors.Is(err, consensus.ErrUnknownParent):
		if d.waitCount < maxWaiting {
			d.waiting[b.Header.Parent] = append(d.waiting[b.Header.Parent], p)
			d.waitCount++
		}
		return d.stepCertificates(p)
	case errors.Is(err, consensus.ErrStale):
		return nil
	case err != nil:
		d.count.refused.Add(1)
		d.cfg.Log.Debug("proposal refused", "view", uint64(b.Header.View), "reason", err)
		return nil
	}
	if ahead := time.Duration(int64(b.Header.TimestampMs)-int64(d.nowMs()))*time.Millisecond - time.Duration(d.cfg.Genesis.MaxTimestampAhead)*time.Millisecond; ahead > 0 {
		if len(d.early) < maxEarly {
			d.early = append(d.early, p)
			d.pace.soon(time.Now().Add(min(ahead, 50*time.Millisecond)))
		}
		return d.stepCertificates(p)
	}
	switch err := d.execute(b, p.ID()); {
	case errors.Is(err, errOutcome):
		// The leader, or this node, computes wrongly. This node does not vote; if the others certify the block, it
		// comes back by catch-up, and stops the node there.
		d.count.refused.Add(1)
		d.cfg.Log.Error("proposal not voted for", "reason", err)
		return d.stepCertificates(p)
	case err != nil:
		return err
	}
	if b.Header.View == d.replica.View() {
		d.pace.work(true, time.Now())
	}
	return d.stepBlock(p, p.ID())
}

func (d *Driver) stepCertificates(p consensus.VerifiedProposal) error {
	for _, c := range p.Certificates() {
		if err := d.step(c); err != nil {
			return err
		}
	}
	return nil
}

// wakeChildren takes up the proposals that waited for a block.
func (d *Driver) wakeChildren(id consensus.BlockID) error {
	list := d.waiting[id]
	if len(list) == 0 {
		return nil
	}
	delete(d.waiting, id)
	d.waitCount -= len(list)
	for _, p := range list {
		if err := d.onProposal(p); err != nil {
			return err
		}
	}
	return nil
}

// tryPropose answers the replica's request for a block if it is time.
func (d *Driver) tryPropose() error {
	if d.propose == nil || !d.pace.mayPropose(d.hasWork(), d.full(), time.Now()) {
		return nil
	}
	req := d.propose
	d.propose = nil
	parentID := req.Justify.Data.Block
	parent := d.tree.get(parentID)
	if parent == nil {
		return fmt.Errorf("propose in view %d: parent %s was not executed here", req.View, parentID.Short())
	}
	if req.Closing(d.own) {
		b := d.trailing(req, parent)
		id := b.ID()
		d.tree.put(b, id, parent, nil)
		d.count.proposed.Add(1)
		return d.stepBlock(consensus.OwnBlock{Block: b}, id)
	}
	pending := d.tree.pending(parentID)
	txs := d.cfg.Mempool.Reap(int(d.cfg.Genesis.MaxTxsPerBlock), d.cfg.MaxBlockBytes, func(id digest.Digest) bool {
		_, in := pending[id]
		return in
	})
	h := req.Header(d.own, d.self)
	h.TimestampMs = max(req.Parent.Header.TimestampMs+1, d.nowMs())
	h.TxRoot, h.HistoryRoot = merkle.Root(txs), parent.history.Root()
	x, err := d.cfg.App.Execute(blockContext(&h), txs)
	if err != nil {
		return fmt.Errorf("execute own block %d: %w", h.Height, err)
	}
	d.count.executed.Add(1)
	h.StateRoot, h.EventRoot = x.StateRoot, x.EventRoot
	if h.NextVals, err = nextOf(&x, d.own.Set().Digest()); err != nil {
		return fmt.Errorf("execute own block %d: %w", h.Height, err)
	}
	if txs == nil {
		txs = [][]byte{}
	}
	b := &consensus.Block{Header: h, Justify: req.Justify, Txs: txs}
	id := b.ID()
	if d.tree.get(id) == nil {
		d.cfg.App.Keep(id, x.Handle)
		d.tree.put(b, id, parent, x.Next)
	}
	d.count.proposed.Add(1)
	return d.stepBlock(consensus.OwnBlock{Block: b}, id)
}

// applyCommits gives final blocks to the store, the application, the mempool and whoever listens, in this order.
func (d *Driver) applyCommits() error {
	commits := d.commits
	d.commits = nil
	for _, c := range commits {
		list := make([]Committed, 0, len(c.Blocks))
		for i, b := range c.Blocks {
			if b.Header.Height <= d.tree.height() {
				continue
			}
			x := Committed{Block: b, Finality: finality(c, i)}
			if n := d.tree.get(b.ID()); n != nil {
				x.Next = n.next
			}
			list = append(list, x)
		}
		if len(list) == 0 {
			continue
		}
		if err := d.cfg.Store.Put(list); err != nil {
			return fmt.Errorf("chain store: put blocks %d to %d: %w", list[0].Block.Header.Height, list[len(list)-1].Block.Header.Height, err)
		}
		for _, x := range list {
			if err := d.apply(x); err != nil {
				return err
			}
		}
		last := list[len(list)-1]
		d.announce(last)
		if err := d.trimLog(len(list)); err != nil {
			return err
		}
		if last.Block.Header.Closes() {
			if err := d.nextEpoch(last); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Driver) apply(x Committed) error {
	b := x.Block
	id := b.ID()
	if d.tree.get(id) == nil {
		return fmt.Errorf("commit block %d (%s): it was not executed here", b.Header.Height, id.Short())
	}
	if err := d.cfg.App.Commit(b, x.Finality); err != nil {
		return fmt.Errorf("commit block %d (%s): %w", b.Header.Height, id.Short(), err)
	}
	for _, dead := range d.tree.commit(id) {
		d.cfg.App.Drop(dead)
	}
	d.cfg.Mempool.Committed(b.Txs)
	d.cfg.Mempool.Expire(b.Header.TimestampMs)
	d.count.height.Store(uint64(b.Header.Height))
	d.count.blocks.Add(1)
	d.count.txs.Add(uint64(len(b.Txs)))
	for parent, list := range d.waiting { // proposals that can never be of use
		if list[0].Block().Header.Height <= b.Header.Height {
			d.waitCount -= len(list)
			delete(d.waiting, parent)
		}
	}
	if d.cfg.OnCommit != nil {
		d.cfg.OnCommit(b, x.Finality)
	}
	return nil
}

// finality is the shortest proof for block i of a commit: by a certificate inside the run if there is one, so that a
// long catch-up does not give each block the whole path.
func finality(c *consensus.Commit, i int) *consensus.Finality {
	f := &consensus.Finality{}
	for j := i; j+2 < len(c.Blocks) && len(f.Headers) < 64; j++ {
		f.Headers = append(f.Headers, c.Blocks[j].Header)
		if qc := &c.Blocks[j+2].Justify; qc.Data.CommitRef == c.Blocks[j].ID() {
			f.QC = *qc
			return f
		}
	}
	return c.Finality(i)
}

// trimLog syncs the store now and then, and removes the log's segments that are of no more use.
func (d *Driver) trimLog(blocks int) error {
	d.sinceSync += blocks
	if d.sinceSync < syncEvery && (d.wal == nil || len(d.wal.old) == 0) {
		return nil
	}
	if err := d.cfg.Store.Sync(); err != nil {
		return fmt.Errorf("chain store: %w", err)
	}
	d.sinceSync = 0
	if d.wal == nil {
		return nil
	}
	return d.wal.release(d.tree.height())
}
