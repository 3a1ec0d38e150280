// Package bls is the signature scheme whose signatures add up: BLS12-381 with public keys of 48 bytes in G1, signatures of
// 96 bytes in G2 and proofs of possession, which is the ciphersuite BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_ of
// draft-irtf-cfrg-bls-signature. The signatures of many validators become one, at the price of slower arithmetic.
//
// Keys and signatures travel as their compressed points, of which each has one spelling. Every point is checked when it
// is decoded: on the curve, in the subgroup of prime order, and not the point at infinity.
//
// Signatures of one message add up to a signature by the sum of the keys only if nobody may choose his key as a function
// of the others' (a rogue key). So a key is worth something only together with its proof of possession, and whoever sums
// keys has checked the proofs first: see Proven.
package bls

import (
	"encoding/hex"
	"fmt"

	blst "github.com/supranational/blst/bindings/go"

	"github.com/metanode/metanode/internal/lowhex"
)

// Sizes of the compressed points.
const (
	PublicKeySize = 48
	SignatureSize = 96
)

// The ciphersuite's tags for messages and for proofs. They keep a proof from being the signature of any message.
var (
	signTag  = []byte("BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_")
	proofTag = []byte("BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_")
)

// PublicKey is a compressed point of G1, not checked. It is an array, so that it can be compared and used as a map key.
type PublicKey [PublicKeySize]byte

// Signature is a compressed point of G2, not checked.
type Signature [SignatureSize]byte

// PrivateKey is a scalar. Its zero value cannot sign.
type PrivateKey struct{ sk *blst.SecretKey }

// FromSeed derives a key from 32 secret bytes or more: KeyGen of the draft, with purpose as its key_info, so that keys of
// different purposes from one seed tell nothing of each other. It panics on a shorter seed.
func FromSeed(seed []byte, purpose string) PrivateKey {
	sk := blst.KeyGen(seed, []byte(purpose))
	if sk == nil {
		panic(fmt.Sprintf("bls: seed of %d bytes: want 32 or more", len(seed)))
	}
	return PrivateKey{sk}
}

// IsZero reports whether k holds no key.
func (k PrivateKey) IsZero() bool { return k.sk == nil }

// Public is the key's public half.
func (k PrivateKey) Public() PublicKey {
	return PublicKey(new(blst.P1Affine).From(k.sk).Compress())
}

// Sign signs msg, whose first bytes are a domain tag of its kind.
func (k PrivateKey) Sign(msg []byte) Signature { return k.sign(msg, signTag) }

func (k PrivateKey) sign(msg, tag []byte) Signature {
	return Signature(new(blst.P2Affine).Sign(k.sk, msg, tag).Compress())
}

// Prove gives the public half with its proof of possession.
func (k PrivateKey) Prove() Proven {
	p := k.Public()
	return Proven{Key: p, Proof: k.sign(p[:], proofTag)}
}

// Proven is a public key with the proof that whoever published it has its secret half: the key's signature of itself
// under a tag of its own. The zero value is no key.
type Proven struct {
	_     struct{}  `cbor:",toarray"`
	Key   PublicKey `json:"key"`
	Proof Signature `json:"proof"`
}

// IsZero reports whether p holds no key.
func (p Proven) IsZero() bool { return p == Proven{} }

// Key is a public key that was decoded and checked. It is immutable.
type Key struct {
	public PublicKey
	point  blst.P1Affine
}

// Decode checks a public key: a point in one spelling, in the subgroup, not at infinity.
func (p PublicKey) Decode() (*Key, error) {
	k := &Key{public: p}
	if k.point.Uncompress(p[:]) == nil || !k.point.KeyValidate() {
		return nil, fmt.Errorf("bls public key %s: not a point of the group", p.Short())
	}
	return k, nil
}

// Public is the key's compressed form.
func (k *Key) Public() PublicKey { return k.public }

// decode checks a signature as PublicKey.Decode does a key.
func (s *Signature) decode(to *blst.P2Affine) bool {
	return to.Uncompress(s[:]) != nil && to.SigValidate(true)
}

// Add sums signatures. Of signatures of one message the sum is what the sum of their keys signs; of several messages, see
// Claim. ok is false if one is no point of the group, or if they cancel out.
func Add(sigs []Signature) (sum Signature, ok bool) {
	var acc blst.P2
	for i := range sigs {
		var p blst.P2Affine
		if !sigs[i].decode(&p) {
			return Signature{}, false
		}
		acc.AddAssign(&p)
	}
	return Signature(acc.ToAffine().Compress()), !acc.Equals(new(blst.P2))
}

// String is the key in 96 hexadecimal digits.
func (p PublicKey) String() string { return hex.EncodeToString(p[:]) }

// Short is the first 12 hexadecimal digits, for people and logs.
func (p PublicKey) Short() string { return hex.EncodeToString(p[:6]) }

// MarshalText gives hexadecimal digits, so that JSON shows keys as strings.
func (p PublicKey) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads 96 hexadecimal digits.
func (p *PublicKey) UnmarshalText(b []byte) error { return lowhex.Decode(p[:], b, "bls public key") }

// MarshalText gives hexadecimal digits.
func (s Signature) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s[:])), nil }

// UnmarshalText reads 192 hexadecimal digits.
func (s *Signature) UnmarshalText(b []byte) error { return lowhex.Decode(s[:], b, "bls signature") }
