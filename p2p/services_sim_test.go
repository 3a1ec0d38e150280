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
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(began)
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
		t.Logf("%d nodes: everybody knows everybody after %s", n, took)

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
		t.Logf("a change is known everywhere after %s", took)

		// A search by the DHT alone, on tables that know nothing: what is found in them is pulled from nobody.
		time.Sleep(time.Minute) // the records are written
		for name, way := range map[string]func(*Services, context.Context){
			"records": func(s *Services, ctx context.Context) { s.askRecords(ctx, "s1", 1) },
			"values":  func(s *Services, ctx context.Context) { s.askMembers(ctx) },
		} {
			var times []time.Duration
			for i, h := range m.hosts {
				if i%8 == 1 {
					continue // it provides s1 itself
				}
				cold := &Services{p: h, cfg: all[i].cfg, table: registry.NewTable("testnet-1", time.Now, nil)}
				ctx, stop := context.WithTimeout(t.Context(), time.Minute)
				began := time.Now()
				done := make(chan struct{})
				go func() { way(cold, ctx); close(done) }()
				until(t, "a cold search finds a provider by "+name, 30*time.Second, func() bool { return len(cold.known("s1", 1)) > 0 })
				times = append(times, time.Since(began))
				stop()
				<-done
			}
			slices.Sort(times)
			t.Logf("cold search by %s: p50 %s, p90 %s, most %s", name, times[len(times)/2], times[len(times)*9/10], times[len(times)-1])
			if p50 := times[len(times)/2]; name == "records" && p50 > 150*time.Millisecond {
				t.Errorf("cold search by %s: p50 %s, want at most 150 ms", name, p50)
			}
		}

		// One that goes without a word is forgotten when what it said expires.
		gone := m.hosts[n-1]
		_ = gone.Close()
		rest := all[:n-1]
		took = until(t, "who is gone is forgotten", registry.MaxLifetime, func() bool {
			return !slices.ContainsFunc(rest, func(s *Services) bool { return s.table.Get(gone.Self()) != nil })
		})
		t.Logf("who is gone is forgotten after %s", took)
		if len(rest[0].List()) != n-1 {
			t.Errorf("%d are known, want %d", len(rest[0].List()), n-1)
		}
	})
}
