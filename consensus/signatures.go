package consensus

import (
	"crypto/sha256"
	"sync"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// claim is a signature to be checked.
type claim struct {
	key sign.PublicKey
	msg []byte
	sig sign.Signature
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
	h.Write(c.key[:])
	h.Write(c.sig[:])
	h.Write(c.msg)
	var d digest.Digest
	h.Sum(d[:0])
	return d
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

// check reports whether all claims are valid.
func (s *signatures) check(claims []claim) bool {
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

func valid(claims []claim, at []int) bool {
	if len(at) == 1 {
		c := &claims[at[0]]
		return sign.Verify(c.key, c.msg, c.sig)
	}
	b := sign.NewBatch()
	for _, i := range at {
		b.Add(claims[i].key, claims[i].msg, claims[i].sig)
	}
	return b.Verify()
}
