package statesync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/digest"
)

// CheckFunc checks a head with the verifier of its block's epoch (ErrEpoch: it has none). It is called by one goroutine at
// a time.
type CheckFunc func(*snapshot.Head) (*snapshot.Snapshot, error)

// ErrNoSnapshot is wrapped when a snapshot is not in the folder.
var ErrNoSnapshot = errors.New("snapshot is not here")

// Endings of folders that are no snapshots yet.
const (
	endingNew  = ".new"  // being made; of no use after a crash
	endingPart = ".part" // being fetched; gone on with after a crash
)

// Folder holds the snapshots of one node. Safe for concurrent use.
type Folder struct {
	dir   string
	keep  int
	check CheckFunc
	disk  disk
	log   *slog.Logger

	checking sync.Mutex // held while check is called

	mu   sync.Mutex
	list []*snapshot.Snapshot // by rising height
}

// OpenFolder opens the folder, which is made if absent and this node's alone. It keeps the newest keep snapshots, at
// least one. What it cannot use is removed and told to log.
func OpenFolder(dir string, keep int, check CheckFunc, log *slog.Logger) (*Folder, error) {
	return openFolder(dir, keep, check, log, files{})
}

func openFolder(dir string, keep int, check CheckFunc, log *slog.Logger, d disk) (*Folder, error) {
	f := &Folder{dir: dir, keep: max(keep, 1), check: check, disk: d, log: log}
	if err := d.Mkdir(dir); err != nil {
		return nil, fmt.Errorf("open the snapshots: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the snapshots: %w", err)
	}
	for _, e := range names {
		path := filepath.Join(dir, e.Name())
		if strings.HasSuffix(path, endingPart) {
			continue
		}
		s, err := f.open(path)
		if err == nil {
			f.list = append(f.list, s)
			continue
		}
		if !strings.HasSuffix(path, endingNew) {
			log.Warn("a snapshot cannot be used and is removed", "folder", path, "reason", err)
		}
		if err := d.RemoveAll(path); err != nil {
			return nil, fmt.Errorf("open the snapshots: %w", err)
		}
	}
	slices.SortFunc(f.list, func(a, b *snapshot.Snapshot) int { return int(int64(a.Height()) - int64(b.Height())) })
	return f, f.trim()
}

// open reads a head and looks for the chunks; their bytes are checked when they are read.
func (f *Folder) open(path string) (*snapshot.Snapshot, error) {
	s, err := f.readHead(path)
	if err != nil {
		return nil, err
	}
	if path != f.path(s) {
		return nil, fmt.Errorf("it is of block %d and not complete, or under another name", s.Height())
	}
	for i := range s.Chunks() {
		if _, err := os.Stat(chunkPath(path, i)); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (f *Folder) readHead(path string) (*snapshot.Snapshot, error) {
	raw, err := readBounded(headPath(path), snapshot.MaxHeadBytes)
	if err != nil {
		return nil, err
	}
	h, err := snapshot.DecodeHead(raw)
	if err != nil {
		return nil, err
	}
	return f.checked(h)
}

func (f *Folder) checked(h *snapshot.Head) (*snapshot.Snapshot, error) {
	f.checking.Lock()
	defer f.checking.Unlock()
	return f.check(h)
}

func (f *Folder) path(s *snapshot.Snapshot) string { return f.pathOf(s.Height(), s.ID()) }

func (f *Folder) pathOf(h consensus.Height, id digest.Digest) string {
	return filepath.Join(f.dir, fmt.Sprintf("%016x-%s", uint64(h), id))
}

func headPath(dir string) string { return filepath.Join(dir, "head") }

func chunkPath(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("chunk-%06d", i)) }

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
	dir := f.path(s) + endingNew
	if err := f.fill(ctx, dir, s, raw, entries); err != nil {
		return nil, errors.Join(fmt.Errorf("make the snapshot of block %d: %w", s.Height(), err), f.disk.RemoveAll(dir))
	}
	return s, f.add(dir, s)
}

func (f *Folder) fill(ctx context.Context, dir string, s *snapshot.Snapshot, head []byte, entries iter.Seq2[[]byte, []byte]) error {
	if err := f.disk.RemoveAll(dir); err != nil {
		return err
	}
	if err := f.disk.Mkdir(dir); err != nil {
		return err
	}
	for i, raw := range s.Split(entries) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := s.Chunk(i, raw); err != nil {
			return err
		}
		if err := f.disk.Write(chunkPath(dir, i), raw); err != nil {
			return err
		}
	}
	return f.disk.Write(headPath(dir), head)
}

// add makes a complete folder a snapshot, and lets the oldest go.
func (f *Folder) add(dir string, s *snapshot.Snapshot) error {
	if err := f.disk.Sync(dir); err != nil {
		return fmt.Errorf("keep the snapshot of block %d: %w", s.Height(), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.list {
		if x.ID() == s.ID() { // made here while it was fetched
			return f.disk.RemoveAll(dir)
		}
	}
	if err := f.disk.Rename(dir, f.path(s)); err != nil {
		return fmt.Errorf("keep the snapshot of block %d: %w", s.Height(), err)
	}
	f.list = append(f.list, s)
	slices.SortFunc(f.list, func(a, b *snapshot.Snapshot) int { return int(int64(a.Height()) - int64(b.Height())) })
	return f.trim()
}

// trim removes the oldest snapshots beyond keep. The caller holds mu, or is alone.
func (f *Folder) trim() error {
	for len(f.list) > f.keep {
		if err := f.disk.RemoveAll(f.path(f.list[0])); err != nil {
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
	return slices.Clone(f.list)
}

// Get is the snapshot of a height and id, if it is here.
func (f *Folder) Get(h consensus.Height, id digest.Digest) (*snapshot.Snapshot, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.list {
		if s.Height() == h && s.ID() == id {
			return s, true
		}
	}
	return nil, false
}

// At is the snapshot of a block, if one is here.
func (f *Folder) At(block consensus.BlockID) (*snapshot.Snapshot, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.list {
		if s.Block.ID() == block {
			return s, true
		}
	}
	return nil, false
}

// Chunk gives a chunk's bytes, checked. A snapshot that turns out damaged is removed. ErrNoSnapshot: it is not here, or
// not any more.
func (f *Folder) Chunk(h consensus.Height, id digest.Digest, i int) ([]byte, error) {
	s, ok := f.Get(h, id)
	if !ok || i < 0 || i >= s.Chunks() {
		return nil, fmt.Errorf("chunk %d of block %d: %w", i, h, ErrNoSnapshot)
	}
	raw, err := readBounded(chunkPath(f.path(s), i), snapshot.MaxChunkBytes)
	if err == nil {
		_, err = s.Chunk(i, raw)
	}
	if err == nil {
		return raw, nil
	}
	if _, still := f.Get(h, id); still {
		f.log.Warn("a snapshot is damaged and is removed", "height", uint64(h), "reason", err)
		f.Drop(s)
	}
	return nil, fmt.Errorf("chunk %d of block %d: %w", i, h, ErrNoSnapshot)
}

// Drop removes a snapshot.
func (f *Folder) Drop(s *snapshot.Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = slices.DeleteFunc(f.list, func(x *snapshot.Snapshot) bool { return x == s })
	if err := f.disk.RemoveAll(f.path(s)); err != nil {
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
