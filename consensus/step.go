package consensus

import (
	"github.com/metanode/metanode/internal/sign"
)

// Input is what Step accepts: VerifiedProposal, VerifiedBlock and VerifiedChain (each once the shell has executed its
// blocks and found the roots in their headers), CheckedVote, VerifiedTimeout, VerifiedQC, VerifiedTC, OwnBlock and
// TimerExpired. The types from outside can only be made by a Verifier.
type Input interface{ input() }

func (VerifiedProposal) input() {}
func (VerifiedBlock) input()    {}
func (VerifiedChain) input()    {}
func (CheckedVote) input()      {}
func (VerifiedTimeout) input()  {}
func (VerifiedQC) input()       {}
func (VerifiedTC) input()       {}
func (OwnBlock) input()         {}
func (TimerExpired) input()     {}

// OwnBlock is the shell's answer to a ProposeRequest: an executed block with that view, parent and certificate, made by
// ProposeRequest.Header. An answer to a view that has passed is dropped without an error.
type OwnBlock struct{ Block *Block }

// TimerExpired says that the view's timer has run out. For a view in which the replica has already timed out it sends
// the same timeout again, so the shell arms the timer anew after each one.
type TimerExpired struct{ View View }

// Output is what the shell must do after a Step, in this order: write Store to its log; if Save is set, write it too and
// make the log durable up to here; only then Send; hand Commit on; arm the timer by Enter; answer Propose; fetch Need.
// A later Output may be computed before an earlier one is durable, as long as each is sent in order after its own Save.
type Output struct {
	Store    []*Block        // new in the tree; needed again after a restart if not committed
	Save     *SafetyData     // nil: no promise was made
	Send     []Outgoing      // never before Save is durable
	Commit   *Commit         // nil: nothing committed
	Enter    *EnterView      // nil: still in the same view
	Propose  *ProposeRequest // nil: not the leader, or its parent is missing
	Need     []Need          // blocks to fetch by id
	Evidence []Evidence      // somebody broke the protocol, provably
	BadVotes []*Vote         // votes with invalid signatures, as given to Verifier.Vote: hold them against the sender
}

// Outgoing is a message and who is to have it.
type Outgoing struct {
	To      sign.PublicKey // validator; zero for every validator
	Message Message
}

// Commit is a run of newly committed blocks. QC is a certificate whose CommitRef is the last of them, or Path leads there:
// for blocks that came by catch-up, and for the closing block of an epoch, whose trailing blocks are not committed with it.
type Commit struct {
	Blocks []*Block // in height order
	QC     QC
	Path   []Header // from the last block to QC.Data.CommitRef, for a Finality; one header in most cases
}

// Finality is the proof for Blocks[i], i in range.
func (c *Commit) Finality(i int) *Finality {
	f := &Finality{QC: c.QC}
	for _, b := range c.Blocks[i : len(c.Blocks)-1] {
		f.Headers = append(f.Headers, b.Header)
	}
	f.Headers = append(f.Headers, c.Path...)
	return f
}

// EnterReason says what brought the replica into a view.
type EnterReason string

// The reasons.
const (
	EnterByStart EnterReason = "start"
	EnterByQC    EnterReason = "quorum certificate"
	EnterByTC    EnterReason = "timeout certificate"
)

// EnterView says that a new view has begun. The shell sets its timer: see the section on timers in the package comment.
type EnterView struct {
	View     View
	Leader   sign.PublicKey
	Reason   EnterReason
	Timeouts uint64 // consecutive views before this one that ended without a certificate
}

// ProposeRequest asks the leader's shell for a block. It may answer when it likes while the view lasts: at once if there
// is work, else after the idle interval.
type ProposeRequest struct {
	View    View
	Parent  *Block
	Justify QC
	LastTC  []TC
}

// Header is the new block's header with all that consensus decides filled in. The shell adds TimestampMs (above the
// parent's), TxRoot, EventRoot, StateRoot, HistoryRoot, and NextVals where executing the block changes the set.
func (p *ProposeRequest) Header(v *Verifier, self sign.PublicKey) Header {
	next := v.set.Digest()
	if p.Closing(v) {
		next = p.Parent.Header.NextVals
	}
	return Header{
		Version: ProtocolVersion, ChainID: v.chain, Parent: p.Justify.Data.Block,
		Height: p.Parent.Header.Height + 1, View: p.View, Epoch: v.epoch, Proposer: self,
		Validators: v.set.Digest(), NextVals: next,
		HistoryCount: uint64(p.Parent.Header.Height) + 1,
	}
}

// Need names a block that the tree lacks, certified in View. The shell fetches it by id and steps it as a
// VerifiedBlock once executed, or, when it is far behind, catches up by height with a VerifiedChain. A proposal of that
// block which is being executed right now serves as well.
type Need struct {
	Block BlockID
	View  View
}
