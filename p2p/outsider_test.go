package p2p

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
)

// outsider is a stock libp2p host that knows every address of a member, and wants to know more.
func outsider(t *testing.T, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableMetrics()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// snoop connects and tries everything that libp2p offers. It returns what it learnt, which should be nothing.
func snoop(t *testing.T, h host.Host, at peer.AddrInfo, network string) []string {
	t.Helper()
	var learnt []string
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	said, err := h.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	_ = h.Connect(ctx, at) // the dialer's half of the handshake may end before it is refused
	for _, c := range h.Network().ConnsToPeer(at.ID) {
		if s, err := c.NewStream(ctx); err == nil { // while it seems open
			_ = s.SetDeadline(time.Now().Add(2 * time.Second))
			if got, err := multistream.SelectOneOf([]protocol.ID{identify.ID, ping.ID}, s); err == nil {
				learnt = append(learnt, "negotiated "+string(got))
			}
			_ = s.Reset()
		}
	}
	for _, p := range []protocol.ID{
		identify.ID, identify.IDPush, ping.ID, "/ipfs/kad/1.0.0", "/meshsub/1.2.0", "/floodsub/1.0.0", "/libp2p/circuit/relay/0.2.0/hop", "/libp2p/autonat/2/dial-request",
		protocol.ID("/bpci/" + network + "/kad/1.0.0"), protocol.ID("/bpci/" + network + "/stream/api/1"), protocol.ID("/bpci/" + network + "/rpc/" + membersProto),
		protocol.ID("/bpci/" + network + "/rpc/" + clockProto), protocol.ID("/bpci/" + network + "/rpc/" + reachProto), "/http/1.1",
	} {
		s, err := h.NewStream(ctx, at.ID, p)
		if err != nil {
			continue
		}
		_ = s.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = s.Write([]byte("GET /v1/status HTTP/1.1\r\nHost: node\r\n\r\n")) // negotiation is lazy: it takes a word to know
		if b, err := io.ReadAll(io.LimitReader(s, 1<<10)); len(b) > 0 || err == nil {
			learnt = append(learnt, string(p)+" answered "+string(b))
		}
		_ = s.Reset()
	}
	if r, ok := <-ping.Ping(ctx, h, at.ID); ok && r.Error == nil {
		learnt = append(learnt, "ping answered")
	}
	if d, err := dht.New(h, dht.ProtocolPrefix(protocol.ID("/bpci/"+network)), dht.Mode(dht.ModeServer), dht.BootstrapPeers(at)); err == nil {
		if found, err := d.GetClosestPeers(ctx, "anything"); err == nil && len(found) > 0 {
			learnt = append(learnt, "the DHT named peers")
		}
		_ = d.Close()
	}
	if ps, err := pubsub.NewGossipSub(ctx, h, pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign), pubsub.WithNoAuthor()); err == nil {
		topic, err := ps.Join("/bpci/" + network + "/" + membersTopic)
		if err != nil {
			t.Fatal(err)
		}
		if sub, err := topic.Subscribe(); err == nil {
			_ = h.Connect(ctx, at)
			if len(topic.ListPeers()) > 0 {
				learnt = append(learnt, "a topic has peers")
			}
			sub.Cancel()
		}
	}
	if protos, err := h.Peerstore().GetProtocols(at.ID); err == nil && len(protos) > 0 {
		learnt = append(learnt, "protocols")
	}
	for _, key := range []string{"AgentVersion", "ProtocolVersion"} {
		if v, err := h.Peerstore().Get(at.ID, key); err == nil {
			learnt = append(learnt, key+" "+v.(string))
		}
	}
	select {
	case <-said.Out():
		learnt = append(learnt, "an identify message")
	default:
	}
	for _, id := range h.Peerstore().Peers() {
		if id != h.ID() && id != at.ID {
			learnt = append(learnt, "a peer: "+id.String())
		}
	}
	return learnt
}

func TestOutsiderWithEveryAddressLearnsNothing(t *testing.T) {
	t.Parallel()
	a, b := two(t, func(c *Config) { c.WebSocket, c.Relay = true, true })
	info := peer.AddrInfo{ID: a.ID()}
	kinds := map[string]ma.Multiaddr{}
	for _, s := range a.Addrs() {
		i, err := parseFull(s)
		if err != nil {
			t.Fatal(err)
		}
		kind := "tcp"
		for _, k := range []string{"quic-v1", "ws"} {
			if strings.Contains(s, "/"+k) {
				kind = k
			}
		}
		kinds[kind] = i.Addrs[0]
		info.Addrs = append(info.Addrs, i.Addrs[0])
	}
	if len(kinds) != 3 {
		t.Fatalf("addresses %v: want TCP, QUIC and WebSocket", a.Addrs())
	}
	security := map[string][]libp2p.Option{
		"as it comes": nil,
		"Noise":       {libp2p.Security(noise.ID, noise.New)},
		"TLS":         {libp2p.Security(libp2ptls.ID, libp2ptls.New)},
	}
	for name, opts := range security {
		for kind, addr := range kinds {
			t.Run(name+" over "+kind, func(t *testing.T) {
				h := outsider(t, opts...)
				at := peer.AddrInfo{ID: info.ID, Addrs: []ma.Multiaddr{addr}}
				if learnt := snoop(t, h, at, a.Network()); len(learnt) > 0 {
					t.Errorf("the outsider learnt: %q", learnt)
				}
				if got := h.Peerstore().Addrs(info.ID); len(got) > 1 {
					t.Errorf("the outsider learnt more addresses: %v", got)
				}
				if a.isMember(h.ID()) || len(a.h.Network().ConnsToPeer(h.ID())) != 0 {
					t.Error("the member kept the connection")
				}
			})
		}
	}
	// The same eyes see an open network's peer, so the test above could have failed.
	open := testHost(t, nil)
	i, err := parseFull(open.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	if learnt := snoop(t, outsider(t), i, open.Network()); len(learnt) < 4 {
		t.Errorf("of an open peer the outsider learnt only %q", learnt)
	}
	if got := a.Stats(); got.Gate.Outsiders == 0 || got.Strangers != 0 {
		t.Errorf("gate %+v, strangers %d", got.Gate, got.Strangers)
	}
	if !a.isMember(b.ID()) {
		t.Error("the members lost each other")
	}
	// Nor do members dial outsiders.
	h := outsider(t)
	if _, err := a.Connect(t.Context(), h.Addrs()[0].String()+"/p2p/"+h.ID().String()); !errors.Is(err, errOutsider) {
		t.Errorf("a member dials an outsider: %v", err)
	}
}

// answers sends bytes on a plain TCP connection to a host and reads what comes within a moment.
func answers(t *testing.T, h *Host, say []byte) []byte {
	t.Helper()
	c, err := net.Dial("tcp", netipAt(t, h).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write(say); err != nil {
		t.Fatal(err)
	}
	want := bytes.Count(say, []byte("\n"))
	var got []byte
	buf := make([]byte, 256)
	for bytes.Count(got, []byte("\n")) < want {
		n, err := c.Read(buf)
		got = append(got, buf[:n]...)
		if err != nil {
			break
		}
	}
	return got
}

func TestDoorCannotBeFoundWithoutTheChain(t *testing.T) {
	a, _ := two(t, nothing)
	open := testHost(t, nil)
	frame := func(words ...string) []byte {
		var b []byte
		for _, w := range append([]string{"/multistream/1.0.0"}, words...) {
			b = append(b, byte(len(w)+1))
			b = append(b, w+"\n"...)
		}
		return b
	}
	for _, w := range []string{"ls", "/plaintext/2.0.0", "/bpci/testnet-1", "/bpci/door/1", "/" + strings.Repeat("0", 32), string(doorName(testInviterChain()))} {
		if private, public := answers(t, a, frame(w)), answers(t, open, frame(w)); !bytes.Equal(private, public) {
			t.Errorf("%q tells a private network from an open one: %q and %q", w, private, public)
		}
	}
	if got := answers(t, a, frame(string(doorName(testChain)))); !bytes.Contains(got, []byte(doorName(testChain))) {
		t.Errorf("the door is not there for who knows the chain: %q", got)
	}
}

// TestDialerDoesNotNameTheDoor has a host dial one that refuses every security protocol, and looks at what it names.
func TestDialerDoesNotNameTheDoor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	named := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			named <- err.Error()
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		var all strings.Builder
		say := func(w string) { _, _ = c.Write(append([]byte{byte(len(w) + 1)}, w+"\n"...)) }
		say("/multistream/1.0.0")
		for {
			var n [1]byte
			if _, err := io.ReadFull(c, n[:]); err != nil {
				break
			}
			w := make([]byte, n[0])
			if _, err := io.ReadFull(c, w); err != nil {
				break
			}
			if all.Write(w); !bytes.HasPrefix(w, []byte("/multistream")) {
				say("na")
			}
		}
		named <- all.String()
	}()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	other := seeded(2)
	a := testHost(t, all(private(other), withKey(seeded(1))))
	if _, err := a.Connect(t.Context(), "/ip4/127.0.0.1/tcp/"+strconv.Itoa(int(at.Port()))+"/p2p/"+PeerID(other.Public()).String()); err == nil {
		t.Fatal("connected")
	}
	got := <-named
	if !strings.Contains(got, noise.ID) || !strings.Contains(got, libp2ptls.ID) || strings.Contains(got, string(doorName(testChain))) {
		t.Errorf("the dialer names %q", got)
	}
}

func testInviterChain() (d [32]byte) { _, _ = rand.Read(d[:]); return d }

// TestDoorIsBounded has more callers than places, and none of them says a word.
func TestDoorIsBounded(t *testing.T) {
	t.Parallel()
	a, _ := two(t, nothing)
	hello := "/multistream/1.0.0\n"
	name := string(doorName(testChain)) + "\n"
	say := append(append([]byte{byte(len(hello))}, hello...), append([]byte{byte(len(name))}, name...)...)
	var silent []net.Conn
	for range doorsAtOnce {
		c, err := net.Dial("tcp", netipAt(t, a).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(say); err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	eventually(t, "a caller too many is turned away", func() bool {
		c, err := net.Dial("tcp", netipAt(t, a).String())
		if err != nil {
			return false
		}
		defer c.Close()
		_, _ = c.Write(say)
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.ReadAll(c)
		return a.Stats().Gate.DoorBusy > 0
	})
	for _, c := range silent { // and who says nothing is not kept for long
		_ = c.SetReadDeadline(time.Now().Add(3 * doorTimeout))
		if _, err := io.ReadAll(c); err != nil {
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				t.Fatal("a silent caller keeps its place")
			}
		}
	}
	if _, err := Knock(t.Context(), seeded(3), a.Addrs()[0], mustBind(t, newTicket(t, time.Hour, a), seeded(3)), false, nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
