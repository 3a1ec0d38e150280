package main

import (
	"bytes"
	"testing"

	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/metanode/metanode/bench/consensus/load"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
)

func open(t *testing.T, db database) *app {
	t.Helper()
	a, err := openApp(db)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// step executes a block of txs on parent, keeps it and gives it.
func step(t *testing.T, a *app, height consensus.Height, parent consensus.BlockID, txs [][]byte) (*consensus.Block, driver.Execution) {
	t.Helper()
	x, err := a.Execute(driver.BlockContext{Height: height, Parent: parent}, txs)
	if err != nil {
		t.Fatal(err)
	}
	b := &consensus.Block{Header: consensus.Header{Height: height, Parent: parent, StateRoot: x.StateRoot, EventRoot: x.EventRoot}, Txs: txs}
	a.Keep(b.ID(), x.Handle)
	return b, x
}

func TestAppStoresPairs(t *testing.T) {
	db := dssync.MutexWrap(datastore.NewMapDatastore())
	a := open(t, db)
	s := load.NewSigner(1, 2)
	tx := s.Tx(0)
	first, x := step(t, a, 1, consensus.BlockID{}, [][]byte{tx, s.Tx(1)})
	empty, y := step(t, a, 2, first.ID(), nil)
	if x.StateRoot == genesisRoot || y.StateRoot != x.StateRoot {
		t.Errorf("roots %s, %s, %s: a transaction changes the state, and an empty block does not", genesisRoot.Short(), x.StateRoot.Short(), y.StateRoot.Short())
	}
	if err := a.Commit(empty, nil); err == nil {
		t.Error("block 2 was committed on the genesis state")
	}
	for _, b := range []*consensus.Block{first, empty} {
		if err := a.Commit(b, nil); err != nil {
			t.Fatal(err)
		}
	}
	v, err := db.Get(t.Context(), datastore.RawKey("/kv/pair/"+string(tx[:load.KeyBytes])))
	if err != nil || !bytes.Equal(v, tx[load.KeyBytes+1:]) {
		t.Errorf("value %.20q, %v", v, err)
	}

	again := open(t, db)
	if again.Height() != 2 || again.head.Root != y.StateRoot {
		t.Errorf("after a restart at height %d, root %s: want 2, %s", again.Height(), again.head.Root.Short(), y.StateRoot.Short())
	}
	if err := again.Commit(first, nil); err != nil {
		t.Errorf("a block from before the restart: %v", err)
	}
}

func TestAppExecutesForksApart(t *testing.T) {
	a := open(t, dssync.MutexWrap(datastore.NewMapDatastore()))
	s := load.NewSigner(1, 2)
	one, x := step(t, a, 1, consensus.BlockID{}, [][]byte{s.Tx(0)})
	other, y := step(t, a, 1, consensus.BlockID{}, [][]byte{s.Tx(1)})
	_, z := step(t, a, 2, other.ID(), [][]byte{s.Tx(0)})
	if x.StateRoot == y.StateRoot || z.StateRoot == x.StateRoot {
		t.Error("forks share a state")
	}
	a.Drop(one.ID())
	if err := a.Commit(one, nil); err == nil {
		t.Error("a dropped block was committed")
	}
	if _, err := a.Execute(driver.BlockContext{Height: 2, Parent: one.ID()}, nil); err == nil {
		t.Error("a block was executed on a dropped one")
	}
}
