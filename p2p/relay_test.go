package p2p

import (
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	ma "github.com/multiformats/go-multiaddr"
)

// hidden lets b be reached through r, and a, a client that no DHT tells of b's addresses, dial it there.
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
	member := func(key int, change func(*Config)) *Host {
		return testHost(t, all(private(one, other, third), withKey(seeded(byte(key))), change))
	}
	r, b := member(1, func(c *Config) { c.Relay = true }), member(2, nothing)
	a := member(3, func(c *Config) { c.Client = true })
	if err := hidden(t, r, a, b); err != nil {
		t.Fatal(err)
	}
	if len(a.h.Network().ConnsToPeer(b.ID())) == 0 {
		t.Fatal("there is no connection")
	}
	for _, c := range a.h.Network().ConnsToPeer(b.ID()) {
		if c.Stat().Limited || !strings.Contains(c.RemoteMultiaddr().String(), "p2p-circuit") {
			t.Errorf("the connection is %s, limited %v: want one through the relay, without its limits", c.RemoteMultiaddr(), c.Stat().Limited)
		}
	}
	eventually(t, "the members know each other", func() bool { return a.isMember(b.ID()) && b.isMember(a.ID()) })
	if _, err := a.Call(t.Context(), b.Self(), clockProto, nil); err != nil {
		t.Errorf("a call through the relay: %v", err)
	}
	// An outsider cannot come that way: the relay's own gate is before it.
	h := outsider(t)
	if err := h.Connect(t.Context(), peer.AddrInfo{ID: b.h.ID(), Addrs: []ma.Multiaddr{ma.StringCast(r.Addrs()[0] + "/p2p-circuit")}}); err == nil {
		t.Error("an outsider came through the relay")
	}
}

func TestClientAsksThroughTheShortRelayOfAnOpenNetwork(t *testing.T) {
	r, b := testHost(t, func(c *Config) { c.Relay = true }), testHost(t, nil)
	a := testHost(t, func(c *Config) { c.Client = true })
	connect(t, b, r)
	if _, err := client.Reserve(t.Context(), b.h, peer.AddrInfo{ID: r.h.ID(), Addrs: r.h.Addrs()}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Connect(t.Context(), r.Addrs()[0]+"/p2p-circuit/p2p/"+b.ID().String()); err != nil {
		t.Fatal(err)
	}
	for _, c := range a.h.Network().ConnsToPeer(b.ID()) {
		if !c.Stat().Limited {
			t.Fatalf("the connection is %s: want one through the relay, with its limits", c.RemoteMultiaddr())
		}
	}
	if _, err := a.Call(t.Context(), b.Self(), clockProto, nil); err != nil {
		t.Errorf("a call through the relay: %v", err)
	}
}

func TestOneAddressMayHoldAsManyPlacesAsARelayHas(t *testing.T) {
	for _, private := range []bool{false, true} {
		if l := relayLimits(private); l.MaxReservationsPerIP != l.MaxReservations || (l.Limit == nil) != private {
			t.Errorf("private %v: %+v", private, l)
		}
	}
}

func TestHostThatIsNotReachedTakesARelay(t *testing.T) {
	one, other := seeded(1), seeded(2)
	member := func(key int, relay bool) *Host {
		return testHost(t, all(private(one, other), withKey(seeded(byte(key))), everywhere, func(c *Config) { c.Relay = relay }))
	}
	r, b := member(1, true), member(2, false)
	connect(t, b, r)
	reserved := func() bool { return r.h.ConnManager().GetTagInfo(b.ID()).Tags["relay-reservation"] > 0 }
	if reserved() {
		t.Fatal("b has a reservation before it knows that it needs one")
	}
	say, err := b.h.EventBus().Emitter(new(event.EvtLocalReachabilityChanged))
	if err != nil {
		t.Fatal(err)
	}
	defer say.Close()
	if err := say.Emit(event.EvtLocalReachabilityChanged{Reachability: network.ReachabilityPrivate}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b has taken the relay by itself", reserved)
}

func TestRelayServiceIsByChoice(t *testing.T) {
	if err := hidden(t, testHost(t, nil), testHost(t, func(c *Config) { c.Client = true }), testHost(t, nil)); err == nil {
		t.Fatal("a host that was not told to serves as a relay")
	}
}
