package p2p

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/registry"
)

// TestBurstThatGossipDropsArrivesByPull publishes 5,000 descriptions, five of each of 1,000 peers, faster than they can be
// sent. Gossip drops most of them, says so in its counters, and is right to: it is the newest of each peer that must
// arrive, and the table of a peer that has it brings it.
func TestBurstThatGossipDropsArrivesByPull(t *testing.T) {
	const authors, each = 1000, 5
	synctest.Test(t, func(t *testing.T) {
		m := newSimMesh(t, 3)
		defer m.close()
		m.join(t)
		var all []*Services
		for _, h := range m.hosts {
			all = append(all, testServices(t, h, ServicesConfig{}))
		}
		source := all[0]
		until(t, "the topic is whole", time.Minute, func() bool { return source.topic.Peers() == 2 })
		time.Sleep(5 * time.Second) // what joining pulls is over
		now := uint64(time.Now().UnixMilli())
		var list [][]byte
		for range authors {
			k := newPrivate(t)
			for seq := range each {
				list = append(list, described(t, k, func(d *registry.Description) {
					d.Seq, d.ExpiresMs = uint64(seq+1), now+uint64(registry.MaxLifetime.Milliseconds())
				}))
			}
		}
		for _, raw := range list {
			if out, _, err := source.table.Put(raw); out != registry.News || err != nil {
				t.Fatalf("%v, %v", out, err)
			}
		}
		for _, raw := range list {
			if err := source.topic.Publish(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
		}
		newest := func(s *Services) (n int) {
			for _, d := range s.table.All() {
				if d.Seq == each {
					n++
				}
			}
			return n
		}
		time.Sleep(10 * time.Second) // what gossip brings, it has brought
		dropped := source.p.Stats().GossipDropped
		by := []int{newest(all[1]), newest(all[2])}
		t.Logf("published %d: %d drops, and by gossip alone %v of %d newest arrived", len(list), dropped, by, authors)
		if dropped == 0 || by[0] == authors || by[1] == authors {
			t.Error("gossip dropped nothing: the burst is none")
		}
		took := until(t, "the newest of everyone arrives everywhere", 5*time.Minute, func() bool { return newest(all[1]) == authors && newest(all[2]) == authors })
		t.Logf("all of them after %s more", took)
	})
}

// TestSlowSubscriberIsCounted: a topic whose handler is too slow drops the newest, and the counter says how many.
func TestSlowSubscriberIsCounted(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	connect(t, a, b)
	ta, err := a.Join("burst", accept)
	if err != nil {
		t.Fatal(err)
	}
	tb, err := b.Join("burst", accept)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	if err := tb.Subscribe(func(sign.PublicKey, []byte) { <-stop }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic is known", func() bool { return ta.Peers() == 1 })
	const burst = 5000
	for i := range burst {
		if err := ta.Publish(t.Context(), []byte{byte(i), byte(i >> 8)}); err != nil {
			t.Fatal(err)
		}
	}
	// Each message is accounted for: sent and waiting, dropped on the way out, or dropped here.
	eventually(t, "every message is accounted for", func() bool {
		sa, sb := a.Stats(), b.Stats()
		return sb.Delivered+deliverQueue+sb.GossipUndelivered+sb.GossipThrottled+sa.GossipDropped >= burst && sb.GossipUndelivered+sa.GossipDropped > 0
	})
	close(stop)
}
