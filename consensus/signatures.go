package consensus

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/metanode/metanode/internal/bls"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// claim is a signature to be checked: of msg by an Ed25519 key, or, if there are parts, of those by BLS12-381 keys.
type claim struct {
	key   sign.PublicKey
	msg   []byte
	parts []bls.Part
	sig   Signature
}

// proposalClaim is the claim that a leader signed its proposal.
func proposalClaim(by sign.PublicKey, id BlockID, sig sign.Signature) claim {
	return claim{key: by, msg: ProposalSigningBytes(id), sig: sig[:]}
}

// signatures remembers valid signatures, so that one that came in a vote is not checked again in a certificate, nor
// the certificate again in the next message that carries it. It holds two generations of bounded size and forgets the
// older one when the younger is full. A nil *signatures checks and remembers nothing. Safe for concurrent use; two
// goroutines that check the same signature at once both do the work.
type signatures struct {
	mu         sync.Mutex // guards what follows
	young, old map[digest.Digest]struct{}
}

// signaturesPerGeneration bounds the memory: two generations of 40 bytes each, about 1 MiB together with map overhead.
const signaturesPerGeneration = 8192

func newSignatures() *signatures {
	return &signatures{young: make(map[digest.Digest]struct{})}
}

func (c *claim) id() digest.Digest {
	h := sha256.New()
	if len(c.parts) > 0 {
		c.hashParts(h)
	} else {
		h.Write(c.key[:])
	}
	h.Write(c.sig)
	h.Write(c.msg)
	var d digest.Digest
	h.Sum(d[:0])
	return d
}

// hashParts tells claims of parts from each other and from those of Ed25519, which begin with no key of zeros.
func (c *claim) hashParts(h hash.Hash) {
	var zero sign.PublicKey
	h.Write(zero[:])
	var n [8]byte
	count := func(k int) {
		binary.BigEndian.PutUint64(n[:], uint64(k))
		h.Write(n[:])
	}
	count(len(c.parts))
	for _, p := range c.parts {
		count(len(p.Keys))
		for _, k := range p.Keys {
			if k != nil {
				public := k.Public()
				h.Write(public[:])
			}
		}
		count(len(p.Msg))
		h.Write(p.Msg)
	}
}

func (s *signatures) has(id digest.Digest) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.young[id]; ok {
		return true
	}
	_, ok := s.old[id]
	return ok
}

func (s *signatures) learn(id digest.Digest) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) >= signaturesPerGeneration {
		s.old, s.young = s.young, make(map[digest.Digest]struct{})
	}
	s.young[id] = struct{}{}
}

// learnSum remembers the signature of a certificate that was made here of valid ones, where that is another than theirs.
func (s *signatures) learnSum(set *ValidatorSet, at []int, msg func(k int) []byte, sigs []Signature) {
	if set.scheme == Ed25519 {
		return
	}
	for _, c := range set.scheme.rules().claims(set, at, msg, sigs) {
		s.learn(c.id())
	}
}

// check reports whether all claims are valid.
func (s *signatures) check(claims ...claim) bool {
	return len(s.bad(claims, true)) == 0
}

// bad returns the positions of the invalid claims in rising order: one batch for those not yet known, and on failure
// halves of it until the offenders stand alone. With stop, it returns after the first failure without finding who.
func (s *signatures) bad(claims []claim, stop bool) []int {
	ids := make([]digest.Digest, 0, len(claims))
	todo := make([]int, 0, len(claims))
	for i := range claims {
		id := claims[i].id()
		if !s.has(id) {
			ids, todo = append(ids, id), append(todo, i)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	var offenders []int
	var split func(lo, hi int) bool
	split = func(lo, hi int) bool {
		if valid(claims, todo[lo:hi]) {
			for _, id := range ids[lo:hi] {
				s.learn(id)
			}
			return true
		}
		if stop || hi-lo == 1 {
			offenders = append(offenders, todo[lo])
			return false
		}
		mid := (lo + hi) / 2
		split(lo, mid)
		split(mid, hi)
		return false
	}
	split(0, len(todo))
	return offenders
}

// valid reports whether the claims at the given places hold, each of them: what is in a batch may not lean on the rest.
func valid(claims []claim, at []int) bool {
	var single *claim
	var batch *sign.Batch
	var sums []bls.Claim
	for _, i := range at {
		c := &claims[i]
		if len(c.parts) > 0 {
			if len(c.sig) != bls.SignatureSize || !c.decoded() {
				return false
			}
			sums = append(sums, bls.Claim{Parts: c.parts, Sig: bls.Signature(c.sig)})
			continue
		}
		if len(c.sig) != len(sign.Signature{}) {
			return false
		}
		if len(at) == 1 {
			single = c
			break
		}
		if batch == nil {
			batch = sign.NewBatch()
		}
		batch.Add(c.key, c.msg, sign.Signature(c.sig))
	}
	if single != nil {
		return sign.Verify(single.key, single.msg, sign.Signature(single.sig))
	}
	return (batch == nil || batch.Verify()) && bls.Verify(sums)
}

// decoded reports whether every key of the parts is one.
func (c *claim) decoded() bool {
	for _, p := range c.parts {
		for _, k := range p.Keys {
			if k == nil {
				return false
			}
		}
	}
	return true
}
