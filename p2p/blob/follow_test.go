package blob

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/metanode/metanode/internal/digest"
)

// blocksOf cuts bytes into blocks, the top first and then the rest in the file's order, each once.
func blocksOf(t *testing.T, raw []byte) (top CID, list []blocks.Block) {
	t.Helper()
	seen := map[CID]bool{}
	n, err := BuildFile(t.Context(), bytes.NewReader(raw), func(_ context.Context, b ipld.Node) error {
		if !seen[b.Cid()] {
			seen[b.Cid()] = true
			list = append(list, b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(list, func(a, b blocks.Block) int { // layers from the top
		return rank(a) - rank(b)
	})
	i := slices.IndexFunc(list, func(b blocks.Block) bool { return b.Cid().Equals(n.Cid()) })
	list[0], list[i] = list[i], list[0]
	return n.Cid(), list
}

func rank(b blocks.Block) int {
	if isRaw(b.Cid()) {
		return 1
	}
	return 0
}

func TestFollowerFindsTheDigestInAnyOrder(t *testing.T) {
	repeats := slices.Concat(noise(1, chunk), noise(2, chunk), noise(1, chunk), noise(1, chunk), noise(3, 5))
	plain := noise(4, 40*chunk+17)
	for name, raw := range map[string][]byte{"empty": {}, "one block": noise(5, 100), "repeats": repeats, "many blocks": plain} {
		for _, order := range []string{"in order", "backwards", "by chance", "half was there"} {
			t.Run(name+" "+order, func(t *testing.T) {
				s := openStore(t, t.TempDir(), 0)
				top, list := blocksOf(t, raw)
				rest := list[1:]
				switch order {
				case "backwards":
					slices.Reverse(rest)
				case "by chance":
					rnd := rand.New(rand.NewPCG(1, 2))
					rnd.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
				case "half was there":
					before := s.Write()
					for i, b := range rest {
						if i%2 == 0 {
							if err := before.PutMany(t.Context(), []blocks.Block{b}); err != nil {
								t.Fatal(err)
							}
						}
					}
					defer before.End()
				}
				w := s.Write()
				defer w.End()
				w.Follow(top)
				for batch := range slices.Chunk(list, 3) {
					if err := w.PutMany(t.Context(), batch); err != nil {
						t.Fatal(err)
					}
				}
				if order == "in order" && name != "repeats" && !w.follow.ends {
					t.Errorf("the blocks came in order, and the digest of %d of %d bytes is known", w.follow.done, len(raw))
				}
				root, err := w.Complete(t.Context(), top)
				if err != nil || root.Digest != digest.Of(raw) || root.Bytes != uint64(len(raw)) {
					t.Errorf("%+v, %v: want %s", root, err, digest.Of(raw))
				}
				if w.follow.err != nil || w.follow.size > heldBytes {
					t.Errorf("%v; %d bytes are held", w.follow.err, w.follow.size)
				}
			})
		}
	}
}

func TestFollowerLeavesToTheEndWhatIsNoFile(t *testing.T) {
	m := madeUp{}
	file := m.add(merkledag.NewRawNode([]byte("x")))
	folder := m.folder(t, ipld.Link{Name: "a", Cid: file, Size: 1})
	s := openStore(t, t.TempDir(), 0)
	w := s.Write()
	defer w.End()
	w.Follow(folder)
	for _, b := range m {
		if err := w.PutMany(t.Context(), []blocks.Block{b}); err != nil {
			t.Fatal(err)
		}
	}
	root, err := w.Complete(t.Context(), folder)
	if err != nil || !root.Folder || !root.Digest.IsZero() {
		t.Errorf("%+v, %v", root, err)
	}
}

// TestFileOfNothingManyTimesIsRead is a file that names an empty file twice, which names another twice, and so on: 2^60
// times nothing.
func TestFileOfNothingManyTimesIsRead(t *testing.T) {
	m := madeUp{}
	c := m.add(merkledag.NewRawNode(nil))
	for range 60 {
		inner := unixfs.NewFSNode(unixfs.TFile)
		inner.AddBlockSize(0)
		inner.AddBlockSize(0)
		data, err := inner.GetBytes()
		if err != nil {
			t.Fatal(err)
		}
		n := merkledag.NodeWithData(data)
		if err := n.SetCidBuilder(cidBuilder); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := n.AddRawLink("", &ipld.Link{Cid: c}); err != nil {
				t.Fatal(err)
			}
		}
		c = m.add(n)
	}
	s := openStore(t, t.TempDir(), 0)
	for _, follows := range []bool{false, true} {
		w := s.Write()
		if follows {
			w.Follow(c)
		}
		for _, b := range m {
			if err := w.PutMany(t.Context(), []blocks.Block{b}); err != nil {
				t.Fatal(err)
			}
		}
		root, err := w.Complete(t.Context(), c)
		if err != nil || root.Digest != digest.Of(nil) || root.Bytes != 0 {
			t.Errorf("following: %t: %+v, %v", follows, root, err)
		}
		w.End()
	}
}
