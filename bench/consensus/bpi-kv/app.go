package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/bench/consensus/load"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// database is where the application's pairs and the chain's blocks are.
type database = datastore.Batching

// app is the key-value application behind consensus: a transaction whose signature is good stores its value under its
// key. The state root is a hash over all that was stored, in order; the pairs themselves are on disk. It implements
// driver.App, and like any, is called by the driver's goroutine alone.
type app struct {
	db     database
	checks *checks
	head   head
	kept   map[consensus.BlockID]execution
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
	pairs [][]byte // the transactions that stand
}

var (
	genesisRoot = digest.Sum("bpi-kv/state/1")
	appHead     = datastore.NewKey("/kv/head")
)

func openApp(db database, checks *checks) (*app, error) {
	a := &app{db: db, checks: checks, head: head{Root: genesisRoot}, kept: map[consensus.BlockID]execution{}}
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

// Execute implements driver.App. The event of a transaction says whether it stands, and names it.
func (a *app) Execute(at driver.BlockContext, txs [][]byte) (driver.Execution, error) {
	root := a.head.Root
	if parent, ok := a.kept[at.Parent]; ok {
		root = parent.root
	} else if at.Height != a.head.Height+1 {
		return driver.Execution{}, fmt.Errorf("execute block %d: the state after its parent %s is not at hand", at.Height, at.Parent.Short())
	}
	x := execution{root: root}
	events := make([][]byte, len(txs))
	good := a.checks.verify(txs)
	for i, tx := range txs {
		id := digest.Of(tx)
		events[i] = append([]byte{0}, id[:]...)
		if good[i] {
			events[i][0] = 1
			x.pairs = append(x.pairs, tx)
		}
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

// checks remembers the transactions whose signature the mempool has verified, by all their bytes, so that executing a
// block verifies none of them again. It holds two generations and forgets the older when the younger is full. Safe for
// concurrent use.
type checks struct {
	mu         sync.Mutex // guards what follows
	young, old map[digest.Digest]bool
}

const checksPerGeneration = 100_000

func newChecks() *checks { return &checks{young: map[digest.Digest]bool{}} }

func (c *checks) put(tx []byte) {
	id := digest.Of(tx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= checksPerGeneration {
		c.old, c.young = c.young, map[digest.Digest]bool{}
	}
	c.young[id] = true
}

func (c *checks) has(tx []byte) bool {
	id := digest.Of(tx)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.young[id] || c.old[id]
}

// verify says which transactions are sound. Those that did not come by the mempool are verified in one batch, and one
// by one only if it fails.
func (c *checks) verify(txs [][]byte) []bool {
	good := make([]bool, len(txs))
	batch := sign.NewBatch()
	var late []int
	for i, tx := range txs {
		if good[i] = c.has(tx); good[i] {
			continue
		}
		if key, signed, sig, err := load.Parts(tx); err == nil {
			batch.Add(key, signed, sig)
			late = append(late, i)
		}
	}
	all := batch.Verify()
	for _, i := range late {
		if !all {
			_, err := load.Check(txs[i])
			good[i] = err == nil
		} else {
			good[i] = true
		}
		if good[i] {
			c.put(txs[i])
		}
	}
	return good
}
