// Package sign is Ed25519, by which everything is signed but the votes of chains that chose BLS12-381. It is verified by
// the rules of ZIP-215 everywhere, so that every node gives the same verdict on every signature, alone or in a batch. The
// standard library's verifier is stricter in one direction and must never decide what the chain accepts.
package sign

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/metanode/metanode/internal/lowhex"
)

// PublicKey is an Ed25519 public key. It is an array, so that it can be compared and used as a map key.
type PublicKey [ed25519.PublicKeySize]byte

// Signature is an Ed25519 signature.
type Signature [ed25519.SignatureSize]byte

// PrivateKey is an Ed25519 private key. Its zero value cannot sign.
type PrivateKey struct{ key ed25519.PrivateKey }

// Generate draws a key from random, which is crypto/rand.Reader outside of tests.
func Generate(random io.Reader) (PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return PrivateKey{}, fmt.Errorf("draw a key: %w", err)
	}
	return FromSeed(seed), nil
}

// FromSeed makes the key of a 32-byte seed (RFC 8032 section 5.1.5). It panics on another length.
func FromSeed(seed []byte) PrivateKey { return PrivateKey{ed25519.NewKeyFromSeed(seed)} }

// Seed is the 32 bytes the key is stored as.
func (k PrivateKey) Seed() []byte { return k.key.Seed() }

// IsZero reports whether k holds no key.
func (k PrivateKey) IsZero() bool { return k.key == nil }

// Public is the key's public half.
func (k PrivateKey) Public() PublicKey {
	var p PublicKey
	copy(p[:], k.key[32:])
	return p
}

// Sign signs msg, whose first bytes are a domain tag of its kind.
func (k PrivateKey) Sign(msg []byte) Signature {
	var s Signature
	copy(s[:], ed25519.Sign(k.key, msg))
	return s
}

// Verify reports whether s is p's signature of msg by ZIP-215.
func Verify(p PublicKey, msg []byte, s Signature) bool {
	var a, r, sum curve.EdwardsPoint
	var z, k scalar.Scalar
	if !decodePoint(&a, p[:]) || !decodePoint(&r, s[:32]) {
		return false
	}
	if _, err := z.SetCanonicalBytes(s[32:]); err != nil {
		return false
	}
	wide := challenge(p, msg, s)
	if _, err := k.SetBytesModOrderWide(wide[:]); err != nil {
		return false
	}
	// [8]([s]B - [k]A - R) = 0; a factor below the order that the library chooses shortens the scalars.
	return sum.TripleScalarMulBasepointVartime(k.Neg(&k), &a, &z, &r).IsSmallOrder()
}

// VerifyBoth reports whether s satisfies ZIP-215 and the rule of RFC 8032 as the standard library reads it. Signatures
// that leave the chain, such as an executor's on a receipt, must pass both, so that any DSSE implementation accepts
// what the chain accepted.
func VerifyBoth(p PublicKey, msg []byte, s Signature) bool {
	return Verify(p, msg, s) && ed25519.Verify(p[:], msg, s[:])
}

// String is the key in 64 hexadecimal digits.
func (p PublicKey) String() string { return hex.EncodeToString(p[:]) }

// Short is the first 12 hexadecimal digits, for people and logs.
func (p PublicKey) Short() string { return hex.EncodeToString(p[:6]) }

// IsZero reports whether p names no key.
func (p PublicKey) IsZero() bool { return p == PublicKey{} }

// MarshalBinary gives the 32 bytes, for package canon's codec, which is slower with arrays.
func (p *PublicKey) MarshalBinary() ([]byte, error) { return p[:], nil }

// UnmarshalBinary takes 32 bytes.
func (p *PublicKey) UnmarshalBinary(b []byte) error {
	if len(b) != len(p) {
		return fmt.Errorf("public key of %d bytes: want %d", len(b), len(p))
	}
	*p = PublicKey(b)
	return nil
}

// MarshalBinary gives the 64 bytes, as that of a key.
func (s *Signature) MarshalBinary() ([]byte, error) { return s[:], nil }

// UnmarshalBinary takes 64 bytes.
func (s *Signature) UnmarshalBinary(b []byte) error {
	if len(b) != len(s) {
		return fmt.Errorf("signature of %d bytes: want %d", len(b), len(s))
	}
	*s = Signature(b)
	return nil
}

// MarshalText gives hexadecimal digits, so that JSON shows keys as strings.
func (p PublicKey) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads 64 hexadecimal digits.
func (p *PublicKey) UnmarshalText(b []byte) error { return lowhex.Decode(p[:], b, "public key") }

// MarshalText gives hexadecimal digits.
func (s Signature) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s[:])), nil }

// UnmarshalText reads 128 hexadecimal digits.
func (s *Signature) UnmarshalText(b []byte) error { return lowhex.Decode(s[:], b, "signature") }
