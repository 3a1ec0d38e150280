package p2p

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/sign"
)

// TestStrangersWhoCameFirstLoseTheirPlaces: strangers fill a node's routing table before it meets anybody of its chain,
// for whom there is no room in it then.
func TestStrangersWhoCameFirstLoseTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSimMesh(t, 6)
		defer m.close()
		node := m.hosts[0]
		evil := newSybils(t, m, 30, []byte("anything"))
		defer evil.close()
		for _, h := range evil.hosts {
			if err := h.Connect(t.Context(), peer.AddrInfo{ID: node.ID(), Addrs: node.h.Addrs()}); err != nil {
				t.Fatal(err)
			}
		}
		table := node.dht.RoutingTable()
		until(t, "strangers fill the routing table", time.Minute, func() bool { return table.Size() >= 20 })
		var members []sign.PublicKey
		known := map[sign.PublicKey]bool{}
		for _, h := range m.hosts {
			m.runs.Go(func() { _ = h.Run(context.Background()) })
			members, known[h.Self()] = append(members, h.Self()), true
		}
		for _, h := range m.hosts[1:] {
			if _, err := h.Connect(t.Context(), node.Addrs()[0]); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "the members are connected", time.Minute, func() bool { return len(node.servers()) == len(evil.hosts)+5 })
		testServices(t, node, ServicesConfig{Known: func(k sign.PublicKey) bool { return known[k] }, Members: func() []sign.PublicKey { return members }})
		found := 0
		for _, id := range table.ListPeers() {
			if k, ok := PublicKey(id); !ok || !known[k] {
				t.Errorf("%s, whom the chain does not know, keeps its place", id)
			}
			found++
		}
		if found != 5 {
			t.Errorf("the routing table has %d members: want 5", found)
		}
	})
}
