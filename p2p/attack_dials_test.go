package p2p

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/sign"
)

// halfOpen dials from an address, says the words, and waits until the other side ends it.
func halfOpen(t *testing.T, from, to string, say []byte, open *atomic.Int64, all *sync.WaitGroup) {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from + ":0"))}
	c, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	open.Add(1)
	all.Go(func() {
		defer open.Add(-1)
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = c.Write(say)
		_, err := io.Copy(io.Discard, c)
		if late, ok := err.(net.Error); ok && late.Timeout() {
			t.Errorf("after %q the connection is kept for a minute", say)
		}
	})
}

// TestHalfOpenHandshakesAreBounded has strangers begin handshakes over TCP and WebSocket and not go on, from one address
// that is nobody's and one that is declared to be shared by many. From the first eight are waited for, from the second
// half of all connections; whoever is honest gets in, from other addresses and from a shared one.
func TestHalfOpenHandshakesAreBounded(t *testing.T) {
	t.Parallel()
	a := testHost(t, func(c *Config) {
		c.ListenAddrs, c.WebSocket, c.MaxPeers = []string{"127.0.0.1"}, true, 40
		c.LocalSubnets = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("127.0.0.77/32")}
	})
	var tcp, ws string
	for _, s := range a.Addrs() {
		parts := strings.Split(s, "/")
		switch at := parts[2] + ":" + parts[4]; {
		case strings.Contains(s, "/ws/"):
			ws = at
		case parts[3] == "tcp":
			tcp = at
		}
	}
	hello := "/multistream/1.0.0\n"
	noise := "/noise\n"
	words := map[string][]byte{
		"nothing":           nil,
		"half a greeting":   []byte("\x13/multi"),
		"a begun handshake": append(append([]byte{byte(len(hello))}, hello...), append([]byte{byte(len(noise))}, noise+"\x00"...)...),
	}
	var all sync.WaitGroup
	var stranger, shared atomic.Int64
	const each = 60
	for _, say := range words {
		for range each {
			halfOpen(t, "127.0.0.9", tcp, say, &stranger, &all)
		}
	}
	for range each {
		halfOpen(t, "127.0.0.9", ws, []byte("GET / HTTP/1.1\r\nUpgrade: websocket\r\n"), &stranger, &all)
	}
	eventually(t, "no more than eight of a stranger's address are waited for", func() bool { return stranger.Load() <= strangerConns })
	for range 3 * each {
		halfOpen(t, "127.0.0.77", tcp, words["nothing"], &shared, &all)
	}
	eventually(t, "no more than half of the connections are a shared address's", func() bool { return shared.Load() <= int64(sharedConns(40)) })
	if shared.Load() == 0 {
		t.Error("no handshake of the shared address is waited for, so that the test shows nothing")
	}
	friend := testHost(t, nil)
	connect(t, friend, a)
	if _, err := friend.Call(t.Context(), a.Self(), clockProto, nil); err != nil {
		t.Errorf("a friend's call: %v", err)
	}
	scopes := map[string]uint64{}
	for _, r := range a.Stats().Refusals {
		scopes[r.Scope] = r.Count
	}
	if scopes["address 127.0.0.9"] < 4*each-2*strangerConns || scopes["address 127.0.0.77"] == 0 {
		t.Errorf("the refusals are not told: %v", scopes)
	}
	all.Wait() // each ends by itself
}

// storm connects n hosts of a raider to the victim, which may refuse them.
func (s *siege) storm(t *testing.T, n int, key func() sign.PrivateKey) (hosts []host.Host) {
	t.Helper()
	for range n {
		ident, err := identity(key())
		if err != nil {
			t.Fatal(err)
		}
		h, err := libp2p.New(
			libp2p.Identity(ident), libp2p.ListenAddrs(s.m.address()), s.m.link(), libp2p.ProtocolVersion(MemberVersion("testnet-1")), libp2p.DisableRelay(),
			libp2p.DisableIdentifyAddressDiscovery(), libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics(),
		)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		hosts = append(hosts, h)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_ = h.Connect(ctx, peer.AddrInfo{ID: s.victim.ID(), Addrs: s.victim.h.Addrs()})
		cancel()
	}
	return hosts
}

// TestStormOfIdentitiesLeavesRoom has a raider come with more identities than there is room for, each from an address of
// its own. Those who are served stay and are served; the raider's go when their grace is over, and who comes then gets in.
func TestStormOfIdentitiesLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiegeOf(t, 1, 16)
		defer s.close()
		s.storm(t, 150, func() sign.PrivateKey { return newPrivate(t) })
		conns := len(s.victim.h.Network().Conns())
		t.Logf("of 150 identities and three friends %d connections stand", conns)
		if limit := maxConns(16); conns > limit {
			t.Errorf("%d connections: the limit is %d", conns, limit)
		}
		s.serves(t, "in the storm")
		until(t, "the victim has its places back", time.Minute, func() bool { return len(s.victim.h.Network().Conns()) <= 16 })
		for _, h := range s.m.hosts[1:] {
			if !s.victim.isMember(h.ID()) {
				t.Errorf("%s was let go for the raider", h.ID())
			}
		}
		late := s.raider(t)
		if !s.victim.isMember(late.ID()) {
			t.Error("a newcomer does not get in")
		}
		if st := s.victim.Stats(); st.Refused == 0 || len(st.Refusals) == 0 {
			t.Errorf("the refusals are not told: %+v", st)
		}
		s.serves(t, "after the storm")
	})
}

// TestOneIdentityHasFewConnections has one identity dial from thirty addresses.
func TestOneIdentityHasFewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		key, err := sign.Generate(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		hosts := s.storm(t, 30, func() sign.PrivateKey { return key })
		time.Sleep(time.Second)
		if n := len(s.victim.h.Network().ConnsToPeer(hosts[0].ID())); n == 0 || n > 8 {
			t.Errorf("%d connections of one identity", n)
		}
		told := false
		for _, r := range s.victim.Stats().Refusals {
			told = told || bytes.HasPrefix([]byte(r.Scope), []byte("peer:")) && r.Count > 0
		}
		if !told {
			t.Errorf("the refusals are not told: %+v", s.victim.Stats().Refusals)
		}
		s.serves(t, "while they last")
	})
}
