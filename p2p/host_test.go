package p2p

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/metanode/metanode/internal/sign"
)

func TestPeerIDAndPublicKeyAreTwoSpellings(t *testing.T) {
	k := sign.FromSeed(make([]byte, 32)).Public()
	id := PeerID(k)
	back, ok := PublicKey(id)
	if !ok || back != k {
		t.Fatalf("PublicKey(PeerID(k)) = %v, %v", back, ok)
	}
	if got, err := ParsePeer(id.String()); err != nil || got != k {
		t.Fatalf("ParsePeer = %v, %v", got, err)
	}
	if _, ok := PublicKey(peer.ID("rubbish")); ok {
		t.Fatal("rubbish has a public key")
	}
}

func TestConfigRefusals(t *testing.T) {
	good := Config{Key: sign.FromSeed(make([]byte, 32)), Network: "n", EnableEncryption: true}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no node key":     func(c *Config) { c.Key = sign.PrivateKey{} },
		"network id":      func(c *Config) { c.Network = "a/b" },
		"plaintext mode":  func(c *Config) { c.EnableEncryption = false },
		"listen_port":     func(c *Config) { c.ListenPort = 70000 },
		"not an IP":       func(c *Config) { c.ListenAddrs = []string{"localhost"} },
		"names no peer":   func(c *Config) { c.Bootstrap = []string{"/ip4/127.0.0.1/tcp/1"} },
		"not a multiaddr": func(c *Config) { c.Bootstrap = []string{"127.0.0.1:1"} },
		"max_peers":       func(c *Config) { c.MaxPeers = -1 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestHostListensOnTCPAndQUICAtOnePort(t *testing.T) {
	a := testHost(t, nil)
	ports := map[string]string{}
	for _, s := range a.Addrs() {
		m := ma.StringCast(s)
		for _, code := range []int{ma.P_TCP, ma.P_UDP} {
			if v, err := m.ValueForProtocol(code); err == nil {
				ports[ma.ProtocolWithCode(code).Name] = v
			}
		}
	}
	if ports["tcp"] == "" || ports["tcp"] != ports["udp"] {
		t.Fatalf("addresses %v", a.Addrs())
	}
	b := testHost(t, nil)
	for _, s := range a.Addrs() {
		if !strings.Contains(s, "quic") {
			continue
		}
		if _, err := b.Connect(t.Context(), s); err != nil {
			t.Fatalf("QUIC: %v", err)
		}
	}
	eventually(t, "a peer", func() bool { return len(a.Peers()) == 1 })
	if i := a.Peers()[0]; i.Key != b.Self() || i.Direction != "inbound" || i.Agent != "metanode" {
		t.Fatalf("peer info %+v", i)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = New(Config{Key: sign.FromSeed(make([]byte, 32)), Network: "n", EnableEncryption: true, ListenAddrs: []string{"127.0.0.1"}, ListenPort: port})
	if err == nil || !strings.Contains(err.Error(), "port "+strconv.Itoa(port)) || !strings.Contains(err.Error(), "taken") {
		t.Fatalf("error %v", err)
	}
}

// lines hands each line of a log to whoever asks.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

func TestBootstrapPeerOfAnotherNetworkIsWarnedOf(t *testing.T) {
	stranger := testHost(t, func(c *Config) { c.Network = "testnet-2" })
	said := make(lines, 64)
	testHost(t, func(c *Config) {
		c.Bootstrap = []string{stranger.Addrs()[0]}
		c.Logger = slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	select {
	case line := <-said:
		for _, want := range []string{"bootstrap", stranger.ID().String(), "/bpci/2/testnet-2", "/bpci/2/testnet-1", "next="} {
			if !strings.Contains(line, want) {
				t.Errorf("the warning does not say %q: %s", want, line)
			}
		}
	case <-time.After(15 * time.Second):
		t.Error("a bootstrap peer of another network, and not a word of it")
	}
}

// TestPeerOfAnotherVersionIsNamedAsSuch meets peers that say what the first version said, and what a later one will.
func TestPeerOfAnotherVersionIsNamedAsSuch(t *testing.T) {
	for speaks, words := range map[string][]string{
		"/bpci/testnet-1":   {"version 1,", "version 2:", "testnet-1", "same bpi release"},
		"/bpci/3/testnet-1": {"version 3,", "version 2:", "testnet-1", "same bpi release"},
	} {
		other, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.ProtocolVersion(speaks))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		address := other.Addrs()[0].String() + "/p2p/" + other.ID().String()
		said := make(lines, 64)
		a := testHost(t, func(c *Config) {
			c.Bootstrap = []string{address}
			c.Logger = slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn}))
		})
		select {
		case line := <-said:
			for _, want := range append(words, "a bootstrap peer is of another version") {
				if !strings.Contains(line, want) {
					t.Errorf("the warning does not say %q: %s", want, line)
				}
			}
		case <-time.After(15 * time.Second):
			t.Error("a bootstrap peer of another version, and not a word of it")
		}
		if _, err := a.Connect(t.Context(), address); !errors.Is(err, ErrOtherVersion) {
			t.Errorf("connect: %v", err)
		}
	}
}

// TestTCPAddressesComeFirst has libp2p give them in any order: the first is what people copy, and what invitations name.
func TestTCPAddressesComeFirst(t *testing.T) {
	id := PeerID(sign.FromSeed(make([]byte, 32)).Public())
	var list []ma.Multiaddr
	for _, s := range []string{"/p2p-circuit", "/ip4/127.0.0.1/tcp/3/ws", "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1", "/dns4/peer.example/tcp/2"} {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	var want []string
	for _, i := range []int{3, 4, 1, 2} {
		want = append(want, list[i].String()+"/p2p/"+id.String())
	}
	if got := fullAddrs(list, id); !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
}

func TestConnectSaysWhatIsWrong(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	stranger := testHost(t, func(c *Config) { c.Network = "testnet-2" })
	if _, err := a.Connect(t.Context(), stranger.Addrs()[0]); !errors.Is(err, ErrOtherNetwork) {
		t.Errorf("other network: %v", err)
	}
	eventually(t, "the stranger is gone", func() bool { return len(a.h.Network().ConnsToPeer(stranger.ID())) == 0 })
	if a.isMember(stranger.ID()) {
		t.Error("a stranger became a member")
	}

	wrong := strings.Replace(b.Addrs()[0], b.ID().String(), PeerID(sign.FromSeed(make([]byte, 32)).Public()).String(), 1)
	if _, err := a.Connect(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "another peer, "+b.ID().String()) {
		t.Errorf("wrong id: %v", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dead := "/ip4/127.0.0.1/tcp/" + strconv.Itoa(port) + "/p2p/" + PeerID(sign.FromSeed([]byte(strings.Repeat("x", 32))).Public()).String()
	if _, err := a.Connect(t.Context(), dead); err == nil || !strings.HasPrefix(err.Error(), dead+" refused the connection") {
		t.Errorf("refused: %v", err)
	}
	if _, err := a.Connect(t.Context(), "127.0.0.1:3000"); err == nil || !strings.Contains(err.Error(), "/ip4/HOST/tcp/PORT/p2p/ID") {
		t.Errorf("malformed: %v", err)
	}
}

func TestPeersAreFoundAgainAfterRestartWithoutBootstrap(t *testing.T) {
	boot := testHost(t, nil)
	withBoot := func(dir string) func(*Config) {
		return func(c *Config) { c.Bootstrap, c.DataDir = []string{boot.Addrs()[0]}, dir }
	}
	b := testHost(t, withBoot(t.TempDir()))
	dirA := t.TempDir()
	var cfg Config
	a := testHost(t, func(c *Config) { withBoot(dirA)(c); cfg = *c })
	eventually(t, "both reach the bootstrap peer", func() bool { return a.isMember(boot.ID()) && b.isMember(boot.ID()) })
	eventually(t, "the DHT tells them of each other", func() bool { return a.isMember(b.ID()) || a.reach(t.Context(), b.ID()) == nil && a.isMember(b.ID()) })
	_ = a.Close()
	_ = boot.Close()
	if got, err := openPeersFile(dirA, "testnet-1"); err != nil || len(got.list()) < 2 {
		t.Fatalf("peers.json in %s: %v, %v", filepath.Base(dirA), got.list(), err)
	}
	again := testHost(t, func(c *Config) { *c = cfg; c.Bootstrap = nil })
	if again.Self() != a.Self() {
		t.Fatal("not the same peer")
	}
	eventually(t, "the saved peer is found", func() bool { return again.isMember(b.ID()) })
}

func TestPeersFileOfAnotherNetworkOrRubbishIsIgnored(t *testing.T) {
	dir := t.TempDir()
	f, err := openPeersFile(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxSavedPeers + 10 {
		seed := make([]byte, 32)
		seed[0], seed[1] = byte(i), byte(i>>8)
		f.seen(PeerID(sign.FromSeed(seed).Public()), []ma.Multiaddr{ma.StringCast("/ip4/10.0.0.1/tcp/1")}, time.Now())
	}
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	for network, want := range map[string]int{"one": maxSavedPeers, "two": 0} {
		g, err := openPeersFile(dir, network)
		if err != nil || len(g.list()) != want {
			t.Errorf("network %s: %d peers, %v; want %d", network, len(g.list()), err, want)
		}
	}
}

func TestManyPeersLiveBehindOneAddress(t *testing.T) {
	hub := testHost(t, nil)
	for range 12 { // more than the 8 that a stranger's address may hold
		c := testHost(t, func(c *Config) { c.Client = true })
		if _, err := c.Connect(t.Context(), hub.Addrs()[0]); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "twelve peers", func() bool { return len(hub.Peers()) == 12 })
}

func TestRefusalsAreCountedWithTheirScope(t *testing.T) {
	var n counter
	g, err := newGuard(Config{MaxPeers: 10}.withDefaults(), &n)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for range strangerConns + 3 {
		_, _ = g.OpenConnection(1, true, ma.StringCast("/ip4/203.0.113.7/tcp/4001"))
	}
	l := g.list()
	if len(l) != 1 || l[0].Scope != "address 203.0.113.7" || l[0].Count != 3 || n.value() != 3 {
		t.Fatalf("refusals %+v, total %d", l, n.value())
	}
}

func TestMetricsAreRegisteredAndLetGo(t *testing.T) {
	reg := prometheus.NewRegistry()
	a := testHost(t, func(c *Config) { c.Registerer = reg })
	got, err := reg.Gather()
	if err != nil || len(got) != len(metrics)+3 {
		t.Fatalf("%d metrics, %v", len(got), err)
	}
	verdicts := 0
	for _, f := range got {
		if f.GetName() == "bpci_gate_verdicts_total" {
			verdicts = len(f.GetMetric())
		}
	}
	if verdicts != len(gateVerdicts) {
		t.Errorf("%d verdicts of the gate, want %d", verdicts, len(gateVerdicts))
	}
	b := testHost(t, nil)
	connect(t, a, b)
	a.guard.refused("peer:12D3", "streams")
	a.guard.refused("conn-17", "memory")
	if got, err = reg.Gather(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range got {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				seen[f.GetName()+" "+l.GetName()+"="+l.GetValue()] = true
			}
		}
	}
	for _, want := range []string{"bpci_connections transport=tcp", "bpci_connections direction=outbound", "bpci_resource_refusals_by_scope_total scope=peer", "bpci_resource_refusals_by_scope_total scope=conn"} {
		if !seen[want] {
			t.Errorf("the metrics lack %s: %v", want, seen)
		}
	}
	_ = a.Close()
	if got, err := reg.Gather(); err != nil || len(got) != 0 {
		t.Fatalf("after Close: %d metrics, %v", len(got), err)
	}
}

func TestBannedPeerIsDisconnectedAndKeptOut(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	connect(t, a, b)
	for range banScore/PenaltyMajor + 1 {
		a.Penalise(b.Self(), PenaltyMajor, "test")
	}
	eventually(t, "disconnected", func() bool { return !a.isMember(b.ID()) })
	if _, err := a.Connect(t.Context(), b.Addrs()[0]); err == nil || !strings.Contains(err.Error(), "garbage") {
		t.Fatalf("dial of a banned peer: %v", err)
	}
	_, _ = b.Connect(t.Context(), a.Addrs()[0])
	if a.isMember(b.ID()) {
		t.Fatal("a banned peer came back")
	}
}

func TestClockOffsetOfOneMachineIsSmall(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	if _, _, err := a.ClockOffset(t.Context()); !errors.Is(err, ErrNoClocks) {
		t.Fatalf("alone: %v", err)
	}
	connect(t, a, b)
	d, n, err := a.ClockOffset(t.Context())
	if err != nil || n != 1 || d.Abs() > time.Second {
		t.Fatalf("offset %v of %d peers, %v", d, n, err)
	}
}
