package p2p

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/registry"
)

// sybils are identities of one attacker that settle around a key of the DHT: whoever looks for it comes to them.
type sybils struct {
	m     *simMesh
	hosts []host.Host
	infos []peer.AddrInfo
}

// newSybils makes n identities, the nearest to target of a hundred times as many.
func newSybils(t *testing.T, m *simMesh, n int, target []byte) *sybils {
	t.Helper()
	at := sha256.Sum256(target)
	type candidate struct {
		key  sign.PrivateKey
		far  [32]byte
		self peer.ID
	}
	all := make([]candidate, 100*n)
	for i := range all {
		k, err := sign.Generate(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		id := PeerID(k.Public())
		d := sha256.Sum256([]byte(id))
		for j := range d {
			d[j] ^= at[j]
		}
		all[i] = candidate{k, d, id}
	}
	slices.SortFunc(all, func(a, b candidate) int { return bytes.Compare(a.far[:], b.far[:]) })
	s := &sybils{m: m}
	for _, c := range all[:n] {
		key, err := identity(c.key)
		if err != nil {
			t.Fatal(err)
		}
		addr := m.address()
		h, err := libp2p.New(
			libp2p.Identity(key), libp2p.ListenAddrs(addr), m.link(), libp2p.ProtocolVersion(MemberVersion("testnet-1")),
			libp2p.DisableIdentifyAddressDiscovery(), libp2p.ResourceManager(&network.NullResourceManager{}), libp2p.DisableRelay(), libp2p.DisableMetrics(),
		)
		if err != nil {
			t.Fatal(err)
		}
		h.SetStreamHandler("/bpci/testnet-1/kad/1.0.0", s.serve)
		s.hosts = append(s.hosts, h)
		s.infos = append(s.infos, *host.InfoFromHost(h))
	}
	return s
}

// serve answers every question with more of the attacker's identities, takes every record and keeps none.
func (s *sybils) serve(stream network.Stream) {
	defer stream.Reset()
	r := bufio.NewReader(stream)
	for {
		m, err := readDHT(r)
		if err != nil {
			return
		}
		resp := pb.NewMessage(m.GetType(), m.GetKey(), 0)
		more := s.infos[:min(20, len(s.infos))]
		switch m.GetType() {
		case pb.Message_ADD_PROVIDER:
			continue
		case pb.Message_PUT_VALUE:
			resp.Record = m.GetRecord()
		case pb.Message_GET_PROVIDERS:
			resp.ProviderPeers, resp.CloserPeers = pb.RawPeerInfosToPBPeers(more), pb.RawPeerInfosToPBPeers(more)
		case pb.Message_GET_VALUE:
			resp.Record = record.MakePutRecord(string(m.GetKey()), []byte("garbage"))
			resp.CloserPeers = pb.RawPeerInfosToPBPeers(more)
		case pb.Message_FIND_NODE:
			resp.CloserPeers = pb.RawPeerInfosToPBPeers(more)
		}
		raw, err := proto.Marshal(resp)
		if err != nil {
			return
		}
		if _, err := stream.Write(append(binary.AppendUvarint(nil, uint64(len(raw))), raw...)); err != nil {
			return
		}
	}
}

func (s *sybils) close() {
	for _, h := range s.hosts {
		_ = h.Close()
	}
}

// TestSybilsAroundAServiceKeyHideNothing: 200 identities settle around a service's key before its provider comes, take the
// provider's records and keep none, and answer every search with one another. A peer that comes after that, and knows
// nothing, finds the provider: in the tables of its neighbours, and without those in the DHT, of which the chain's peers
// alone are part.
func TestSybilsAroundAServiceKeyHideNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newSimMesh(t, 10)
		defer m.close()
		m.join(t)
		hub, provider, late := m.hosts[0], m.hosts[8], m.hosts[9]
		target := registry.Key("testnet-1", "echo", 1).Hash()
		evil := newSybils(t, m, 200, target)
		defer evil.close()
		honest := map[sign.PublicKey]bool{}
		var members []sign.PublicKey
		for _, h := range m.hosts {
			honest[h.Self()] = true
			members = append(members, h.Self())
		}
		cfg := ServicesConfig{
			Known:   func(k sign.PublicKey) bool { return honest[k] },
			Members: func() []sign.PublicKey { return members },
		}
		// Every identity is in the routing tables of honest peers, and says that it provides the service.
		for i, h := range evil.hosts {
			for j := range 3 {
				to := m.hosts[(i+j*3)%8]
				h.Peerstore().AddAddrs(to.ID(), to.h.Addrs(), time.Hour)
				if err := h.Connect(t.Context(), peer.AddrInfo{ID: to.ID()}); err != nil {
					t.Fatal(err)
				}
				claim := pb.NewMessage(pb.Message_ADD_PROVIDER, target, 0)
				claim.ProviderPeers = pb.RawPeerInfosToPBPeers([]peer.AddrInfo{evil.infos[i]})
				tellDHT(t, h, to.ID(), claim)
			}
		}
		until(t, "the attacker is in the routing tables", time.Minute, func() bool {
			n := 0
			for _, p := range hub.dht.RoutingTable().ListPeers() {
				if k, ok := PublicKey(p); ok && !honest[k] {
					n++
				}
			}
			return n >= 10
		})
		var all []*Services
		for _, h := range m.hosts[:9] {
			all = append(all, testServices(t, h, cfg))
		}
		// A node that knows too few of the chain's peers yet takes whom it meets, until it does.
		took := until(t, "the attacker is out of every routing table", 2*time.Minute, func() bool {
			for _, h := range m.hosts[:9] {
				for _, p := range h.dht.RoutingTable().ListPeers() {
					if k, ok := PublicKey(p); !ok || !honest[k] {
						return false
					}
				}
			}
			return true
		})
		t.Logf("the attacker is out of every routing table after %s", took)
		offerEcho(t, all[8], "echo")
		until(t, "the honest peers know the provider", time.Minute, func() bool {
			return !slices.ContainsFunc(all, func(s *Services) bool { return len(s.known("echo", 1)) != 1 })
		})
		time.Sleep(time.Minute) // the provider has written its records, where it could

		s := testServices(t, late, cfg)
		began := time.Now()
		r, err := s.Send(t.Context(), "echo", 1, []byte("x"), SendOptions{})
		if err != nil || r.From != provider.Self() {
			t.Fatalf("the honest answer: from %s, %v", r.From.Short(), err)
		}
		t.Logf("a newcomer has its answer after %s", time.Since(began))

		cold := &Services{p: late, cfg: s.cfg, table: registry.NewTable("testnet-1", time.Now, cfg.Known)}
		began = time.Now()
		cold.askMembers(t.Context())
		if got := cold.known("echo", 1); len(got) != 1 || got[0].Peer != provider.Self() {
			t.Errorf("by the descriptions of members alone: %v", got)
		}
		t.Logf("by the DHT's values of members alone after %s", time.Since(began))
		records := &Services{p: late, cfg: s.cfg, table: registry.NewTable("testnet-1", time.Now, cfg.Known)}
		records.askRecords(t.Context(), "echo", 1)
		if got := records.known("echo", 1); len(got) != 1 || got[0].Peer != provider.Self() {
			t.Errorf("by the service's records, of which the attacker wrote 200: %v", got)
		}
		for _, s := range append(all, s, cold, records) {
			for _, p := range s.List() {
				if !honest[p.Peer] {
					t.Errorf("an identity of the attacker is in the table of %s", s.p.ID())
				}
			}
		}

		// One that floods the DHT with records is scored for it.
		loud := evil.hosts[0]
		var claims []*pb.Message
		for i := range 12 * dhtWritesPerSecond {
			claim := pb.NewMessage(pb.Message_ADD_PROVIDER, binary.BigEndian.AppendUint32(slices.Clone(target), uint32(i)), 0)
			claim.ProviderPeers = pb.RawPeerInfosToPBPeers(evil.infos[:1])
			claims = append(claims, claim)
		}
		tellDHT(t, loud, hub.ID(), claims...)
		until(t, "the flood is scored", time.Minute, func() bool { return hub.gate.score(loud.ID()) > 0 })
	})
}

// tellDHT sends messages that have no answer, as fast as they go.
func tellDHT(t *testing.T, h host.Host, to peer.ID, list ...*pb.Message) {
	t.Helper()
	s, err := h.NewStream(t.Context(), to, "/bpci/testnet-1/kad/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(append(binary.AppendUvarint(nil, uint64(len(raw))), raw...)); err != nil {
			break // it was thrown out
		}
	}
	_ = s.Close()
}
