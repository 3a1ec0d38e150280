package p2p

import (
	"maps"
	"slices"
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

// settled reports whether this node has found enough peers that the chain knows: in the routing table, or among those that
// it is connected to and that serve the DHT. The second are not in the table where strangers came first and filled it.
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
		found := map[peer.ID]bool{}
		for _, id := range slices.Concat(p.dht.RoutingTable().ListPeers(), p.servers()) {
			if key, ok := PublicKey(id); ok && t.known(key) {
				found[id] = true
			}
		}
		t.at, t.found = now, want > 0 && len(found) >= want
	}
	return t.found
}

// servers are the connected members that serve the DHT.
func (p *Host) servers() (out []peer.ID) {
	p.mu.Lock()
	connected := slices.Collect(maps.Keys(p.members))
	p.mu.Unlock()
	for _, id := range connected {
		if got, err := p.h.Peerstore().SupportsProtocols(id, p.proto("kad/1.0.0")); err == nil && len(got) > 0 {
			out = append(out, id)
		}
	}
	return out
}

// sift takes out of the routing table whom trusts does not allow any more, and gives the places to those whom it does and
// who found none.
func (p *Host) sift() {
	table := p.dht.RoutingTable()
	sifted := false
	for _, id := range table.ListPeers() {
		if !p.trusts(id) {
			table.RemovePeer(id)
			sifted = true
		}
	}
	if !sifted {
		return
	}
	for _, id := range p.servers() {
		if p.trusts(id) {
			_, _ = table.TryAddPeer(id, true, false) // an error says that there is no room for it
		}
	}
}
