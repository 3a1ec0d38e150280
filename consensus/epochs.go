package consensus

import (
	"fmt"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// An epoch is the reign of one validator set. It ends with its closing block, whose header names another set for the
// next block. Until the closing block is committed the leaders extend it with trailing blocks: empty, with its state and
// its next set. They carry the certificates that commit it and are then forgotten: the first block of the next epoch is
// a child of the closing block, and begins like a child of genesis, under a certificate without signers (RootQC). So the
// old set alone decides where the next one begins, and nothing that the old set signs later is of the chain.
//
// The closing block has events, which tell of the change; a trailing block has none. This tells them apart by their
// headers alone, so that nobody takes a trailing block for part of the history.

var noEvents = merkle.Root(nil)

// Closes reports whether the block of h ends its epoch.
func (h *Header) Closes() bool { return h.NextVals != h.Validators && h.EventRoot != noEvents }

// Trails reports whether the block of h follows the closing block of its own epoch: it never becomes history.
func (h *Header) Trails() bool { return h.NextVals != h.Validators && h.EventRoot == noEvents }

// NextEpoch is the epoch of the children of h's block, once it is committed.
func (h *Header) NextEpoch() Epoch {
	if h.Closes() {
		return h.Epoch + 1
	}
	return h.Epoch
}

// RootQC is the certificate that the first blocks of an epoch carry: of its root, which is the genesis block or the
// closing block of the epoch before, with no signers. Whoever is in the epoch knows its root to be final.
func RootQC(root *Block) QC {
	h := &root.Header
	return QC{
		Data:    VoteData{ChainID: h.ChainID, Epoch: h.NextEpoch(), View: h.View, Block: root.ID()},
		Signers: []byte{}, Sigs: []Signature{},
	}
}

// closing reports whether children of p in this epoch must trail.
func (v *Verifier) closing(p *Header) bool { return p.Epoch == v.epoch && p.NextVals != p.Validators }

// succession checks what a block may be on its parent: anything while the epoch is open, a trailing block when it closes.
func (v *Verifier) succession(p *Header, b *Block) error {
	h := &b.Header
	if !v.closing(p) {
		if h.Trails() {
			return refuse("block of view %d: it names another validator set, and no event of it says so", h.View)
		}
		return nil
	}
	if !h.Trails() || h.NextVals != p.NextVals || h.StateRoot != p.StateRoot || len(b.Txs) != 0 {
		return refuse("block of view %d: epoch %d is closing, and only empty blocks may follow", h.View, v.epoch)
	}
	return nil
}

// Closing reports whether the epoch is closing: the block must then be the one that Trailing gives.
func (p *ProposeRequest) Closing(v *Verifier) bool { return v.closing(&p.Parent.Header) }

// Trailing is the header of the empty block of a closing epoch. It is not executed. The shell adds TimestampMs and
// HistoryRoot.
func (p *ProposeRequest) Trailing(v *Verifier, self sign.PublicKey) Header {
	h := p.Header(v, self)
	h.TxRoot, h.EventRoot, h.StateRoot = merkle.Root(nil), noEvents, p.Parent.Header.StateRoot
	return h
}

// closingOn is the block that closes the epoch on the way from the root to n, or nil. There is one at most, since only
// trailing blocks follow it.
func (r *Replica) closingOn(n *node) *node {
	for k := n; k != nil && k != r.tree.root; k = k.parent {
		if k.block.Header.Closes() {
			return k
		}
	}
	return nil
}

// pathTo puts before path, which begins with n's header, the headers from c to n.
func pathTo(c, n *node, path []Header) []Header {
	var back []Header
	for k := n; k != c; k = k.parent {
		back = append(back, k.parent.block.Header)
	}
	out := make([]Header, 0, len(back)+len(path))
	for i := len(back) - 1; i >= 0; i-- {
		out = append(out, back[i])
	}
	return append(out, path...)
}

// epochOf is the epoch of an input from outside; ok is false for one that has none.
func epochOf(in Input) (e Epoch, ok bool) {
	switch in := in.(type) {
	case VerifiedProposal:
		if in.p != nil {
			return in.p.Block.Header.Epoch, true
		}
	case VerifiedBlock:
		if in.b != nil {
			return in.b.Header.Epoch, true
		}
	case VerifiedChain:
		if len(in.blocks) > 0 {
			return in.blocks[0].Header.Epoch, true
		}
	case CheckedVote:
		if in.v != nil {
			return in.v.Data.Epoch, true
		}
	case VerifiedTimeout:
		if in.t != nil {
			return in.t.Data.Epoch, true
		}
	case VerifiedQC:
		if in.qc != nil {
			return in.qc.Data.Epoch, true
		}
	case VerifiedTC:
		if in.tc != nil {
			return in.tc.Epoch, true
		}
	}
	return 0, false
}

// Closed reports whether the replica has committed the closing block of its epoch, its root now. It takes nothing in any
// more; the shell makes the next one from Verifier.After and a Recovery whose Root is that block.
func (r *Replica) Closed() bool { return r.closed }

// Handover is the old set's word for the next one: the closing block of an epoch, proved final, and the set that its
// header names.
type Handover struct {
	_        struct{} `cbor:",toarray"`
	Finality Finality // of the closing block
	Next     []Validator
}

// MaxHandoverBytes bounds an encoded Handover.
const MaxHandoverBytes = MaxFinalityBytes + MaxValidators*432 + 64

// Header is the closing block's. It panics on an empty proof; Verify refuses one.
func (h *Handover) Header() *Header { return h.Finality.Header() }

// Encode gives the canonical bytes.
func (h *Handover) Encode() []byte { return canon.Must(h) }

// DecodeHandover reads what Encode wrote and checks nothing but form and size.
func DecodeHandover(raw []byte) (*Handover, error) {
	var h Handover
	if err := decode(raw, MaxHandoverBytes, "handover", &h); err != nil {
		return nil, err
	}
	if n := len(h.Finality.Headers); n == 0 || n > MaxFinalityHeaders || len(h.Next) > MaxValidators {
		return nil, fmt.Errorf("handover with %d headers and %d validators: want 1 to %d headers, and at most %d validators", n, len(h.Next), MaxFinalityHeaders, MaxValidators)
	}
	return checked(&h, qcForm(&h.Finality.QC))
}

// Verify checks the handover against the chain, the epoch that it closes and that epoch's set, and gives the next set.
// Every error wraps ErrNotFinal. It needs nothing but its arguments.
func (h *Handover) Verify(chain digest.Digest, epoch Epoch, set *ValidatorSet) (*ValidatorSet, error) {
	if err := h.Finality.Verify(chain, set); err != nil {
		return nil, err
	}
	if have := h.Header().Epoch; have != epoch {
		return nil, fmt.Errorf("%w: the handover closes epoch %d, not %d", ErrNotFinal, have, epoch)
	}
	return h.next(set)
}

// next is the set after old, if it is the one that the header names and may follow.
func (h *Handover) next(old *ValidatorSet) (*ValidatorSet, error) {
	b := h.Header()
	if !b.Closes() {
		return nil, fmt.Errorf("%w: block %d closes no epoch", ErrNotFinal, b.Height)
	}
	next, err := NewValidatorSet(h.Next)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFinal, err)
	}
	if next.Digest() != b.NextVals {
		return nil, fmt.Errorf("%w: the next validators are not those that block %d names", ErrNotFinal, b.Height)
	}
	if err := next.Follows(old); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFinal, err)
	}
	return next, nil
}

// After is the verifier of the epoch that h begins. The caller knows h to be true: it has committed the closing block, or
// verified h.
func (v *Verifier) After(h *Handover) (*Verifier, error) {
	b := h.Header()
	if b.ChainID != v.chain || b.Epoch < v.epoch {
		return nil, fmt.Errorf("handover of chain %s from epoch %d does not follow epoch %d of %s", b.ChainID.Short(), b.Epoch, v.epoch, v.chain.Short())
	}
	next, err := h.next(v.set)
	if err != nil {
		return nil, err
	}
	return &Verifier{
		chain: v.chain, root: b.ID(), rootView: b.View, epoch: b.Epoch + 1, set: next,
		maxTxs: v.maxTxs, known: newSignatures(),
	}, nil
}
