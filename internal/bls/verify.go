package bls

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	blst "github.com/supranational/blst/bindings/go"
)

// Part is keys and the message that each of them signed.
type Part struct {
	Keys []*Key // their proofs of possession were checked
	Msg  []byte
}

// Claim is that one signature is the sum of the signatures of every key of every part.
type Claim struct {
	Parts []Part
	Sig   Signature
}

// Verify reports whether every claim holds, together at less than the price of one by one. Each claim is taken times a
// factor that hangs on all of them, so that errors in two claims cannot cancel out. The factors are hashes and not
// random: the verdict is a function of the claims, and whoever looks for claims that fool it has 2^128 to try. A claim
// whose keys cancel out does not hold. Of no claims, all hold.
func Verify(claims []Claim) bool { return verify(claims, signTag) }

// VerifyOne reports whether sig is k's signature of msg.
func VerifyOne(k *Key, msg []byte, sig Signature) bool {
	return Verify([]Claim{{Parts: []Part{{Keys: []*Key{k}, Msg: msg}}, Sig: sig}})
}

// VerifyProofs decodes the keys and checks that each has its proof of possession. The error names the first that has not.
func VerifyProofs(list []Proven) ([]*Key, error) {
	keys := make([]*Key, len(list))
	claims := make([]Claim, len(list))
	for i := range list {
		k, err := list[i].Key.Decode()
		if err != nil {
			return nil, err
		}
		keys[i] = k
		claims[i] = Claim{Parts: []Part{{Keys: keys[i : i+1], Msg: k.public[:]}}, Sig: list[i].Proof}
	}
	if verify(claims, proofTag) {
		return keys, nil
	}
	for i := range claims {
		if !verify(claims[i:i+1], proofTag) {
			return nil, fmt.Errorf("bls public key %s: the proof of possession does not hold", list[i].Key.Short())
		}
	}
	return nil, fmt.Errorf("the proofs of possession of %d bls public keys hold alone and not together", len(list))
}

// side is what the claims say was signed under one message: the sum of keys.
type side struct {
	msg []byte
	sum blst.P1
}

func verify(claims []Claim, tag []byte) bool {
	if len(claims) == 0 {
		return true
	}
	alone := len(claims) == 1
	factors := factorsOf(claims)
	var sig blst.P2
	var sides []*side
	byMsg := make(map[string]*side)
	for i := range claims {
		c := &claims[i]
		var s blst.P2Affine
		if len(c.Parts) == 0 || !c.Sig.decode(&s) {
			return false
		}
		if alone {
			sig.AddAssign(&s)
		} else {
			sig.MultNAccumulate(&s, factors[i][:], factorBits)
		}
		for _, p := range c.Parts {
			var sum blst.P1
			for _, k := range p.Keys {
				sum.AddAssign(&k.point)
			}
			if isInfinity(&sum) { // of no keys, too
				return false
			}
			at := byMsg[string(p.Msg)]
			if at == nil {
				at = &side{msg: p.Msg}
				byMsg[string(p.Msg)] = at
				sides = append(sides, at)
			}
			if alone {
				at.sum.AddAssign(&sum)
			} else {
				at.sum.MultNAccumulate(&sum, factors[i][:], factorBits)
			}
		}
	}
	hashes := make([]blst.P2Affine, len(sides))
	keys := make([]blst.P1Affine, len(sides))
	for i, s := range sides {
		if isInfinity(&s.sum) {
			return false
		}
		hashes[i] = *blst.HashToG2(s.msg, tag).ToAffine()
		keys[i] = *s.sum.ToAffine()
	}
	if sig.Equals(new(blst.P2)) {
		return false
	}
	return blst.Fp12FinalVerify(blst.Fp12MillerLoopN(hashes, keys), blst.Fp12MillerLoop(sig.ToAffine(), blst.P1Generator().ToAffine()))
}

func isInfinity(p *blst.P1) bool { return p.Equals(new(blst.P1)) }

// factorBits is the length of the factors: what it takes to fool Verify with claims made to fit their own factors.
const factorBits = 128

type factor [factorBits / 8]byte

// factorsOf is one factor for each claim, never zero. A claim that stands alone needs none.
func factorsOf(claims []Claim) []factor {
	if len(claims) == 1 {
		return nil
	}
	out := make([]factor, len(claims))
	h := sha256.New()
	h.Write([]byte("bpi/bls-batch/1\x00"))
	var n [8]byte
	count := func(k int) {
		binary.BigEndian.PutUint64(n[:], uint64(k))
		h.Write(n[:])
	}
	for i := range claims {
		c := &claims[i]
		count(len(c.Parts))
		for _, p := range c.Parts {
			count(len(p.Keys))
			for _, k := range p.Keys {
				h.Write(k.public[:])
			}
			count(len(p.Msg))
			h.Write(p.Msg)
		}
		h.Write(c.Sig[:])
	}
	seed := h.Sum(nil)
	for i := range out {
		binary.BigEndian.PutUint64(n[:], uint64(i))
		d := sha256.Sum256(append(seed[:sha256.Size:sha256.Size], n[:]...))
		copy(out[i][:], d[:])
		out[i][0] |= 1
	}
	return out
}
