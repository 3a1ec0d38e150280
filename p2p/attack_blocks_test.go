package p2p

import (
	"bytes"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	bspb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/p2p/blob"
)

// swaps sends one message of Bitswap on a stream of its own, or on st; false if it was not taken.
func (s *siege) swaps(t *testing.T, st network.Stream, m message.BitSwapMessage) bool {
	t.Helper()
	_ = st.SetWriteDeadline(time.Now().Add(10 * time.Second))
	return m.ToNetV1(st) == nil
}

func (s *siege) swapStream(t *testing.T, h host.Host) network.Stream {
	t.Helper()
	st, err := h.NewStream(network.WithNoDial(t.Context(), "shown the door"), s.victim.ID(), "/ipfs/bitswap/1.2.0")
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestBlocksThatNobodyAskedForEndInScores pushes blocks at a peer that wants none. A block's name is made from its bytes,
// so that wrong bytes for a name that was asked for are such blocks, too.
func TestBlocksThatNobodyAskedForEndInScores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		h := s.raider(t)
		st := s.swapStream(t, h)
		before := heap()
		var sent []blob.CID
		for i := 0; !s.victim.gate.banned(h.ID()); i++ {
			if i == 20 {
				t.Fatalf("after %d blocks the raider's score is %.1f", i, s.victim.gate.score(h.ID()))
			}
			b := random(byte(200+i), 1<<20)
			sent = append(sent, blob.Of(digest.Of(b)))
			m := message.New(false)
			m.AddBlock(blocks.NewBlock(b))
			s.swaps(t, st, m)
			time.Sleep(time.Second)
		}
		t.Logf("kept out after %d blocks", len(sent))
		until(t, "the connection ends", time.Second, func() bool { return !s.victim.isMember(h.ID()) })
		for _, c := range sent {
			if have, err := s.blobs.Blocks().Has(t.Context(), c); err != nil || have {
				t.Errorf("a block that nobody asked for is kept: %v", err)
			}
		}
		if st := s.victim.Stats(); st.BlobsBad < uint64(len(sent)-1) {
			t.Errorf("%d bad blocks are counted", st.BlobsBad)
		}
		if taken := max(heap(), before) - before; taken > 16<<20 {
			t.Errorf("%d bytes taken", taken)
		}
		s.serves(t, "afterwards")
	})
}

// TestHugeWishListsAreBounded wishes for hundreds of thousands of blocks that do not exist.
func TestHugeWishListsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		h := s.raider(t)
		st := s.swapStream(t, h)
		before := heap()
		n := uint64(0)
		for range 40 {
			m := message.New(false)
			for range 10_000 {
				n++
				m.AddEntry(blob.Of(digest.Of(binary.BigEndian.AppendUint64(nil, n))), 1, bspb.Message_Wantlist_Block, true)
			}
			if !s.swaps(t, st, m) {
				t.Fatal("the victim hears no more")
			}
		}
		taken := max(heap(), before) - before
		t.Logf("%d wishes, %d KiB taken", n, taken>>10)
		if taken > 16<<20 {
			t.Errorf("%d bytes taken", taken)
		}
		s.serves(t, "meanwhile")
	})
}

// TestWhoReadsNoBlocksHoldsUpNobody has raiders wish for blocks that are there, on and on, and read none.
func TestWhoReadsNoBlocksHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSiege(t, 1)
		defer s.close()
		whole := random(99, 24<<20)
		root, err := s.blobs.Put(t.Context(), bytes.NewReader(whole), uint64(len(whole)))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := s.blobs.Source()(t.Context(), root.CID)
		if err != nil {
			t.Fatal(err)
		}
		list, _, err := blob.Links(raw)
		if err != nil || len(list) < 20 {
			t.Fatalf("%d blocks, %v", len(list), err)
		}
		before := heap()
		raiders := map[host.Host]network.Stream{}
		for range 6 {
			h := s.raider(t)
			h.SetStreamHandler("/ipfs/bitswap/1.2.0", func(st network.Stream) { // takes nothing
				<-t.Context().Done()
				_ = st.Reset()
			})
			raiders[h] = s.swapStream(t, h)
		}
		kept := 0
		for turn := 0; kept < len(raiders); turn++ {
			if turn == 20 {
				t.Fatalf("after %d turns %d of %d raiders are kept out", turn, kept, len(raiders))
			}
			kept = 0
			for h, st := range raiders {
				if s.victim.gate.banned(h.ID()) {
					kept++
					continue
				}
				m := message.New(false)
				for _, c := range list {
					m.AddEntry(c, 1, bspb.Message_Wantlist_Block, true)
				}
				s.swaps(t, st, m)
			}
			s.serves(t, "while blocks are not read")
			if taken := max(heap(), before) - before; taken > 128<<20 {
				t.Errorf("%d bytes taken", taken)
			}
			time.Sleep(10 * time.Second)
		}
		if s.victim.Stats().Slow == 0 {
			t.Error("nothing is counted")
		}
		s.serves(t, "afterwards")
	})
}
