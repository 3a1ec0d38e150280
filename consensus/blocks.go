package consensus

import (
	"bytes"
	"errors"
	"fmt"
)

// staleViews is how far behind the current view a proposal may be and still be taken: others may have certified it.
const staleViews = 16

// CheckOutline is Check for a proposal whose transactions are not at hand: whether it is worth fetching them.
func (r *Replica) CheckOutline(o VerifiedOutline) error {
	return r.check(&Block{Header: o.o.Header, Justify: o.o.Justify}, o.id, true)
}

// Check tells the shell whether to execute the block of a VerifiedProposal or VerifiedBlock and step it: it follows its
// parent in the tree, and in a proposal its proposer leads the view. Errors: ErrUnknownParent, ErrStale, ErrRefused. It
// changes nothing.
func (r *Replica) Check(in Input) error {
	switch in := in.(type) {
	case VerifiedProposal:
		return r.check(in.Block(), in.id, true)
	case VerifiedBlock:
		return r.check(in.b, in.id, false)
	}
	return refuse("input of type %T has no block to check", in)
}

func (r *Replica) check(b *Block, id BlockID, proposal bool) error {
	h := &b.Header
	root := r.tree.root
	if h.Epoch != r.v.epoch || r.closed {
		return wrap(ErrStale, "block of view %d in epoch %d: not of this epoch, or after its end", h.View, h.Epoch)
	}
	if h.Height <= root.height() || h.View <= root.view() {
		return wrap(ErrStale, "block of view %d at height %d: height %d is committed", h.View, h.Height, root.height())
	}
	if proposal && h.View+staleViews < r.view && !r.wanted(id) {
		return wrap(ErrStale, "proposal of view %d in view %d", h.View, r.view)
	}
	parent := r.tree.get(h.Parent)
	if parent == nil {
		return wrap(ErrUnknownParent, "block of view %d at height %d: parent %s", h.View, h.Height, h.Parent.Short())
	}
	p := &parent.block.Header
	switch {
	case h.Height != p.Height+1:
		return refuse("block of height %d on a parent of height %d", h.Height, p.Height)
	case h.TimestampMs <= p.TimestampMs:
		return refuse("block of view %d: its time %d is not above its parent's %d", h.View, h.TimestampMs, p.TimestampMs)
	case b.Justify.Data.View != p.View:
		return refuse("block of view %d: its certificate is of view %d, its parent of %d", h.View, b.Justify.Data.View, p.View)
	}
	leader := r.leaders.key(r.leaders.at(h.View, parent))
	if proposal && h.Proposer != leader { // a fetched block was certified by validators who checked this
		return refuse("block of view %d by %s: %s leads it", h.View, h.Proposer.Short(), leader.Short())
	}
	if err := r.v.succession(p, b); err != nil {
		return err
	}
	if r.tree.get(id) != nil {
		return nil
	}
	if proposal && !r.wanted(id) {
		if r.tree.inView(h.View) >= maxPerView {
			return refuse("proposal of view %d: %s has proposed %d blocks in it", h.View, h.Proposer.Short(), maxPerView)
		}
		if len(r.tree.nodes) >= MaxTreeBlocks && h.Parent != r.safety.HighQC.Data.Block {
			return refuse("proposal of view %d: %d blocks wait to be committed", h.View, len(r.tree.nodes))
		}
	}
	return nil
}

// wanted reports whether a certificate names the block.
func (r *Replica) wanted(id BlockID) bool {
	_, asked := r.asked[id]
	return asked || id == r.safety.HighQC.Data.Block || r.toCommit != nil && id == r.toCommit.Data.CommitRef
}

func wrap(sentinel error, format string, args ...any) error {
	return fmt.Errorf("%w: %w", sentinel, fmt.Errorf(format, args...))
}

func dropStale(err error) error {
	if errors.Is(err, ErrStale) {
		return nil
	}
	return err
}

// onProposal takes an executed proposal: its certificates, its block, and then the vote.
func (r *Replica) onProposal(p VerifiedProposal) error {
	if p.p == nil {
		return refuse("empty proposal")
	}
	for _, c := range p.Certificates() {
		var err error
		switch c := c.(type) {
		case VerifiedQC:
			err = r.onQC(c.qc)
		case VerifiedTC:
			err = r.onTC(c.tc)
		}
		if err != nil {
			return err
		}
	}
	if err := r.insert(p.Block(), p.id, true); err != nil {
		return dropStale(err)
	}
	return r.vote(p)
}

// onBlock takes an executed block that was fetched by its id.
func (r *Replica) onBlock(b VerifiedBlock) error {
	if b.b == nil {
		return refuse("empty block")
	}
	if err := r.onQC(&b.b.Justify); err != nil {
		return err
	}
	return dropStale(r.insert(b.b, b.id, false))
}

// insert puts a block into the tree and does what waited for it: a commit, a proposal on top of it.
func (r *Replica) insert(b *Block, id BlockID, proposal bool) error {
	if err := r.check(b, id, proposal); err != nil {
		return err
	}
	if r.tree.get(id) == nil {
		r.tree.insert(b, id)
		r.out.Store = append(r.out.Store, b)
	}
	if err := r.tryCommit(); err != nil {
		return err
	}
	r.propose()
	return nil
}

// onChain takes executed blocks whose last is proved final, and makes it the root.
func (r *Replica) onChain(c VerifiedChain) error {
	root := r.tree.root
	if len(c.blocks) == 0 {
		return refuse("empty chain")
	}
	last := c.blocks[len(c.blocks)-1]
	if last.Header.Height <= root.height() {
		return r.onQC(&c.proof.QC)
	}
	for _, b := range c.blocks {
		h, id := &b.Header, b.ID()
		switch {
		case h.Height <= root.height():
			continue
		case h.Height == root.height()+1 && h.Parent != root.id:
			return wrap(ErrBroken, "final block %s at height %d does not follow committed block %s", id.Short(), h.Height, root.id.Short())
		case r.tree.get(h.Parent) == nil:
			return wrap(ErrUnknownParent, "chain begins at height %d, the committed block is of height %d", h.Height, root.height())
		}
		if r.tree.get(id) == nil {
			r.tree.insert(b, id)
		}
	}
	if err := r.commit(r.tree.get(last.ID()), &c.proof.QC, c.proof.Headers); err != nil {
		return err
	}
	return r.onQC(&c.proof.QC)
}

// onOwnBlock takes the shell's answer to the request of the current view.
func (r *Replica) onOwnBlock(b *Block) error {
	if b == nil {
		return refuse("empty own block")
	}
	q := r.request
	if q == nil || b.Header.View != q.View || r.safety.timedOut() >= q.View {
		return nil
	}
	want := q.Header(r.v, r.self)
	h := b.Header
	want.TimestampMs, want.TxRoot, want.EventRoot, want.StateRoot, want.HistoryRoot, want.NextVals =
		h.TimestampMs, h.TxRoot, h.EventRoot, h.StateRoot, h.HistoryRoot, h.NextVals
	if h != want || !bytes.Equal(b.Justify.Encode(), q.Justify.Encode()) {
		return refuse("own block of view %d: not what was asked for", h.View)
	}
	if err := r.v.header(b); err != nil {
		return err
	}
	id := b.ID()
	if err := r.check(b, id, true); err != nil {
		return err
	}
	r.request = nil
	r.safety.ProposedView, r.safety.Proposed, r.safety.ProposedTC = h.View, id, q.LastTC
	r.promise = true
	p := r.sign(b, id, q.LastTC)
	r.send(p)
	return r.onProposal(VerifiedProposal{p, id})
}

func (r *Replica) sign(b *Block, id BlockID, last []TC) *Proposal {
	p := &Proposal{Block: *b, LastTC: last, Sig: r.key.Sign(ProposalSigningBytes(id))}
	c := proposalClaim(r.self, id, p.Sig)
	r.v.known.learn(c.id())
	return p
}
