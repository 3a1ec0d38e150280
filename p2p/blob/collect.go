package blob

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/metanode/metanode/internal/digest"
)

// sweep is a collection in progress.
type sweep struct {
	kept   map[uint64]bool // blocks of what is kept
	spared map[uint64]bool // of writers that ended meanwhile; under the store's lock
}

// Collect removes blocks that belong to nothing and, beyond the quota, what is not pinned, the longest unused first. It
// returns the bytes freed.
func (s *Store) Collect(ctx context.Context) (uint64, error) { return s.collect(ctx, s.excess(0)) }

// Empty removes everything that is neither pinned nor in use, and returns the bytes freed.
func (s *Store) Empty(ctx context.Context) (uint64, error) { return s.collect(ctx, 1<<63) }

// excess is the bytes by which the store, with more to come, is over its quota.
func (s *Store) excess(more uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.used() + s.coming + more; s.quota != 0 && n > s.quota {
		return n - s.quota
	}
	return 0
}

// reserve makes room for bytes that a writer is about to bring.
func (s *Store) reserve(ctx context.Context, bytes uint64) error {
	for {
		s.mu.Lock()
		if s.log == nil {
			s.mu.Unlock()
			return errClosed
		}
		if s.quota == 0 || s.used()+s.coming+bytes <= s.quota {
			s.coming += bytes
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		if bytes > s.quota {
			return fmt.Errorf("%w: %d bytes do not fit into a quota of %d; raise storage.blob_quota_bytes", ErrQuota, bytes, s.quota)
		}
		need := s.excess(bytes)
		if need > 0 {
			need += s.quota / 32 // a collection looks at everything: the next block shall not need one
		}
		freed, err := s.collect(ctx, need)
		if err != nil {
			return err
		}
		if freed == 0 && s.excess(bytes) > 0 {
			u := s.Usage()
			return fmt.Errorf("%w: %d of %d bytes are taken by what is pinned or in use; see bpi blob list, let something go with bpi blob unpin, or raise storage.blob_quota_bytes", ErrQuota, u.UsedBytes, s.quota)
		}
	}
}

// collect frees at least need bytes if it can: whole files beside their blocks first, then what is not pinned, and with
// either whatever belongs to nothing. It runs beside writers: what they rely on stays. The index forgets a root before its
// blocks go, so a crash leaves blocks without a name, which the next collection finds, and never a name without blocks.
func (s *Store) collect(ctx context.Context, need uint64) (uint64, error) {
	s.gc.Lock()
	defer s.gc.Unlock()
	s.mu.Lock()
	before := s.used()
	freed := s.dropViews(need)
	if err := s.dropRoots(need - min(need, freed)); err != nil {
		s.mu.Unlock()
		return freed, err
	}
	w := &sweep{kept: map[uint64]bool{}, spared: map[uint64]bool{}}
	s.sweep = w
	tops := s.sorted()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.sweep = nil
		s.mu.Unlock()
	}()
	for _, c := range tops {
		if err := s.markDAG(ctx, w, c, 0); err != nil {
			return 0, fmt.Errorf("collect blobs: %w", err)
		}
	}
	err := s.disk.each(ctx, func(h digest.Digest) error {
		if w.kept[mark(h)] {
			return nil
		}
		// From the look at the writers to the end of the block no writer can begin to rely on it.
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.relied(mark(h)) {
			return nil
		}
		return s.disk.DeleteBlock(ctx, Of(h))
	})
	if err != nil {
		return 0, fmt.Errorf("collect blobs: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return before - min(before, s.used()), nil
}

// relied reports whether a writer needs a block, or one that ended since the collection began.
func (s *Store) relied(m uint64) bool {
	if s.sweep.spared[m] {
		return true
	}
	for w := range s.writers {
		if w.marks[m] {
			return true
		}
	}
	return false
}

// dropRoots forgets roots that are not pinned, the longest unused first, until those forgotten held need bytes.
func (s *Store) dropRoots(need uint64) error {
	if need == 0 {
		return nil
	}
	var list []*entry
	for _, e := range s.roots {
		if len(e.reasons) == 0 && e.active == 0 && !s.inUse(e.Digest) {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b *entry) int {
		return cmp.Or(a.used.Compare(b.used), strings.Compare(a.CID.KeyString(), b.CID.KeyString()))
	})
	var lines []indexLine
	var freed uint64
	for i, e := range list {
		if freed >= need {
			list = list[:i]
			break
		}
		freed += max(e.Bytes, 1)
		lines = append(lines, indexLine{verb: "drop", cid: e.CID})
	}
	if len(lines) == 0 {
		return nil
	}
	if err := s.write(true, lines...); err != nil {
		return err
	}
	for _, e := range list {
		s.forget(e.CID)
	}
	s.compact()
	return nil
}

// markDAG marks the blocks of a root that are here. A leaf is marked without reading it.
func (s *Store) markDAG(ctx context.Context, w *sweep, c CID, depth int) error {
	m := mark(hashOf(c))
	if isRaw(c) {
		w.kept[m] = true
		return nil
	}
	if w.kept[m] || depth > MaxDepth {
		return nil
	}
	w.kept[m] = true
	b, err := s.disk.Get(ctx, c)
	if isAbsent(err) {
		return nil // of a fetch in progress, or rotted: nothing below it can be used without it
	}
	if err != nil {
		return err
	}
	n, err := decodeNode(b)
	if err != nil {
		return nil // a fetch that brought nonsense; it is dropped when it ends
	}
	for _, l := range n.links {
		if err := s.markDAG(ctx, w, l.cid, depth+1); err != nil {
			return err
		}
	}
	return nil
}
