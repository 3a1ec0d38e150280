package driver_test

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"github.com/metanode/metanode/internal/digest"
)

// testPool is the plainest mempool: first in, first out, without bounds.
type testPool struct {
	mu    sync.Mutex // guards what follows
	list  []*waitingTx
	byID  map[digest.Digest]*waitingTx
	old   map[digest.Digest]bool // committed
	fresh int
	wake  chan struct{}
}

type waitingTx struct {
	tx           []byte
	id           digest.Digest
	fresh, taken bool
}

func newTestPool() *testPool {
	return &testPool{byID: map[digest.Digest]*waitingTx{}, old: map[digest.Digest]bool{}, wake: make(chan struct{}, 1)}
}

type badTx struct{}

func (badTx) Error() string { return "bad transaction" }

func (badTx) Invalid() bool { return true }

func (p *testPool) Add(tx []byte) error { return p.add(tx, false) }

func (p *testPool) Offer(tx []byte) error { return p.add(tx, true) }

func (p *testPool) add(tx []byte, fresh bool) error {
	if bytes.HasPrefix(tx, []byte("bad")) {
		return badTx{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	id := digest.Of(tx)
	if p.byID[id] != nil || p.old[id] {
		return errors.New("known")
	}
	w := &waitingTx{tx: bytes.Clone(tx), id: id, fresh: fresh}
	p.byID[id] = w
	p.list = append(p.list, w)
	if fresh {
		p.fresh++
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return nil
}

func (p *testPool) Take(maxTxs, maxBytes int) (out [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.list {
		if !w.fresh {
			continue
		}
		if maxBytes -= len(w.tx); maxBytes < 0 || len(out) == maxTxs {
			break
		}
		w.fresh, w.taken = false, true
		p.fresh--
		out = append(out, w.tx)
	}
	return out
}

func (p *testPool) Return(ids []digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if w := p.byID[id]; w != nil && w.taken {
			w.fresh, w.taken = true, false
			p.fresh++
		}
	}
}

func (p *testPool) Fresh() (txs, size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fresh == 0 {
		return 0, 0
	}
	for _, w := range p.list {
		if w.fresh {
			size += len(w.tx)
		}
	}
	return p.fresh, size
}

func (p *testPool) Reap(maxTxs, maxBytes int, skip func(digest.Digest) bool) (out [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.list {
		if w.taken || skip != nil && skip(w.id) {
			continue
		}
		if maxBytes -= len(w.tx); maxBytes < 0 || len(out) == maxTxs {
			break
		}
		out = append(out, w.tx)
	}
	return out
}

func (p *testPool) Committed(ids []digest.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	some := false
	for _, id := range ids {
		p.old[id] = true
		if w := p.byID[id]; w != nil {
			some = true
			delete(p.byID, id)
			if w.fresh {
				p.fresh--
			}
		}
	}
	if some {
		p.list = slices.DeleteFunc(p.list, func(w *waitingTx) bool { return p.old[w.id] })
	}
}

func (p *testPool) Has(id digest.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byID[id] != nil
}

func (p *testPool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.list)
}

func (p *testPool) Expire(uint64) int { return 0 }

func (p *testPool) NotEmpty() <-chan struct{} { return p.wake }
