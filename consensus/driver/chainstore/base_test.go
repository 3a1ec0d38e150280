package chainstore_test

import (
	"errors"
	"testing"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/internal/merkle"
)

func history(list []driver.Committed) *merkle.Frontier {
	f := &merkle.Frontier{}
	for _, x := range list {
		id := x.Block.ID()
		f.Append(id[:])
	}
	return f
}

// holds checks which blocks of list the store has: those of height 0 and from base on.
func holds(t *testing.T, s *chainstore.Store, list []driver.Committed, base, head consensus.Height) {
	t.Helper()
	for i, x := range list {
		h := consensus.Height(i)
		want := h == 0 || h >= base && h <= head
		_, err := s.Block(h)
		at, idErr := s.Height(x.Block.ID())
		if (err == nil) != want || (idErr == nil) != want || want && at != h {
			t.Errorf("block %d is here: %t; want %t (%v, %v)", h, err == nil, want, err, idErr)
		}
		if !want && (!errors.Is(err, driver.ErrNoBlock) || !errors.Is(idErr, driver.ErrNoBlock)) {
			t.Errorf("block %d: %v, %v", h, err, idErr)
		}
	}
	if got, _ := s.Base(); got != base {
		t.Errorf("base %d, want %d", got, base)
	}
}

func TestPrunedBlocksAreGoneAndTheRestStays(t *testing.T) {
	ds := datastore.NewMapDatastore()
	s, err := chainstore.Open(ds)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(10, nil); err != nil {
		t.Fatal(err)
	}
	list := chain(200)
	if err := s.Put(list); err != nil {
		t.Fatal(err)
	}
	holds(t, s, list, 0, 199)
	var gone []consensus.Height
	for {
		more, err := s.Prune(150, func(_ datastore.Batch, x driver.Committed) error {
			gone = append(gone, x.Block.Header.Height)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if s, err = chainstore.Open(ds); err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
	}
	if len(gone) != 149 || gone[0] != 1 || gone[148] != 149 {
		t.Errorf("%d blocks went", len(gone))
	}
	holds(t, s, list, 150, 199)
	fault := errors.New("fault")
	if _, err := s.Prune(160, func(datastore.Batch, driver.Committed) error { return fault }); !errors.Is(err, fault) {
		t.Errorf("pruning went on: %v", err)
	}
	holds(t, s, list, 150, 199)
	for range 9 { // never the head
		if _, err := s.Prune(1000, nil); err != nil {
			t.Fatal(err)
		}
	}
	holds(t, s, list, 199, 199)
	if h, f, ok, err := s.Head(); err != nil || !ok || h.Block.Header.Height != 199 || f.Root() != history(list).Root() {
		t.Errorf("the head after pruning: %t, %v", ok, err)
	}
}

func TestRestartBeginsTheChainAtASnapshot(t *testing.T) {
	list := chain(400)
	ds := datastore.NewMapDatastore()
	s, err := chainstore.Open(ds)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(list[300], history(list[:301]), nil); err == nil {
		t.Fatal("a store without genesis was begun anew")
	}
	if err := s.Put(list[:101]); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []int{100, 50} {
		if err := s.Restart(list[bad], history(list[:bad+1]), nil); err == nil {
			t.Errorf("begun anew at block %d, below the head", bad)
		}
	}
	if err := s.Restart(list[300], history(list[:300]), nil); err == nil {
		t.Error("begun anew with the history of another block")
	}
	recent := []consensus.Header{list[298].Block.Header, list[299].Block.Header}
	if err := s.Restart(list[300], history(list[:301]), recent); err != nil {
		t.Fatal(err)
	}
	if s, err = chainstore.Open(ds); err != nil {
		t.Fatal(err)
	}
	if at, kept := s.Base(); at != 300 || len(kept) != 2 || kept[1].ID() != list[299].Block.ID() {
		t.Errorf("base %d with %d headers", at, len(kept))
	}
	if err := s.Put(list[301:310]); err != nil {
		t.Fatal(err)
	}
	// Once more, with leftovers of the first time.
	if err := s.Restart(list[350], history(list[:351]), nil); err != nil {
		t.Fatal(err)
	}
	for more := true; more; {
		if more, err = s.Prune(0, nil); err != nil {
			t.Fatal(err)
		}
	}
	holds(t, s, list, 350, 350)
	if err := s.Put(list[351:]); err != nil {
		t.Fatal(err)
	}
	holds(t, s, list, 350, 399)
	if h, f, _, err := s.Head(); err != nil || h.Block.Header.Height != 399 || f.Root() != history(list).Root() {
		t.Errorf("the head: %v", err)
	}
}
