package p2p

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/blob"
)

// apart makes two peers that know a third and are not connected to each other; the second provides what it has. It is
// no part of the first one's DHT, so that no search of that connects them on the way.
func apart(t *testing.T, whole []byte) (asker, holder *swapper, root blob.CID) {
	t.Helper()
	asker, holder = newSwapper(t), newSwapper(t, whole)
	between := newSwapper(t).Host
	r, _ := holder.store.Find(digest.Of(whole))
	one := []sign.PublicKey{between.Self()}
	connect(t, asker.Host, between)
	asker.trust.Store(&trust{known: func(k sign.PublicKey) bool { return k == one[0] }, members: func() []sign.PublicKey { return one }})
	eventually(t, "the asker's DHT is settled", func() bool { return !asker.trusts(holder.ID()) })
	connect(t, holder.Host, between) // from here on the asker can learn of it
	holder.x.Provide(func() []blob.CID { return []blob.CID{r.CID} })
	eventually(t, "the one between them keeps the record", func() bool {
		list, err := between.dht.ProviderStore().GetProviders(t.Context(), holder.recordKey(r.CID).Hash())
		return err == nil && len(list) == 1 && list[0].ID == holder.ID()
	})
	return asker, holder, r.CID
}

// part closes what the DHT's own searches have opened between two peers.
func part(t *testing.T, a, b *Host) {
	t.Helper()
	eventually(t, "they are not connected", func() bool {
		_ = a.h.Network().ClosePeer(b.ID())
		for h, o := range map[*Host]*Host{a: b, b: a} {
			if h.h.Network().Connectedness(o.ID()) == network.Connected || h.isMember(o.ID()) {
				return false
			}
		}
		return true
	})
}

func TestProviderThatIsNotConnectedIsFoundByItsRecord(t *testing.T) {
	whole := random(1, 3<<20)
	asker, holder, root := apart(t, whole)
	part(t, asker.Host, holder.Host)
	if err := asker.x.FetchDAG(t.Context(), blob.Of(digest.Of([]byte("nowhere"))), 1<<20); !errors.Is(err, errNobody) {
		t.Errorf("what nobody has: %v", err)
	}
	part(t, asker.Host, holder.Host) // either one's DHT may have dialed meanwhile
	if err := asker.x.FetchDAG(t.Context(), root, 10<<20); err != nil {
		t.Fatal(err)
	}
	asker.verify(t, whole)
}

func TestPeersThatTheChainKnowsAreDialedFirst(t *testing.T) {
	good := seeded(1).Public()
	var list []peer.AddrInfo
	for i := range byte(3 * seekDials) {
		list = append(list, peer.AddrInfo{ID: PeerID(seeded(100 + i).Public())})
	}
	list = append(list, peer.AddrInfo{ID: PeerID(good)})
	got := likeliest(slices.Clone(list), &trust{known: func(k sign.PublicKey) bool { return k == good }})
	if len(got) != seekDials || got[0].ID != PeerID(good) || got[1].ID != list[0].ID {
		t.Errorf("%d to dial, %v first", len(got), got[0].ID)
	}
	if got := likeliest(slices.Clone(list), nil); len(got) != seekDials || got[0].ID != list[0].ID {
		t.Errorf("without a chain, %d to dial, %v first", len(got), got[0].ID)
	}
}

// TestRecordKeyIsSpecified computes one by hand, from what docs/network.md says.
func TestRecordKeyIsSpecified(t *testing.T) {
	p := testHost(t, nil)
	v1 := blob.Of(digest.Of([]byte("x")))
	got := p.recordKey(v1)
	sum := sha256.Sum256([]byte("bpci/blob/1|testnet-1|2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"))
	if want := append([]byte{1, 0x55, 0x12, 32}, sum[:]...); !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got %x, want %x", got.Bytes(), want)
	}
	v0, err := blob.ParseCID("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG")
	if err != nil {
		t.Fatal(err)
	}
	if p.recordKey(v0) != p.recordKey(cid.NewCidV1(cid.DagProtobuf, v0.Hash())) {
		t.Error("two spellings of a CID have two keys")
	}
}

func TestRecordsAreWrittenAtAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var list []blob.CID
		for i := range 2 * MaxProvided {
			list = append(list, blob.Of(digest.Of(fmt.Append(nil, i))))
		}
		var mu sync.Mutex // of what follows; the test holds it but while time goes on
		written := map[blob.CID]int{}
		var last time.Time
		down := true
		r := &rounds{next: map[blob.CID]time.Time{}, roots: func() []blob.CID {
			mu.Lock()
			defer mu.Unlock()
			return list
		}, write: func(_ context.Context, c blob.CID) error {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return errors.New("nobody is there")
			}
			if time.Since(last) < provideGap {
				t.Errorf("two records within %s", time.Since(last))
			}
			written[c]++
			last = time.Now()
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.run(ctx) }()
		mu.Lock()
		defer mu.Unlock()
		at := func(d time.Duration) {
			mu.Unlock()
			defer mu.Lock()
			time.Sleep(time.Until(began.Add(d))) // of the test's own clock
			synctest.Wait()
		}
		at(time.Minute)
		down = false
		at(5 * time.Minute)
		if len(written) != MaxProvided {
			t.Fatalf("%d records after five minutes, want %d", len(written), MaxProvided)
		}
		for _, c := range list[:MaxProvided] {
			if written[c] != 1 {
				t.Fatalf("%s is written %d times", c, written[c])
			}
		}
		// What is new is told soon, and what is not listed any more is not told again.
		fresh := blob.Of(digest.Of([]byte("fresh")))
		list = append([]blob.CID{fresh}, list[1:100]...)
		at(6 * time.Minute)
		if written[fresh] != 1 {
			t.Errorf("what is new is written %d times within a minute", written[fresh])
		}
		at(55 * time.Minute) // before an hour, when the first records end
		for i, c := range append(list, blob.Of(digest.Of(fmt.Append(nil, 0)))) {
			if n := written[c]; (n < 2) != (i == len(list)) {
				t.Errorf("%d: %s is written %d times", i, c, n)
			}
		}
		cancel()
		mu.Unlock()
		<-ended
		mu.Lock()
		if len(r.next) > 2*MaxProvided {
			t.Errorf("%d records are remembered", len(r.next))
		}
	})
}
