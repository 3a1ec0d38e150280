package blob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/metanode/metanode/internal/digest"
)

// Usage is what the store holds.
type Usage struct {
	Blobs       int    `json:"blobs"`
	UsedBytes   uint64 `json:"used_bytes"`
	PinnedBytes uint64 `json:"pinned_bytes"`
	QuotaBytes  uint64 `json:"quota_bytes"` // 0: no bound
}

// Usage is a snapshot.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{Blobs: len(s.blobs), UsedBytes: s.used, QuotaBytes: s.quota}
	for d := range s.pins {
		u.PinnedBytes += s.blobs[d].bytes
	}
	return u
}

// List is every blob's digest, in order.
func (s *Store) List() []digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]digest.Digest, 0, len(s.blobs))
	for d := range s.blobs {
		out = append(out, d)
	}
	slices.SortFunc(out, digest.Digest.Compare)
	return out
}

// Collect removes unpinned blobs, the longest unused first, until the store is within its quota, and returns how many
// bytes that freed. With room to spare, or no quota, it removes nothing.
func (s *Store) Collect() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.collect(s.quota)
}

// collect frees until used and coming bytes fit into room.
func (s *Store) collect(room uint64) (uint64, error) {
	if s.quota == 0 || s.used+s.coming <= room {
		return 0, nil
	}
	type old struct {
		d digest.Digest
		e entry
	}
	var unpinned []old
	for d, e := range s.blobs {
		if len(s.pins[d]) == 0 {
			unpinned = append(unpinned, old{d, e})
		}
	}
	slices.SortFunc(unpinned, func(a, b old) int {
		if c := a.e.since.Compare(b.e.since); c != 0 {
			return c
		}
		return a.d.Compare(b.d)
	})
	var freed uint64
	for _, o := range unpinned {
		if s.used+s.coming <= room {
			break
		}
		if err := s.remove(o.d); err != nil {
			return freed, err
		}
		freed += o.e.bytes
	}
	return freed, nil
}

// remove deletes one blob; the caller holds the lock.
func (s *Store) remove(d digest.Digest) error {
	e, ok := s.blobs[d]
	if !ok {
		return nil
	}
	if err := os.Remove(s.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove blob %s: %w", d, err)
	}
	delete(s.blobs, d)
	s.used -= e.bytes
	return nil
}

// reserve makes room for a writer that is about to hold total bytes.
func (s *Store) reserve(w *writer, total uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if total <= w.reserved {
		return nil
	}
	more := total - w.reserved
	if s.quota != 0 && s.used+s.coming+more > s.quota {
		if more > s.quota {
			return fmt.Errorf("store blob: %w: it alone is larger than the %d bytes of storage.quota", ErrQuota, s.quota)
		}
		if _, err := s.collect(s.quota - more); err != nil {
			return err
		}
		if s.used+s.coming+more > s.quota {
			return fmt.Errorf("store blob: %w: %d of %d bytes are used and pinned; raise the quota or unpin something", ErrQuota, s.used, s.quota)
		}
	}
	s.coming += more
	w.reserved = total
	return nil
}

// release gives a writer's reservation back.
func (s *Store) release(w *writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming -= w.reserved
	w.reserved = 0
}
