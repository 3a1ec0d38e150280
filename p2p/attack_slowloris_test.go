package p2p

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// mayIdle are the protocols on which a stream may be silent for ever: one that is used has nothing to say while there is
// no work. What a peer may hold of them is bounded by number.
func mayIdle(v *Host) map[protocol.ID]bool {
	idle := map[protocol.ID]bool{v.proto("link/vote"): true}
	for _, id := range v.h.Mux().Protocols() {
		for _, prefix := range []string{"/meshsub/", "/floodsub/", "/ipfs/bitswap"} {
			if bytes.HasPrefix([]byte(id), []byte(prefix)) {
				idle[id] = true
			}
		}
	}
	return idle
}

// TestSilentStreamsEnd has raiders open many streams of everything that a host serves and say nothing, or begin
// something that never ends. The victim goes on to answer its friend, holds no more than so many streams of a peer, and
// ends them.
func TestSilentStreamsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		protos := s.victim.h.Mux().Protocols()
		if len(protos) < 20 {
			t.Fatalf("the victim serves only %v", protos)
		}
		reached := map[protocol.ID]int{} // the most streams that were held
		banned := 0
		for _, say := range []struct {
			what  string
			bytes []byte
		}{
			{"nothing", nil},
			{"half a length", []byte{0, 0}},
			{"a begun frame", []byte{0, 0, 0, 10, 'x'}},
			{"a begun message", []byte{0xff, 0x1f, 'x'}},
			{"a begun head", []byte("POST / HTTP/1.1\r\nHost: x\r\n")},
			{"a begun body", []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")},
		} {
			var raiders []host.Host
			fresh := func() host.Host { raiders = append(raiders, s.raider(t)); return raiders[len(raiders)-1] }
			h := fresh()
			for _, id := range protos {
				if s.victim.gate.banned(h.ID()) {
					h = fresh()
					banned++
				}
				s.opens(t, h, id, 200, say.bytes)
				total, by := s.holds(h.ID())
				if by[id] > 128 || total > 256 {
					t.Errorf("%s: the victim holds %d streams of one peer on %s, and %d in all", say.what, by[id], id, total)
				}
				reached[id] = max(reached[id], by[id])
			}
			s.serves(t, "while raiders say "+say.what)
			idle := mayIdle(s.victim)
			took := until(t, say.what+": the streams end", 3*time.Minute, func() bool {
				for _, h := range raiders {
					_, by := s.holds(h.ID())
					for id, n := range by {
						if !idle[id] && n > 0 || n > foreignStreams {
							return false
						}
					}
				}
				return true
			})
			t.Logf("%d raiders say %s: ended after %s", len(raiders), say.what, took)
			for _, h := range raiders {
				_ = h.Close()
			}
		}
		t.Logf("at most: %v", reached)
		for _, id := range []protocol.ID{s.victim.proto("rpc/echo"), s.victim.proto("stream/api/1"), s.victim.proto("kad/1.0.0"), s.victim.proto("link/vote"), "/ipfs/bitswap/1.2.0", "/meshsub/1.2.0"} {
			if reached[id] == 0 {
				t.Errorf("no raider had a stream of %s", id)
			}
		}
		if st := s.victim.Stats(); st.Slow == 0 || st.Busy == 0 || st.Refused == 0 || len(st.Refusals) == 0 || banned == 0 {
			t.Errorf("%d raiders were kept out; what the victim counts: %+v", banned, st)
		}
		s.serves(t, "afterwards")
	})
}
