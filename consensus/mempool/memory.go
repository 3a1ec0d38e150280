package mempool

import "github.com/metanode/metanode/internal/digest"

// memory remembers the last ids added, at most limit of them.
type memory struct {
	ring  []digest.Digest
	limit int
	next  int
	set   map[digest.Digest]struct{}
}

func newMemory(limit int) *memory {
	return &memory{limit: limit, set: map[digest.Digest]struct{}{}}
}

func (m *memory) has(id digest.Digest) bool {
	_, ok := m.set[id]
	return ok
}

func (m *memory) add(id digest.Digest) {
	if m.has(id) || m.limit == 0 {
		return
	}
	if len(m.ring) < m.limit {
		m.ring = append(m.ring, id)
	} else {
		delete(m.set, m.ring[m.next])
		m.ring[m.next] = id
		m.next = (m.next + 1) % len(m.ring)
	}
	m.set[id] = struct{}{}
}

// expiryHeap orders entries by expiry, soonest first (container/heap).
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires < h[j].expires }
func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapAt, h[j].heapAt = i, j
}

// Push is for container/heap.
func (h *expiryHeap) Push(x any) {
	e := x.(*entry)
	e.heapAt = len(*h)
	*h = append(*h, e)
}

// Pop is for container/heap.
func (h *expiryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.heapAt = -1
	return e
}
