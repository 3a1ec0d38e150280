package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/bench/consensus/load"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
)

// database is where the application's pairs and the chain's blocks are.
type database = datastore.Batching

// app is the key-value application behind consensus: a transaction stores its value under its key. The driver has
// verified who signed it (driver.Config.Check). The state root is a hash over all that was stored, in order; the pairs themselves are on disk. It implements
// driver.App, and like any, is called by the driver's goroutine alone.
type app struct {
	db   database
	head head
	kept map[consensus.BlockID]execution
}

// head is the last block whose effects are on disk.
type head struct {
	_      struct{} `cbor:",toarray"`
	Height consensus.Height
	Root   digest.Digest
}

// execution is the outcome of a block that is not final.
type execution struct {
	root  digest.Digest
	pairs [][]byte // the transactions
}

var (
	genesisRoot = digest.Sum("bpi-kv/state/1")
	appHead     = datastore.NewKey("/kv/head")
)

func openApp(db database) (*app, error) {
	a := &app{db: db, head: head{Root: genesisRoot}, kept: map[consensus.BlockID]execution{}}
	raw, err := db.Get(context.Background(), appHead)
	if errors.Is(err, datastore.ErrNotFound) {
		return a, nil
	}
	if err == nil {
		err = canon.Unmarshal(raw, &a.head)
	}
	if err != nil {
		return nil, fmt.Errorf("read the application's state: %w", err)
	}
	return a, nil
}

// Execute implements driver.App. The event of a transaction names it.
func (a *app) Execute(at driver.BlockContext, txs [][]byte) (driver.Execution, error) {
	root := a.head.Root
	if parent, ok := a.kept[at.Parent]; ok {
		root = parent.root
	} else if at.Height != a.head.Height+1 {
		return driver.Execution{}, fmt.Errorf("execute block %d: the state after its parent %s is not at hand", at.Height, at.Parent.Short())
	}
	x := execution{root: root, pairs: txs}
	events := make([][]byte, len(txs))
	for i, tx := range txs {
		id := digest.Of(tx)
		events[i] = id[:]
	}
	eventRoot := merkle.Root(events)
	if len(txs) > 0 {
		x.root = digest.Sum("bpi-kv/state/1", root[:], eventRoot[:])
	}
	return driver.Execution{StateRoot: x.root, EventRoot: eventRoot, Handle: x}, nil
}

// Keep implements driver.App.
func (a *app) Keep(id consensus.BlockID, handle any) { a.kept[id] = handle.(execution) }

// Drop implements driver.App.
func (a *app) Drop(id consensus.BlockID) { delete(a.kept, id) }

// Commit implements driver.App: pairs and head in one batch, made durable by the store's next sync.
func (a *app) Commit(b *consensus.Block, _ *consensus.Finality) error {
	if b.Header.Height <= a.head.Height {
		return nil // before a restart
	}
	id := b.ID()
	x, ok := a.kept[id]
	if !ok || b.Header.Height != a.head.Height+1 {
		return fmt.Errorf("commit block %d (%s) on %d: it was not executed here", b.Header.Height, id.Short(), a.head.Height)
	}
	ctx := context.Background()
	next := head{Height: b.Header.Height, Root: x.root}
	batch, err := a.db.Batch(ctx)
	for i := 0; err == nil && i < len(x.pairs); i++ {
		err = batch.Put(ctx, datastore.RawKey("/kv/pair/"+string(x.pairs[i][:load.KeyBytes])), x.pairs[i][load.KeyBytes+1:])
	}
	if err == nil {
		err = batch.Put(ctx, appHead, canon.Must(&next))
	}
	if err == nil {
		err = batch.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("commit block %d: %w", b.Header.Height, err)
	}
	delete(a.kept, id)
	a.head = next
	return nil
}

// HasWork implements driver.App: nothing happens here without a transaction.
func (a *app) HasWork(consensus.BlockID, uint64) bool { return false }

// Height implements driver.App.
func (a *app) Height() consensus.Height { return a.head.Height }
