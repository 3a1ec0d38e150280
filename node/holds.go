package node

import (
	"sync"
	"time"
)

// holdPatience is how long a reader that does not get on keeps blocks from being pruned.
const holdPatience = time.Minute

// holds are the readers of the history that pruning waits for: an export that has begun can be finished. Safe for
// concurrent use.
type holds struct {
	mu   sync.Mutex // held while blocks are pruned
	list map[*hold]struct{}
}

// hold is one reader.
type hold struct {
	at   uint64 // the next block that it reads
	seen time.Time
}

// begin holds what a reader wants: from on, or with 0 from base on, which is asked for while nothing is pruned. It gives
// the first block.
func (h *holds) begin(from uint64, base func() uint64) (*hold, uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if from == 0 {
		from = base()
	}
	x := &hold{from, time.Now()}
	if h.list == nil {
		h.list = map[*hold]struct{}{}
	}
	h.list[x] = struct{}{}
	return x, from
}

// advance says how far a reader is.
func (h *holds) advance(x *hold, at uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.at, x.seen = at, time.Now()
}

func (h *holds) end(x *hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.list, x)
}

// lowest is below, or the lowest block that somebody reads. The caller holds mu.
func (h *holds) lowest(below uint64) uint64 {
	for x := range h.list {
		if time.Since(x.seen) < holdPatience {
			below = min(below, x.at)
		}
	}
	return below
}
