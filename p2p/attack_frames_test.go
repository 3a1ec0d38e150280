package p2p

import (
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// framed is the protocols of a siege's victim whose messages have a length in front, with the most that one may be.
func (s *siege) framed() []framedProto {
	v := s.victim
	fixed := func(n uint64) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }
	varint := func(n uint64) []byte { return binary.AppendUvarint(nil, n) }
	return []framedProto{
		{v.proto("rpc/echo"), 1 << 20, fixed},
		{v.proto("rpc/svc/echo/1"), 64 << 10, fixed},
		{v.proto("rpc/" + describeProto), 64, fixed},
		{v.proto("rpc/" + nameProto), maxCID, fixed},
		{v.proto("rpc/" + clockProto), 16, fixed},
		{v.proto("link/vote"), MaxFrame, fixed},
		{v.proto("kad/1.0.0"), maxDHTMessage, varint},
		{"/ipfs/bitswap/1.2.0", network.MessageSizeMax, varint},
		{"/meshsub/1.2.0", maxGossipMessage, varint},
	}
}

type framedProto struct {
	id     protocol.ID
	limit  uint64
	length func(uint64) []byte
}

// TestOversizedFramesEndInScores claims more than a protocol allows, by one byte and by as much as a length can say.
func TestOversizedFramesEndInScores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		for _, f := range s.framed() {
			for _, n := range []uint64{f.limit + 1, 1<<32 - 1} {
				h := s.raider(t)
				st := s.opens(t, h, f.id, 1, append(f.length(n), "and some bytes"...))
				if len(st) != 1 {
					t.Fatalf("%s: no stream", f.id)
				}
				until(t, fmt.Sprintf("%s: %d bytes claimed: the stream ends", f.id, n), time.Second, func() bool {
					_, by := s.holds(h.ID())
					return by[f.id] == 0
				})
				if got := s.victim.gate.score(h.ID()); got < PenaltyMajor-1 {
					t.Errorf("%s: %d bytes claimed: the raider's score is %.1f", f.id, n, got)
				}
				_ = h.Close()
			}
		}
		s.serves(t, "afterwards")
	})
}

// heap is what is in use, whatever the collector has not seen to yet.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestClaimsTakeNoMemory has raiders claim the most that each protocol allows, on as many streams as they get, and send
// one byte of it.
func TestClaimsTakeNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		var raiders []host.Host
		for range 3 {
			raiders = append(raiders, s.raider(t))
		}
		var claimed uint64
		before := heap()
		for _, h := range raiders {
			for _, f := range s.framed() {
				s.opens(t, h, f.id, foreignStreams, append(f.length(f.limit), 1))
				_, by := s.holds(h.ID())
				claimed += uint64(by[f.id]) * f.limit
			}
		}
		taken := max(heap(), before) - before
		t.Logf("%d MiB claimed, %d MiB taken", claimed>>20, taken>>20)
		if claimed < 256<<20 || taken > 32<<20 {
			t.Errorf("%d bytes claimed, %d taken", claimed, taken)
		}
		s.serves(t, "while the claims stand")
		until(t, "what does not end is ended", 2*frameTime, func() bool {
			n := 0
			for _, h := range raiders {
				_, by := s.holds(h.ID())
				for _, f := range s.framed() {
					n += by[f.id]
				}
			}
			return n == 0
		})
		for _, h := range raiders {
			if s.victim.gate.score(h.ID()) == 0 {
				t.Error("a raider is not scored")
			}
		}
	})
}

// memoryOf is what the victim's resource manager holds against a peer.
func (s *siege) memoryOf(t *testing.T, id peer.ID) (bytes int64) {
	t.Helper()
	if err := s.victim.guard.ViewPeer(id, func(p network.PeerScope) error { bytes = p.Stat().Memory; return nil }); err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestUnreadAnswersAreBounded asks for the largest answers, on as many streams as there are, and reads none of them.
func TestUnreadAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, MaxFrame-2)
		defer s.close()
		h := s.raider(t)
		before := heap()
		asked := 0
		for !s.victim.gate.banned(h.ID()) {
			if asked > 200 {
				t.Fatalf("after %d answers that it did not read the raider's score is %.1f", asked, s.victim.gate.score(h.ID()))
			}
			streams := s.opens(t, h, s.victim.proto("rpc/large"), 8+maxIdleStreams, []byte{0, 0, 0, 0})
			asked += len(streams)
			if taken := max(heap(), before) - before; taken > 12*MaxFrame {
				t.Errorf("%d bytes taken for answers to one peer", taken)
			}
			if held := s.memoryOf(t, h.ID()); held > 12*MaxFrame {
				t.Errorf("the resource manager holds %d bytes against one peer", held)
			}
			s.serves(t, "while answers wait")
			time.Sleep(21 * time.Second) // the time of an answer
		}
		t.Logf("kept out after %d answers", asked)
		st := s.victim.Stats()
		if st.Slow == 0 || st.Busy == 0 || st.Refused == 0 {
			t.Errorf("what the victim counts: %+v", st)
		}
		until(t, "its memory is given back", time.Minute, func() bool { return s.memoryOf(t, h.ID()) == 0 })
		if got, err := s.friend.Call(t.Context(), s.victim.Self(), "large", nil); err != nil || len(got) != MaxFrame-2 {
			t.Errorf("a friend who reads has %d bytes, %v", len(got), err)
		}
	})
}

// TestTruncatedFramesAreOver closes each stream in the middle of a frame: nothing is delivered and nothing is kept.
func TestTruncatedFramesAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		for _, f := range s.framed() {
			h := s.raider(t)
			for cut := 1; cut < 8; cut++ {
				whole := append(f.length(8), "half of "...)
				for _, st := range s.opens(t, h, f.id, 1, whole[:cut]) {
					_ = st.CloseWrite()
					_ = st.SetReadDeadline(time.Now().Add(5 * time.Second))
					_, _ = io.Copy(io.Discard, st)
					_ = st.Reset()
				}
			}
			until(t, string(f.id)+": the streams end", 5*time.Second, func() bool {
				_, by := s.holds(h.ID())
				return by[f.id] == 0
			})
			_ = h.Close()
		}
		select {
		case m := <-s.linked:
			t.Errorf("half a message was delivered: %q", m)
		default:
		}
		s.serves(t, "afterwards")
	})
}
