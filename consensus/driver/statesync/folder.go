package statesync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/digest"
)

// CheckFunc checks a head with the verifier of its block's epoch (ErrEpoch: it has none). It is called by one goroutine at
// a time.
type CheckFunc func(*snapshot.Head) (*snapshot.Snapshot, error)

// ErrNoSnapshot is wrapped when a snapshot is not in the folder.
var ErrNoSnapshot = errors.New("snapshot is not here")

// Folder holds the snapshots of one node. Safe for concurrent use.
type Folder struct {
	dir   string
	keep  int
	check CheckFunc
	disk  driver.Disk
	log   *slog.Logger

	checking sync.Mutex // held while check is called

	mu   sync.Mutex
	list []held // by rising height
}

// held is a snapshot that is here, and its files.
type held struct {
	*snapshot.Snapshot
	set set
}

// OpenFolder opens the folder, which is made if absent and this node's alone. It keeps the newest keep snapshots, at
// least one. What it cannot use is removed and told to log.
func OpenFolder(disk driver.Disk, dir string, keep int, check CheckFunc, log *slog.Logger) (*Folder, error) {
	f := &Folder{dir: dir, keep: max(keep, 1), check: check, disk: disk, log: log}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the snapshots: %w", err)
	}
	sets, err := f.sets()
	if err != nil {
		return nil, fmt.Errorf("open the snapshots: %w", err)
	}
	for at, files := range sets {
		whole := slices.Contains(files, wholeMark)
		if !whole && at.origin == whoGot {
			continue // the fetch goes on with it, or forgets it
		}
		if whole {
			s, err := f.open(at, files)
			if err == nil && !slices.ContainsFunc(f.list, func(x held) bool { return x.ID() == s.ID() }) {
				f.list = append(f.list, held{s, at})
				continue
			}
			if err != nil {
				log.Warn("a snapshot cannot be used and is removed", "height", uint64(at.height), "reason", err)
			}
		}
		if err := f.remove(at); err != nil {
			return nil, fmt.Errorf("open the snapshots: %w", err)
		}
	}
	f.sort()
	return f, f.trim()
}

func (f *Folder) sort() {
	slices.SortFunc(f.list, func(a, b held) int { return cmp.Compare(a.Height(), b.Height()) })
}

// open reads a head and looks for the chunks; their bytes are checked when they are read.
func (f *Folder) open(at set, files []string) (*snapshot.Snapshot, error) {
	s, err := f.readHead(at)
	if err == nil && !complete(files, s.Chunks()) {
		err = fmt.Errorf("files of its %d chunks are missing", s.Chunks())
	}
	return s, err
}

// readHead reads and checks the head of a set.
func (f *Folder) readHead(at set) (*snapshot.Snapshot, error) {
	raw, err := f.read(at, headFile, snapshot.MaxHeadBytes)
	if err != nil {
		return nil, err
	}
	h, err := snapshot.DecodeHead(raw)
	if err != nil {
		return nil, err
	}
	s, err := f.checked(h)
	if err == nil && (s.Height() != at.height || s.ID() != at.id) {
		err = fmt.Errorf("it is the snapshot of block %d, under another name", s.Height())
	}
	return s, err
}

func (f *Folder) checked(h *snapshot.Head) (*snapshot.Snapshot, error) {
	f.checking.Lock()
	defer f.checking.Unlock()
	return f.check(h)
}

// Save makes a snapshot of the head and all entries of its state, in key order, durable. It stops between two chunks when
// ctx ends.
func (f *Folder) Save(ctx context.Context, h *snapshot.Head, entries iter.Seq2[[]byte, []byte]) (*snapshot.Snapshot, error) {
	raw := h.Encode()
	if len(raw) > snapshot.MaxHeadBytes {
		return nil, fmt.Errorf("make a snapshot: its head has %d bytes, and at most %d can be handed on", len(raw), snapshot.MaxHeadBytes)
	}
	s, err := f.checked(h)
	if err != nil {
		return nil, fmt.Errorf("make a snapshot: %w", err)
	}
	if _, ok := f.Get(s.Height(), s.ID()); ok {
		return s, nil
	}
	at := set{s.Height(), s.ID(), whoMade}
	if err := f.fill(ctx, at, s, raw, entries); err != nil {
		return nil, errors.Join(fmt.Errorf("make the snapshot of block %d: %w", s.Height(), err), f.remove(at))
	}
	return s, f.add(at, s)
}

func (f *Folder) fill(ctx context.Context, at set, s *snapshot.Snapshot, head []byte, entries iter.Seq2[[]byte, []byte]) error {
	for i, raw := range s.Split(entries) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := s.Chunk(i, raw); err != nil {
			return err
		}
		if err := f.write(at, chunkFile(i), raw); err != nil {
			return err
		}
	}
	return f.write(at, headFile, head)
}

// add makes a set whose files are all durable a snapshot, and lets the oldest go.
func (f *Folder) add(at set, s *snapshot.Snapshot) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.list {
		if x.ID() != s.ID() {
			continue
		}
		if x.set == at {
			return nil
		}
		return f.remove(at) // it was made here while it was fetched
	}
	if err := f.write(at, wholeMark, nil); err != nil {
		return fmt.Errorf("keep the snapshot of block %d: %w", s.Height(), err)
	}
	f.list = append(f.list, held{s, at})
	f.sort()
	return f.trim()
}

// trim removes the oldest snapshots beyond keep. The caller holds mu, or is alone.
func (f *Folder) trim() error {
	for len(f.list) > f.keep {
		if err := f.remove(f.list[0].set); err != nil {
			return fmt.Errorf("remove the snapshot of block %d: %w", f.list[0].Height(), err)
		}
		f.list = f.list[1:]
	}
	return nil
}

// List is the complete snapshots, by rising height.
func (f *Folder) List() []*snapshot.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*snapshot.Snapshot, len(f.list))
	for i, x := range f.list {
		out[i] = x.Snapshot
	}
	return out
}

func (f *Folder) find(is func(held) bool) (held, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.IndexFunc(f.list, is); i >= 0 {
		return f.list[i], true
	}
	return held{}, false
}

// Get is the snapshot of a height and id, if it is here.
func (f *Folder) Get(h consensus.Height, id digest.Digest) (*snapshot.Snapshot, bool) {
	x, ok := f.find(func(x held) bool { return x.Height() == h && x.ID() == id })
	return x.Snapshot, ok
}

// At is the snapshot of a block, if one is here.
func (f *Folder) At(block consensus.BlockID) (*snapshot.Snapshot, bool) {
	x, ok := f.find(func(x held) bool { return x.Block.ID() == block })
	return x.Snapshot, ok
}

// Chunk gives a chunk's bytes, checked. A snapshot that turns out damaged is removed. ErrNoSnapshot: it is not here, or
// not any more.
func (f *Folder) Chunk(h consensus.Height, id digest.Digest, i int) ([]byte, error) {
	x, ok := f.find(func(x held) bool { return x.Height() == h && x.ID() == id })
	if !ok || i < 0 || i >= x.Chunks() {
		return nil, fmt.Errorf("chunk %d of block %d: %w", i, h, ErrNoSnapshot)
	}
	raw, err := f.read(x.set, chunkFile(i), snapshot.MaxChunkBytes)
	if err == nil {
		_, err = x.Chunk(i, raw)
	}
	if err == nil {
		return raw, nil
	}
	if _, still := f.Get(h, id); still {
		f.log.Warn("a snapshot is damaged and is removed", "height", uint64(h), "reason", err)
		f.drop(x)
	}
	return nil, fmt.Errorf("chunk %d of block %d: %w", i, h, ErrNoSnapshot)
}

// drop removes a snapshot.
func (f *Folder) drop(s held) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = slices.DeleteFunc(f.list, func(x held) bool { return x == s })
	if err := f.remove(s.set); err != nil {
		f.log.Warn("a snapshot could not be removed", "height", uint64(s.Height()), "reason", err)
	}
}

// Entries yields every entry of a snapshot that is here, in key order, each chunk checked; an error ends it.
func (f *Folder) Entries(s *snapshot.Snapshot) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for i := range s.Chunks() {
			raw, err := f.Chunk(s.Height(), s.ID(), i)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			entries, err := s.Chunk(i, raw)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}
