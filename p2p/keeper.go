package p2p

import (
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
)

// connGrace is how long a new connection may stay before it has to be of use.
const connGrace = 20 * time.Second

// Tags under which this package protects peers, and the worth of a peer that only a library would protect.
const (
	tagValidator = "validator"
	tagBootstrap = "bootstrap"
	tagForeign   = "foreign"
	worthUseful  = 50
)

// keeper is libp2p's connection manager with max_peers as what it says. The libraries protect every peer that they have
// some use for: gossip its meshes, the DHT its nearest buckets, together more peers than the default of max_peers. Here
// only validators and bootstrap peers are protected, and take their places out of the number; to be useful to a library
// is worth something, and no more.
type keeper struct{ *connmgr.BasicConnMgr }

// newKeeper makes a manager for c, with its defaults, and the bootstrap peers.
func newKeeper(c Config, boot []peer.AddrInfo) (*keeper, error) {
	kept := slices.Clone(c.Protected)
	for _, b := range boot {
		if !slices.Contains(kept, b.ID) {
			kept = append(kept, b.ID)
		}
	}
	low := max(1, min(c.MaxPeers*3/4, c.MaxPeers-len(kept)))
	m, err := connmgr.NewConnManager(low, max(low, c.MaxPeers), connmgr.WithGracePeriod(connGrace))
	if err != nil {
		return nil, fmt.Errorf("p2p: connection manager: %w", err)
	}
	k := &keeper{m}
	for _, id := range c.Protected {
		k.Protect(id, tagValidator)
	}
	for _, b := range boot {
		k.Protect(b.ID, tagBootstrap)
	}
	return k, nil
}

// Protect implements connmgr.ConnManager: a library's protection is a high worth.
func (k *keeper) Protect(id peer.ID, tag string) {
	if tag == tagValidator || tag == tagBootstrap {
		k.BasicConnMgr.Protect(id, tag)
		return
	}
	k.TagPeer(id, tag, worthUseful)
}

// Unprotect implements connmgr.ConnManager.
func (k *keeper) Unprotect(id peer.ID, tag string) bool {
	if tag == tagValidator || tag == tagBootstrap {
		return k.BasicConnMgr.Unprotect(id, tag)
	}
	k.UntagPeer(id, tag)
	return k.IsProtected(id, "")
}
