package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

// Errors that a caller may test for.
var (
	ErrNotFound = errors.New("blob not found")
	ErrQuota    = errors.New("disk quota")
	ErrDiskFull = errors.New("disk full")
	ErrTooLarge = errors.New("blob too large")
	ErrMismatch = errors.New("bytes are not what was asked for")
	ErrBusy     = errors.New("blob is being fetched already")
)

// Store is a folder of blobs.
type Store struct {
	root  string
	quota uint64

	mu       sync.Mutex
	blobs    map[digest.Digest]entry
	used     uint64                            // bytes of blobs
	coming   uint64                            // bytes reserved by writers
	pins     map[digest.Digest]map[string]bool // reasons by digest
	pinned   map[string]map[digest.Digest]bool // the same by reason
	log      *os.File                          // blobs/pins
	fetching map[digest.Digest]bool            // partials in use
}

type entry struct {
	bytes uint64
	since time.Time // put or last opened: the collector takes the oldest
}

// Open opens the store under dir/blobs, making it if need be, and sweeps what a crash left behind. quotaBytes bounds
// the bytes kept; 0 means no bound.
func Open(dir string, quotaBytes uint64) (*Store, error) {
	s := &Store{root: filepath.Join(dir, "blobs"), quota: quotaBytes, blobs: map[digest.Digest]entry{},
		pins: map[digest.Digest]map[string]bool{}, pinned: map[string]map[digest.Digest]bool{}, fetching: map[digest.Digest]bool{}}
	for _, d := range []string{s.root, s.dir("tmp"), s.dir("partial")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open blob store: %w", err)
		}
	}
	if err := s.sweep(time.Now()); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	if err := s.scan(); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	if err := s.openPins(); err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	return s, nil
}

// Close ends the pin log. The blobs need no closing.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return nil
	}
	err := s.log.Close()
	s.log = nil
	return err
}

func (s *Store) dir(name string) string { return filepath.Join(s.root, name) }

func (s *Store) path(d digest.Digest) string {
	h := d.String()
	return filepath.Join(s.root, h[:2], h)
}

// partialAge is how long a fetch that was broken off can be resumed.
const partialAge = 24 * time.Hour

// sweep removes temporary files and old partial ones.
func (s *Store) sweep(now time.Time) error {
	tmp, err := os.ReadDir(s.dir("tmp"))
	if err != nil {
		return err
	}
	for _, f := range tmp {
		if err := os.Remove(filepath.Join(s.dir("tmp"), f.Name())); err != nil {
			return err
		}
	}
	partial, err := os.ReadDir(s.dir("partial"))
	if err != nil {
		return err
	}
	for _, f := range partial {
		i, err := f.Info()
		if err != nil {
			return err
		}
		if _, err := digest.Parse(f.Name()); err != nil || now.Sub(i.ModTime()) > partialAge {
			if err := os.Remove(filepath.Join(s.dir("partial"), f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// scan learns which blobs are there. Their bytes are not read: the name was given after they were verified and synced.
func (s *Store) scan() error {
	shelves, err := os.ReadDir(s.root)
	if err != nil {
		return err
	}
	for _, shelf := range shelves {
		if !shelf.IsDir() || len(shelf.Name()) != 2 {
			continue
		}
		files, err := os.ReadDir(s.dir(shelf.Name()))
		if err != nil {
			return err
		}
		for _, f := range files {
			d, err := digest.Parse(f.Name())
			if err != nil || f.Name()[:2] != shelf.Name() {
				continue
			}
			i, err := f.Info()
			if err != nil {
				return err
			}
			s.blobs[d] = entry{uint64(i.Size()), i.ModTime()}
			s.used += uint64(i.Size())
		}
	}
	return nil
}

// Put stores what r yields, at most maxBytes, and returns its digest and length. The blob is durable on return.
// Errors: ErrTooLarge, ErrQuota, ErrDiskFull, or r's own.
func (s *Store) Put(ctx context.Context, r io.Reader, maxBytes uint64) (digest.Digest, uint64, error) {
	return s.put(ctx, r, maxBytes, nil)
}

// PutBytes stores b.
func (s *Store) PutBytes(ctx context.Context, b []byte) (digest.Digest, error) {
	d := digest.Of(b)
	if s.Has(d) {
		return d, nil
	}
	d, _, err := s.Put(ctx, bytes.NewReader(b), uint64(len(b)))
	return d, err
}

// PutExpect stores what r yields if it is the blob want of the given length; otherwise ErrMismatch, and nothing is kept.
func (s *Store) PutExpect(ctx context.Context, r io.Reader, want digest.Digest, n uint64) error {
	_, _, err := s.put(ctx, r, n, func(d digest.Digest, have uint64) error {
		if d != want || have != n {
			return fmt.Errorf("%w: want %s of %d bytes, have %s of %d", ErrMismatch, want, n, d, have)
		}
		return nil
	})
	if errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("%w: more than %d bytes for %s", ErrMismatch, n, want)
	}
	return err
}

func (s *Store) put(ctx context.Context, r io.Reader, maxBytes uint64, check func(digest.Digest, uint64) error) (digest.Digest, uint64, error) {
	f, err := os.CreateTemp(s.dir("tmp"), "put-")
	if err != nil {
		return digest.Digest{}, 0, diskError("store blob", err)
	}
	w := &writer{s: s, f: f, h: sha256.New()}
	defer w.discard()
	buf := make([]byte, 128<<10)
	for {
		if err := ctx.Err(); err != nil {
			return digest.Digest{}, 0, fmt.Errorf("store blob: %w", err)
		}
		n, rerr := r.Read(buf)
		if w.n+uint64(n) > maxBytes {
			return digest.Digest{}, 0, fmt.Errorf("store blob: %w: more than %d bytes", ErrTooLarge, maxBytes)
		}
		if _, err := w.Write(buf[:n]); err != nil {
			return digest.Digest{}, 0, err
		}
		if rerr == io.EOF {
			break
		}
		if rerr != nil {
			return digest.Digest{}, 0, fmt.Errorf("store blob: read: %w", rerr)
		}
	}
	d := w.sum()
	if check != nil {
		if err := check(d, w.n); err != nil {
			return d, w.n, err
		}
	}
	return d, w.n, w.keep(d)
}

// writer is one blob on its way in. Its bytes are reserved against the quota as they come.
type writer struct {
	s        *Store
	f        *os.File
	h        hash.Hash
	n        uint64 // bytes written and hashed
	reserved uint64
}

// Write implements io.Writer.
func (w *writer) Write(b []byte) (int, error) {
	if err := w.s.reserve(w, w.n+uint64(len(b))); err != nil {
		return 0, err
	}
	n, err := w.f.Write(b)
	w.h.Write(b[:n])
	w.n += uint64(n)
	if err != nil {
		return n, diskError("store blob", err)
	}
	return n, nil
}

func (w *writer) sum() (d digest.Digest) {
	w.h.Sum(d[:0])
	return d
}

// keep makes the bytes durable under their name. Everyone who stores the same blob at once may call it.
func (w *writer) keep(d digest.Digest) error {
	to := w.s.path(d)
	if err := w.f.Chmod(0o444); err != nil {
		return diskError("store blob", err)
	}
	if err := w.f.Sync(); err != nil {
		return diskError("store blob", err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return diskError("store blob", err)
	}
	// The name and the record of it change together: Collect must not remove a blob between the two.
	w.s.mu.Lock()
	err := os.Rename(w.f.Name(), to)
	if err == nil {
		if old, ok := w.s.blobs[d]; ok {
			w.s.used -= old.bytes
		}
		w.s.blobs[d] = entry{w.n, time.Now()}
		w.s.used += w.n
		w.s.coming -= w.reserved // it counts as used now
		w.reserved = 0
	}
	w.s.mu.Unlock()
	if err != nil {
		return diskError("store blob", err)
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return diskError("store blob", err)
	}
	if err := syncDir(w.s.root); err != nil { // the shelf may be new
		return diskError("store blob", err)
	}
	return nil
}

// discard frees what is left: after keep only the reservation, otherwise the file too.
func (w *writer) discard() {
	w.s.release(w)
	_ = w.f.Close()
	if filepath.Dir(w.f.Name()) == w.s.dir("tmp") {
		_ = os.Remove(w.f.Name()) // after keep there is none of that name
	}
}

// Open opens a blob for reading; the caller closes it. A blob stays readable while it is open, even if collected.
func (s *Store) Open(d digest.Digest) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.blobs[d]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	f, err := os.Open(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		delete(s.blobs, d)
		s.used -= e.bytes
		return nil, fmt.Errorf("blob %s: %w: its file is gone", d, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	e.since = time.Now()
	s.blobs[d] = e
	return f, nil
}

// Has reports whether the blob is here.
func (s *Store) Has(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.blobs[d]
	return ok
}

// Size is the blob's length in bytes; false when it is not here.
func (s *Store) Size(d digest.Digest) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.blobs[d]
	return e.bytes, ok
}

// Path is the blob's file, which nobody may write to. Pin the blob for as long as the path is used.
func (s *Store) Path(d digest.Digest) (string, error) {
	if !s.Has(d) {
		return "", fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	return s.path(d), nil
}

// Verify reads the blob whole and compares it with its name. A blob that rotted on disk is removed, so that it can be
// fetched again, and the error is ErrMismatch.
func (s *Store) Verify(ctx context.Context, d digest.Digest) error {
	f, err := s.Open(d)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, ctxReader{ctx, f}); err != nil {
		return fmt.Errorf("verify blob %s: %w", d, err)
	}
	var have digest.Digest
	h.Sum(have[:0])
	if have == d {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.remove(d); err != nil {
		return err
	}
	return fmt.Errorf("verify blob %s: %w: the file on disk has %s and was removed; fetch it again", d, ErrMismatch, have)
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// diskError names the one trouble that a person can mend.
func diskError(what string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w: free some space and try again: %w", what, ErrDiskFull, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
