package p2p

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/registry"
)

const simLink = 25 * time.Millisecond // one way

// simMesh is hosts on a simulated network, under a bubble's clock: nothing waits for real time, and what is measured is
// the time that the protocols take, whatever the machine.
type simMesh struct {
	net      *simnet.Simnet
	used     int // addresses
	maxPeers int // of each host
	hosts    []*Host
	runs     sync.WaitGroup
}

func newSimMesh(t *testing.T, n int) *simMesh { return newSimMeshOf(t, n, 100) }

func newSimMeshOf(t *testing.T, n, maxPeers int) *simMesh {
	t.Helper()
	m := &simMesh{maxPeers: maxPeers, net: &simnet.Simnet{LatencyFunc: simnet.StaticLatency(simLink), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}}
	for range n {
		m.add(t)
	}
	m.net.Start()
	return m
}

// add makes one more host. It runs from start on.
func (m *simMesh) add(t *testing.T) {
	t.Helper()
	m.addKey(t, newPrivate(t))
}

func (m *simMesh) addKey(t *testing.T, key sign.PrivateKey) {
	t.Helper()
	h, err := New(Config{
		Key: key, Network: "testnet-1", ListenAddrs: []string{"127.0.0.1"}, EnableEncryption: true, MaxPeers: m.maxPeers,
		wire: &wire{
			extra: []libp2p.Option{m.link()}, listen: m.address(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.hosts = append(m.hosts, h)
}

// link is how one more host is attached: 100 Mbit/s each way.
func (m *simMesh) link() libp2p.Option {
	l := simnet.LinkSettings{BitsPerSecond: 100 * simlibp2p.OneMbps}
	return simlibp2p.QUICSimnet(m.net, simnet.NodeBiDiLinkSettings{Downlink: l, Uplink: l})
}

// address is one that no other host has.
func (m *simMesh) address() ma.Multiaddr {
	m.used++
	return ma.StringCast(fmt.Sprintf("/ip4/%s/udp/8000/quic-v1", simnet.IntToPublicIPv4(m.used)))
}

// join runs every host and connects it to the first.
func (m *simMesh) join(t *testing.T) {
	t.Helper()
	for _, h := range m.hosts {
		m.runs.Go(func() { _ = h.Run(context.Background()) })
	}
	for _, h := range m.hosts[1:] {
		if _, err := h.Connect(t.Context(), m.hosts[0].Addrs()[0]); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *simMesh) close() {
	for _, h := range m.hosts {
		_ = h.Close()
	}
	m.runs.Wait()
	m.net.Close()
}

// until waits in the bubble's time, which passes only when everybody waits, and returns how long it was.
func until(t *testing.T, what string, atMost time.Duration, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > atMost {
			t.Fatalf("not within %s: %s", atMost, what)
		}
		time.Sleep(max(5*time.Millisecond, atMost/2000)) // of a long wait some hundred milliseconds say enough
	}
	return time.Since(began)
}

// tell makes a time an attribute of the test, for make bench-p2p, and a line for people.
func tell(t *testing.T, name, what string, d time.Duration) {
	t.Helper()
	t.Attr(name, d.String())
	t.Logf("%s: %s", what, d)
}

// simNodes is how many nodes the simulation has: a few, or BPI_SIM_NODES of them.
func simNodes(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("BPI_SIM_NODES"))
	if err != nil || n < 4 {
		return 12
	}
	return n
}

// TestRegistryConvergesInSimulation is the registry of a whole network on links of 25 ms: that everybody hears of
// everybody, of changes, and of who is gone; and what a search costs whoever has heard nothing.
func TestRegistryConvergesInSimulation(t *testing.T) {
	n := simNodes(t)
	synctest.Test(t, func(t *testing.T) {
		m := newSimMesh(t, n)
		defer m.close()
		m.join(t)
		var all []*Services
		for i, h := range m.hosts {
			s := testServices(t, h, ServicesConfig{Members: func() (keys []sign.PublicKey) {
				for _, h := range m.hosts {
					keys = append(keys, h.Self())
				}
				return keys
			}})
			offerEcho(t, s, fmt.Sprintf("s%d", i%8))
			all = append(all, s)
		}
		everyone := func(want func(*Services) bool) func() bool {
			return func() bool { return !slices.ContainsFunc(all, func(s *Services) bool { return !want(s) }) }
		}
		took := until(t, "everybody knows everybody", 2*time.Minute, everyone(func(s *Services) bool { return len(s.List()) == n }))
		tell(t, "converged", fmt.Sprintf("%d nodes: everybody knows everybody after", n), took)

		// A change is heard within two seconds, of which one may be the pause between two descriptions.
		time.Sleep(3 * time.Second)
		changed := all[n/2]
		if err := changed.Announce([]registry.Offer{offer(fmt.Sprintf("s%d", n/2%8), "changed=yes")}); err != nil {
			t.Fatal(err)
		}
		took = until(t, "the change is known everywhere", 2*time.Second, everyone(func(s *Services) bool {
			d := s.table.Get(changed.p.Self())
			return d != nil && len(d.Offers[0].Labels) == 1
		}))
		tell(t, "changed", "a change is known everywhere after", took)

		// A search on tables that know nothing: as a node does it, which begins with its neighbours' tables, and by each of
		// the DHT's ways alone. And one on a table that gossip has filled.
		time.Sleep(time.Minute) // the records are written
		for name, way := range map[string]func(*Services, context.Context){
			"cold":    func(s *Services, ctx context.Context) { _, _ = s.Find(ctx, "s1", 1) },
			"records": func(s *Services, ctx context.Context) { s.askRecords(ctx, "s1", 1) },
			"values":  func(s *Services, ctx context.Context) { s.askMembers(ctx) },
			"warm":    nil,
		} {
			var times []time.Duration
			for i, h := range m.hosts {
				if i%8 == 1 {
					continue // it provides s1 itself
				}
				began := time.Now()
				if way == nil {
					if list, err := all[i].Find(t.Context(), "s1", 1); err != nil || len(list) == 0 {
						t.Fatalf("a full table has %d providers: %v", len(list), err)
					}
					times = append(times, time.Since(began))
					continue
				}
				cold := newServices(h, all[i].cfg)
				ctx, stop := context.WithTimeout(t.Context(), time.Minute)
				done := make(chan struct{})
				go func() { way(cold, ctx); close(done) }()
				until(t, "a cold search finds a provider by "+name, 8*time.Second, func() bool { return len(cold.known("s1", 1)) > 0 })
				times = append(times, time.Since(began))
				stop()
				<-done
			}
			slices.Sort(times)
			p50 := times[len(times)/2]
			tell(t, name+"-p50", "search, "+name+": p50", p50)
			tell(t, name+"-p90", "search, "+name+": p90", times[len(times)*9/10])
			if p50 > 150*time.Millisecond {
				t.Errorf("search, %s: p50 %s, want at most 150 ms", name, p50)
			}
		}

		// One that goes without a word is forgotten when what it said expires.
		gone := m.hosts[n-1]
		_ = gone.Close()
		rest := all[:n-1]
		took = until(t, "who is gone is forgotten", registry.MaxLifetime, func() bool {
			return !slices.ContainsFunc(rest, func(s *Services) bool { return s.table.Get(gone.Self()) != nil })
		})
		tell(t, "forgotten", "who is gone is forgotten after", took)
		if len(rest[0].List()) != n-1 {
			t.Errorf("%d are known, want %d", len(rest[0].List()), n-1)
		}
	})
}
