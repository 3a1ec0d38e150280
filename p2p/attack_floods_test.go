package p2p

import (
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"
)

// gossiper is a raider's stream of gossip to the victim, below any library's rules.
type gossiper struct {
	s network.Stream
}

func (s *siege) gossiper(t *testing.T, h host.Host) *gossiper {
	t.Helper()
	h.SetStreamHandler(pubsub.GossipSubID_v12, func(st network.Stream) { // what the victim has to say is not read
		<-t.Context().Done()
		_ = st.Reset()
	})
	st, err := h.NewStream(t.Context(), s.victim.ID(), pubsub.GossipSubID_v12)
	if err != nil {
		t.Fatal(err)
	}
	return &gossiper{st}
}

// says sends one RPC; false once the victim hears no more.
func (g *gossiper) says(t *testing.T, m *pb.RPC) bool {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	_ = g.s.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err = g.s.Write(append(binary.AppendUvarint(nil, uint64(len(raw))), raw...))
	return err == nil
}

func said(topic, data string) *pb.RPC {
	return &pb.RPC{Publish: []*pb.Message{{Topic: &topic, Data: []byte(data)}}}
}

// TestFloodOfInvalidMessagesEndsWithItsSender has a raider for each topic send what its validator rejects, without end.
func TestFloodOfInvalidMessagesEndsWithItsSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		for _, topic := range s.victim.ps.GetTopics() {
			h := s.raider(t)
			g := s.gossiper(t, h)
			sent := 0
			for !s.victim.gate.banned(h.ID()) && sent < 5000 {
				if !g.says(t, said(topic, fmt.Sprintf("nonsense %d", sent))) {
					break
				}
				sent++
				time.Sleep(time.Millisecond)
			}
			t.Logf("%s: kept out after %d messages", topic, sent)
			until(t, "the raider is kept out", 5*time.Second, func() bool { return s.victim.gate.banned(h.ID()) && !s.victim.isMember(h.ID()) })
		}
		if st := s.victim.Stats(); st.GossipRejected < 2*banScore || st.Gate.Passed == 0 {
			t.Errorf("what the victim counts: %+v", st)
		}
		s.serves(t, "after the floods")
	})
}

// TestFloodOfValidMessagesIsBounded sends valid messages faster than the victim takes them of one peer: what is too much
// is dropped and counted and not sent on, and a friend's messages arrive meanwhile. The raider's share is small here, so
// that a flood is one on a link of 100 Mbit/s.
func TestFloodOfValidMessagesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		h := s.raider(t)
		g := s.gossiper(t, h)
		s.victim.flow.mu.Lock()
		s.victim.flow.peers[h.ID()] = rate.NewLimiter(1<<20, 2<<20)
		s.victim.flow.mu.Unlock()
		data := make([]byte, 128<<10)
		copy(data, "ok")
		const flood = 100 // 12 MiB, in about a second
		delivered := s.victim.Stats().Delivered
		for i := range flood {
			binary.BigEndian.PutUint64(data[8:], uint64(i))
			if !g.says(t, said(s.victim.topicName("talk"), string(data))) {
				t.Fatalf("the victim hears no more after %d messages", i)
			}
			if i%25 == 24 {
				s.serves(t, "in the flood")
			}
		}
		time.Sleep(time.Second)
		st := s.victim.Stats()
		taken, dropped := int(st.Delivered-delivered), int(st.GossipThrottled)
		t.Logf("of %d messages %d are taken and %d dropped", flood, taken, dropped)
		if taken < 16 || dropped < flood/2 || taken+dropped < flood {
			t.Errorf("what the victim counts: %+v", st)
		}
		if sent := len(s.news); sent > taken {
			t.Errorf("%d messages are sent on", sent)
		}
		if s.victim.gate.score(h.ID()) != 0 {
			t.Error("a peer that sends on too much is scored, though an honest one may")
		}
		s.serves(t, "after the flood")
	})
}

// TestControlFloodIsBounded sends gossip's own words without end: subscriptions to topics that are nobody's, grafts and
// announcements of messages that do not exist.
func TestControlFloodIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		h := s.raider(t)
		g := s.gossiper(t, h)
		before := heap()
		yes := true
		for i := range 3000 {
			var m pb.RPC
			for j := range 60 {
				topic := s.victim.topicName(fmt.Sprintf("t%d-%d", i, j))
				m.Subscriptions = append(m.Subscriptions, &pb.RPC_SubOpts{Subscribe: &yes, Topicid: &topic})
			}
			talk := s.victim.topicName("talk")
			ids := make([]string, 100)
			for j := range ids {
				ids[j] = fmt.Sprintf("%032d", i*len(ids)+j)
			}
			m.Control = &pb.ControlMessage{Graft: []*pb.ControlGraft{{TopicID: &talk}}, Ihave: []*pb.ControlIHave{{TopicID: &talk, MessageIDs: ids}}, Iwant: []*pb.ControlIWant{{MessageIDs: ids}}}
			if !g.says(t, &m) {
				break
			}
		}
		until(t, "the raider is kept out", 5*time.Second, func() bool { return s.victim.gate.banned(h.ID()) && !s.victim.isMember(h.ID()) })
		taken := max(heap(), before) - before
		t.Logf("%d KiB taken", taken>>10)
		if taken > 32<<20 {
			t.Errorf("%d bytes taken", taken)
		}
		s.serves(t, "after the flood")
	})
}

// TestFlowGivesEachPeerItsShare: one peer that takes all it can leaves the others theirs, and all together have a bound.
func TestFlowGivesEachPeerItsShare(t *testing.T) {
	f, now := newFlow(), time.Unix(1, 0)
	take := func(id peer.ID) (n int) {
		for f.take(id, 1<<20, now) {
			n++
		}
		return n
	}
	if n := take("one"); n != flowPeerBurst>>20 {
		t.Errorf("one peer takes %d MiB after a pause", n)
	}
	if n := take("two"); n != (flowTotalBurst-flowPeerBurst)>>20 {
		t.Errorf("the next takes %d MiB", n)
	}
	if n := take("three"); n != 0 {
		t.Errorf("a third takes %d MiB, beyond what all may", n)
	}
	now = now.Add(time.Second)
	if n := take("one"); n != flowPeerRate>>20 {
		t.Errorf("one peer takes %d MiB in a second", n)
	}
	if n := take("three"); n != (flowTotalRate-flowPeerRate)>>20 {
		t.Errorf("then another takes %d MiB", n)
	}
	f.forget("one")
	if len(f.peers) != 2 {
		t.Errorf("%d peers are remembered", len(f.peers))
	}
}
