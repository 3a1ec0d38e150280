package mempool

import (
	"container/heap"
	"container/list"
	"fmt"
	"sync"

	"github.com/metanode/metanode/internal/digest"
)

// entry is one transaction in the pool.
type entry struct {
	tx      []byte
	id      digest.Digest
	expires uint64
	client  *client
	at      *list.Element // in client.queue
	heapAt  int           // in Pool.expiry; -1 if it never expires
	state   state
}

// client is one client's queue in one lane. It exists while the queue is not empty.
type client struct {
	key   [32]byte
	lane  *lane
	queue *list.List    // of *entry, oldest first
	next  *list.Element // in queue: no entry before it is fresh; nil if none is
	bytes int
	at    *list.Element // in lane.ring
}

// lane is a set of clients that Reap goes round.
type lane struct {
	clients map[[32]byte]*client
	ring    *list.List // of *client; the one whose turn it is stands first
}

func newLane() *lane { return &lane{clients: map[[32]byte]*client{}, ring: list.New()} }

// Pool holds transactions until they are committed or expire. It is safe for concurrent use.
type Pool struct {
	cfg   Config
	wake  chan struct{}
	rates *rates

	mu        sync.Mutex // guards what follows
	byID      map[digest.Digest]*entry
	bytes     int
	normalTxs int // of those in byID, outside the priority lane
	normalB   int
	freshTxs  int
	freshB    int
	priority  *lane
	normal    *lane
	expiry    expiryHeap
	committed *memory
}

// New makes an empty pool.
func New(cfg Config) (*Pool, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Pool{
		cfg: cfg, wake: make(chan struct{}, 1), rates: newRates(cfg),
		byID: map[digest.Digest]*entry{}, priority: newLane(), normal: newLane(), committed: newMemory(cfg.MaxCommitted),
	}, nil
}

// Add checks tx, which another node passed on, and takes it in. The pool keeps its own copy. The error is one of the
// package's sentinels, wrapped, or an *InvalidError with the check's reason. A refused transaction takes no room.
func (p *Pool) Add(tx []byte) error { return p.add(tx, loose) }

// Offer is Add for a transaction that came to this node first: Take gives it, for the others to be told.
func (p *Pool) Offer(tx []byte) error { return p.add(tx, fresh) }

func (p *Pool) add(tx []byte, s state) error {
	if len(tx) > p.cfg.MaxTxBytes {
		return fmt.Errorf("transaction of %d bytes: %w: at most %d; put large data into a dataset and name its digest", len(tx), ErrTooLarge, p.cfg.MaxTxBytes)
	}
	id := ID(tx)
	p.mu.Lock()
	err := p.knownLocked(id)
	p.mu.Unlock()
	if err != nil {
		return err
	}
	// The check verifies signatures: it runs outside the lock, and before anything is spent on the transaction.
	info, err := p.cfg.Check(tx)
	if err != nil {
		return &InvalidError{Err: err}
	}
	now := p.cfg.Now()
	if ms := uint64(max(0, now.UnixMilli())); info.ExpiresMs != 0 && info.ExpiresMs < ms {
		return fmt.Errorf("transaction %s: %w: %d ms ago; sign it again with a later expiry, and compare your clock with the peer's", id.Short(), ErrExpired, ms-info.ExpiresMs)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.knownLocked(id); err != nil {
		return err
	}
	if err := p.roomLocked(info, len(tx)); err != nil {
		return err
	}
	if !info.Priority && !p.rates.take(info.Client, now) {
		return fmt.Errorf("client %x: %w: %g transactions a second are allowed; wait and send it again", info.Client[:6], ErrRate, p.cfg.RatePerClient)
	}
	p.insertLocked(id, append([]byte(nil), tx...), info, s)
	select {
	case p.wake <- struct{}{}:
	default: // a wake-up is waiting already
	}
	return nil
}

func (p *Pool) knownLocked(id digest.Digest) error {
	if _, ok := p.byID[id]; ok {
		return fmt.Errorf("transaction %s: %w: it waits for a block; nothing needs to be done", id.Short(), ErrDuplicate)
	}
	if p.committed.has(id) {
		return fmt.Errorf("transaction %s: %w: it was committed; look up its result", id.Short(), ErrDuplicate)
	}
	return nil
}

func (p *Pool) roomLocked(info Info, size int) error {
	txs, bytes, maxTxs, maxBytes, l := len(p.byID), p.bytes, p.cfg.MaxTxs, p.cfg.MaxBytes, p.priority
	if !info.Priority {
		txs, bytes, l = p.normalTxs, p.normalB, p.normal
		maxTxs, maxBytes = maxTxs-maxTxs/4, maxBytes-maxBytes/4
	}
	if txs+1 > maxTxs || bytes+size > maxBytes {
		return fmt.Errorf("%w: %d transactions, %d bytes; wait for blocks and send it again", ErrFull, txs, bytes)
	}
	if c := l.clients[info.Client]; c != nil && (c.queue.Len()+1 > p.cfg.ClientTxs || c.bytes+size > p.cfg.ClientBytes) {
		return fmt.Errorf("client %x: %w: it has %d transactions, %d bytes waiting; wait until they are committed", info.Client[:6], ErrFull, c.queue.Len(), c.bytes)
	}
	return nil
}

func (p *Pool) insertLocked(id digest.Digest, tx []byte, info Info, s state) {
	l := p.normal
	if info.Priority {
		l = p.priority
	}
	c := l.clients[info.Client]
	if c == nil {
		c = &client{key: info.Client, lane: l, queue: list.New()}
		c.at = l.ring.PushBack(c)
		l.clients[info.Client] = c
	}
	e := &entry{tx: tx, id: id, expires: info.ExpiresMs, client: c, heapAt: -1}
	e.at = c.queue.PushBack(e)
	p.markLocked(e, s)
	c.bytes += len(tx)
	p.bytes += len(tx)
	p.byID[id] = e
	if l == p.normal {
		p.normalTxs++
		p.normalB += len(tx)
	}
	if e.expires != 0 {
		heap.Push(&p.expiry, e)
	}
}

func (p *Pool) removeLocked(e *entry) {
	c := e.client
	p.markLocked(e, loose)
	if c.next == e.at {
		c.next = e.at.Next()
	}
	c.queue.Remove(e.at)
	c.bytes -= len(e.tx)
	p.bytes -= len(e.tx)
	delete(p.byID, e.id)
	if c.lane == p.normal {
		p.normalTxs--
		p.normalB -= len(e.tx)
	}
	if e.heapAt >= 0 {
		heap.Remove(&p.expiry, e.heapAt)
	}
	if c.queue.Len() == 0 {
		c.lane.ring.Remove(c.at)
		delete(c.lane.clients, c.key)
	}
}

// Reap gives transactions for a block, at most maxTxs and maxBytes in sum, and leaves them in the pool. It goes round
// the clients of the priority lane, then round the others. Those that Take gave are passed over, and those for which skip
// is true: they stand in blocks that are not committed yet. skip may be nil; it is called under the pool's lock and must
// not call the pool. The caller must not write to the slices.
func (p *Pool) Reap(maxTxs, maxBytes int, skip func(digest.Digest) bool) [][]byte {
	now := uint64(max(0, p.cfg.Now().UnixMilli()))
	p.mu.Lock()
	defer p.mu.Unlock()
	out := [][]byte{}
	p.roundLocked((*client).front, func(e *entry) bool {
		return e.state != taken && (skip == nil || !skip(e.id)) && (e.expires == 0 || e.expires >= now)
	}, func(e *entry) fit {
		switch {
		case len(out) >= maxTxs:
			return full
		case len(e.tx) > maxBytes:
			return tooLarge
		}
		maxBytes -= len(e.tx)
		out = append(out, e.tx)
		return fits
	})
	return out
}

// Committed takes the transactions of a committed block out, by their ids, and remembers those, so that they do not come
// back by a slow path. Clients that were served go to the end of the round.
func (p *Pool) Committed(ids []digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		p.committed.add(id)
		if e := p.byID[id]; e != nil {
			p.removeLocked(e)
			if c := e.client; c.queue.Len() > 0 {
				c.lane.ring.MoveToBack(c.at)
			}
		}
	}
}

// Expire drops what may not be ordered at nowMs (Unix milliseconds) any more, and says how many.
func (p *Pool) Expire(nowMs uint64) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for len(p.expiry) > 0 && p.expiry[0].expires < nowMs {
		p.removeLocked(p.expiry[0])
		n++
	}
	return n
}

// NotEmpty gives a channel that receives after transactions were added. It has one place: several additions may give
// one wake-up, and a wake-up may find the pool empty again. It is meant for one reader and never closed.
func (p *Pool) NotEmpty() <-chan struct{} { return p.wake }

// Has reports whether the transaction waits here; committed ones do not count.
func (p *Pool) Has(id digest.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.byID[id]
	return ok
}

// Len is the number of waiting transactions.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byID)
}

// Bytes is the sum of the waiting transactions' lengths.
func (p *Pool) Bytes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}
