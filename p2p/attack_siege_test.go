package p2p

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/blob"
	"github.com/metanode/metanode/p2p/registry"
)

// siege is a simulated network in which one host serves all that a host can, a friend uses it, and raiders, stock libp2p
// hosts that keep no rule of this package, do what they like to it. Time is the bubble's, so that the real time limits
// are met without waiting for them.
type siege struct {
	m              *simMesh
	victim, friend *Host
	blobs          *blob.Store // the victim's
	fetch          *Exchange   // the friend's
	topic          *Topic      // the victim's; another host subscribes to it
	news           chan string
	link           *Links
	linked         chan string
	web            *http.Server
	client         *http.Client
	turn           int
}

// newSiege has answers of answer bytes on rpc/large.
func newSiege(t *testing.T, answer int) *siege {
	t.Helper()
	s := &siege{m: newSimMesh(t, 3), news: make(chan string, 1024), linked: make(chan string, 16)}
	s.victim, s.friend = s.m.hosts[0], s.m.hosts[1]
	s.m.join(t)
	v := s.victim
	v.Handle("echo", Limits{RequestBytes: 1 << 20}, func(_ context.Context, _ sign.PublicKey, req []byte) ([]byte, error) { return req, nil })
	v.Handle("large", Limits{}, func(context.Context, sign.PublicKey, []byte) ([]byte, error) { return make([]byte, answer), nil })
	v.Links("vote", LinkConfig{}, func(_ sign.PublicKey, msg []byte) { s.linked <- string(msg) })
	s.link = s.friend.Links("vote", LinkConfig{}, func(sign.PublicKey, []byte) {})
	s.link.Keep([]sign.PublicKey{v.Self()})
	members := func() []sign.PublicKey { return []sign.PublicKey{v.Self(), s.friend.Self(), s.m.hosts[2].Self()} }
	for _, h := range s.m.hosts {
		offerEcho(t, testServices(t, h, ServicesConfig{Members: members}), "echo")
	}
	s.blobs = testStore(t, t.TempDir())
	NewExchange(v, s.blobs)
	s.fetch = NewExchange(s.friend, testStore(t, t.TempDir()))
	s.topic = s.joins(t, v, func(string) {})
	s.joins(t, s.m.hosts[2], func(m string) {
		select {
		case s.news <- m:
		default: // who waits for one takes what stands here first
		}
	})
	l, err := v.Listener("api/1")
	if err != nil {
		t.Fatal(err)
	}
	s.web = &http.Server{
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, io.LimitReader(r.Body, 1<<10)) }),
	}
	go func() { _ = s.web.Serve(l) }()
	s.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.friend.DialStream(ctx, v.Self(), "api/1")
	}}}
	until(t, "the friend's link is up", time.Minute, func() bool { return len(s.link.Up()) == 1 })
	s.serves(t, "before anything")
	return s
}

// joins takes part in a topic whose valid messages begin with "ok".
func (s *siege) joins(t *testing.T, h *Host, hear func(string)) *Topic {
	t.Helper()
	topic, err := h.Join("talk", func(_ sign.PublicKey, data []byte) Verdict {
		if bytes.HasPrefix(data, []byte("ok")) {
			return Accept
		}
		return Reject
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := topic.Subscribe(func(_ sign.PublicKey, data []byte) { hear(string(data)) }); err != nil {
		t.Fatal(err)
	}
	return topic
}

func (s *siege) close() {
	s.client.CloseIdleConnections()
	_ = s.web.Close()
	s.m.close()
}

// serves fails unless the friend is answered by each protocol, within the time that honest calls are given.
func (s *siege) serves(t *testing.T, when string) {
	t.Helper()
	s.turn++
	word := fmt.Sprintf("ok %d", s.turn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if got, err := s.friend.Call(ctx, s.victim.Self(), "echo", []byte(word)); err != nil || string(got) != word {
		t.Errorf("%s: a call: %q, %v", when, got, err)
	}
	if got, err := s.friend.Call(ctx, s.victim.Self(), "svc/echo/1", nil); err != nil || len(got) == 0 {
		t.Errorf("%s: a service: %q, %v", when, got, err)
	}
	resp, err := s.client.Post("http://peer/", "text/plain", bytes.NewReader([]byte(word)))
	if err != nil {
		t.Errorf("%s: the API: %v", when, err)
	} else {
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != word {
			t.Errorf("%s: the API: %q, %v", when, got, err)
		}
		_ = resp.Body.Close()
	}
	s.link.Send(s.victim.Self(), []byte(word))
	select {
	case got := <-s.linked:
		if got != word {
			t.Errorf("%s: a link brought %q", when, got)
		}
	case <-ctx.Done():
		t.Errorf("%s: a link brought nothing", when)
	}
	whole := random(byte(s.turn), 2<<20)
	if _, err := s.blobs.Put(ctx, bytes.NewReader(whole), uint64(len(whole))); err != nil {
		t.Fatal(err)
	}
	if err := s.fetch.Fetch(ctx, digest.Of(whole), uint64(len(whole)), []sign.PublicKey{s.victim.Self()}); err != nil {
		t.Errorf("%s: a blob: %v", when, err)
	}
	if _, err := s.friend.dht.GetValue(ctx, registry.ValueKey(s.victim.ID())); err != nil {
		t.Errorf("%s: the DHT: %v", when, err)
	}
	if err := s.topic.Publish(ctx, []byte(word)); err != nil {
		t.Fatal(err)
	}
	for got := ""; got != word; {
		select {
		case got = <-s.news:
		case <-ctx.Done():
			t.Errorf("%s: gossip did not arrive", when)
			return
		}
	}
}

// raider is a stock libp2p host that calls itself a member and is bound by no limit of its own.
func (s *siege) raider(t *testing.T) host.Host {
	t.Helper()
	h, err := libp2p.New(
		libp2p.ListenAddrs(s.m.address()), s.m.link(), libp2p.ProtocolVersion(MemberVersion("testnet-1")), libp2p.DisableRelay(),
		libp2p.DisableIdentifyAddressDiscovery(), libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableMetrics(),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if err := h.Connect(t.Context(), peer.AddrInfo{ID: s.victim.ID(), Addrs: s.victim.h.Addrs()}); err != nil {
		t.Fatal(err)
	}
	until(t, "the raider passes for a member", time.Minute, func() bool { return s.victim.isMember(h.ID()) })
	return h
}

// opens opens n streams of a protocol and says the words on each. It returns those that were opened; the victim may
// refuse them later.
func (s *siege) opens(t *testing.T, h host.Host, id protocol.ID, n int, say []byte) []network.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(network.WithNoDial(t.Context(), "shown the door"), 5*time.Second)
	defer cancel()
	var out []network.Stream
	for range n {
		st, err := h.NewStream(ctx, s.victim.ID(), id)
		if err != nil {
			return out
		}
		_ = st.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = st.Write(say) // nothing makes the stream known, too: libp2p's names the protocol with the first byte
		_ = st.SetDeadline(time.Time{})
		out = append(out, st)
	}
	time.Sleep(10 * simLink) // until the victim has heard it all
	return out
}

// holds is how many streams of a peer the victim has open, by protocol.
func (s *siege) holds(id peer.ID) (total int, by map[protocol.ID]int) {
	by = map[protocol.ID]int{}
	for _, c := range s.victim.h.Network().ConnsToPeer(id) {
		for _, st := range c.GetStreams() {
			if st.Stat().Direction == network.DirInbound {
				by[st.Protocol()]++
				total++
			}
		}
	}
	return total, by
}
