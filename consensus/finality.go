package consensus

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// MaxFinalityHeaders bounds the header path of a Finality: blocks between the one of interest and the certified commit.
const MaxFinalityHeaders = 1024

// MaxFinalityBytes bounds an encoded Finality.
const MaxFinalityBytes = MaxFinalityHeaders*512 + MaxQCBytes

// ErrNotFinal is wrapped by every verdict of Finality.Verify that the proof does not hold.
var ErrNotFinal = errors.New("finality proof does not hold")

// Finality proves to someone who only knows the validator set that a block is final: its header, the headers that lead
// from it to the block that a certificate names as committed, and that certificate. A block that is itself named has a
// path of one header, its own.
type Finality struct {
	_       struct{} `cbor:",toarray"`
	Headers []Header // from the block of interest to the block QC.Data.CommitRef, heights rising by one
	QC      QC
}

// Header is the block of interest. It panics on an empty proof; Verify refuses one.
func (f *Finality) Header() *Header { return &f.Headers[0] }

// Encode gives the canonical bytes.
func (f *Finality) Encode() []byte { return canon.Must(f) }

// DecodeFinality reads what Encode wrote and checks nothing but form and size.
func DecodeFinality(raw []byte) (*Finality, error) {
	if len(raw) > MaxFinalityBytes {
		return nil, fmt.Errorf("finality proof of %d bytes: over the limit of %d", len(raw), MaxFinalityBytes)
	}
	var f Finality
	if err := canon.Unmarshal(raw, &f); err != nil {
		return nil, err
	}
	if len(f.Headers) > MaxFinalityHeaders {
		return nil, fmt.Errorf("finality proof with %d headers: over the limit of %d", len(f.Headers), MaxFinalityHeaders)
	}
	return &f, nil
}

// Verify checks the proof against the chain and the set of its epoch: the headers form a chain of this protocol version,
// chain, epoch and set; the last one is what the certificate commits; the certificate carries a quorum of valid
// signatures. Every error wraps ErrNotFinal. It needs nothing but its arguments, so it works with the network down.
func (f *Finality) Verify(chain digest.Digest, set *ValidatorSet) error {
	return f.verify(chain, set, nil)
}

// VerifyHeader checks that qc proves h final: the light client's and the follower's check for a committed header that
// travels with its certificate.
func VerifyHeader(chain digest.Digest, set *ValidatorSet, h *Header, qc *QC) error {
	f := Finality{Headers: []Header{*h}, QC: *qc}
	return f.verify(chain, set, nil)
}

func (f *Finality) verify(chain digest.Digest, set *ValidatorSet, known *signatures) error {
	if len(f.Headers) == 0 || len(f.Headers) > MaxFinalityHeaders {
		return fmt.Errorf("%w: %d headers: want 1 to %d", ErrNotFinal, len(f.Headers), MaxFinalityHeaders)
	}
	for i := range f.Headers {
		h := &f.Headers[i]
		switch {
		case h.Version != ProtocolVersion:
			return fmt.Errorf("%w: block of protocol version %d: this program follows version %d", ErrNotFinal, h.Version, ProtocolVersion)
		case h.ChainID != chain:
			return fmt.Errorf("%w: block %d is of chain %s, not %s", ErrNotFinal, h.Height, h.ChainID.Short(), chain.Short())
		case h.Epoch != f.QC.Data.Epoch:
			return fmt.Errorf("%w: block %d is of epoch %d, its certificate of %d", ErrNotFinal, h.Height, h.Epoch, f.QC.Data.Epoch)
		case h.Validators != set.Digest():
			return fmt.Errorf("%w: block %d names another validator set", ErrNotFinal, h.Height)
		}
		if i == 0 {
			if h.Trails() {
				return fmt.Errorf("%w: block %d follows the closing block of epoch %d and is not of the chain", ErrNotFinal, h.Height, h.Epoch)
			}
			continue
		}
		p := &f.Headers[i-1]
		if h.Parent != p.ID() || h.Height != p.Height+1 || h.View <= p.View {
			return fmt.Errorf("%w: block %d does not follow block %d", ErrNotFinal, h.Height, p.Height)
		}
		if p.NextVals != p.Validators && (!h.Trails() || h.NextVals != p.NextVals) || p.NextVals == p.Validators && h.Trails() {
			return fmt.Errorf("%w: block %d does not follow block %d, which closes an epoch or does not", ErrNotFinal, h.Height, p.Height)
		}
	}
	last := &f.Headers[len(f.Headers)-1]
	if f.QC.Data.CommitRef.IsZero() || f.QC.Data.CommitRef != last.ID() {
		return fmt.Errorf("%w: the certificate does not commit block %d", ErrNotFinal, last.Height)
	}
	if f.QC.Data.View != last.View+1 {
		return fmt.Errorf("%w: the certificate's view %d does not follow the block's view %d", ErrNotFinal, f.QC.Data.View, last.View)
	}
	if err := checkQC(&f.QC, chain, last.Epoch, set, known); err != nil {
		return fmt.Errorf("%w: %w", ErrNotFinal, err)
	}
	return nil
}
