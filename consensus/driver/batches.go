package driver

import (
	"slices"
	"sync"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// batch is a batch whose transactions were found sound. Nothing in it changes but what batches guards.
type batch struct {
	id   consensus.BatchID
	salt uint64
	size int // of the encoded batch
	txs  [][]byte
	ids  []digest.Digest // of txs
	from sign.PublicKey  // the node that it came from; this one's own batches have the zero key
	born time.Time

	left int // transactions that are not committed; guarded by batches.mu
}

// Bounds of the batches that a node holds.
const (
	maxOwnBytes   = 4 << 20  // this node's batches that are not committed; more wait in the mempool, where clients take turns
	maxPeerBytes  = 8 << 20  // from one node that are not committed: twice what an honest one sends
	maxBatchBytes = 64 << 20 // of all that are not committed
	maxDoneBytes  = 16 << 20 // committed ones, kept for those who come late
	ownBatchAge   = 10 * time.Second
	peerBatchAge  = 30 * time.Second
)

// encode gives the batch's bytes. They are not kept: hardly anybody asks for them once they were sent.
func (b *batch) encode() []byte { return (&consensus.Batch{Salt: b.salt, Txs: b.txs}).Encode() }

// batches holds the batches that blocks may name. They are in memory only: a block that names one is written to the log
// with all its transactions before this node votes for it, and whoever made a batch keeps its transactions in the
// mempool until they are committed. Safe for concurrent use.
type batches struct {
	recent *recent

	mu    sync.Mutex // guards what follows
	byID  map[consensus.BatchID]*batch
	live  []*batch                            // not wholly committed, in the order in which they came
	done  []*batch                            // wholly committed, oldest first
	in    map[digest.Digest]*batch            // uncommitted transaction to the first batch with it
	also  map[digest.Digest][]*batch          // to the others, which honest nodes hardly ever make
	from  map[sign.PublicKey]int              // bytes of live batches
	bytes int                                 // of live batches
	kept  int                                 // bytes of done ones
	own   int                                 // transactions in live batches of this node
	busy  map[consensus.BatchID]chan struct{} // being checked; closed when done
}

func newBatches(r *recent) *batches {
	return &batches{
		recent: r, byID: map[consensus.BatchID]*batch{}, in: map[digest.Digest]*batch{},
		busy: map[consensus.BatchID]chan struct{}{}, also: map[digest.Digest][]*batch{}, from: map[sign.PublicKey]int{},
	}
}

// enter makes the caller the one who checks a batch, until it calls leave; or gives what is closed when another has.
func (s *batches) enter(id consensus.BatchID) (mine bool, others <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.busy[id]; c != nil {
		return false, c
	}
	s.busy[id] = make(chan struct{})
	return true, nil
}

func (s *batches) leave(id consensus.BatchID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.busy[id])
	delete(s.busy, id)
}

// holds reports whether an uncommitted transaction is in a batch.
func (s *batches) holds(tx digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in[tx] != nil
}

// get is the batch, or nil.
func (s *batches) get(id consensus.BatchID) *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}

// room reports whether a batch of this size from this node would be taken.
func (s *batches) room(from sign.PublicKey, size int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.roomLocked(from, size)
}

func (s *batches) roomLocked(from sign.PublicKey, size int) bool {
	return s.bytes+size <= maxBatchBytes && s.from[from]+size <= maxPeerBytes
}

// put takes a batch in; false if there is no room for it, or nothing new in it.
func (s *batches) put(b *batch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[b.id] != nil || !s.roomLocked(b.from, b.size) {
		return false
	}
	if !slices.ContainsFunc(b.ids, func(id digest.Digest) bool { return s.in[id] == nil && !s.recent.has(id) }) {
		return false
	}
	for _, id := range b.ids {
		switch first := s.in[id]; {
		case s.recent.has(id):
			continue
		case first == nil:
			s.in[id] = b
		case first == b || slices.Contains(s.also[id], b): // twice in one batch
			continue
		default:
			s.also[id] = append(s.also[id], b)
		}
		b.left++
	}
	s.byID[b.id] = b
	s.live = append(s.live, b)
	s.bytes += b.size
	s.from[b.from] += b.size
	if b.from.IsZero() {
		s.own += b.left
	}
	return true
}

// committed notes that transactions are in a final block.
func (s *batches) committed(ids []digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := false
	tell := func(b *batch) {
		b.left--
		if b.from.IsZero() {
			s.own--
		}
		ended = ended || b.left == 0
	}
	for _, id := range ids {
		b := s.in[id]
		if b == nil {
			continue
		}
		delete(s.in, id)
		tell(b)
		for _, b := range s.also[id] {
			tell(b)
		}
		delete(s.also, id)
	}
	if !ended {
		return
	}
	s.sweepLocked(func(b *batch) bool {
		if b.left > 0 {
			return false
		}
		s.keepLocked(b)
		return true
	})
}

// keep holds a batch for others to fetch, though nothing in it is news.
func (s *batches) keep(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[b.id] == nil {
		s.byID[b.id] = b
		s.keepLocked(b)
	}
}

func (s *batches) keepLocked(b *batch) {
	s.done = append(s.done, b)
	for s.kept += b.size; s.kept > maxDoneBytes; {
		s.forgetLocked()
	}
}

// forgetLocked forgets the oldest batch that is kept for others only.
func (s *batches) forgetLocked() {
	delete(s.byID, s.done[0].id)
	s.kept -= s.done[0].size
	s.done[0] = nil
	s.done = s.done[1:]
}

// sweepLocked takes the batches for which f is true out of the live ones.
func (s *batches) sweepLocked(f func(*batch) bool) {
	s.live = slices.DeleteFunc(s.live, func(b *batch) bool {
		if !f(b) {
			return false
		}
		s.bytes -= b.size
		if s.from[b.from] -= b.size; s.from[b.from] == 0 {
			delete(s.from, b.from)
		}
		return true
	})
}

// clear forgets everything, and gives the ids of this node's own transactions.
func (s *batches) clear() (own []digest.Digest) { return s.expire(time.Now().Add(2 * peerBatchAge)) }

// expire forgets what is too old, and gives the ids of this node's own transactions that go with it uncommitted: other
// nodes have forgotten them too, or will.
func (s *batches) expire(now time.Time) (back []digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweepLocked(func(b *batch) bool {
		age := peerBatchAge
		if b.from.IsZero() {
			age = ownBatchAge
		}
		if now.Sub(b.born) < age {
			return false
		}
		delete(s.byID, b.id)
		for _, id := range b.ids {
			mine := false
			switch others := s.also[id]; {
			case s.in[id] == b && len(others) == 0:
				mine = true
				delete(s.in, id)
			case s.in[id] == b:
				mine = true
				s.in[id], s.also[id] = others[0], others[1:]
			case slices.Contains(others, b):
				mine = true
				s.also[id] = slices.DeleteFunc(others, func(o *batch) bool { return o == b })
			}
			if len(s.also[id]) == 0 {
				delete(s.also, id)
			}
			if mine && b.from.IsZero() {
				s.own--
				back = append(back, id)
			}
		}
		return true
	})
	for len(s.done) > 0 && now.Sub(s.done[0].born) > peerBatchAge {
		s.forgetLocked()
	}
	return back
}

// waiting are the live batches in the order in which they came.
func (s *batches) waiting() []*batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.live)
}

// foreign is how many uncommitted transactions are in batches of other nodes only, and so not in the mempool.
func (s *batches) foreign() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, len(s.in)-s.own)
}

// ownBytes is the size of this node's live batches.
func (s *batches) ownBytes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from[sign.PublicKey{}]
}

// size is the number and bytes of the live batches.
func (s *batches) size() (n, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live), s.bytes
}
