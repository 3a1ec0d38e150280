package invite

import (
	"fmt"
	"time"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Admission is an invitation bound to one peer.
type Admission struct {
	_          struct{} `cbor:",toarray"`
	Invitation Invitation
	Peer       sign.PublicKey
	Proof      sign.Signature // by the ticket's secret; zero if the invitation names the peer itself
}

func bindingBytes(b *Body, who sign.PublicKey) []byte {
	out := append([]byte("bpci/admission/1\x00"), b.Chain[:]...)
	return append(append(out, b.ID[:]...), who[:]...)
}

// Bind makes the admission of a peer from a ticket.
func (t *Ticket) Bind(who sign.PublicKey) (*Admission, error) {
	a := &Admission{Invitation: t.Invitation, Peer: who}
	b := &t.Invitation.Body
	if b.Peer.IsZero() {
		a.Proof = sign.FromSeed(t.Secret).Sign(bindingBytes(b, who))
	} else if b.Peer != who {
		return nil, fmt.Errorf("%w: it names the node key %s, and this peer's is %s; ask for one with: bpi network invite --peer ID", ErrOtherPeer, b.Peer.Short(), who.Short())
	}
	return a, nil
}

// Verify says whether the admission lets its peer into the chain's network now; see Invitation.Verify.
func (a *Admission) Verify(chain digest.Digest, inviter func(sign.PublicKey) bool, now time.Time) error {
	if err := a.Invitation.Verify(chain, inviter, now); err != nil {
		return err
	}
	b := &a.Invitation.Body
	switch {
	case !b.Peer.IsZero() && (b.Peer != a.Peer || a.Proof != sign.Signature{}):
		return ErrOtherPeer
	case b.Peer.IsZero() && !sign.Verify(b.Token, bindingBytes(b, a.Peer), a.Proof):
		return ErrForged
	}
	return nil
}

// DecodeAdmission reads the canonical encoding of an admission. It verifies no signature.
func DecodeAdmission(raw []byte) (*Admission, error) {
	var a Admission
	if err := decode(raw, &a, "admission"); err != nil {
		return nil, err
	}
	if a.Peer.IsZero() {
		return nil, fmt.Errorf("admission: it names no peer")
	}
	return &a, a.Invitation.Body.check()
}

// Encode is the canonical encoding.
func (a *Admission) Encode() []byte { return canon.Must(a) }

// Revocation is an inviter's word that an invitation holds no more.
type Revocation struct {
	_       struct{} `cbor:",toarray"`
	Chain   digest.Digest
	ID      ID
	UntilMs uint64 // when the invitation would have ended, or later: till then the revocation is remembered
	Inviter sign.PublicKey
	Sig     sign.Signature
}

func (r *Revocation) signingBytes() []byte {
	unsigned := *r
	unsigned.Sig = sign.Signature{}
	return append([]byte("bpci/revocation/1\x00"), canon.Must(&unsigned)...)
}

// Revoke signs a revocation. until is when the invitation ends; a later time is as good.
func Revoke(chain digest.Digest, id ID, until time.Time, key sign.PrivateKey) *Revocation {
	r := &Revocation{Chain: chain, ID: id, UntilMs: uint64(until.UnixMilli()), Inviter: key.Public()}
	r.Sig = key.Sign(r.signingBytes())
	return r
}

// Verify says whether the revocation counts. One that lasts beyond the longest life of an invitation does not: it would
// have to be remembered for no reason.
func (r *Revocation) Verify(chain digest.Digest, inviter func(sign.PublicKey) bool, now time.Time) error {
	until := time.UnixMilli(int64(min(r.UntilMs, 1<<62)))
	switch {
	case r.Chain != chain:
		return fmt.Errorf("the revocation is for another network")
	case !inviter(r.Inviter):
		return fmt.Errorf("the revocation is signed by a key that this network does not name as an inviter")
	case !now.Before(until):
		return fmt.Errorf("%w by itself: there is nothing to revoke", ErrExpired)
	case until.Sub(now) > MaxLife+24*time.Hour:
		return fmt.Errorf("the revocation lasts until %s: longer than any invitation", until.UTC().Format(time.DateOnly))
	case !sign.Verify(r.Inviter, r.signingBytes(), r.Sig):
		return fmt.Errorf("the revocation's signature is not valid")
	}
	return nil
}

// DecodeRevocation reads the canonical encoding of a revocation. It verifies no signature.
func DecodeRevocation(raw []byte) (*Revocation, error) {
	var r Revocation
	if err := decode(raw, &r, "revocation"); err != nil {
		return nil, err
	}
	return &r, nil
}

// Encode is the canonical encoding.
func (r *Revocation) Encode() []byte { return canon.Must(r) }

func decode(raw []byte, v any, what string) error {
	if len(raw) > MaxBytes {
		return fmt.Errorf("%s of %d bytes: at most %d", what, len(raw), MaxBytes)
	}
	if err := canon.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
