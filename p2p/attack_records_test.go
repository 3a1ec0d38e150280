package p2p

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-datastore"
	dsquery "github.com/ipfs/go-datastore/query"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/p2p/registry"
)

// kad is a raider's stream to the victim's DHT.
func (s *siege) kad(t *testing.T, h host.Host) network.Stream {
	t.Helper()
	st, err := h.NewStream(network.WithNoDial(t.Context(), "shown the door"), s.victim.ID(), s.victim.proto("kad/1.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestFloodOfRecordsEndsWithItsWriter writes into the victim's part of the DHT without end: providers of services that do
// not exist, and values that nobody signed. What is kept has a bound, the writer is kept out, and what a friend wrote
// before is found.
func TestFloodOfRecordsEndsWithItsWriter(t *testing.T) {
	for name, write := range map[string]func(h host.Host, i int) *pb.Message{
		"providers": func(h host.Host, i int) *pb.Message {
			m := pb.NewMessage(pb.Message_ADD_PROVIDER, registry.Key("testnet-1", fmt.Sprint("s", i), 1).Hash(), 0)
			m.ProviderPeers = pb.RawPeerInfosToPBPeers([]peer.AddrInfo{{ID: h.ID(), Addrs: h.Addrs()}})
			return m
		},
		"values": func(_ host.Host, i int) *pb.Message {
			d := digest.Of(fmt.Append(nil, i))
			id, _ := peer.IDFromBytes(append([]byte{0x12, 0x20}, d[:]...))
			key := registry.ValueKey(id)
			m := pb.NewMessage(pb.Message_PUT_VALUE, []byte(key), 0)
			m.Record = record.MakePutRecord(key, make([]byte, registry.MaxBytes))
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSiege(t, 1)
				defer s.close()
				until(t, "a friend's value is with the victim", time.Minute, func() bool {
					_, err := s.victim.dht.GetValue(t.Context(), registry.ValueKey(s.friend.ID()))
					return err == nil
				})
				h := s.raider(t)
				before := heap()
				sent := 0
				var st network.Stream
				for ; !s.victim.gate.banned(h.ID()); sent++ {
					if sent == 20_000 {
						t.Fatalf("after %d records the raider's score is %.1f", sent, s.victim.gate.score(h.ID()))
					}
					if st == nil {
						st = s.kad(t, h)
					}
					raw, err := proto.Marshal(write(h, sent))
					if err != nil {
						t.Fatal(err)
					}
					_ = st.SetDeadline(time.Now().Add(time.Second))
					_, err = st.Write(append(binary.AppendUvarint(nil, uint64(len(raw))), raw...))
					if err == nil && name == "values" {
						_, err = readDHT(bufio.NewReader(st)) // there is no answer to a record that is refused
					}
					if err != nil {
						_ = st.Reset()
						st = nil
						if len(h.Network().ConnsToPeer(s.victim.ID())) == 0 {
							break
						}
					}
				}
				until(t, "the writer is kept out", 5*time.Second, func() bool { return s.victim.gate.banned(h.ID()) && !s.victim.isMember(h.ID()) })
				taken := max(heap(), before) - before
				t.Logf("kept out after %d records; %d KiB taken", sent, taken>>10)
				if taken > 8<<20 {
					t.Errorf("%d bytes taken", taken)
				}
				if _, err := s.victim.dht.GetValue(t.Context(), registry.ValueKey(s.friend.ID())); err != nil {
					t.Errorf("a friend's value: %v", err)
				}
				s.serves(t, "after the flood")
			})
		})
	}
}

// TestStoreOfRecordsIsBounded fills it far beyond its bound.
func TestStoreOfRecordsIsBounded(t *testing.T) {
	b := newBoundedStore(100)
	for i := range 1000 {
		key := datastore.NewKey(fmt.Sprint(i))
		if err := b.Put(t.Context(), key, []byte{1}); err != nil {
			t.Fatal(err)
		}
		if ok, err := b.Has(t.Context(), key); err != nil || !ok {
			t.Fatalf("what was just written is not there: %v", err)
		}
	}
	got, err := b.Query(t.Context(), dsquery.Query{KeysOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	all, err := got.Rest()
	if err != nil || len(all) != 100 || len(b.keys) != 100 {
		t.Errorf("%d entries and %d names, %v", len(all), len(b.keys), err)
	}
	for _, e := range all {
		if err := b.Delete(t.Context(), datastore.NewKey(e.Key)); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.keys) != 0 {
		t.Errorf("%d names are left", len(b.keys))
	}
}
