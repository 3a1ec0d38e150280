package consensus

import (
	"fmt"
	"math"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// MaxValidators bounds a set.
const MaxValidators = 256

// Validator is one member of a set.
type Validator struct {
	_      struct{} `cbor:",toarray"`
	Key    sign.PublicKey
	Weight uint64
	Peer   sign.PublicKey // node key: the Ed25519 key of the validator's libp2p identity
	Name   string         // for people; at most 64 bytes
}

// ValidatorSet is an epoch's validators in the order that bitmaps and leader rotation use. It is immutable.
type ValidatorSet struct {
	list  []Validator
	index map[sign.PublicKey]int
	total uint64
	id    digest.Digest
}

// NewValidatorSet checks list (1 to MaxValidators members, distinct non-zero keys, weights 1 to 2^32) and copies it.
func NewValidatorSet(list []Validator) (*ValidatorSet, error) {
	if len(list) == 0 || len(list) > MaxValidators {
		return nil, fmt.Errorf("validator set of %d: want 1 to %d members", len(list), MaxValidators)
	}
	s := &ValidatorSet{list: append([]Validator(nil), list...), index: make(map[sign.PublicKey]int, len(list))}
	for i, v := range s.list {
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
		s.index[v.Key] = i
		s.total += v.Weight
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
