package blob

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

// view is a whole file beside its blocks, for those who need a path: programs that map it, or mount it.
type view struct {
	bytes uint64
	used  time.Time
	ready chan struct{} // closed when it is there, or err is set
	err   error
}

// viewShare is the part of the quota that views may take which nobody uses.
const viewShare = 4

func sum(r io.Reader) (digest.Digest, error) {
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, 128<<10)); err != nil {
		return digest.Digest{}, err
	}
	return digest.Digest(h.Sum(nil)), nil
}

// Use keeps the path of a file, and the file, until Unuse with the same name, or the end of the program.
func (s *Store) Use(d digest.Digest, who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.uses[who] == nil {
		s.uses[who] = map[digest.Digest]bool{}
	}
	s.uses[who][d] = true
}

// Unuse takes every Use under that name back.
func (s *Store) Unuse(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uses, who)
}

// inUse reports whether somebody needs the path of a file; the caller holds the lock.
func (s *Store) inUse(d digest.Digest) bool {
	for _, m := range s.uses {
		if m[d] {
			return true
		}
	}
	return false
}

// Path is a file that holds exactly the bytes with that digest, which nobody may write to. It is made of the blob's
// blocks when it is first asked for, and verified whole. It stays for as long as somebody Uses it; without that it may go
// when the quota needs the room.
func (s *Store) Path(ctx context.Context, d digest.Digest) (string, error) {
	path := filepath.Join(s.root, "views", d.String())
	s.mu.Lock()
	e := s.file(d)
	if e == nil {
		s.mu.Unlock()
		return "", fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	e.used = time.Now()
	v := s.views[d]
	if v == nil {
		v = &view{bytes: e.Bytes, ready: make(chan struct{})}
		s.views[d] = v
		e.active++
		s.mu.Unlock()
		v.err = s.makeView(ctx, e, path)
		s.mu.Lock()
		e.active--
		if v.err != nil {
			delete(s.views, d)
		}
		v.used = time.Now()
		s.mu.Unlock()
		close(v.ready)
		return path, v.err
	}
	v.used = e.used
	s.mu.Unlock()
	select {
	case <-v.ready:
		return path, v.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (s *Store) makeView(ctx context.Context, e *entry, path string) error {
	if err := s.reserve(ctx, e.Bytes); err != nil {
		return fmt.Errorf("blob %s as a file: %w", e.Digest, err)
	}
	err := s.writeView(ctx, e, path)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coming -= e.Bytes
	if err != nil {
		return fmt.Errorf("blob %s as a file: %w", e.Digest, err)
	}
	s.viewed += e.Bytes
	if s.viewed > s.quota/viewShare && s.quota > 0 {
		s.dropViews(s.viewed - s.quota/viewShare)
	}
	return nil
}

func (s *Store) writeView(ctx context.Context, e *entry, path string) error {
	r, _, err := readFile(ctx, e.CID, s.disk.Get)
	if err != nil {
		return s.rotten(e, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once renamed
	defer f.Close()
	have, err := sum(io.TeeReader(r, f))
	if err != nil {
		return diskError("write", s.rotten(e, err))
	}
	if have != e.Digest {
		return fmt.Errorf("%w: its blocks make %s", ErrMismatch, have)
	}
	if err := f.Chmod(0o444); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// dropViews removes files beside their blocks that nobody uses, the longest unused first, until need bytes are freed, and
// returns how many were. The caller holds the lock.
func (s *Store) dropViews(need uint64) uint64 {
	var list []digest.Digest
	for d, v := range s.views {
		select {
		case <-v.ready:
			if !s.inUse(d) {
				list = append(list, d)
			}
		default: // in the making
		}
	}
	slices.SortFunc(list, func(a, b digest.Digest) int {
		if c := s.views[a].used.Compare(s.views[b].used); c != 0 {
			return c
		}
		return a.Compare(b)
	})
	var freed uint64
	for _, d := range list {
		if freed >= need {
			break
		}
		if err := os.Remove(filepath.Join(s.root, "views", d.String())); err != nil {
			continue
		}
		freed += s.views[d].bytes
		s.viewed -= s.views[d].bytes
		delete(s.views, d)
	}
	return freed
}
