package snapshot

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/trie"
)

// Version is the version of the snapshot's form. Nodes offer and take no other.
const Version = 1

// Sizes. PartBytes and ChunkBytes decide the outline, so that all nodes must have the same.
const (
	PartBytes     = 128 << 10 // of a part of the state, unless an entry alone is larger
	ChunkBytes    = 1 << 20   // of a chunk, unless a part alone is larger
	MaxChunkBytes = trie.MaxPartBytes + 64
	MaxHeadBytes  = 7 << 20
)

// ErrInvalid is wrapped by what is wrong with a head or a chunk: no honest node gives one.
var ErrInvalid = errors.New("snapshot is not valid")

// Head is all of a snapshot but the entries.
type Head struct {
	_        struct{} `cbor:",toarray"`
	Version  uint32
	Block    []byte             // the block after which the state is
	Finality []byte             // of that block
	History  []byte             // merkle.Frontier over the ids of all blocks before it
	Recent   []consensus.Header // of the blocks before it, in height order, as far as the leader rule looks and one further
	State    trie.Outline
}

// Snapshot is a head that was checked. It is immutable.
type Snapshot struct {
	Block    *consensus.Block
	Finality *consensus.Finality
	History  *merkle.Frontier // with the block; not to be appended to
	Recent   []consensus.Header

	head *Head
	id   digest.Digest
	runs [][2]int
}

// Make puts a head together: history is without the block, and is not kept.
func Make(b *consensus.Block, f *consensus.Finality, history *merkle.Frontier, recent []consensus.Header, state *trie.Outline) *Head {
	return &Head{Version: Version, Block: b.Encode(), Finality: f.Encode(), History: history.Encode(), Recent: recent, State: *state}
}

// Encode gives the canonical bytes. Those over MaxHeadBytes cannot be handed on.
func (h *Head) Encode() []byte { return canon.Must(h) }

// DecodeHead reads what Encode wrote: form and size, no more.
func DecodeHead(raw []byte) (*Head, error) {
	if len(raw) > MaxHeadBytes {
		return nil, fmt.Errorf("%w: head of %d bytes: over the limit of %d", ErrInvalid, len(raw), MaxHeadBytes)
	}
	var h Head
	if err := canon.Unmarshal(raw, &h); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &h, nil
}

// Epoch is the epoch of the head's block, as it says: before Check, a claim.
func (h *Head) Epoch() (consensus.Epoch, error) {
	b, err := consensus.DecodeBlock(h.Block)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return b.Header.Epoch, nil
}

// Check checks the head with the verifier of its block's epoch: that its block is final, and all else against the block.
// Every error wraps ErrInvalid.
func (h *Head) Check(v *consensus.Verifier) (*Snapshot, error) {
	s, err := h.check(v)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return s, nil
}

func (h *Head) check(v *consensus.Verifier) (*Snapshot, error) {
	if h.Version != Version {
		return nil, fmt.Errorf("version %d: this program reads version %d", h.Version, Version)
	}
	b, err := consensus.DecodeBlock(h.Block)
	if err != nil {
		return nil, err
	}
	f, err := consensus.DecodeFinality(h.Finality)
	if err != nil {
		return nil, err
	}
	id := b.ID()
	at := &b.Header
	switch {
	case at.Height == 0:
		return nil, errors.New("of the genesis block, which needs none")
	case at.NextVals != at.Validators:
		return nil, fmt.Errorf("block %d ends an epoch, and what follows is under other validators", at.Height)
	case len(f.Headers) == 0 || f.Headers[0].ID() != id:
		return nil, fmt.Errorf("its certificate is not block %d's", at.Height)
	case at.Parent != b.Justify.Data.Block:
		return nil, fmt.Errorf("block %d carries another block's certificate", at.Height)
	}
	if err := v.Finality(f); err != nil {
		return nil, err
	}
	history, err := merkle.DecodeFrontier(h.History)
	if err != nil {
		return nil, err
	}
	if history.Root() != at.HistoryRoot || history.Count() != at.HistoryCount || at.HistoryCount != uint64(at.Height) {
		return nil, fmt.Errorf("a history of %d blocks that is not block %d's", history.Count(), at.Height)
	}
	history.Append(id[:])
	if err := checkRecent(at, h.Recent, consensus.LeaderWindow(v.Set().Len())); err != nil {
		return nil, err
	}
	if err := h.State.Check(at.StateRoot); err != nil {
		return nil, err
	}
	return &Snapshot{
		Block: b, Finality: f, History: history, Recent: h.Recent, head: h, runs: h.State.Runs(ChunkBytes),
		id: digest.Sum("bpi/snapshot/1", id[:], canon.Must(&h.State)),
	}, nil
}

// checkRecent checks that list are the headers before at, and that none which the leader rule looks at is left out: the
// first is beyond its window, the first of the chain, or of an earlier epoch.
func checkRecent(at *consensus.Header, list []consensus.Header, window consensus.View) error {
	next := at
	for i := len(list) - 1; i >= 0; i-- {
		h := &list[i]
		if next.Parent != h.ID() || next.Height != h.Height+1 || next.View <= h.View || h.ChainID != at.ChainID {
			return fmt.Errorf("the header before that of block %d is another's", next.Height)
		}
		if i > 0 && Complete(at, h, window) {
			return fmt.Errorf("headers before block %d are more than are needed", h.Height)
		}
		next = h
	}
	if len(list) == 0 && at.Height > 1 || len(list) > 0 && !Complete(at, &list[0], window) {
		return fmt.Errorf("headers before block %d are missing", next.Height)
	}
	return nil
}

// Complete reports whether a run of headers down from at need not go below h.
func Complete(at, h *consensus.Header, window consensus.View) bool {
	return h.Height <= 1 || h.View+window <= at.View || h.Epoch != at.Epoch
}

// ID names the block and the outline: snapshots of one ID have the same chunks, whoever gives them.
func (s *Snapshot) ID() digest.Digest { return s.id }

// Height is the block's.
func (s *Snapshot) Height() consensus.Height { return s.Block.Header.Height }

// Head is the snapshot's head; not to be changed.
func (s *Snapshot) Head() *Head { return s.head }

// Chunks is the number of chunks.
func (s *Snapshot) Chunks() int { return len(s.runs) }

// Bytes is the size of the state, as the outline claims it.
func (s *Snapshot) Bytes() uint64 { return s.head.State.Bytes() }
