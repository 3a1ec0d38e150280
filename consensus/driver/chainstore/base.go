package chainstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/merkle"
)

// baseRecord is the entry of the lowest block that is here with all above it.
type baseRecord struct {
	_      struct{} `cbor:",toarray"`
	Height consensus.Height
	Recent []consensus.Header // of blocks before Height, when the chain was begun there
	// Blocks of before the chain was begun anew at Height, still to be removed: [From, To).
	From, To consensus.Height
}

var baseKey = datastore.NewKey("/chain/base")

// pruneBatch bounds the blocks that one call of Prune removes: whoever puts a block waits for it meanwhile.
const pruneBatch = 64

func (s *Store) readBase() error {
	raw, err := s.get(baseKey, "the base")
	if errors.Is(err, driver.ErrNoBlock) {
		return nil
	}
	if err == nil {
		err = canon.Unmarshal(raw, &s.base)
	}
	if err != nil {
		return fmt.Errorf("read the base of the chain: %w", err)
	}
	return nil
}

// Base implements driver.Store.
func (s *Store) Base() (consensus.Height, []consensus.Header) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.base.Height, s.base.Recent
}

// PutHandover keeps the handover that begins an epoch, for a chain that is to go on in that epoch or a later one. The
// caller has verified it. It is durable after the next Sync.
func (s *Store) PutHandover(h *consensus.Handover) error {
	e := h.Header().Epoch + 1
	k := epochKey(e)
	if err := s.ds.Put(context.Background(), k, seal(k, h.Encode())); err != nil {
		return fmt.Errorf("put the handover to epoch %d: %w", e, err)
	}
	return nil
}

// Restart makes a block the head and the lowest of the chain, with history, which includes it, and the headers before it.
// The store is not empty: the genesis block stays, and other blocks below are removed by and by (Prune). It is one batch.
func (s *Store) Restart(x driver.Committed, history *merkle.Frontier, recent []consensus.Header) error {
	for { // what an earlier restart left must be gone, since one range of leftovers is remembered
		s.mu.RLock()
		left := s.base.From < s.base.To
		s.mu.RUnlock()
		if !left {
			break
		}
		if _, err := s.Prune(0, nil); err != nil {
			return err
		}
	}
	ctx := context.Background()
	s.mu.Lock()
	defer s.mu.Unlock()
	h, id := x.Block.Header.Height, x.Block.ID()
	if s.history == nil || h <= s.head.Block.Header.Height || history.Count() != uint64(h)+1 {
		return fmt.Errorf("begin the chain anew at block %d with a history of %d: want a higher block than the head, and a store with a genesis block", h, history.Count())
	}
	base := baseRecord{Height: h, Recent: recent, From: max(1, s.base.Height), To: s.head.Block.Header.Height + 1}
	b, err := s.ds.Batch(ctx)
	put := func(k datastore.Key, v []byte) {
		if err == nil {
			err = b.Put(ctx, k, seal(k, v))
		}
	}
	put(heightKey(h), canon.Must(&record{Block: x.Block.Encode(), Finality: x.Finality.Encode()}))
	put(idKey(id), binary.BigEndian.AppendUint64(nil, uint64(h)))
	put(headKey, canon.Must(&headRecord{Height: h, History: history.Encode()}))
	put(baseKey, canon.Must(&base))
	if err == nil {
		err = b.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("begin the chain anew at block %d: %w", h, err)
	}
	s.head, s.history, s.base = x, history.Clone(), base
	return nil
}

// Prune removes blocks below a height, 64 at most, the lowest first, and reports whether there are more. It never removes
// the head or the genesis block. also, if not nil, may add to the batch for each block that goes: all of a call happens or
// nothing. Blocks of before a Restart go first, whatever the height.
func (s *Store) Prune(below consensus.Height, also func(b datastore.Batch, x driver.Committed) error) (more bool, err error) {
	ctx := context.Background()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.history == nil {
		return false, nil
	}
	base := s.base
	from, to := max(1, base.Height), min(below, s.head.Block.Header.Height)
	left := base.From < base.To
	if left {
		from, to = base.From, base.To
	}
	if from >= to {
		return false, nil
	}
	more = left || to-from > pruneBatch
	to = min(to, from+pruneBatch)
	b, err := s.ds.Batch(ctx)
	if err != nil {
		return false, fmt.Errorf("prune blocks %d to %d: %w", from, to-1, err)
	}
	for h := from; h < to; h++ {
		if err := s.drop(ctx, b, h, also); err != nil {
			return false, fmt.Errorf("prune block %d: %w", h, err)
		}
	}
	if left {
		base.From = to
	} else {
		base.Height = to
	}
	err = b.Put(ctx, baseKey, seal(baseKey, canon.Must(&base)))
	if err == nil {
		err = b.Commit(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("prune blocks %d to %d: %w", from, to-1, err)
	}
	s.base = base
	return more, nil
}

func (s *Store) drop(ctx context.Context, b datastore.Batch, h consensus.Height, also func(datastore.Batch, driver.Committed) error) error {
	x, err := s.Block(h)
	if errors.Is(err, driver.ErrNoBlock) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := b.Delete(ctx, heightKey(h)); err != nil {
		return err
	}
	if err := b.Delete(ctx, idKey(x.Block.ID())); err != nil {
		return err
	}
	if also != nil {
		return also(b, x)
	}
	return nil
}
