package sign

import (
	"crypto/rand"
	"crypto/sha512"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
)

// Batch verifies many signatures at once, at a third to a half of the price of one by one. Signatures of one key share
// that key's term. Not for concurrent use.
//
// It is the equation of Bernstein and others, "High-speed high-security signatures" (2011), section 5, with the cofactor
// as ZIP-215 asks:
//
//	[8]( [Σ z·s]B - Σ [z]R - Σ over keys [Σ z·k]A ) = 0
//
// with k = SHA-512(R, A, msg) and a fresh z of 128 bits for each signature. It holds if all signatures are valid, and
// otherwise with a chance of at most 2^-128.
type Batch struct {
	list []member
}

// member is one signature of a batch, with the challenge in place of the message.
type member struct {
	key PublicKey
	sig Signature
	k   [sha512.Size]byte
}

// basePoint is B with the multiples that are added most.
var basePoint = curve.NewExpandedEdwardsPoint(curve.ED25519_BASEPOINT_POINT)

// NewBatch makes an empty batch.
func NewBatch() *Batch { return &Batch{} }

// Add puts one signature in the batch; msg is not kept.
func (b *Batch) Add(p PublicKey, msg []byte, s Signature) {
	b.list = append(b.list, member{key: p, sig: s, k: challenge(p, msg, s)})
}

// challenge is the k of RFC 8032 section 5.1.7, not yet reduced.
func challenge(p PublicKey, msg []byte, s Signature) (k [sha512.Size]byte) {
	h := sha512.New()
	h.Write(s[:32])
	h.Write(p[:])
	h.Write(msg)
	h.Sum(k[:0])
	return k
}

// Len is the number of signatures added.
func (b *Batch) Len() int { return len(b.list) }

// Verify reports whether every signature added is valid. The empty batch is.
func (b *Batch) Verify() bool {
	n := len(b.list)
	if n == 0 {
		return true
	}
	random := make([]byte, 16*n)
	if _, err := rand.Read(random); err != nil {
		panic(err) // crypto/rand ends the program before it returns an error
	}
	keyAt := make(map[PublicKey]int, min(n, 64))
	// One term for each nonce point, then one for each key.
	points, scalars := make([]*curve.EdwardsPoint, n, 2*n), make([]*scalar.Scalar, n, 2*n)
	nonces, coefficients := make([]curve.EdwardsPoint, n), make([]scalar.Scalar, n)
	base := scalar.New()
	for i := range b.list {
		m := &b.list[i]
		var s, k, z scalar.Scalar
		if !decodePoint(&nonces[i], m.sig[:32]) {
			return false
		}
		if _, err := s.SetCanonicalBytes(m.sig[32:]); err != nil {
			return false
		}
		var wide [32]byte
		copy(wide[:], random[16*i:16*i+16])
		if _, err := z.SetBytesModOrder(wide[:]); err != nil {
			return false
		}
		if _, err := k.SetBytesModOrderWide(m.k[:]); err != nil {
			return false
		}
		at, known := keyAt[m.key]
		if !known {
			a := new(curve.EdwardsPoint)
			if !decodePoint(a, m.key[:]) {
				return false
			}
			at = len(points)
			keyAt[m.key] = at
			points, scalars = append(points, a), append(scalars, scalar.New())
		}
		base.Add(base, s.Mul(&s, &z))
		scalars[at].Add(scalars[at], k.Mul(&k, &z))
		// The nonces' coefficients stay as short as z is; the sign is on the base point's side.
		coefficients[i].Set(&z)
		points[i], scalars[i] = &nonces[i], &coefficients[i]
	}
	var sum curve.EdwardsPoint
	fixed, fixedScalars := []*curve.ExpandedEdwardsPoint{basePoint}, []*scalar.Scalar{base.Neg(base)}
	return sum.ExpandedMultiscalarMulVartime(fixedScalars, fixed, scalars, points).IsSmallOrder()
}

// decodePoint takes every encoding that ZIP-215 takes, the non-canonical ones included.
func decodePoint(p *curve.EdwardsPoint, b []byte) bool {
	var y curve.CompressedEdwardsY
	if _, err := y.SetBytes(b); err != nil {
		return false
	}
	_, err := p.SetCompressedY(&y)
	return err == nil
}
