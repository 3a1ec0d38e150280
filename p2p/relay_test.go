package p2p

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	ma "github.com/multiformats/go-multiaddr"
)

// hidden dials b only through the relay r, and reports what became of it.
func hidden(t *testing.T, r, a, b *Host) error {
	t.Helper()
	connect(t, a, r)
	connect(t, b, r)
	if _, err := client.Reserve(t.Context(), b.h, peer.AddrInfo{ID: r.h.ID(), Addrs: r.h.Addrs()}); err != nil {
		return err
	}
	through := ma.StringCast(r.Addrs()[0] + "/p2p-circuit")
	return a.h.Connect(network.WithAllowLimitedConn(t.Context(), "test"), peer.AddrInfo{ID: b.h.ID(), Addrs: []ma.Multiaddr{through}})
}

func TestMembersReachEachOtherThroughARelay(t *testing.T) {
	one, other, third := seeded(1), seeded(2), seeded(3)
	member := func(key int, relay bool) *Host {
		k := seeded(byte(key))
		return testHost(t, all(private(one, other, third), withKey(k), func(c *Config) { c.Relay = relay }))
	}
	r, a, b := member(1, true), member(2, false), member(3, false)
	if err := hidden(t, r, a, b); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the members know each other", func() bool { return a.isMember(b.ID()) && b.isMember(a.ID()) })
	if _, _, err := a.ClockOffset(t.Context()); err != nil {
		t.Errorf("a call through the relay: %v", err)
	}
	// An outsider cannot come that way: the relay's own gate is before it.
	h := outsider(t)
	if err := h.Connect(t.Context(), peer.AddrInfo{ID: b.h.ID(), Addrs: []ma.Multiaddr{ma.StringCast(r.Addrs()[0] + "/p2p-circuit")}}); err == nil {
		t.Error("an outsider came through the relay")
	}
}

func TestRelayServiceIsByChoice(t *testing.T) {
	if err := hidden(t, testHost(t, nil), testHost(t, nil), testHost(t, nil)); err == nil {
		t.Fatal("a host that was not told to serves as a relay")
	}
}
