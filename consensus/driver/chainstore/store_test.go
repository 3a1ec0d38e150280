package chainstore_test

import (
	"errors"
	"testing"

	"github.com/ipfs/go-datastore"
	pebbleds "github.com/ipfs/go-ds-pebble"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/internal/merkle"
)

func block(parent *consensus.Block, view consensus.View) driver.Committed {
	b := &consensus.Block{Txs: [][]byte{{byte(view)}}}
	b.Header.Version, b.Header.View, b.Header.TxRoot = consensus.ProtocolVersion, view, merkle.Root(b.Txs)
	if parent != nil {
		b.Header.Height, b.Header.Parent = parent.Header.Height+1, parent.ID()
	}
	return driver.Committed{Block: b, Finality: &consensus.Finality{Headers: []consensus.Header{b.Header}}}
}

func chain(n int) (list []driver.Committed) {
	var parent *consensus.Block
	for i := range n {
		list = append(list, block(parent, consensus.View(2*i)))
		parent = list[i].Block
	}
	return list
}

func TestStoreGivesBackItsChain(t *testing.T) {
	dir := t.TempDir()
	list := chain(5)
	var history merkle.Frontier
	for step := range 3 {
		ds, err := pebbleds.NewDatastore(dir)
		if err != nil {
			t.Fatal(err)
		}
		s, err := chainstore.Open(ds)
		if err != nil {
			t.Fatal(err)
		}
		switch step {
		case 0:
			if _, _, ok, err := s.Head(); ok || err != nil {
				t.Fatalf("empty store has a head: %t, %v", ok, err)
			}
			err = s.Put(list[:2])
		case 1:
			err = s.Put(list[2:])
		}
		if err == nil {
			err = s.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
		want := list[:[]int{2, 5, 5}[step]]
		history = merkle.Frontier{}
		for i, x := range want {
			id := x.Block.ID()
			history.Append(id[:])
			got, err := s.Block(consensus.Height(i))
			if err != nil || got.Block.ID() != id || got.Finality.Header().ID() != id {
				t.Fatalf("block %d: %v", i, err)
			}
			if h, err := s.Height(id); err != nil || h != consensus.Height(i) {
				t.Fatalf("height of block %d: %d, %v", i, h, err)
			}
		}
		head, past, ok, err := s.Head()
		if err != nil || !ok || head.Block.ID() != want[len(want)-1].Block.ID() || past.Root() != history.Root() {
			t.Fatalf("head: %t, %v", ok, err)
		}
		if _, err := s.Block(5); !errors.Is(err, driver.ErrNoBlock) {
			t.Fatalf("block 5: %v", err)
		}
		if _, err := s.Height(consensus.BlockID{1}); !errors.Is(err, driver.ErrNoBlock) {
			t.Fatalf("unknown id: %v", err)
		}
		if err := ds.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStoreRefusesWhatDoesNotFollow(t *testing.T) {
	s, err := chainstore.Open(datastore.NewMapDatastore())
	if err != nil {
		t.Fatal(err)
	}
	list := chain(4)
	for _, bad := range [][]driver.Committed{list[1:], {list[0], list[2]}} {
		if err := s.Put(bad); err == nil {
			t.Error("a gap was stored")
		}
	}
	if err := s.Put(list[:2]); err != nil {
		t.Fatal(err)
	}
	if err := s.Put([]driver.Committed{block(list[0].Block, 9), list[2]}); err == nil {
		t.Error("a branch was stored")
	}
	if head, _, _, _ := s.Head(); head.Block.Header.Height != 1 {
		t.Errorf("head moved to %d", head.Block.Header.Height)
	}
}

func TestStoreGivesBackHandovers(t *testing.T) {
	s, err := chainstore.Open(datastore.NewMapDatastore())
	if err != nil {
		t.Fatal(err)
	}
	list := chain(2)
	closing := block(list[1].Block, 9)
	closing.Block.Header.NextVals[0], closing.Block.Header.EventRoot[0] = 1, 1
	closing.Finality.Headers[0] = closing.Block.Header
	closing.Next = []consensus.Validator{{Weight: 7, Name: "next"}}
	if err := s.Put(append(list, closing)); err != nil {
		t.Fatal(err)
	}
	h, err := s.Handover(1)
	if err != nil {
		t.Fatal(err)
	}
	if h.Header().ID() != closing.Block.ID() || len(h.Next) != 1 || h.Next[0].Weight != 7 {
		t.Errorf("handover %+v", h)
	}
	if _, err := s.Handover(2); !errors.Is(err, driver.ErrNoBlock) {
		t.Errorf("handover that never was: %v", err)
	}
}
