package blob

import (
	"context"
	"fmt"
	"time"

	blocks "github.com/ipfs/go-block-format"
	ipld "github.com/ipfs/go-ipld-format"
)

// batchBytes is how many bytes of blocks are made durable together.
const batchBytes = 8 << 20

// Writer puts blocks into the store. What it put, or found there already, is not collected until End, although nothing
// names it yet; with Keep something does. It is used by one goroutine at a time and ends with End.
type Writer struct {
	s *Store

	marks  map[uint64]bool // of the blocks it relies on; under the store's lock
	own    map[uint64]bool // of those that it wrote, or compared with their names
	few    []CID           // the blocks it relies on, as long as they are few
	budget uint64          // bytes reserved that are not on disk yet
	part   *entry          // the fetch that it serves, if it does
	follow *follower       // of the file that is written; nil if none is

	batch []blocks.Block // of put
	bytes int
}

// Write begins to write.
func (s *Store) Write() *Writer {
	w := &Writer{s: s, marks: map[uint64]bool{}, own: map[uint64]bool{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writers[w] = true
	return w
}

// Reserve makes room for bytes that are about to come. Blocks beyond them make their own.
func (w *Writer) Reserve(ctx context.Context, bytes uint64) error {
	if bytes <= w.budget {
		return nil
	}
	more := bytes - w.budget
	if err := w.s.reserve(ctx, more); err != nil {
		return err
	}
	w.budget += more
	return nil
}

// Resume notes that the DAG at c is being fetched, at most bytes of it: its blocks stay when the fetch breaks off, or the
// program ends, so that another can go on. It reports whether there was none before. A root that is whole is left alone.
func (w *Writer) Resume(c CID, bytes uint64) (fresh bool, err error) {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.roots[c]
	if e == nil {
		now := time.Now()
		if err := s.write(false, indexLine{verb: "part", cid: c, bytes: bytes, unix: now.Unix()}); err != nil {
			return false, fmt.Errorf("fetch %s: %w", c, err)
		}
		e, fresh = s.setPart(c, bytes, now), true
	}
	w.hold(e)
	return fresh, nil
}

// hold keeps an entry until End; the caller holds the lock.
func (w *Writer) hold(e *entry) {
	e.used = time.Now()
	e.active++
	w.part = e
}

// Abandon forgets a fetch that brought nothing. One of a blob that is pinned, and of which a block rotted, is not forgotten.
func (w *Writer) Abandon() {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.part == nil || !w.part.part || w.part.active > 1 || len(w.part.reasons) > 0 {
		return
	}
	_ = s.write(false, indexLine{verb: "drop", cid: w.part.CID}) // if not now, then by its age
	s.forget(w.part.CID)
}

// Has reports whether a block is here, sound, and relies on it if it is. Its length is 0 if it is not.
func (w *Writer) Has(ctx context.Context, c CID) (ok bool, bytes uint64, err error) {
	w.rely(c)
	if w.own[mark(hashOf(c))] {
		n, err := w.s.disk.GetSize(ctx, c)
		return err == nil, uint64(max(n, 0)), absentIsNil(err)
	}
	b, err := w.s.disk.Get(ctx, c)
	if err != nil {
		return false, 0, absentIsNil(err)
	}
	w.own[mark(hashOf(c))] = true
	return true, uint64(len(b.RawData())), nil
}

func absentIsNil(err error) error {
	if isAbsent(err) {
		return nil
	}
	return err
}

// rely keeps the collector from blocks. It comes before the look at the disk: what is there then, stays.
func (w *Writer) rely(list ...CID) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for _, c := range list {
		m := mark(hashOf(c))
		if !w.marks[m] && len(w.few) <= syncAlone {
			w.few = append(w.few, c)
		}
		w.marks[m] = true
	}
}

// PutMany stores blocks, whose bytes are those of their names. They are durable with Keep. Errors: ErrQuota, ErrDiskFull.
func (w *Writer) PutMany(ctx context.Context, list []blocks.Block) error {
	names := make([]CID, len(list))
	for i, b := range list {
		if err := CheckCID(b.Cid()); err != nil {
			return err
		}
		if len(b.RawData()) > MaxBlock {
			return fmt.Errorf("block %s of %d bytes: at most %d", b.Cid(), len(b.RawData()), MaxBlock)
		}
		names[i] = b.Cid()
	}
	w.rely(names...)
	var fresh []blocks.Block
	var bytes uint64
	for _, b := range list {
		have, _, err := w.Has(ctx, b.Cid())
		if err != nil {
			return diskError("store block", err)
		}
		if !have {
			fresh = append(fresh, b)
			bytes += uint64(len(b.RawData()))
		}
	}
	if err := w.Reserve(ctx, bytes); err != nil {
		return err
	}
	err := w.s.disk.putMany(ctx, fresh, func() {
		if w.follow != nil {
			w.follow.take(ctx, list)
		}
	})
	w.release(bytes)
	if err == nil {
		for _, b := range fresh {
			w.own[mark(hashOf(b.Cid()))] = true
		}
	}
	return err
}

// release gives a part of the reservation back.
func (w *Writer) release(bytes uint64) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	bytes = min(bytes, w.budget)
	w.budget -= bytes
	w.s.coming -= bytes
}

// put is a Put that gathers blocks.
func (w *Writer) put(ctx context.Context, b ipld.Node) error {
	w.batch = append(w.batch, b)
	if w.bytes += len(b.RawData()); w.bytes < batchBytes {
		return nil
	}
	return w.flush(ctx)
}

func (w *Writer) flush(ctx context.Context) error {
	list := w.batch
	w.batch, w.bytes = nil, 0
	return w.PutMany(ctx, list)
}

// Keep names a whole file or folder, pinned under the reasons; Complete tells whether it is one. It is durable on return.
func (w *Writer) Keep(root Root, reasons ...string) error {
	for _, r := range reasons {
		if err := checkReason(r); err != nil {
			return fmt.Errorf("keep %s: %w", root.CID, err)
		}
	}
	// Blocks first, then the name. What others wrote and this root shares may not be durable either.
	few := w.few
	if len(few) > syncAlone {
		few = nil
	}
	if len(w.marks) > 0 {
		if err := w.s.disk.sync(few); err != nil {
			return fmt.Errorf("keep %s: %w", root.CID, err)
		}
	}
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var lines []indexLine
	e := s.roots[root.CID]
	if e == nil || e.part || e.Root != root {
		lines = append(lines, indexLine{verb: "root", cid: root.CID, digest: root.Digest, bytes: root.Bytes, folder: root.Folder, unix: now.Unix()})
	}
	for _, r := range reasons {
		if e == nil || !e.reasons[r] {
			lines = append(lines, indexLine{verb: "+", cid: root.CID, reason: r})
		}
	}
	if len(lines) > 0 {
		if err := s.write(true, lines...); err != nil {
			return fmt.Errorf("keep %s: %w", root.CID, err)
		}
	}
	e = s.setRoot(root, now)
	for _, r := range reasons {
		s.setPin(e, r)
	}
	s.compact()
	return nil
}

// End lets go of what was not kept. A collection in progress spares it still.
func (w *Writer) End() {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.writers[w] {
		return
	}
	delete(s.writers, w)
	s.coming -= w.budget
	w.budget = 0
	if w.part != nil {
		w.part.active--
	}
	if s.sweep != nil {
		for m := range w.marks {
			s.sweep.spared[m] = true
		}
	}
}
