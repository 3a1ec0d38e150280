package node

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/consensus/driver/statesync"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// restoreKey holds, while a snapshot is being put in place of the state, the id of its block.
var restoreKey = datastore.RawKey("/restore")

// restoreBatch is how many bytes of leaves are written at once.
const restoreBatch = 1 << 20

// restore makes the database that of a node which is at a snapshot's block: leaves, chain and head. It begins with a mark
// and ends by removing it, and finishRestore begins it again where it finds the mark: whatever happened between, the
// database is that of before, or that of the snapshot.
func restore(ctx context.Context, db datastore.Batching, chain *chainstore.Store, folder *statesync.Folder, s *snapshot.Snapshot) (*head, error) {
	h, err := readSnapshot(folder, s)
	if err != nil {
		return nil, fmt.Errorf("read the snapshot of block %d: %w", s.Height(), err)
	}
	if err := db.Put(ctx, restoreKey, h.id[:]); err != nil {
		return nil, fmt.Errorf("restore the snapshot of block %d: %w", s.Height(), err)
	}
	if err := db.Sync(ctx, restoreKey); err != nil {
		return nil, fmt.Errorf("restore the snapshot of block %d: %w", s.Height(), err)
	}
	if err := writeLeaves(ctx, db, h.state); err != nil {
		return nil, fmt.Errorf("restore the snapshot of block %d: %w", s.Height(), err)
	}
	at, _, ok, err := chain.Head()
	if err != nil {
		return nil, err
	}
	if ok && at.Block.Header.Height < s.Height() { // else it was done before a crash
		if err := chain.Restart(driver.Committed{Block: s.Block, Finality: s.Finality}, s.History, s.Recent); err != nil {
			return nil, err
		}
	}
	batch, err := db.Batch(ctx)
	if err == nil {
		err = batch.Put(ctx, datastore.RawKey(headKey), canon.Must(&h.header))
	}
	if err == nil { // the events of the block itself are not in a snapshot
		err = batch.Put(ctx, baseKey, be64(uint64(s.Height())+1))
	}
	if err == nil {
		err = batch.Delete(ctx, restoreKey)
	}
	if err == nil {
		err = batch.Commit(ctx)
	}
	if err == nil {
		err = db.Sync(ctx, restoreKey)
	}
	if err != nil {
		return nil, fmt.Errorf("restore the snapshot of block %d: %w", s.Height(), err)
	}
	return h, nil
}

// readSnapshot makes a state of a snapshot.
func readSnapshot(folder *statesync.Folder, s *snapshot.Snapshot) (*head, error) {
	var bad error
	state, err := enc.Load(s.Block.Header.ChainID, func(yield func([]byte, []byte) bool) {
		for e, err := range folder.Entries(s) {
			if err != nil {
				bad = err
				return
			}
			if !yield(e.Key, e.Value) {
				return
			}
		}
	})
	if err := errors.Join(bad, err); err != nil {
		return nil, err
	}
	if state.Root() != s.Block.Header.StateRoot {
		return nil, fmt.Errorf("its entries give root %s, the block has %s", state.Root().Short(), s.Block.Header.StateRoot.Short())
	}
	return &head{id: s.Block.ID(), header: s.Block.Header, state: state}, nil
}

// writeLeaves makes the leaves in the database those of a state, whatever is there.
func writeLeaves(ctx context.Context, db datastore.Batching, state *enc.State) error {
	w := &leafWriter{ctx: ctx, db: db}
	results, err := db.Query(ctx, query.Query{Prefix: leavesPrefix})
	if err != nil {
		return err
	}
	defer results.Close()
	have := map[string]digest.Digest{}
	for r := range results.Next() {
		if r.Error != nil {
			return r.Error
		}
		have[r.Key] = digest.Of(r.Value)
	}
	for k, v := range state.Leaves() {
		name := leavesPrefix + "/" + hex.EncodeToString(k)
		was, ok := have[name]
		delete(have, name)
		if !ok || was != digest.Of(v) {
			w.put(name, v)
		}
	}
	for name := range have {
		w.delete(name)
	}
	return w.close()
}

// leafWriter writes in batches of restoreBatch. The first error ends it.
type leafWriter struct {
	ctx   context.Context
	db    datastore.Batching
	batch datastore.Batch
	size  int
	err   error
}

func (w *leafWriter) room(n int) bool {
	if w.batch != nil && w.size+n > restoreBatch {
		w.flush()
	}
	if w.err == nil && w.batch == nil {
		w.batch, w.err = w.db.Batch(w.ctx)
		w.size = 0
	}
	w.size += n
	return w.err == nil
}

func (w *leafWriter) put(name string, v []byte) {
	if w.room(len(name) + len(v)) {
		w.err = w.batch.Put(w.ctx, datastore.RawKey(name), bytes.Clone(v))
	}
}

func (w *leafWriter) delete(name string) {
	if w.room(len(name)) {
		w.err = w.batch.Delete(w.ctx, datastore.RawKey(name))
	}
}

func (w *leafWriter) flush() {
	if w.err == nil && w.batch != nil {
		w.err = w.batch.Commit(w.ctx)
	}
	w.batch = nil
}

func (w *leafWriter) close() error {
	w.flush()
	return w.err
}

// finishRestore goes on with a restore that a crash has interrupted. When its snapshot is not at hand any more, state and
// chain are removed, so that the node begins anew; what a validator has signed is kept elsewhere and stays. It gives the
// chain store to go on with.
func finishRestore(ctx context.Context, db datastore.Batching, chain *chainstore.Store, folder *statesync.Folder) (*chainstore.Store, error) {
	raw, err := db.Get(ctx, restoreKey)
	if err != nil && !errors.Is(err, datastore.ErrNotFound) {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err != nil || len(raw) != digest.Size {
		return chain, nil
	}
	if s, ok := folder.At(consensus.BlockID(raw)); ok {
		if _, err = restore(ctx, db, chain, folder, s); err == nil {
			return chain, nil
		}
		if !errors.Is(err, statesync.ErrNoSnapshot) { // damaged chunks: the folder has removed it
			return nil, err
		}
	}
	for _, prefix := range []string{leavesPrefix, "/chain", eventsPrefix} {
		if err := removeAll(ctx, db, prefix); err != nil {
			return nil, fmt.Errorf("begin anew: %w", err)
		}
	}
	for _, k := range []datastore.Key{datastore.RawKey(headKey), baseKey, restoreKey} { // the mark last
		if err := db.Delete(ctx, k); err != nil {
			return nil, fmt.Errorf("begin anew: %w", err)
		}
	}
	return chainstore.Open(db)
}

// removeAll removes every key below a prefix.
func removeAll(ctx context.Context, db datastore.Batching, prefix string) error {
	results, err := db.Query(ctx, query.Query{Prefix: prefix, KeysOnly: true})
	if err != nil {
		return err
	}
	defer results.Close()
	w := &leafWriter{ctx: ctx, db: db}
	for r := range results.Next() {
		if r.Error != nil {
			return r.Error
		}
		w.delete(r.Key)
	}
	return w.close()
}
