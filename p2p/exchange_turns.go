package p2p

import (
	"sync"

	"github.com/ipfs/boxo/bitswap"
	"github.com/libp2p/go-libp2p/core/peer"
)

// turns is whose wish Bitswap grants next: of those who take what they get, whoever has least under way, and then whoever
// waits longest. Bitswap looks at the first in its queue only, and hands nobody more than blobUnsent at once; its own order
// puts a peer first that it has not served for ten seconds, and so everybody waits behind one that does not read. Here it is
// the last.
type turns struct {
	mu    sync.Mutex
	of    map[peer.ID]*turn // mu: of peers with something under way, and those served since they were last forgotten
	count uint64            // mu
}

type turn struct {
	bytes int    // under way
	last  uint64 // the count when it was last served
}

func newTurns() *turns { return &turns{of: map[peer.ID]*turn{}} }

// first reports whether a's wish comes before b's; it is Bitswap's TaskComparator. Of one peer's wishes those come first
// that cost least.
func (t *turns) first(a, b *bitswap.TaskInfo) bool {
	if a.Peer == b.Peer {
		return !a.IsWantBlock && b.IsWantBlock
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x, y := t.get(a.Peer), t.get(b.Peer)
	if x.bytes != y.bytes {
		return x.bytes < y.bytes
	}
	return x.last < y.last
}

func (t *turns) get(id peer.ID) turn {
	if x := t.of[id]; x != nil {
		return *x
	}
	return turn{}
}

// begin notes that bytes are under way to a peer; the function that it returns, that they are not any more.
func (t *turns) begin(id peer.ID, bytes int) (end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.of[id]
	if x == nil {
		x = &turn{}
		t.of[id] = x
	}
	t.count++
	x.bytes, x.last = x.bytes+bytes, t.count
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		x.bytes -= bytes
	}
}

// forget is of a peer that is gone. What is under way to it ends soon, and is its own by then.
func (t *turns) forget(id peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, id)
}
