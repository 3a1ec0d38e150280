package driver

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/consensus"
)

// ownVoice is the error that stops this node when it hears its own key say what it has not said. The key then signs on
// another machine too, or this folder is an older copy of the one that signed: either way the next vote may be the
// second one in its view. A lock cannot see that; what other nodes send can. A folder that is new, or an old copy, shows
// itself in the certificates of the chain that the node fetches before it can vote at all, or of the snapshot that it goes
// on from.
//
// What is older than the last promise cannot be told from this node's own past, and passes. Everything here was verified
// before it came to the owner, and what this node signs is in its safety data before it is sent, so its own words coming
// back are no alarm. In an epoch of whose successor it has signed already, this node is silent and remembers nothing
// (newReplica): there all is its past.
func (d *Driver) ownVoice(msg any) error {
	if !d.term.Load().member || d.later != nil {
		return nil
	}
	s := d.replica.Safety()
	switch m := msg.(type) {
	case heldVote:
		return d.ownVote(&s, m.vote.Vote())
	case consensus.VerifiedTimeout:
		return d.ownTimeout(&s, m.Timeout())
	case offer:
		p := m.Proposal()
		return d.ownProposal(&s, &p.Block.Header, &p.Block.Justify, p.LastTC)
	case *gathering:
		o := m.o.Outline()
		return d.ownProposal(&s, &o.Header, &o.Justify, o.LastTC)
	case []consensus.Input:
		for _, in := range m {
			if err := d.ownVoice(in); err != nil {
				return err
			}
		}
	case consensus.VerifiedQC:
		return d.ownQC(&s, m.QC())
	case consensus.VerifiedTC:
		return d.ownTC(&s, m.TC())
	case announced:
		return d.ownQC(&s, m.qc.QC())
	case fetched:
		return d.ownFetched(&s, m)
	}
	return nil
}

// maxPast bounds how far back ownPast reads.
const maxPast = 4096

// ownPast looks for this node's key in the certificates of the stored chain that are newer than its last vote: a log that
// was brought back from elsewhere, beside a store that was not.
func (d *Driver) ownPast(head Committed) error {
	if !d.term.Load().member || d.later != nil {
		return nil
	}
	safety := d.replica.Safety()
	s := &safety
	if err := d.ownQC(s, &head.Finality.QC); err != nil {
		return err
	}
	for b, n := head.Block, 0; b.Header.Epoch == d.own.Epoch() && b.Header.Height > 0 && b.Justify.Data.View >= s.LastVoted && n < maxPast; n++ {
		if err := d.ownQC(s, &b.Justify); err != nil {
			return err
		}
		x, err := d.cfg.Store.Block(b.Header.Height - 1)
		if errors.Is(err, ErrNoBlock) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("chain store: %w", err)
		}
		b = x.Block
	}
	return nil
}

func (d *Driver) ownVote(s *consensus.SafetyData, v *consensus.Vote) error {
	if v.Voter == d.self && !voted(s, &v.Data) {
		return d.impostor("voted", v.Data.View)
	}
	return nil
}

func (d *Driver) ownTimeout(s *consensus.SafetyData, t *consensus.Timeout) error {
	if t.Voter == d.self && !timedOut(s, &t.Data) {
		return d.impostor("timed out", t.Data.View)
	}
	if err := d.ownQC(s, &t.HighQC); err != nil {
		return err
	}
	return d.ownTCs(s, t.LastTC)
}

func (d *Driver) ownProposal(s *consensus.SafetyData, h *consensus.Header, justify *consensus.QC, last []consensus.TC) error {
	if h.Proposer == d.self && (h.View > s.ProposedView || h.View == s.ProposedView && h.ID() != s.Proposed) {
		return d.impostor("proposed a block", h.View)
	}
	if err := d.ownQC(s, justify); err != nil {
		return err
	}
	return d.ownTCs(s, last)
}

func (d *Driver) ownFetched(s *consensus.SafetyData, b fetched) error {
	if b.chain != nil {
		for _, blk := range b.chain.Blocks() {
			if err := d.ownQC(s, &blk.Justify); err != nil {
				return err
			}
		}
		return d.ownQC(s, &b.chain.Finality().QC)
	}
	for _, v := range b.blocks {
		if err := d.ownQC(s, &v.Block().Justify); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) ownQC(s *consensus.SafetyData, qc *consensus.QC) error {
	i, _ := d.own.Set().Index(d.self) // a member: ownVoice
	if qc.Data.Epoch == d.own.Epoch() && i/8 < len(qc.Signers) && qc.Signers[i/8]&(1<<(i%8)) != 0 && !voted(s, &qc.Data) {
		return d.impostor("voted", qc.Data.View)
	}
	return nil
}

func (d *Driver) ownTCs(s *consensus.SafetyData, list []consensus.TC) error {
	for i := range list {
		if err := d.ownTC(s, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) ownTC(s *consensus.SafetyData, tc *consensus.TC) error {
	i, _ := d.own.Set().Index(d.self) // a member: ownVoice
	for k := range tc.Entries {
		e := &tc.Entries[k]
		t := consensus.TimeoutData{ChainID: tc.ChainID, Epoch: tc.Epoch, View: tc.View, HighQC: e.HighQC, LastVoted: e.LastVoted}
		if int(e.Validator) == i && tc.Epoch == d.own.Epoch() && !timedOut(s, &t) {
			return d.impostor("timed out", tc.View)
		}
	}
	return d.ownQC(s, &tc.HighQC)
}

// voted reports whether a vote may be this node's: it is the last one, or older.
func voted(s *consensus.SafetyData, v *consensus.VoteData) bool {
	return v.View < s.LastVoted || v.View == s.LastVoted && len(s.LastVote) == 1 && s.LastVote[0].Data == *v
}

// timedOut does the same for a timeout.
func timedOut(s *consensus.SafetyData, t *consensus.TimeoutData) bool {
	if len(s.LastTimeout) == 0 {
		return false
	}
	last := &s.LastTimeout[0].Data
	return t.View < last.View || *last == *t
}

func (d *Driver) impostor(did string, view consensus.View) error {
	return fmt.Errorf("validator key %s has %s in view %d, and this node has not: the key is used on another machine too, or %s is an older copy of its folder; this node has stopped; leave one node with this key, the one with the newest folder, and if you cannot tell which that is, have the key replaced",
		d.self.Short(), did, view, d.cfg.Dir)
}
