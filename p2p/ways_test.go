package p2p

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/metanode/metanode/internal/digest"
)

// everywhere makes hosts that others could reach, as a node's defaults do.
func everywhere(c *Config) { c.ListenAddrs = []string{"0.0.0.0"} }

// multicast reports whether datagrams to a multicast group come back on some interface of this machine.
func multicast(t *testing.T) bool {
	t.Helper()
	group := &net.UDPAddr{IP: net.IPv4(239, 255, 42, 42), Port: 0}
	in, err := net.ListenMulticastUDP("udp4", nil, group)
	if err != nil {
		return false
	}
	defer in.Close()
	group.Port = in.LocalAddr().(*net.UDPAddr).Port
	out, err := net.DialUDP("udp4", nil, group)
	if err != nil {
		return false
	}
	defer out.Close()
	if _, err := out.Write([]byte("anybody?")); err != nil {
		return false
	}
	_ = in.SetReadDeadline(time.Now().Add(time.Second))
	n, _, err := in.ReadFrom(make([]byte, 16))
	return err == nil && n == 8
}

func TestMembersFindEachOtherOnTheLocalNetwork(t *testing.T) {
	one, other := seeded(1), seeded(2)
	mdns := func(c *Config) { c.Private.NoMDNS = false }
	a := testHost(t, all(private(one, other), withKey(one), everywhere, mdns))
	b := testHost(t, all(private(one, other), withKey(other), everywhere, mdns))
	if !multicast(t) {
		t.Skip("this machine carries no multicast")
	}
	eventually(t, "they find each other with no address", func() bool { return a.isMember(b.ID()) && b.isMember(a.ID()) })
}

func TestNeighbourIsDialedOnlyIfItIsAMember(t *testing.T) {
	one, other := seeded(1), seeded(2)
	a := testHost(t, all(private(one, other), withKey(one)))
	b := testHost(t, all(private(one, other), withKey(other)))
	stranger := testHost(t, all(private(one, other), withKey(seeded(9))))
	found := neighbours{a, make(chan struct{}, 1)}
	found.HandlePeerFound(peer.AddrInfo{ID: stranger.ID(), Addrs: stranger.h.Addrs()})
	found.HandlePeerFound(peer.AddrInfo{ID: a.ID(), Addrs: a.h.Addrs()})
	if len(found.slots) != 0 {
		t.Error("a neighbour that is no member is dialed")
	}
	found.HandlePeerFound(peer.AddrInfo{ID: b.ID(), Addrs: b.h.Addrs()})
	eventually(t, "the member is connected", func() bool { return a.isMember(b.ID()) })
	if name := mdnsName(testChain); strings.Contains(name, "testnet") || name == mdnsName(digest.Of([]byte("x"))) || !strings.HasSuffix(name, "._udp") {
		t.Errorf("mDNS name %q", name)
	}
}

func TestHostLearnsThatItIsReached(t *testing.T) {
	t.Parallel()
	one, other := seeded(1), seeded(2)
	a := testHost(t, all(private(one, other), withKey(one), everywhere))
	b := testHost(t, all(private(one, other), withKey(other), everywhere, func(c *Config) { c.WebSocket = true }))
	sub, err := a.h.EventBus().Subscribe(new(event.EvtLocalReachabilityChanged))
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	if _, err := a.Connect(t.Context(), b.Addrs()[0]); err != nil {
		t.Fatal(err)
	}
	late := time.After(30 * time.Second)
	for public := false; !public; {
		select {
		case e := <-sub.Out():
			public = e.(event.EvtLocalReachabilityChanged).Reachability == network.ReachabilityPublic
		case <-late:
			t.Fatalf("the host does not learn that it is reached: %+v", a.Overview().Reach)
		}
	}
	if o := a.Overview(); !o.Reach.Reached() || !o.Private || o.Sealed || len(o.Connections) == 0 {
		t.Errorf("overview %+v", o)
	}
	for _, s := range b.Addrs() {
		v, err := ma.StringCast(s).ValueForProtocol(ma.P_TCP)
		if err == nil && strings.Contains(s, "/ws/") && slices.ContainsFunc(b.tcpPorts(), func(n uint16) bool { return strconv.Itoa(int(n)) == v }) {
			t.Errorf("WebSocket's port %s is asked for as plain TCP", v)
		}
	}
}

func TestAddressesOfTheOwnMachineAreNotForOthers(t *testing.T) {
	home, lan := ma.StringCast("/ip4/127.0.0.1/tcp/4001"), ma.StringCast("/ip4/10.0.0.1/tcp/4001")
	if got := abroad([]ma.Multiaddr{home, lan}); len(got) != 1 || !got[0].Equal(lan) {
		t.Errorf("left are %v", got)
	}
	if got := abroad([]ma.Multiaddr{home}); len(got) != 1 {
		t.Errorf("the only address is left out: %v", got)
	}
}
