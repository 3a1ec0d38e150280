package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	blockstore "github.com/ipfs/boxo/blockstore"

	"github.com/metanode/metanode/internal/digest"
)

// Errors that a caller may test for.
var (
	ErrNotFound = errors.New("blob not found")
	ErrQuota    = errors.New("disk quota")
	ErrDiskFull = errors.New("disk full")
	ErrTooLarge = errors.New("blob too large")
	ErrMismatch = errors.New("bytes are not what was asked for")

	// ErrTrouble is wrapped by what is wrong with this machine rather than with the input.
	ErrTrouble = errors.New("disk")

	errClosed = fmt.Errorf("%w: the blob store is closed", ErrTrouble)
)

// Store is a folder of blobs: blocks on disk, and an index of the files and folders that they make.
type Store struct {
	root  string
	quota uint64
	disk  disk

	gc sync.Mutex // held by the one who collects

	mu        sync.Mutex
	roots     map[CID]*entry
	byDigest  map[digest.Digest][]CID           // whole files
	pinned    map[string]map[CID]bool           // by reason
	log       *os.File                          // the index; nil once closed
	lines     int                               // of the index
	compactAt int                               // from so many on it may be written anew
	stale     bool                              // it is to be written anew
	coming    uint64                            // bytes reserved by writers
	writers   map[*Writer]bool                  // who may be relying on blocks that nothing names yet
	sweep     *sweep                            // the collection in progress, if any
	views     map[digest.Digest]*view           // whole files on disk beside their blocks
	viewed    uint64                            // their bytes, and those of views in the making
	uses      map[string]map[digest.Digest]bool // views that must stay, by who needs them
}

// Root is a whole file or folder that the store holds.
type Root struct {
	CID    CID
	Digest digest.Digest // plain SHA-256 of a file; zero for a folder, and for a file that nobody read whole
	Bytes  uint64        // of the files in it
	Folder bool
}

// Kind is "file" or "folder".
func (r Root) Kind() string {
	if r.Folder {
		return kindFolderText
	}
	return kindFileText
}

// entry is a root, or a fetch of one that has begun.
type entry struct {
	Root
	part    bool
	active  int // writers and readers at work: it stays
	used    time.Time
	reasons map[string]bool
}

// partAge is how long a fetch that was broken off can be resumed.
const partAge = 7 * 24 * time.Hour

// Open opens the store in dir, making it if need be, and sweeps what a crash left behind. quotaBytes bounds the bytes
// kept; 0 means no bound.
func Open(dir string, quotaBytes uint64) (*Store, error) {
	s := &Store{
		root: dir, quota: quotaBytes, compactAt: compactAt, roots: map[CID]*entry{}, byDigest: map[digest.Digest][]CID{}, pinned: map[string]map[CID]bool{},
		writers: map[*Writer]bool{}, views: map[digest.Digest]*view{}, uses: map[string]map[digest.Digest]bool{},
	}
	if err := s.open(); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := os.MkdirAll(s.root, 0o700); err != nil {
		return err
	}
	list, err := os.ReadDir(s.root)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if n := older(names); n != "" {
		return fmt.Errorf("%s was made by an earlier version (it has %q in it), which kept blobs in another form; move the folder away and start again: what the network holds is fetched again", s.root, n)
	}
	if err := s.clearViews(); err != nil {
		return err
	}
	if s.disk, err = openDisk(s.root); err != nil {
		return err
	}
	if err := s.openIndex(); err != nil {
		return err
	}
	return s.expire(time.Now())
}

// expire lets fetches go that nobody resumed, and removes blocks that belong to nothing.
func (s *Store) expire(now time.Time) error {
	s.mu.Lock()
	var old []indexLine
	for c, e := range s.roots {
		if e.part && now.Sub(e.used) > partAge {
			old = append(old, indexLine{verb: "drop", cid: c})
		}
	}
	for _, l := range old {
		s.forget(l.cid)
	}
	err := s.write(false, old...)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = s.collect(context.Background(), 0)
	return err
}

// Close ends the store; nothing may be using it.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
		s.log = nil
	}
	if s.disk.ds != nil {
		errs = append(errs, s.disk.close())
	}
	return errors.Join(errs...)
}

// Blocks are the store's blocks for other peers, who compare what they get with its name. Whoever writes takes a Writer.
func (s *Store) Blocks() blockstore.Blockstore { return served{s.disk} }

// Source gives the store's blocks to those who walk a DAG.
func (s *Store) Source() Source { return s.disk.Get }

// Put stores what r yields, at most maxBytes, pinned under the reasons, and returns it. The blob is durable on return.
// Errors: ErrTooLarge, ErrQuota, ErrDiskFull, or r's own.
func (s *Store) Put(ctx context.Context, r io.Reader, maxBytes uint64, reasons ...string) (Root, error) {
	return s.put(ctx, r, maxBytes, nil, reasons)
}

// PutExpect stores what r yields if it is the blob want of the given length; otherwise ErrMismatch, and nothing is kept.
func (s *Store) PutExpect(ctx context.Context, r io.Reader, want digest.Digest, n uint64, reasons ...string) error {
	_, err := s.put(ctx, r, n, func(have Root) error {
		if have.Digest != want || have.Bytes != n {
			return fmt.Errorf("%w: want %s of %d bytes, have %s of %d", ErrMismatch, want, n, have.Digest, have.Bytes)
		}
		return nil
	}, reasons)
	if errors.Is(err, ErrTooLarge) {
		return fmt.Errorf("%w: more than %d bytes for %s", ErrMismatch, n, want)
	}
	return err
}

func (s *Store) put(ctx context.Context, r io.Reader, maxBytes uint64, check func(Root) error, reasons []string) (Root, error) {
	w := s.Write()
	defer w.End()
	h := sha256.New()
	in := &counted{r: io.TeeReader(&limited{r: r, left: maxBytes, max: maxBytes}, h)}
	top, err := BuildFile(ctx, in, w.put)
	if err == nil {
		err = w.flush(ctx)
	}
	if err != nil {
		return Root{}, fmt.Errorf("store blob: %w", err)
	}
	root := Root{CID: top.Cid(), Digest: digest.Digest(h.Sum(nil)), Bytes: in.n}
	if check != nil {
		if err := check(root); err != nil {
			return root, err
		}
	}
	return root, w.Keep(root, reasons...)
}

// limited errs when there is more than it may give.
type limited struct {
	r         io.Reader
	left, max uint64
}

func (l *limited) Read(b []byte) (int, error) {
	if uint64(len(b)) > l.left+1 {
		b = b[:l.left+1]
	}
	n, err := l.r.Read(b)
	if uint64(n) > l.left {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, l.max)
	}
	l.left -= uint64(n)
	return n, err
}

// Find is the file with a digest.
func (s *Store) Find(d digest.Digest) (Root, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.file(d); e != nil {
		return e.Root, true
	}
	return Root{}, false
}

// file is the entry of a whole file; the caller holds the lock.
func (s *Store) file(d digest.Digest) *entry {
	for _, c := range s.byDigest[d] {
		if e := s.roots[c]; !e.part {
			return e
		}
	}
	return nil
}

// Has reports whether the file with a digest is here, whole.
func (s *Store) Has(d digest.Digest) bool { _, ok := s.Find(d); return ok }

// Size is the file's length in bytes; false when it is not here.
func (s *Store) Size(d digest.Digest) (uint64, bool) {
	r, ok := s.Find(d)
	return r.Bytes, ok
}

// Root is the whole file or folder of that name; false when it is not here.
func (s *Store) Root(c CID) (Root, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.roots[c]; e != nil && !e.part {
		return e.Root, true
	}
	return Root{}, false
}

// Look is what the store holds or is fetching under a name.
func (s *Store) Look(c CID) (Listed, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.roots[c]
	if e == nil {
		return Listed{}, false
	}
	return e.listed(), true
}

func (e *entry) listed() Listed {
	return Listed{Root: e.Root, Whole: !e.part, Reasons: sortedKeys(e.reasons), Used: e.used}
}

// Listed is a root with why it is kept.
type Listed struct {
	Root
	Whole   bool // false: a fetch that has not ended
	Reasons []string
	Used    time.Time
}

// List is everything that the store holds or is fetching, in the order of names.
func (s *Store) List() []Listed {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Listed, 0, len(s.roots))
	for _, c := range s.sorted() {
		list = append(list, s.roots[c].listed())
	}
	return list
}

// Usage is what the store holds.
type Usage struct {
	Blobs       int    `json:"blobs"`
	UsedBytes   uint64 `json:"used_bytes"`
	PinnedBytes uint64 `json:"pinned_bytes"` // of the files; blocks that they share count for each
	QuotaBytes  uint64 `json:"quota_bytes"`  // 0: no bound
}

// Usage is a snapshot.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{UsedBytes: s.used(), QuotaBytes: s.quota}
	for _, e := range s.roots {
		if e.part {
			continue
		}
		u.Blobs++
		if len(e.reasons) > 0 {
			u.PinnedBytes += e.Bytes
		}
	}
	return u
}

// used is the bytes on disk; the caller holds the lock.
func (s *Store) used() uint64 { return s.disk.bytes() + s.viewed }

// setRoot makes an entry of a whole root; the caller holds the lock, or is alone.
func (s *Store) setRoot(r Root, used time.Time) *entry {
	e := s.roots[r.CID]
	if e == nil {
		e = &entry{reasons: map[string]bool{}}
		s.roots[r.CID] = e
	}
	e.Root, e.part, e.used = r, false, used
	if !r.Digest.IsZero() && !slices.Contains(s.byDigest[r.Digest], r.CID) {
		s.byDigest[r.Digest] = append(s.byDigest[r.Digest], r.CID)
	}
	return e
}

func (s *Store) setPart(c CID, bytes uint64, used time.Time) *entry {
	e := s.roots[c]
	if e == nil {
		e = &entry{reasons: map[string]bool{}}
		s.roots[c] = e
	}
	e.Root, e.part, e.used = Root{CID: c, Bytes: bytes}, true, used
	return e
}

// forget drops an entry; its blocks stay until they are collected.
func (s *Store) forget(c CID) {
	e := s.roots[c]
	if e == nil {
		return
	}
	for r := range e.reasons {
		s.clearPin(e, r)
	}
	delete(s.roots, c)
	if e.Digest.IsZero() {
		return
	}
	s.byDigest[e.Digest] = slices.DeleteFunc(s.byDigest[e.Digest], func(o CID) bool { return o == c })
	if len(s.byDigest[e.Digest]) == 0 {
		delete(s.byDigest, e.Digest)
	}
}

// diskError names the one trouble that a person can mend.
func diskError(what string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w: free some space and try again: %w", what, ErrDiskFull, err)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrTrouble, err)
}

// syncPath makes a file, or the names in a folder, durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// clearViews removes the whole files of the last run: they are made of blocks whenever they are needed.
func (s *Store) clearViews() error {
	dir := filepath.Join(s.root, "views")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o700)
}
