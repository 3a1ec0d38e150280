// Package chainstore keeps committed blocks in a go-datastore: one entry a height with the block and its finality proof,
// one entry a block id, one an epoch with the handover that began it, one for the head, and one for where the blocks begin
// when they do not begin with genesis.
package chainstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/merkle"
)

// Store implements driver.Store. A run of blocks is put in one batch, so after a crash the datastore holds all of it or
// nothing, given that its batches are atomic (Pebble's are; the in-memory map's are not, and need not be). Every entry ends
// in a checksum of its key and value: one that was spoiled, or stands in another's place, is refused.
type Store struct {
	ds datastore.Batching

	mu      sync.RWMutex // guards what follows
	head    driver.Committed
	history *merkle.Frontier // nil in an empty store
	base    baseRecord
}

var _ driver.Store = (*Store)(nil)

// record is the entry of a height.
type record struct {
	_        struct{} `cbor:",toarray"`
	Block    []byte
	Finality []byte
}

// headRecord is the entry of the head.
type headRecord struct {
	_       struct{} `cbor:",toarray"`
	Height  consensus.Height
	History []byte // with the head included
}

var headKey = datastore.NewKey("/chain/head")

func heightKey(h consensus.Height) datastore.Key {
	return datastore.NewKey(fmt.Sprintf("/chain/height/%016x", uint64(h)))
}

func epochKey(e consensus.Epoch) datastore.Key {
	return datastore.NewKey(fmt.Sprintf("/chain/epoch/%016x", uint64(e)))
}

func idKey(id consensus.BlockID) datastore.Key { return datastore.NewKey("/chain/id/" + id.String()) }

// Open reads the head. The datastore stays the caller's to close, after the store's last use.
func Open(ds datastore.Batching) (*Store, error) {
	s := &Store{ds: ds}
	raw, err := s.get(headKey, "the head")
	if errors.Is(err, driver.ErrNoBlock) {
		return s, nil
	}
	if errors.Is(err, driver.ErrDamaged) && s.firstFormat() {
		return nil, &consensus.VersionError{What: "the chain in this data folder", Version: 1, Next: otherFolder}
	}
	if err != nil {
		return nil, fmt.Errorf("read the head of the chain: %w", err)
	}
	var h headRecord
	if err := canon.Unmarshal(raw, &h); err != nil {
		return nil, fmt.Errorf("read the head of the chain: %w", err)
	}
	if s.history, err = merkle.DecodeFrontier(h.History); err != nil {
		return nil, fmt.Errorf("read the head of the chain: %w", err)
	}
	if s.head, err = s.Block(h.Height); err != nil {
		if errors.Is(err, driver.ErrNoBlock) {
			err = fmt.Errorf("%w: %w", driver.ErrDamaged, err)
		}
		return nil, fmt.Errorf("read the head of the chain: %w", err)
	}
	if v := s.head.Block.Header.Version; v != consensus.ProtocolVersion {
		return nil, &consensus.VersionError{What: "the chain in this data folder", Version: v, Next: otherFolder}
	}
	return s, s.readBase()
}

// otherFolder is what to do with a data folder of another version.
const otherFolder = "give this node a data folder of its own for the new chain; keep the old one, it holds what this node's keys have signed"

// firstFormat reports whether the head was written before entries had checksums: it reads as a whole without one.
func (s *Store) firstFormat() bool {
	raw, err := s.ds.Get(context.Background(), headKey)
	return err == nil && canon.Unmarshal(raw, &headRecord{}) == nil
}

// Put implements driver.Store. Blocks that do not follow the head are refused, and nothing is written.
func (s *Store) Put(list []driver.Committed) error {
	if len(list) == 0 {
		return nil
	}
	ctx := context.Background()
	s.mu.Lock()
	defer s.mu.Unlock()
	history := &merkle.Frontier{}
	var next consensus.Height
	var parent consensus.BlockID
	if s.history != nil {
		history = s.history.Clone()
		next, parent = s.head.Block.Header.Height+1, s.head.Block.ID()
	}
	b, err := s.ds.Batch(ctx)
	if err != nil {
		return fmt.Errorf("begin a batch: %w", err)
	}
	put := func(k datastore.Key, v []byte) error { return b.Put(ctx, k, seal(k, v)) }
	for _, x := range list {
		h, id := &x.Block.Header, x.Block.ID()
		if h.Height != next || h.Parent != parent {
			return fmt.Errorf("block %d (%s) does not follow the head: want height %d on %s", h.Height, id.Short(), next, parent.Short())
		}
		if err := put(heightKey(h.Height), canon.Must(&record{Block: x.Block.Encode(), Finality: x.Finality.Encode()})); err != nil {
			return fmt.Errorf("put block %d: %w", h.Height, err)
		}
		if err := put(idKey(id), binary.BigEndian.AppendUint64(nil, uint64(h.Height))); err != nil {
			return fmt.Errorf("put block %d: %w", h.Height, err)
		}
		if h.Closes() {
			o := &consensus.Handover{Finality: *x.Finality, Next: x.Next}
			if err := put(epochKey(h.Epoch+1), o.Encode()); err != nil {
				return fmt.Errorf("put the handover of block %d: %w", h.Height, err)
			}
		}
		history.Append(id[:])
		next, parent = next+1, id
	}
	last := list[len(list)-1]
	if err := put(headKey, canon.Must(&headRecord{Height: last.Block.Header.Height, History: history.Encode()})); err != nil {
		return fmt.Errorf("put the head: %w", err)
	}
	if err := b.Commit(ctx); err != nil {
		return fmt.Errorf("commit a batch of %d blocks: %w", len(list), err)
	}
	s.head, s.history = last, history
	return nil
}

// Sync implements driver.Store.
func (s *Store) Sync() error {
	if err := s.ds.Sync(context.Background(), datastore.NewKey("/chain")); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

// Head implements driver.Store.
func (s *Store) Head() (driver.Committed, *merkle.Frontier, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.history == nil {
		return driver.Committed{}, nil, false, nil
	}
	return s.head, s.history.Clone(), true, nil
}

// Block implements driver.Store.
func (s *Store) Block(h consensus.Height) (driver.Committed, error) {
	raw, err := s.get(heightKey(h), fmt.Sprintf("block %d", h))
	if err != nil {
		return driver.Committed{}, err
	}
	var r record
	if err := canon.Unmarshal(raw, &r); err != nil {
		return driver.Committed{}, fmt.Errorf("block %d: %w", h, err)
	}
	b, err := consensus.DecodeBlock(r.Block)
	if err != nil {
		return driver.Committed{}, fmt.Errorf("block %d: %w", h, err)
	}
	f, err := consensus.DecodeFinality(r.Finality)
	if err != nil {
		return driver.Committed{}, fmt.Errorf("proof of block %d: %w", h, err)
	}
	return driver.Committed{Block: b, Finality: f}, nil
}

// Handover implements driver.Store.
func (s *Store) Handover(e consensus.Epoch) (*consensus.Handover, error) {
	raw, err := s.get(epochKey(e), fmt.Sprintf("handover to epoch %d", e))
	if err != nil {
		return nil, err
	}
	h, err := consensus.DecodeHandover(raw)
	if err != nil {
		return nil, fmt.Errorf("handover to epoch %d: %w", e, err)
	}
	return h, nil
}

// Height implements driver.Store.
func (s *Store) Height(id consensus.BlockID) (consensus.Height, error) {
	raw, err := s.get(idKey(id), "block "+id.Short())
	if err != nil {
		return 0, err
	}
	if len(raw) != 8 {
		return 0, fmt.Errorf("index of block %s: %d bytes: want 8", id.Short(), len(raw))
	}
	return consensus.Height(binary.BigEndian.Uint64(raw)), nil
}

func (s *Store) get(k datastore.Key, what string) ([]byte, error) {
	raw, err := s.ds.Get(context.Background(), k)
	if errors.Is(err, datastore.ErrNotFound) {
		return nil, fmt.Errorf("%s: %w", what, driver.ErrNoBlock)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	v, ok := unseal(k, raw)
	if !ok {
		return nil, fmt.Errorf("%s: %w", what, driver.ErrDamaged)
	}
	return v, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts the checksum of an entry behind its value.
func seal(k datastore.Key, v []byte) []byte {
	return binary.BigEndian.AppendUint32(slices.Clip(v), sum(k, v))
}

// unseal takes the checksum off again, if it is right.
func unseal(k datastore.Key, raw []byte) ([]byte, bool) {
	n := len(raw) - 4
	if n < 0 || binary.BigEndian.Uint32(raw[n:]) != sum(k, raw[:n]) {
		return nil, false
	}
	return raw[:n], true
}

func sum(k datastore.Key, v []byte) uint32 {
	return crc32.Update(crc32.Checksum(k.Bytes(), castagnoli), castagnoli, v)
}
