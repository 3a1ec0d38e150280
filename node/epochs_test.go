package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/consensus/driver/statesync"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/consensus/snapshot/snapshottest"
	"github.com/metanode/metanode/internal/trie"
	"github.com/metanode/metanode/receipt"
)

// TestHandoversLeadToASnapshotsEpoch learns three changes of the validators from handovers, in their order, and none that
// is false.
func TestHandoversLeadToASnapshotsEpoch(t *testing.T) {
	c := snapshottest.New(4)
	state := new(trie.Map)
	state.Set([]byte("key"), []byte("value"))
	for h := 5; h < 20; h += 5 {
		c.Extend(h, state.Root())
		c.Close(state.Root())
	}
	c.Extend(25, state.Root())
	open := func(db *memory, trust string) *epochs {
		t.Helper()
		chain, err := chainstore.Open(db)
		if err != nil {
			t.Fatal(err)
		}
		e, err := newEpochs(c.Genesis, c.Blocks[0], chain, trust)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	db := newMemory()
	e := open(db, "")
	head := c.Head(20, state)
	if _, err := e.check(head); !errors.Is(err, statesync.ErrEpoch) || errors.Is(err, snapshot.ErrInvalid) {
		t.Errorf("a snapshot of an epoch that is not known: %v", err)
	}
	if err := e.Adopt(c.Handovers[1]); !errors.Is(err, snapshot.ErrInvalid) {
		t.Errorf("the second handover before the first: %v", err)
	}
	forged := *c.Handovers[0]
	forged.Next = append([]consensus.Validator(nil), forged.Next...)
	forged.Next[0].Weight += 10
	if err := e.Adopt(&forged); !errors.Is(err, snapshot.ErrInvalid) {
		t.Errorf("a handover to others: %v", err)
	}
	for i, h := range c.Handovers {
		if got := e.Known(); got != consensus.Epoch(i) {
			t.Fatalf("epoch %d is known, want %d", got, i)
		}
		if err := e.Adopt(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Adopt(c.Handovers[0]); err != nil {
		t.Errorf("what is known already: %v", err)
	}
	for _, e := range []*epochs{e, open(db, "")} {
		if got := e.Known(); got != 3 {
			t.Fatalf("epoch %d is known, want 3", got)
		}
		if _, err := e.check(head); err != nil {
			t.Error(err)
		}
	}

	// Validators that are not the trust file's are not taken for its epoch, whoever signed for them.
	set, err := consensus.NewValidatorSet(c.Handovers[1].Next)
	if err != nil {
		t.Fatal(err)
	}
	file := func(f *receipt.TrustFile) string {
		raw, err := f.Encode()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "trust.json")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	trust := receipt.NewTrustFile(c.Genesis, c.Handovers[1].Header(), set)
	e = open(newMemory(), file(trust))
	for _, h := range c.Handovers {
		if err := e.Adopt(h); err != nil {
			t.Errorf("the chain of the trust file: %v", err)
		}
	}
	trust.Validators[0].Weight++
	e = open(newMemory(), file(trust))
	if err := e.Adopt(c.Handovers[0]); err != nil {
		t.Fatal(err)
	}
	if err := e.Adopt(c.Handovers[1]); !errors.Is(err, snapshot.ErrInvalid) {
		t.Errorf("validators that are not the trust file's: %v", err)
	}
}
