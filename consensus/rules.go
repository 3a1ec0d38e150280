package consensus

import "fmt"

// onQC takes a valid certificate: it may be the highest, lead into the next view, and commit.
func (r *Replica) onQC(qc *QC) error {
	d := &qc.Data
	if d.View > r.safety.HighQC.Data.View {
		r.safety.HighQC = *qc
	}
	if !d.CommitRef.IsZero() {
		if err := r.noteCommit(qc); err != nil {
			return err
		}
	}
	if d.View > r.tree.root.view() {
		r.need(d.Block, d.View)
	}
	r.advance(d.View+1, EnterByQC)
	return nil
}

// onTC takes a valid timeout certificate.
func (r *Replica) onTC(tc *TC) error {
	if err := r.onQC(&tc.HighQC); err != nil {
		return err
	}
	if tc.View > r.safety.highTC() {
		r.safety.HighTC = []TC{*tc}
	}
	r.advance(tc.View+1, EnterByTC)
	return nil
}

// noteCommit keeps the highest certificate that commits something new, and commits if the block is here. The block of
// CommitRef has the view before the certificate's: that is what voters check before they name it.
func (r *Replica) noteCommit(qc *QC) error {
	root := r.tree.root
	if r.closed {
		return nil // what certificates commit after the closing block is not of the chain
	}
	view := qc.Data.View - 1
	if view < root.view() {
		return nil
	}
	if view == root.view() {
		if qc.Data.CommitRef != root.id {
			return fmt.Errorf("%w: blocks %s and %s of view %d are both final", ErrBroken, qc.Data.CommitRef.Short(), root.id.Short(), view)
		}
		return nil
	}
	if r.toCommit == nil || qc.Data.View > r.toCommit.Data.View {
		c := *qc
		r.toCommit = &c
	}
	return r.tryCommit()
}

// tryCommit commits what the highest committing certificate names, once it is in the tree (two-chain commit rule).
func (r *Replica) tryCommit() error {
	if r.toCommit == nil || r.closed {
		return nil
	}
	n := r.tree.get(r.toCommit.Data.CommitRef)
	if n == nil {
		r.need(r.toCommit.Data.CommitRef, r.toCommit.Data.View-1)
		return nil
	}
	if n.view()+1 != r.toCommit.Data.View {
		return fmt.Errorf("%w: a certificate of view %d commits block %s of view %d", ErrBroken, r.toCommit.Data.View, n.id.Short(), n.view())
	}
	return r.commit(n, r.toCommit, []Header{n.block.Header})
}

// commit makes n the root, or the closing block before it if the epoch ends there.
func (r *Replica) commit(n *node, qc *QC, path []Header) error {
	if c := r.closingOn(n); c != nil {
		n, path = c, pathTo(c, n, path)
		r.closed = true
	}
	blocks, err := r.tree.commit(n)
	if err != nil {
		return err
	}
	if r.toCommit != nil && r.toCommit.Data.View <= n.view()+1 {
		r.toCommit = nil
	}
	for _, b := range blocks {
		r.leaders.committed(&b.Header)
	}
	if len(blocks) == 0 {
		return nil
	}
	if r.out.Commit == nil {
		r.out.Commit = &Commit{}
	}
	c := r.out.Commit
	c.Blocks = append(c.Blocks, blocks...)
	c.QC, c.Path = *qc, path
	return nil
}

// need asks for a block that is not in the tree, once in a view.
func (r *Replica) need(id BlockID, view View) {
	if r.tree.get(id) != nil {
		return
	}
	if _, ok := r.asked[id]; ok {
		return
	}
	r.asked[id] = struct{}{}
	r.out.Need = append(r.out.Need, Need{id, view})
}

// advance enters view v if it is above the current one (advance round), and asks for a block if this replica leads it.
func (r *Replica) advance(v View, why EnterReason) {
	high := r.safety.HighQC.Data.View
	r.votes.prune(high, max(v, r.view))
	if v <= r.view || r.closed {
		return
	}
	r.watch.prune(v)
	r.view = v
	r.request = nil
	r.timeouts.reset()
	clear(r.asked)
	clear(r.answered)
	if r.out.Propose != nil {
		r.out.Propose = nil
	}
	r.out.Enter = &EnterView{View: v, Leader: r.Leader(v), Reason: why, Timeouts: uint64(v - 1 - high)}
	r.propose()
}

// propose asks the shell for a block if this replica leads the current view, has not proposed in it or given it up,
// and has the block to extend.
func (r *Replica) propose() {
	if r.index < 0 || r.closed || r.request != nil || r.safety.ProposedView >= r.view || r.safety.timedOut() >= r.view {
		return
	}
	parent := r.tree.get(r.safety.HighQC.Data.Block)
	if parent == nil || r.leaders.at(r.view, parent) != r.index {
		return
	}
	q := &ProposeRequest{View: r.view, Parent: parent.block, Justify: r.safety.HighQC, LastTC: r.lastTC()}
	r.request, r.out.Propose = q, q
}

// lastTC is the TC of the view before, if the high QC is not of it: then one led here.
func (r *Replica) lastTC() []TC {
	if r.safety.HighQC.Data.View+1 == r.view {
		return []TC{}
	}
	return r.safety.HighTC
}

// vote applies the voting rule to a proposal in the tree. That the justify is of the view before, or no older than what
// the TC knows, was checked by the Verifier; the rest needs this replica's memory.
func (r *Replica) vote(p VerifiedProposal) error {
	h := &p.p.Block.Header
	if r.index < 0 || h.View != r.view || h.View <= r.safety.LastVoted || h.View <= r.safety.timedOut() {
		return nil
	}
	parent := r.tree.get(h.Parent)
	if parent == nil {
		return nil // the tree has moved past the proposal
	}
	d := VoteData{ChainID: h.ChainID, Epoch: h.Epoch, View: h.View, Block: p.id}
	if parent.view()+1 == h.View {
		d.CommitRef = parent.id
	}
	msg := d.SigningBytes()
	v := &Vote{Data: d, Voter: r.self, Sig: r.signer.Sign(msg)}
	r.own(msg, v.Sig)
	r.safety.LastVoted, r.safety.LastVote = h.View, []Vote{*v}
	r.safety.Locked = max(r.safety.Locked, p.p.Block.Justify.Data.View)
	r.promise = true
	r.send(v)
	return r.onVote(CheckedVote{v, r.index}, true)
}

// onVote collects a vote; the certificate that it completes is taken like any other.
func (r *Replica) onVote(v CheckedVote, valid bool) error {
	if v.v == nil {
		return refuse("empty vote")
	}
	view := v.v.Data.View
	if view <= r.safety.HighQC.Data.View || view+voteWindowBack < r.view || view > r.view+voteWindowAhead {
		return nil
	}
	qc := r.votes.add(v, valid, &r.out)
	if qc == nil {
		return nil
	}
	return r.onQC(qc)
}

// onTimer is the timeout rule: only in the current view, once, with a high QC that is not below the lock.
func (r *Replica) onTimer(view View) error {
	if view != r.view {
		return nil
	}
	clear(r.asked) // a fetch may have failed
	clear(r.answered)
	r.need(r.safety.HighQC.Data.Block, r.safety.HighQC.Data.View)
	if err := r.tryCommit(); err != nil {
		return err
	}
	if r.index < 0 {
		return nil
	}
	if r.safety.timedOut() == view {
		r.send(&r.safety.LastTimeout[0])
		return nil
	}
	if r.safety.timedOut() > view || r.safety.LastVoted > view {
		return nil // signed in a later view before a restart: wait for the others to lead there
	}
	if r.safety.HighQC.Data.View < r.safety.Locked {
		return fmt.Errorf("%w: high certificate of view %d below the lock at %d", ErrBroken, r.safety.HighQC.Data.View, r.safety.Locked)
	}
	d := TimeoutData{
		ChainID: r.v.chain, Epoch: r.v.epoch, View: view,
		HighQC: r.safety.HighQC.Data.View, LastVoted: r.safety.LastVoted,
	}
	msg := d.SigningBytes()
	t := &Timeout{Data: d, Voter: r.self, Sig: r.signer.Sign(msg), HighQC: r.safety.HighQC, LastTC: r.lastTC()}
	r.own(msg, t.Sig)
	r.safety.LastTimeout = []Timeout{*t}
	r.promise = true
	r.request = nil
	r.out.Propose = nil
	r.send(t)
	return r.countTimeout(VerifiedTimeout{t, r.index})
}

// onTimeout takes another's timeout: first its certificates, then itself if it is of the current view.
func (r *Replica) onTimeout(t VerifiedTimeout) error {
	if t.t == nil {
		return refuse("empty timeout")
	}
	if err := r.onQC(&t.t.HighQC); err != nil {
		return err
	}
	for i := range t.t.LastTC {
		if err := r.onTC(&t.t.LastTC[i]); err != nil {
			return err
		}
	}
	if t.t.Data.View < r.view {
		if _, done := r.answered[t.index]; !done && t.index != r.index {
			r.answered[t.index] = struct{}{}
			r.out.Send = append(r.out.Send, Outgoing{To: t.t.Voter, Message: r.Certificates()})
		}
		return nil
	}
	return r.countTimeout(t)
}

// countTimeout adds a timeout of the current view; a third of the weight makes the replica join, a quorum ends the view.
func (r *Replica) countTimeout(t VerifiedTimeout) error {
	if !r.timeouts.add(t) {
		return nil
	}
	if tc := r.timeouts.certificate(); tc != nil {
		return r.onTC(tc)
	}
	if r.timeouts.honest() && r.index >= 0 && r.safety.timedOut() < r.view {
		return r.onTimer(r.view)
	}
	return nil
}

// resend repeats, after a restart, what was signed in the current view, and counts it here too.
func (r *Replica) resend() error {
	s := &r.safety
	if r.index < 0 {
		return nil
	}
	if n := r.tree.get(s.Proposed); n != nil && s.ProposedView >= r.view {
		r.send(r.sign(n.block, n.id, s.ProposedTC))
	}
	if len(s.LastTimeout) == 1 && s.timedOut() >= r.view {
		t := &s.LastTimeout[0]
		r.own(t.Data.SigningBytes(), t.Sig)
		r.send(t)
		if s.timedOut() == r.view {
			if err := r.countTimeout(VerifiedTimeout{t, r.index}); err != nil {
				return err
			}
		}
	}
	if len(s.LastVote) == 1 && s.LastVoted >= r.view {
		v := &s.LastVote[0]
		r.own(v.Data.SigningBytes(), v.Sig)
		r.send(v)
		return r.onVote(CheckedVote{v, r.index}, true)
	}
	return nil
}

func (r *Replica) send(m Message) { r.out.Send = append(r.out.Send, Outgoing{Message: m}) }

// own remembers the signature of a vote or timeout that this replica has just made.
func (r *Replica) own(msg []byte, sig Signature) {
	c := r.v.set.claim(r.index, msg, sig)
	r.v.known.learn(c.id())
}
