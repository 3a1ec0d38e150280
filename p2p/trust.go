package p2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/sign"
)

// trust is who may be part of this node's DHT: asked in searches, and kept in the routing table. Once a node has found
// peers that the chain knows, they alone carry its DHT, so that a thousand identities made for the purpose cannot settle
// around a key and answer for it. Until then it takes hints from anybody: a node may join by a peer that only follows.
type trust struct {
	known   func(sign.PublicKey) bool
	members func() []sign.PublicKey

	mu    sync.Mutex
	at    time.Time // mu; when found was counted
	found bool      // mu
}

const (
	enoughKnown = 4           // peers of the chain in the routing table, or all that there are
	countTime   = time.Second // how long a count of them is good for
)

// trusts reports whether a peer may be part of this node's DHT.
func (p *Host) trusts(id peer.ID) bool {
	key, ok := PublicKey(id)
	if !ok {
		return false
	}
	t := p.trust.Load()
	return t == nil || t.known(key) || !p.settled(t)
}

// settled reports whether the routing table holds enough peers that the chain knows.
func (p *Host) settled(t *trust) bool {
	if p.dht == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); t.at.IsZero() || now.Sub(t.at) >= countTime {
		others := 0
		for _, k := range t.members() {
			if k != p.self {
				others++
			}
		}
		want := min(enoughKnown, others)
		n := 0
		for _, id := range p.dht.RoutingTable().ListPeers() {
			if key, ok := PublicKey(id); ok && t.known(key) {
				n++
			}
		}
		t.at, t.found = now, want > 0 && n >= want
	}
	return t.found
}

// sift takes out of the routing table whom trusts does not allow any more.
func (p *Host) sift() {
	table := p.dht.RoutingTable()
	for _, id := range table.ListPeers() {
		if !p.trusts(id) {
			table.RemovePeer(id)
		}
	}
}
