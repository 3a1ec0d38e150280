package p2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
)

// Gossip that is valid may still be too much: every message is kept for some heartbeats, to give it to whoever missed it,
// and sent on to several peers. So much is taken in a second, of one peer and of all together, and at once after a pause.
// What is more is dropped, and neither kept nor sent on, so that a flood ends at the first honest peer that it meets. It is
// no fault: an honest peer may send on at once what several others sent it.
const (
	flowPeerRate   = 32 << 20
	flowPeerBurst  = 64 << 20
	flowTotalRate  = 64 << 20
	flowTotalBurst = 128 << 20
)

// flow measures it. It is safe for concurrent use.
type flow struct {
	mu    sync.Mutex
	total *rate.Limiter             // mu
	peers map[peer.ID]*rate.Limiter // mu: of connected peers
}

func newFlow() *flow {
	return &flow{total: rate.NewLimiter(flowTotalRate, flowTotalBurst), peers: map[peer.ID]*rate.Limiter{}}
}

// take reports whether a message of a peer is taken in. One that is refused costs nobody anything.
func (f *flow) take(from peer.ID, bytes int, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.peers[from]
	if l == nil {
		l = rate.NewLimiter(flowPeerRate, flowPeerBurst)
		f.peers[from] = l
	}
	return l.TokensAt(now) >= float64(bytes) && f.total.AllowN(now, bytes) && l.AllowN(now, bytes)
}

// forget is of a peer that is gone. It begins anew when it comes back: that costs it a handshake, and all together have
// their bound.
func (f *flow) forget(id peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.peers, id)
}
