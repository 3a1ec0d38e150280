package trie

import (
	"bytes"
	"crypto/sha256"
	"errors"

	"github.com/metanode/metanode/internal/digest"
)

// ErrProof is returned for a proof that does not lead to the root, or not from the key.
var ErrProof = errors.New("state proof does not lead to the root")

// MaxProofSteps bounds the steps of a proof that VerifyProof reads.
const MaxProofSteps = 4096

// Step is one inner node on the way from the root to a leaf.
type Step struct {
	_       struct{} `cbor:",toarray"`
	Bit     uint32
	Sibling digest.Digest // the child that the key does not lead to
}

// Proof leads from the root to the leaf that a key's bits lead to: the key's own, or, if the key is not in the map,
// another, which then stands where the key would be.
type Proof struct {
	_     struct{}      `cbor:",toarray"`
	Steps []Step        // from the root downwards
	Leaf  []byte        // the leaf's key
	Value digest.Digest // SHA-256 of the leaf's value
	Empty bool          // the map has no entries; everything else is empty then
}

// Prove makes the proof for key. A proof of absence is sound for roots of maps that this package built: those are all
// that validators certify.
func (m *Map) Prove(key []byte) Proof {
	if m.root == nil {
		return Proof{Steps: []Step{}, Leaf: []byte{}, Empty: true}
	}
	m.Root()
	p := Proof{Steps: []Step{}}
	n := m.root
	for n.bit != leafBit {
		if bit(key, n.bit) {
			p.Steps = append(p.Steps, Step{Bit: n.bit, Sibling: n.left.sum()})
			n = n.right
		} else {
			p.Steps = append(p.Steps, Step{Bit: n.bit, Sibling: n.right.sum()})
			n = n.left
		}
	}
	p.Leaf, p.Value = n.key, sha256.Sum256(n.val)
	return p
}

// VerifyProof checks p against root and says whether key is in the map; if it is, val must be its value. Nothing but
// ErrProof is returned.
func VerifyProof(root digest.Digest, key, val []byte, p Proof) (present bool, err error) {
	if p.Empty {
		if root != sha256.Sum256(nil) || len(p.Steps) > 0 || len(p.Leaf) > 0 || !p.Value.IsZero() {
			return false, ErrProof
		}
		return false, nil
	}
	if len(p.Steps) > MaxProofSteps || len(p.Leaf) > MaxKeyBytes || len(key) > MaxKeyBytes {
		return false, ErrProof
	}
	at := leafHash(p.Leaf, p.Value)
	below := leafBit
	for i := len(p.Steps) - 1; i >= 0; i-- {
		s := p.Steps[i]
		if s.Bit >= below || bit(p.Leaf, s.Bit) != bit(key, s.Bit) {
			return false, ErrProof
		}
		below = s.Bit
		if bit(key, s.Bit) {
			at = innerHash(s.Bit, s.Sibling, at)
		} else {
			at = innerHash(s.Bit, at, s.Sibling)
		}
	}
	if at != root {
		return false, ErrProof
	}
	if !bytes.Equal(p.Leaf, key) {
		return false, nil
	}
	if sha256.Sum256(val) != p.Value {
		return false, ErrProof
	}
	return true, nil
}
