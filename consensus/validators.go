package consensus

import (
	"errors"
	"fmt"
	"math"

	"github.com/metanode/metanode/internal/bls"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// MaxValidators bounds a set.
const MaxValidators = 256

// Validator is one member of a set. Key is who it is, under every scheme.
type Validator struct {
	_      struct{} `cbor:",toarray"`
	Key    sign.PublicKey
	Weight uint64
	Peer   sign.PublicKey // node key: the Ed25519 key of the validator's libp2p identity
	Name   string         // for people; at most 64 bytes
	BLS    BLSKey         // under BLS12381, what it signs votes with; else zero, and then not in the encoding
}

// The two encodings of a Validator: an array of four without a BLS key, and of five with one.
type (
	plainValidator struct {
		_      struct{} `cbor:",toarray"`
		Key    sign.PublicKey
		Weight uint64
		Peer   sign.PublicKey
		Name   string
	}
	blsValidator struct {
		_      struct{} `cbor:",toarray"`
		Key    sign.PublicKey
		Weight uint64
		Peer   sign.PublicKey
		Name   string
		BLS    BLSKey
	}
)

// arrayOf4 is the first byte of an array of four.
const arrayOf4 = 0x84

// MarshalCBOR leaves a BLS key that is not there out.
func (v Validator) MarshalCBOR() ([]byte, error) {
	if v.BLS.IsZero() {
		return canon.Marshal(&plainValidator{Key: v.Key, Weight: v.Weight, Peer: v.Peer, Name: v.Name})
	}
	return canon.Marshal((*blsValidator)(&v))
}

// UnmarshalCBOR reads what MarshalCBOR wrote.
func (v *Validator) UnmarshalCBOR(raw []byte) error {
	if len(raw) > 0 && raw[0] == arrayOf4 {
		var p plainValidator
		err := canon.Unmarshal(raw, &p)
		*v = Validator{Key: p.Key, Weight: p.Weight, Peer: p.Peer, Name: p.Name}
		return err
	}
	if err := canon.Unmarshal(raw, (*blsValidator)(v)); err != nil {
		return err
	}
	if v.BLS.IsZero() {
		return errors.New("validator with a BLS key of zeros")
	}
	return nil
}

// ValidatorSet is an epoch's validators in the order that bitmaps and leader rotation use. It is immutable.
type ValidatorSet struct {
	list   []Validator
	index  map[sign.PublicKey]int
	total  uint64
	id     digest.Digest
	scheme Scheme
	keys   []*bls.Key // of BLS12381: decoded; nil in a set from StoredValidatorSet
}

// NewValidatorSet checks list (1 to MaxValidators members, distinct non-zero keys, weights 1 to 2^32) and copies it. Either
// every member has a BLS key, each another, and each is proven to be its own; or none has, and the scheme is Ed25519.
// Checking the proofs takes most of a millisecond each.
func NewValidatorSet(list []Validator) (*ValidatorSet, error) {
	s, err := StoredValidatorSet(list)
	if err != nil || s.scheme != BLS12381 {
		return s, err
	}
	proven := make([]bls.Proven, len(list))
	for i := range list {
		v := &list[i]
		if !linked(v.Key, v.BLS.Key, v.BLS.Link) {
			return nil, fmt.Errorf("validator %d: validator key %s does not own to bls key %s", i, v.Key.Short(), v.BLS.Key.Short())
		}
		proven[i] = bls.Proven{Key: v.BLS.Key, Proof: v.BLS.Proof}
	}
	if s.keys, err = bls.VerifyProofs(proven); err != nil {
		return nil, fmt.Errorf("validator set: %w", err)
	}
	return s, nil
}

// StoredValidatorSet is NewValidatorSet but for the proofs of BLS keys: for a list that was checked before, when it came
// into what this node keeps.
func StoredValidatorSet(list []Validator) (*ValidatorSet, error) {
	if len(list) == 0 || len(list) > MaxValidators {
		return nil, fmt.Errorf("validator set of %d: want 1 to %d members", len(list), MaxValidators)
	}
	s := &ValidatorSet{list: append([]Validator(nil), list...), index: make(map[sign.PublicKey]int, len(list))}
	proven := make(map[bls.PublicKey]int)
	for i := range s.list {
		v := &s.list[i]
		if v.Key.IsZero() {
			return nil, fmt.Errorf("validator %d: no key", i)
		}
		if _, dup := s.index[v.Key]; dup {
			return nil, fmt.Errorf("validator %d: key %s stands twice in the set", i, v.Key.Short())
		}
		if v.Weight == 0 || v.Weight > math.MaxUint32 {
			return nil, fmt.Errorf("validator %d: weight %d: want 1 to %d", i, v.Weight, uint64(math.MaxUint32))
		}
		if len(v.Name) > 64 {
			return nil, fmt.Errorf("validator %d: name of %d bytes: at most 64", i, len(v.Name))
		}
		if !v.BLS.IsZero() {
			if _, dup := proven[v.BLS.Key]; dup {
				return nil, fmt.Errorf("validator %d: bls key %s stands twice in the set", i, v.BLS.Key.Short())
			}
			proven[v.BLS.Key] = i
		}
		s.index[v.Key] = i
		s.total += v.Weight
	}
	switch len(proven) {
	case 0:
		s.scheme = Ed25519
	case len(list):
		s.scheme = BLS12381
	default:
		return nil, fmt.Errorf("validator set: %d of %d members have a bls key: want all of them, under bls12-381, or none, under ed25519", len(proven), len(list))
	}
	s.id = digest.Sum("bpi/validators/1", canon.Must(s.list))
	return s, nil
}

// Len is the number of validators.
func (s *ValidatorSet) Len() int { return len(s.list) }

// At is validator i in set order.
func (s *ValidatorSet) At(i int) Validator { return s.list[i] }

// All is a copy of the members in set order.
func (s *ValidatorSet) All() []Validator { return append([]Validator(nil), s.list...) }

// Index is k's place in the set, and whether it is there.
func (s *ValidatorSet) Index(k sign.PublicKey) (int, bool) {
	i, ok := s.index[k]
	return i, ok
}

// Total is the sum of the weights.
func (s *ValidatorSet) Total() uint64 { return s.total }

// IsQuorum reports whether weight is more than two thirds of the total.
func (s *ValidatorSet) IsQuorum(weight uint64) bool { return 3*weight > 2*s.total }

// Digest names the set in headers.
func (s *ValidatorSet) Digest() digest.Digest { return s.id }

// Scheme is how the set signs votes and timeouts.
func (s *ValidatorSet) Scheme() Scheme { return s.scheme }

// blsKey is validator i's key, or nil if it is none.
func (s *ValidatorSet) blsKey(i int) *bls.Key {
	if s.keys != nil {
		return s.keys[i]
	}
	k, err := s.list[i].BLS.Key.Decode()
	if err != nil {
		return nil
	}
	return k
}

// claim is that validator i signed msg, a vote or a timeout.
func (s *ValidatorSet) claim(i int, msg []byte, sig Signature) claim {
	return s.scheme.rules().claim(s, i, msg, sig)
}

// Follows reports whether the set may succeed another: the scheme is genesis's choice.
func (s *ValidatorSet) Follows(old *ValidatorSet) error {
	if s.scheme != old.scheme {
		return fmt.Errorf("the next validators sign by %s: the chain's scheme is %s", s.scheme, old.scheme)
	}
	return nil
}
