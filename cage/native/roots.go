package native

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/root"
	"github.com/metanode/metanode/internal/digest"
	"golang.org/x/sys/unix"
)

// unpackedPrefix begins the name of a root that is not whole yet. A digest never begins so.
const unpackedPrefix = "new-"

// roots keeps unpacked root archives in a folder of the engine's own, one folder each, named by digest. A folder is
// there whole or not at all. Several processes may share it: whoever unpacks holds a shared lock on it, and what was
// left half unpacked is removed only under an exclusive one.
type roots struct {
	dir *os.File

	mu      sync.Mutex
	flights map[digest.Digest]chan struct{} // closed when the root has been unpacked, or could not be
}

func openRoots(dir string) (*roots, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of roots: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of roots: %w", err)
	}
	r := &roots{dir: f, flights: map[digest.Digest]chan struct{}{}}
	if err := r.clean(); err != nil {
		f.Close()
		return nil, fmt.Errorf("remove roots left half unpacked: %w", err)
	}
	return r, nil
}

func (r *roots) close() { r.dir.Close() }

// clean removes what an unpacking that was cut short has left.
func (r *roots) clean() error {
	unlock, err := r.lock(unix.LOCK_EX | unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		return nil // somebody is unpacking; the next start cleans
	}
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := os.ReadDir(r.dir.Name())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unpackedPrefix) {
			if err := os.RemoveAll(filepath.Join(r.dir.Name(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// lock takes a lock on the folder. Each has an open file of its own, since a lock belongs to that.
func (r *roots) lock(how int) (unlock func(), err error) {
	f, err := os.Open(r.dir.Name())
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if err != unix.EINTR {
			f.Close()
			return nil, err
		}
	}
}

// get gives the folder that holds root d, which is unpacked first if it must be, and what of the machine it came from.
func (r *roots) get(ctx context.Context, d digest.Digest, files cage.Files) (dir, origin string, err error) {
	if known, ok := files.(cage.Roots); ok {
		if dir, ok := known.Root(d); ok {
			if !filepath.IsAbs(dir) {
				return "", "", fmt.Errorf("root %s: its folder %q is not absolute", d.Short(), dir)
			}
			return filepath.Clean(dir), dir, nil
		}
	}
	archive, err := files.Path(d)
	if err != nil {
		return "", "", fmt.Errorf("root %s: %w", d.Short(), err)
	}
	dir = filepath.Join(r.dir.Name(), d.String())
	for {
		if _, err := os.Lstat(dir); err == nil {
			return dir, archive, nil
		}
		r.mu.Lock()
		flight := r.flights[d]
		if flight == nil {
			flight = make(chan struct{})
			r.flights[d] = flight
			r.mu.Unlock()
			err := r.unpack(ctx, d, archive, dir)
			r.mu.Lock()
			delete(r.flights, d)
			r.mu.Unlock()
			close(flight)
			if err != nil {
				return "", "", fmt.Errorf("unpack root %s: %w", d.Short(), err)
			}
			continue
		}
		r.mu.Unlock()
		select {
		case <-flight:
		case <-ctx.Done():
			return "", "", ctx.Err()
		}
	}
}

// unpack makes dir from an archive, whose digest it checks on the way.
func (r *roots) unpack(ctx context.Context, d digest.Digest, archive, dir string) error {
	unlock, err := r.lock(unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer unlock()
	src, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer src.Close()
	tmp, err := os.MkdirTemp(r.dir.Name(), unpackedPrefix+"*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // is not there any more once renamed
	h := sha256.New()
	err = unpackRoot(ctx, io.TeeReader(bufio.NewReaderSize(src, 1<<18), h), tmp)
	if err == nil {
		// The archive has been read to its last byte.
		if sum := digest.Digest(h.Sum(nil)); sum != d {
			err = fmt.Errorf("file %s holds %s instead; fetch the blob again", archive, sum.Short())
		}
	}
	if err != nil {
		return err
	}
	if err := unix.Syncfs(int(r.dir.Fd())); err != nil { // its files must not come after its name
		return err
	}
	err = os.Rename(tmp, dir)
	if _, there := os.Lstat(dir); err != nil && there == nil {
		return nil // another process was as fast
	}
	return err
}

// unpackRoot fills the empty folder dir. Everybody may read what is in it, and enter and execute what somebody may: who
// unpacked it decides nothing. Paths are resolved beneath dir, though the reader has refused all that leads elsewhere.
func unpackRoot(ctx context.Context, r io.Reader, dir string) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	top, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer top.Close()
	archive := root.NewReader(r)
	for {
		e, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		switch e.Kind {
		case root.Folder:
			if err = top.Mkdir(e.Path, 0o755); err == nil {
				err = top.Chmod(e.Path, 0o755) // whatever the umask
			}
		case root.Link:
			err = top.Symlink(e.To, e.Path)
		case root.File:
			err = unpackFile(top, &e, archive)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(top *os.Root, e *root.Entry, from io.Reader) error {
	f, err := top.OpenFile(e.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	mode := os.FileMode(e.Mode | 0o444)
	if e.Mode&0o111 != 0 {
		mode |= 0o111
	}
	return errors.Join(err, f.Chmod(mode), f.Close())
}
