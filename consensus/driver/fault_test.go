package driver

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"github.com/metanode/metanode/consensus"
)

// errDead is what everything answers after the machine has stopped.
var errDead = errors.New("the machine has stopped")

// Tear says which bytes of the writes that were not synced are on the disk after the machine stopped. keep is asked for
// byte i of a write of n bytes that stands at off in its file. With nil only the process ends: the system keeps all that
// was written, and the disk may lose it yet.
type Tear struct {
	Name string
	keep func(off int64, i, n int) bool
}

// Tears are the ways in which a machine stops: between all and nothing, in the middle of a record's parts, and with whole
// sectors in any order.
func Tears() []Tear {
	cut := func(name string, at func(n int) int) Tear {
		return Tear{name, func(_ int64, i, n int) bool { return i < at(n) }}
	}
	sector := func(off int64, i int) int64 { return (off + int64(i)) / walSector }
	return []Tear{
		{"everything to the system", nil},
		cut("nothing", func(int) int { return 0 }),
		cut("everything", func(n int) int { return n }),
		cut("one byte", func(int) int { return 1 }),
		cut("the length", func(int) int { return 4 }),
		cut("half the head", func(int) int { return 8 }),
		cut("the head", func(int) int { return walRecordHead }),
		cut("a byte of the payload", func(int) int { return walRecordHead + 1 }),
		cut("half", func(n int) int { return n / 2 }),
		cut("all but the end mark", func(n int) int { return n - walRecordEnd }),
		cut("half the end mark", func(n int) int { return n - walRecordEnd/2 }),
		cut("all but the last byte", func(n int) int { return n - 1 }),
		{"even sectors", func(off int64, i, _ int) bool { return sector(off, i)%2 == 0 }},
		{"odd sectors", func(off int64, i, _ int) bool { return sector(off, i)%2 == 1 }},
		{"the last sector", func(off int64, i, n int) bool { return sector(off, i) == sector(off, n-1) }},
		{"all but the first sector", func(off int64, i, n int) bool { return sector(off, i) != sector(off, 0) }},
	}
}

// FaultDisk is a Disk in memory. It forgets what was not synced when it stops, and fails when it is told to. Its folders
// need not be made.
type FaultDisk struct {
	mu    sync.Mutex // guards what follows
	files map[string]*faultFile
	ops   int
	at    int // the operation at which to stop or fail; 0: none
	tear  Tear
	fail  error // the operation fails with it, and half of a write is done; nil: the machine stops
	short bool  // reads give few bytes at a time
	lies  bool  // syncs do nothing
	died  chan struct{}
	dead  bool
	trail []string // the operations so far, by kind
}

// faultFile is what the system has of a file, what the disk has, and the writes between.
type faultFile struct {
	now, durable []byte
	pending      []faultWrite
}

type faultWrite struct {
	off int64
	b   []byte
}

// NewFaultDisk is empty and sound.
func NewFaultDisk() *FaultDisk {
	return &FaultDisk{files: map[string]*faultFile{}, died: make(chan struct{})}
}

// StopAt makes the machine stop in the n-th operation from now, which leaves what tear says.
func (d *FaultDisk) StopAt(n int, tear Tear) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.tear = d.ops+n, tear
}

// FailAt makes the n-th operation from now fail. The disk works again afterwards.
func (d *FaultDisk) FailAt(n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.fail = d.ops+n, err
}

// ShortReads makes reads give few bytes at a time.
func (d *FaultDisk) ShortReads() { d.short = true }

// Lie makes every sync from now on confirm what it has not done.
func (d *FaultDisk) Lie() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lies = true
}

// Stop stops the machine between two operations. Doing it again does nothing.
func (d *FaultDisk) Stop(tear Tear) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop(tear)
}

// Died is closed when the machine has stopped.
func (d *FaultDisk) Died() <-chan struct{} { return d.died }

// Ops is how many operations that change something were begun.
func (d *FaultDisk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Restarted is the disk of a stopped machine after it has been switched on again, or as the next process finds it: sound,
// with what was left on it.
func (d *FaultDisk) Restarted() *FaultDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := NewFaultDisk()
	for name, f := range d.files {
		if out.files[name] = (&faultFile{now: slices.Clone(f.durable), durable: f.durable}); d.tear.keep == nil {
			out.files[name] = &faultFile{now: slices.Clone(f.now), durable: f.durable, pending: f.pending}
		}
	}
	return out
}

// Bytes are what the disk holds of each file: for a test to spoil.
func (d *FaultDisk) Bytes() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string][]byte{}
	for name, f := range d.files {
		out[name] = slices.Clone(f.durable)
	}
	return out
}

// Put replaces what the disk holds of a file; nil takes it away.
func (d *FaultDisk) Put(name string, raw []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if raw == nil {
		delete(d.files, name)
		return
	}
	d.files[name] = &faultFile{now: slices.Clone(raw), durable: slices.Clone(raw)}
}

// stop leaves on the disk what tear says. The caller holds mu.
func (d *FaultDisk) stop(tear Tear) {
	if d.dead {
		return
	}
	d.dead, d.tear = true, tear
	defer close(d.died)
	if tear.keep == nil {
		return
	}
	for name, f := range d.files {
		if f.durable == nil && !tear.keep(0, 0, 1) {
			delete(d.files, name) // its making was under way
			continue
		}
		for _, w := range f.pending {
			n := len(w.b)
			for n > 0 && !tear.keep(w.off, n-1, len(w.b)) {
				n--
			}
			left := slices.Clone(w.b[:n])
			for i := range left {
				if at := int(w.off) + i; !tear.keep(w.off, i, len(w.b)) {
					left[i] = 0
					if at < len(f.durable) {
						left[i] = f.durable[at]
					}
				}
			}
			f.durable = place(slices.Clip(f.durable), w.off, left)
		}
	}
}

// Do is an operation of something else that stops and fails with this disk. do may be called, and holds its lock.
func (d *FaultDisk) Do(kind string, do func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.step(kind, func(half bool) {
		if !half {
			do()
		}
	})
}

// Left is what the machine left when it stopped: of n things that were not synced, the first so many are there.
func (d *FaultDisk) Left(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tear.keep == nil {
		return n
	}
	left := 0
	for left < n && d.tear.keep(0, left, n) {
		left++
	}
	return left
}

// step counts an operation and does what was planned for it. do changes the files; whether the change counts when the
// machine stops in it is for stop to find out. The caller holds mu.
func (d *FaultDisk) step(kind string, do func(half bool)) error {
	if d.dead {
		return errDead
	}
	d.ops++
	d.trail = append(d.trail, kind)
	switch {
	case d.ops != d.at:
		do(false)
		return nil
	case d.fail != nil:
		do(true)
		return d.fail
	}
	if kind == "write" || kind == "create" || d.tear.keep == nil || d.tear.keep(0, 0, 1) {
		do(false)
	}
	d.stop(d.tear)
	return errDead
}

// place puts b at off, with zeroes where nothing was.
func place(to []byte, off int64, b []byte) []byte {
	if n := int(off) + len(b); n > len(to) {
		to = append(to, make([]byte, n-len(to))...)
	}
	copy(to[off:], b)
	return to
}

// List implements Disk.
func (d *FaultDisk) List(dir, pattern string) (out []string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, errDead
	}
	for name := range d.files {
		if ok, err := filepath.Match(filepath.Join(dir, pattern), name); ok && err == nil {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out, nil
}

// Open implements Disk.
func (d *FaultDisk) Open(path string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[path]
	switch {
	case d.dead:
		return nil, errDead
	case f == nil:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return &faultHandle{d: d, f: f}, nil
}

// Create implements Disk.
func (d *FaultDisk) Create(path string) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[path] != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	f := &faultFile{}
	err := d.step("create", func(half bool) {
		if !half {
			d.files[path] = f
		}
	})
	if err != nil {
		return nil, err
	}
	f.durable = []byte{}
	return &faultHandle{d: d, f: f}, nil
}

// Remove implements Disk.
func (d *FaultDisk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[path] == nil && !d.dead {
		return nil
	}
	return d.step("remove", func(half bool) {
		if !half {
			delete(d.files, path)
		}
	})
}

// faultHandle is an open file.
type faultHandle struct {
	d  *FaultDisk
	f  *faultFile
	at int
}

func (h *faultHandle) Read(p []byte) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	switch {
	case h.d.dead:
		return 0, errDead
	case h.at >= len(h.f.now):
		return 0, io.EOF
	case h.d.short:
		p = p[:min(len(p), 7)]
	}
	n := copy(p, h.f.now[h.at:])
	h.at += n
	return n, nil
}

func (h *faultHandle) WriteAt(p []byte, off int64) (n int, err error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err = h.d.step("write", func(half bool) {
		if n = len(p); half {
			n /= 2
		}
		h.f.now = place(h.f.now, off, p[:n])
		h.f.pending = append(h.f.pending, faultWrite{off, slices.Clone(p[:n])})
	})
	return n, err
}

func (h *faultHandle) Sync() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return h.d.step("sync", func(half bool) {
		if !half && !h.d.lies {
			h.f.durable, h.f.pending = slices.Clone(h.f.now), nil
		}
	})
}

func (h *faultHandle) Close() error { return nil }

// WriteLog puts a validator's log in dir that holds these records and nothing else.
func (d *FaultDisk) WriteLog(dir string, records ...[]byte) error {
	w, err := openWAL(d, dir, 1<<16, false, func([]byte) (consensus.Height, error) { return 0, nil })
	if err != nil {
		return err
	}
	defer w.close()
	for _, r := range records {
		if err := w.append(r, 0); err != nil {
			return err
		}
	}
	return nil
}

// ReadLog gives the records of a log.
func (d *FaultDisk) ReadLog(dir string) (records [][]byte, err error) {
	w := &wal{disk: d, dir: dir, seq: 1}
	_, err = w.read(false, func(p []byte) (consensus.Height, error) {
		records = append(records, slices.Clone(p))
		return 0, nil
	})
	return records, err
}
