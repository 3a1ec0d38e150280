package blob

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/metanode/metanode/internal/digest"
)

// Partial is a blob of known name and length that arrives in pieces, perhaps over several runs of the program. It is
// used by one goroutine and ends with Commit, Suspend or Abort.
type Partial struct {
	w    *writer
	want digest.Digest
	size uint64
	done bool
}

// Resume begins to receive a blob, or goes on where an earlier attempt was suspended or killed; the bytes already here
// are hashed again. ErrBusy when it is being received already.
func (s *Store) Resume(want digest.Digest, size uint64) (*Partial, error) {
	s.mu.Lock()
	if s.fetching[want] {
		s.mu.Unlock()
		return nil, fmt.Errorf("blob %s: %w", want, ErrBusy)
	}
	s.fetching[want] = true
	s.mu.Unlock()
	p, err := s.resume(want, size)
	if err != nil {
		s.mu.Lock()
		delete(s.fetching, want)
		s.mu.Unlock()
	}
	return p, err
}

func (s *Store) resume(want digest.Digest, size uint64) (*Partial, error) {
	f, err := os.OpenFile(filepath.Join(s.dir("partial"), want.String()), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError("receive blob", err)
	}
	p := &Partial{w: &writer{s: s, f: f, h: sha256.New()}, want: want, size: size}
	if err = s.reserve(p.w, size); err == nil {
		var n int64
		n, err = io.Copy(p.w.h, f)
		p.w.n = uint64(n)
		if err == nil && p.w.n > size {
			err = p.Restart()
		}
	}
	if err != nil {
		s.release(p.w)
		_ = f.Close()
		return nil, fmt.Errorf("receive blob %s: %w", want, err)
	}
	return p, nil
}

// Offset is the number of bytes already here.
func (p *Partial) Offset() uint64 { return p.w.n }

// Write appends. More than the blob's length is ErrMismatch.
func (p *Partial) Write(b []byte) (int, error) {
	if p.w.n+uint64(len(b)) > p.size {
		return 0, fmt.Errorf("blob %s: %w: more than %d bytes", p.want, ErrMismatch, p.size)
	}
	return p.w.Write(b)
}

// Restart throws away what is here: it cannot be told which piece of a wrong blob was wrong.
func (p *Partial) Restart() error {
	if err := p.w.f.Truncate(0); err != nil {
		return diskError("receive blob", err)
	}
	if _, err := p.w.f.Seek(0, io.SeekStart); err != nil {
		return diskError("receive blob", err)
	}
	p.w.h.Reset()
	p.w.n = 0
	return nil
}

// Commit verifies the whole and makes it a blob, durable on return. ErrMismatch leaves the Partial open for Restart.
func (p *Partial) Commit() error {
	if have := p.w.sum(); have != p.want || p.w.n != p.size {
		return fmt.Errorf("%w: want %s of %d bytes, have %s of %d", ErrMismatch, p.want, p.size, have, p.w.n)
	}
	if err := p.w.keep(p.want); err != nil {
		return err
	}
	p.end()
	return nil
}

// Suspend keeps what is here for a later Resume.
func (p *Partial) Suspend() { p.end() }

// Abort throws away what is here.
func (p *Partial) Abort() {
	if !p.done {
		_ = os.Remove(p.w.f.Name())
	}
	p.end()
}

func (p *Partial) end() {
	if p.done {
		return
	}
	p.done = true
	p.w.discard()
	p.w.s.mu.Lock()
	defer p.w.s.mu.Unlock()
	delete(p.w.s.fetching, p.want)
}
