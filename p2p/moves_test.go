package p2p

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
)

// detour passes one TCP connection on until the far end is cut off: then the near end stays open, and nobody answers.
type detour struct {
	net.Listener
	mu  sync.Mutex
	far net.Conn // mu
}

func newDetour(t *testing.T, to string) *detour {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &detour{Listener: l}
	var copies sync.WaitGroup
	t.Cleanup(func() { l.Close(); d.cutOff(); copies.Wait() })
	copies.Go(func() {
		near, err := l.Accept()
		if err != nil {
			return
		}
		defer near.Close()
		far, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		d.mu.Lock()
		d.far = far
		d.mu.Unlock()
		copies.Go(func() { _, _ = io.Copy(near, far) })
		_, _ = io.Copy(far, near)
		_, _ = io.Copy(io.Discard, near) // the near end is read until whoever dialed gives up
	})
	return d
}

func (d *detour) cutOff() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.far != nil {
		d.far.Close()
	}
}

func TestConnectionThatNobodyAnswersGoesWhenItsPeerComesAgain(t *testing.T) {
	t.Parallel()
	a, b := testHost(t, nil), testHost(t, nil)
	at, err := ma.StringCast(b.Addrs()[0]).ValueForProtocol(ma.P_TCP)
	if err != nil {
		t.Fatal(err)
	}
	d := newDetour(t, "127.0.0.1:"+at)
	_, port, _ := net.SplitHostPort(d.Addr().String())
	if _, err := a.Connect(t.Context(), "/ip4/127.0.0.1/tcp/"+port+"/p2p/"+b.ID().String()); err != nil {
		t.Fatal(err)
	}
	old := a.h.Network().ConnsToPeer(b.ID())
	if len(old) != 1 || !strings.Contains(old[0].RemoteMultiaddr().String(), port) {
		t.Fatalf("connections to b: %v", old)
	}
	ctx, cancel := context.WithTimeout(t.Context(), proveTime)
	defer cancel()
	if silent(ctx, old[0]) {
		t.Fatal("a connection that works counts as silent")
	}
	lost := b.h.Network().ConnsToPeer(a.ID())
	d.cutOff()
	eventually(t, "b has lost a", func() bool { // and may have dialed it again by itself
		return !slices.ContainsFunc(lost, func(c network.Conn) bool { return !c.IsClosed() })
	})
	if _, err := b.Connect(t.Context(), a.Addrs()[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a has the new connection alone", func() bool {
		conns := a.h.Network().ConnsToPeer(b.ID())
		return old[0].IsClosed() && len(conns) == 1 && conns[0] != old[0]
	})
	if _, err := a.Call(t.Context(), b.Self(), clockProto, nil); err != nil {
		t.Errorf("a call after the move: %v", err)
	}
}

func TestMovedHostTellsItsNewAddress(t *testing.T) {
	set := func(list ...string) map[netip.Addr]bool {
		out := map[netip.Addr]bool{}
		for _, s := range list {
			out[netip.MustParseAddr(s)] = true
		}
		return out
	}
	told := []ma.Multiaddr{
		ma.StringCast("/ip4/10.0.0.1/tcp/4001"), ma.StringCast("/ip4/10.0.0.1/udp/4001/quic-v1"), ma.StringCast("/ip4/127.0.0.1/tcp/4001"),
		ma.StringCast("/ip4/5.5.5.5/tcp/4001"), ma.StringCast("/ip6/2001:db8::1/tcp/4001"),
	}
	var m moves
	now := time.Now()
	expect := func(step string, moved, want bool, addrs ...string) {
		t.Helper()
		if moved != want {
			t.Errorf("%s: moved %v, want %v", step, moved, want)
		}
		var got []string
		for _, a := range m.current(told) {
			got = append(got, a.String())
		}
		slices.Sort(got)
		slices.Sort(addrs)
		if !slices.Equal(got, addrs) {
			t.Errorf("%s: it tells\n%v, want\n%v", step, got, addrs)
		}
	}
	home, away, back := set("127.0.0.1", "10.0.0.1", "2001:db8::1"), set("127.0.0.1", "10.0.0.2", "fe80::1"), set("127.0.0.1", "10.0.0.2", "10.0.0.1", "fe80::1", "2001:db8::1")
	rest := []string{"/ip4/127.0.0.1/tcp/4001", "/ip4/5.5.5.5/tcp/4001", "/ip6/2001:db8::1/tcp/4001"}
	old := func() []string {
		return append([]string{"/ip4/10.0.0.1/tcp/4001", "/ip4/10.0.0.1/udp/4001/quic-v1"}, rest...)
	}
	expect("at rest", m.moved(home, home, now), false, old()...)
	expect("moved", m.moved(home, away, now), true, "/ip4/10.0.0.2/tcp/4001", "/ip4/10.0.0.2/udp/4001/quic-v1", rest[0], rest[1])
	expect("a moment later", m.moved(away, away, now.Add(lookEvery)), false, "/ip4/10.0.0.2/tcp/4001", "/ip4/10.0.0.2/udp/4001/quic-v1", rest[0], rest[1])
	expect("the old one is back", m.moved(away, back, now.Add(2*lookEvery)), false, old()...)
	expect("without any", m.moved(away, set("127.0.0.1"), now.Add(moveTime+time.Second)), true, old()...) // 10.0.0.2 was never told
	expect("long after", m.moved(away, away, now.Add(3*moveTime)), false, old()...)
}
