package consensus

import (
	"fmt"
	"math/bits"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// Bounds of an outline.
const (
	MaxOutlineBatches = 2048
	// MaxNamedBytes bounds the batches that an outline names, whole: what a validator may have to fetch for one block.
	MaxNamedBytes = 2 * MaxBlockBytes
)

// BatchRef names a batch, and which of its transactions the block leaves out because they stand in it or before it
// already, or have no room.
type BatchRef struct {
	_     struct{} `cbor:",toarray"`
	Batch BatchID
	Skip  []byte // bit i of byte i/8, least significant first, is transaction i; no trailing zero byte
}

// Outline is a Proposal that names batches instead of carrying their transactions: the same header, certificates and
// signature. The block's transactions are those of the batches, in order and without the skipped ones, and then Txs.
// The header's root binds them all, so that an outline can be filled in one way only, and what was once filled is a
// block like any other.
type Outline struct {
	_       struct{} `cbor:",toarray"`
	Header  Header
	Justify QC
	LastTC  []TC // none or one, as in Proposal
	Sig     sign.Signature
	Batches []BatchRef
	Txs     [][]byte
}

// Encode gives the canonical bytes.
func (o *Outline) Encode() []byte { return canon.Must(o) }

// DecodeOutline reads canonical bytes and checks what needs no context.
func DecodeOutline(raw []byte) (*Outline, error) {
	var o Outline
	if err := decode(raw, MaxProposalBytes, "outline", &o); err != nil {
		return nil, err
	}
	if len(o.Batches) == 0 || len(o.Batches) > MaxOutlineBatches {
		return nil, fmt.Errorf("outline with %d batches: want 1 to %d", len(o.Batches), MaxOutlineBatches)
	}
	seen := make(map[BatchID]struct{}, len(o.Batches))
	for i := range o.Batches {
		ref := &o.Batches[i]
		if _, twice := seen[ref.Batch]; twice {
			return nil, fmt.Errorf("outline names batch %s twice", ref.Batch.Short())
		}
		seen[ref.Batch] = struct{}{}
		if n := len(ref.Skip); n > MaxBatchTxs/8 || n > 0 && ref.Skip[n-1] == 0 {
			return nil, fmt.Errorf("outline with a skip list of %d bytes: want at most %d, no trailing zero", n, MaxBatchTxs/8)
		}
	}
	if err := qcForm(&o.Justify); err != nil {
		return nil, err
	}
	return checked(&o, tcsForm(o.LastTC))
}

// VerifiedOutline is an outline that is well formed, justified and signed by a validator. It lacks transactions.
type VerifiedOutline struct {
	o      *Outline
	id     BlockID
	maxTxs int
}

// Outline verifies all of an outline that Proposal verifies of a proposal, but for the body.
func (v *Verifier) Outline(o *Outline) (VerifiedOutline, error) {
	h := &o.Header
	if err := v.headline(h, &o.Justify); err != nil {
		return VerifiedOutline{}, err
	}
	id := h.ID()
	if err := v.led(h, id, &o.Justify, o.LastTC, o.Sig); err != nil {
		return VerifiedOutline{}, err
	}
	return VerifiedOutline{o, id, v.maxTxs}, nil
}

// Outline is the message; not to be changed.
func (o VerifiedOutline) Outline() *Outline { return o.o }

// ID is the id of the block, once it is filled.
func (o VerifiedOutline) ID() BlockID { return o.id }

// Certificates are the outline's own certificates as inputs for Step, while its transactions are not at hand.
func (o VerifiedOutline) Certificates() []Input {
	in := []Input{VerifiedQC{&o.o.Justify}}
	if len(o.o.LastTC) == 1 {
		in = append(in, VerifiedTC{&o.o.LastTC[0]})
	}
	return in
}

// Fill makes the proposal that the outline stands for. batches gives the transactions of a named batch and is asked for
// one after the other, in order. An error means that no honest leader made the outline: the transactions, which their
// digests name, are not those of the header. It is safe for concurrent use. The transactions are not copied.
func (o VerifiedOutline) Fill(batches func(BatchID) [][]byte) (VerifiedProposal, error) {
	p := &Proposal{Block: Block{Header: o.o.Header, Justify: o.o.Justify, Txs: [][]byte{}}, LastTC: o.o.LastTC, Sig: o.o.Sig}
	for i := range o.o.Batches {
		ref := &o.o.Batches[i]
		txs := batches(ref.Batch)
		if n := len(ref.Skip); n > 0 && 8*(n-1)+bits.Len8(ref.Skip[n-1]) > len(txs) {
			return VerifiedProposal{}, refuse("outline of view %d skips more transactions than batch %s holds", o.o.Header.View, ref.Batch.Short())
		}
		for k, tx := range txs {
			if !ref.Skips(k) {
				p.Block.Txs = append(p.Block.Txs, tx)
			}
		}
		if len(p.Block.Txs) > o.maxTxs {
			break
		}
	}
	p.Block.Txs = append(p.Block.Txs, o.o.Txs...)
	if len(p.Block.Txs) > o.maxTxs {
		return VerifiedProposal{}, refuse("block of view %d: over %d transactions, the chain's limit", o.o.Header.View, o.maxTxs)
	}
	if err := p.Block.checkBody(); err != nil {
		return VerifiedProposal{}, refuse("outline of view %d: %w", o.o.Header.View, err)
	}
	return VerifiedProposal{p, o.id}, nil
}

// Skips reports whether the block leaves transaction i of the batch out.
func (r *BatchRef) Skips(i int) bool { return i/8 < len(r.Skip) && r.Skip[i/8]&(1<<(i%8)) != 0 }

// SkipBitmap is the Skip of a BatchRef that leaves out these transactions, given in rising order.
func SkipBitmap(at []int) []byte { return signerBitmap(at) }
