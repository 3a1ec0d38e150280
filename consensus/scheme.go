package consensus

import (
	"encoding/hex"
	"fmt"

	"github.com/metanode/metanode/internal/bls"
	"github.com/metanode/metanode/internal/sign"
)

// Scheme is how the validators of a chain sign their votes and timeouts. Genesis chooses it, for good. All else that a
// validator signs, its proposals and its commands, is Ed25519 under every scheme: nobody sums those up.
type Scheme uint8

// The schemes. Their numbers stand in genesis documents.
const (
	Ed25519  Scheme = 0 // a certificate carries every signer's signature
	BLS12381 Scheme = 1 // a certificate carries one signature, the sum of its signers'
)

// Schemes lists them all.
func Schemes() []Scheme { return []Scheme{Ed25519, BLS12381} }

// ParseScheme reads a scheme's name.
func ParseScheme(name string) (Scheme, error) {
	for _, s := range Schemes() {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("signature scheme %.40q: want ed25519 or bls12-381", name)
}

// String is the scheme's name.
func (s Scheme) String() string {
	switch s {
	case Ed25519:
		return "ed25519"
	case BLS12381:
		return "bls12-381"
	}
	return fmt.Sprintf("unknown scheme %d", uint8(s))
}

// Signature is a validator's signature of a vote or a timeout, or the sum of several in a certificate: 64 bytes of Ed25519
// or 96 of BLS12-381. Nobody changes its bytes.
type Signature []byte

// MarshalText gives hexadecimal digits.
func (s Signature) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s)), nil }

// blsPurpose keeps the key of votes apart from what else may one day be derived from a validator's seed.
const blsPurpose = "metanode/validator/bls12-381/1"

// blsKey is the BLS12-381 key of a validator. It is derived from the seed of the validator's own key: one secret to keep,
// and whoever has that one can remove the validator anyhow.
func blsKey(key sign.PrivateKey) bls.PrivateKey { return bls.FromSeed(key.Seed(), blsPurpose) }

// BLSKey is what a validator set of BLS12381 says of a member's key for votes and timeouts. The zero value is no key.
type BLSKey struct {
	_     struct{}       `cbor:",toarray"`
	Key   bls.PublicKey  `json:"key"`
	Proof bls.Signature  `json:"proof"` // of possession: nobody else's key is a part of this one
	Link  sign.Signature `json:"link"`  // the validator key's, of Key: whoever votes by Key is the validator
}

// ProveBLS makes the BLSKey of the validator with this key.
func ProveBLS(key sign.PrivateKey) BLSKey {
	p := blsKey(key).Prove()
	return BLSKey{Key: p.Key, Proof: p.Proof, Link: key.Sign(linkBytes(p.Key))}
}

// IsZero reports whether there is no key.
func (k BLSKey) IsZero() bool { return k == BLSKey{} }

// linkBytes is what a validator key signs of its BLS key.
func linkBytes(k bls.PublicKey) []byte { return append([]byte("bpi/bls-key/1\x00"), k[:]...) }

// linked reports whether a validator key owns to a BLS key.
func linked(to sign.PublicKey, k bls.PublicKey, link sign.Signature) bool {
	return sign.Verify(to, linkBytes(k), link)
}

// Signer signs the votes and timeouts of one validator. Its zero value cannot sign.
type Signer struct {
	ed25519 sign.PrivateKey
	bls     bls.PrivateKey // zero under Ed25519
}

// NewSigner makes the signer of a validator with this key in a chain of this scheme.
func NewSigner(s Scheme, key sign.PrivateKey) Signer {
	if s == BLS12381 {
		return Signer{ed25519: key, bls: blsKey(key)}
	}
	return Signer{ed25519: key}
}

// Sign signs VoteData or TimeoutData's SigningBytes.
func (s Signer) Sign(msg []byte) Signature {
	if !s.bls.IsZero() {
		sig := s.bls.Sign(msg)
		return sig[:]
	}
	sig := s.ed25519.Sign(msg)
	return sig[:]
}

// scheme is where the schemes differ. Everything else of certificates is the same, and in certificate.go.
type scheme interface {
	// size is the length of a signature.
	size() int
	// count is how many signatures the certificate of n signers carries.
	count(n int) int
	// sum makes the certificate's signatures of those of its signers, which are valid and in set order. ok is false if they
	// cancel out, which those of honest validators never do.
	sum(sigs []Signature) (out []Signature, ok bool)
	// claim is that validator i of the set signed msg.
	claim(set *ValidatorSet, i int, msg []byte, sig Signature) claim
	// claims are that at[k] signed msg(k), each k, and that sigs are their certificate's; len(sigs) is count(len(at)).
	claims(set *ValidatorSet, at []int, msg func(k int) []byte, sigs []Signature) []claim
}

func (s Scheme) rules() scheme {
	if s == BLS12381 {
		return summed{}
	}
	return listed{}
}

// listed is Ed25519: certificates list their signers' signatures.
type listed struct{}

func (listed) size() int                                       { return len(sign.Signature{}) }
func (listed) count(n int) int                                 { return n }
func (listed) sum(sigs []Signature) (out []Signature, ok bool) { return sigs, true }

func (listed) claim(set *ValidatorSet, i int, msg []byte, sig Signature) claim {
	return claim{key: set.list[i].Key, msg: msg, sig: sig}
}

func (l listed) claims(set *ValidatorSet, at []int, msg func(k int) []byte, sigs []Signature) []claim {
	out := make([]claim, len(at))
	for k, i := range at {
		out[k] = l.claim(set, i, msg(k), sigs[k])
	}
	return out
}

// summed is BLS12-381: certificates carry the sum of their signers' signatures. Validators who signed the same message
// count as one signer with the sum of their keys, which their proofs of possession allow.
type summed struct{}

func (summed) size() int     { return bls.SignatureSize }
func (summed) count(int) int { return 1 }

func (summed) sum(sigs []Signature) (out []Signature, ok bool) {
	list := make([]bls.Signature, len(sigs))
	for i, s := range sigs {
		if len(s) != bls.SignatureSize {
			return nil, false
		}
		list[i] = bls.Signature(s)
	}
	sum, ok := bls.Add(list)
	return []Signature{sum[:]}, ok
}

func (summed) claim(set *ValidatorSet, i int, msg []byte, sig Signature) claim {
	return claim{parts: []bls.Part{{Keys: []*bls.Key{set.blsKey(i)}, Msg: msg}}, sig: sig}
}

func (summed) claims(set *ValidatorSet, at []int, msg func(k int) []byte, sigs []Signature) []claim {
	var parts []bls.Part
	place := make(map[string]int)
	for k, i := range at {
		m := msg(k)
		p, seen := place[string(m)]
		if !seen {
			p = len(parts)
			place[string(m)] = p
			parts = append(parts, bls.Part{Msg: m})
		}
		parts[p].Keys = append(parts[p].Keys, set.blsKey(i))
	}
	return []claim{{parts: parts, sig: sigs[0]}}
}
