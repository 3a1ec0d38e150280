package driver

import (
	"crypto/sha256"
	"sync"

	"github.com/metanode/metanode/internal/digest"
)

// inbox holds verified messages for the owner: one bounded queue a kind. A full queue loses its oldest message, which
// the protocol is made to live with: proposals and votes of old views are of little use, and timeouts come again.
type inbox struct {
	wake chan struct{} // one place

	mu      sync.Mutex // guards queues
	queues  map[Kind][]item
	dropped func()
}

// item is one message for the owner.
type item struct {
	kind Kind
	msg  any // what verify made of it
}

// inboxOrder is the order in which the owner takes: what completes a view first.
var inboxOrder = [...]Kind{KindVote, KindProposal, KindOutline, KindCommitted, KindCertificates, KindTimeout}

var inboxLimit = map[Kind]int{KindVote: 4096, KindProposal: 32, KindOutline: 32, KindCommitted: 256, KindCertificates: 256, KindTimeout: 1024}

func newInbox(dropped func()) *inbox {
	return &inbox{wake: make(chan struct{}, 1), queues: map[Kind][]item{}, dropped: dropped}
}

func (b *inbox) put(it item) {
	b.mu.Lock()
	q := b.queues[it.kind]
	if len(q) >= inboxLimit[it.kind] {
		q[0] = item{}
		q = q[1:]
		b.dropped()
	}
	b.queues[it.kind] = append(q, it)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// poke makes the owner look again.
func (b *inbox) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take gives the next message, and whether there was one.
func (b *inbox) take() (item, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range inboxOrder {
		if q := b.queues[k]; len(q) > 0 {
			it := q[0]
			q[0] = item{}
			b.queues[k] = q[1:]
			return it, true
		}
	}
	return item{}, false
}

// seen remembers the verdicts on messages by the hash of all their bytes, so that a copy costs a hash and no signature.
// It holds two generations and forgets the older when the younger is full.
type seen struct {
	most int // in a generation

	mu         sync.Mutex // guards what follows
	young, old map[digest.Digest]Verdict
}

const seenPerGeneration = 1 << 14

func newSeen(most int) *seen { return &seen{most: most, young: map[digest.Digest]Verdict{}} }

// messageHash tells apart what came directly, because less is checked then before it is queued.
func messageHash(path Path, kind Kind, msg []byte) digest.Digest {
	h := sha256.New()
	if kind != KindVote {
		path = Direct
	}
	h.Write([]byte{byte(path), byte(len(kind))})
	h.Write([]byte(kind))
	h.Write(msg)
	var d digest.Digest
	h.Sum(d[:0])
	return d
}

func (s *seen) verdict(id digest.Digest) (Verdict, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.getLocked(id)
}

func (s *seen) learn(id digest.Digest, v Verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.learnLocked(id, v)
}

func (s *seen) getLocked(id digest.Digest) (Verdict, bool) {
	v, ok := s.young[id]
	if !ok {
		v, ok = s.old[id]
	}
	return v, ok
}

func (s *seen) learnLocked(id digest.Digest, v Verdict) {
	if len(s.young) >= s.most {
		s.old, s.young = s.young, map[digest.Digest]Verdict{}
	}
	s.young[id] = v
}
