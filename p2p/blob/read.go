package blob

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/metanode/metanode/internal/digest"
)

// fileReader reads a file's bytes in order, and is sure of each.
type fileReader struct {
	ctx   context.Context // of the one who reads, who closes it
	from  Source
	stack []frame
	buf   []byte
	err   error
}

// frame is a node whose links are being read.
type frame struct {
	node
	next int
}

func readFile(ctx context.Context, c CID, from Source) (*fileReader, uint64, error) {
	r := &fileReader{ctx: ctx, from: from}
	n, err := r.get(c)
	if err != nil {
		return nil, 0, err
	}
	r.push(n)
	return r, n.bytes, nil
}

func (r *fileReader) get(c CID) (node, error) {
	b, err := r.from(r.ctx, c)
	if err != nil {
		return node{}, err
	}
	n, err := decodeNode(b)
	if err == nil && n.kind != kindFile {
		err = fmt.Errorf("%s: %w: it is no part of a file", c, ErrDAG)
	}
	return n, err
}

func (r *fileReader) push(n node) {
	r.stack = append(r.stack, frame{node: n})
	r.buf = n.data
}

// Read implements io.Reader.
func (r *fileReader) Read(b []byte) (int, error) {
	for len(r.buf) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.err = r.step()
	}
	n := copy(b, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

// step goes on to the next node that may have bytes.
func (r *fileReader) step() error {
	if len(r.stack) == 0 {
		return io.EOF
	}
	top := &r.stack[len(r.stack)-1]
	if top.next == len(top.links) {
		r.stack = r.stack[:len(r.stack)-1]
		return nil
	}
	if len(r.stack) > MaxDepth {
		return fmt.Errorf("%w: a file of more than %d layers", ErrDAG, MaxDepth)
	}
	l := top.links[top.next]
	if l.bytes == 0 { // nothing to read, and perhaps a great many times
		top.next++
		return nil
	}
	n, err := r.get(l.cid)
	if err != nil {
		return err
	}
	top.next++
	if n.bytes != l.bytes {
		return fmt.Errorf("%s: %w: %d bytes, where %d should be", l.cid, ErrDAG, n.bytes, l.bytes)
	}
	r.push(n)
	return nil
}

// Open opens the file with a digest for reading; the caller closes it. It stays while it is open. Its blocks are compared
// with their names as they are read.
func (s *Store) Open(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	s.mu.Lock()
	e := s.file(d)
	if e == nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	e.active++
	e.used = time.Now()
	s.mu.Unlock()
	r, _, err := readFile(ctx, e.CID, s.disk.Get)
	if err != nil {
		s.let(e)
		return nil, fmt.Errorf("open blob %s: %w", d, s.rotten(e, err))
	}
	return &opened{fileReader: r, s: s, e: e}, nil
}

// Hold keeps a root from being collected until the function that it returns is called; false if it is not here, whole.
func (s *Store) Hold(c CID) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.roots[c]
	if e == nil || e.part {
		return nil, false
	}
	e.active++
	e.used = time.Now()
	return func() { s.let(e) }, true
}

func (s *Store) let(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.active--
}

// rotten makes a fetch of a root out of one whose blocks are gone, so that it is fetched again, and keeps its pins.
func (s *Store) rotten(e *entry, err error) error {
	if !isAbsent(err) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.roots[e.CID] == e && !e.part {
		e.part = true // in memory alone: a restart finds it out again
	}
	return fmt.Errorf("%w: a block of it rotted on disk and was removed; it is fetched again when it is asked for: %w", ErrNotFound, err)
}

// opened is an open file of the store.
type opened struct {
	*fileReader
	s      *Store
	e      *entry
	closed bool
}

// Read implements io.Reader.
func (o *opened) Read(b []byte) (int, error) {
	n, err := o.fileReader.Read(b)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read blob %s: %w", o.e.Digest, o.s.rotten(o.e, err))
	}
	return n, err
}

// Close implements io.Closer.
func (o *opened) Close() error {
	if !o.closed {
		o.closed = true
		o.s.let(o.e)
	}
	return nil
}

// summary is what is known of a node and everything below it.
type summary struct {
	raw   bool // looked at as bytes alone: the same block may be named as a node, too
	kind  nodeKind
	width int
	bytes uint64 // of files
}

// completer looks through a DAG, each block once.
type completer struct {
	w     *Writer
	known map[digest.Digest]summary
	here  uint64 // bytes of distinct blocks
}

// Complete tells what the DAG at c is. Every block of it must be here: the error wraps ErrNotFound if one is not, and
// ErrDAG if they make no file or folder. A file's digest is found by reading it, as far as
// Follow did not find it already, unless the file repeats itself beyond reason.
func (w *Writer) Complete(ctx context.Context, c CID) (Root, error) {
	if err := CheckCID(c); err != nil {
		return Root{}, err
	}
	k := completer{w: w, known: map[digest.Digest]summary{}}
	top, err := k.look(ctx, c, 0)
	if isAbsent(err) {
		return Root{}, fmt.Errorf("%s is not whole: %w: %w", c, ErrNotFound, err)
	}
	if err != nil {
		return Root{}, err
	}
	root := Root{CID: c, Bytes: top.bytes, Folder: top.kind == kindFolder || top.kind == kindShard}
	if top.kind == kindLink {
		return Root{}, fmt.Errorf("%s: %w: a symbolic link alone", c, ErrDAG)
	}
	if root.Folder || beyondReason(root.Bytes, k.here) {
		return root, nil
	}
	if w.follow != nil && w.follow.top == c {
		if d, ok := w.follow.finish(ctx, k.here); ok {
			root.Digest = d
			return root, nil
		}
	}
	r, _, err := readFile(ctx, c, w.s.disk.Get)
	if err != nil {
		return Root{}, err
	}
	root.Digest, err = sum(r)
	return root, err
}

func (k *completer) look(ctx context.Context, c CID, depth int) (summary, error) {
	h := hashOf(c)
	if n, ok := k.known[h]; ok && n.raw == isRaw(c) {
		return n, nil
	}
	if depth > MaxDepth {
		return summary{}, fmt.Errorf("%s: %w: more than %d layers", c, ErrDAG, MaxDepth)
	}
	if isRaw(c) {
		ok, n, err := k.w.Has(ctx, c)
		if err != nil {
			return summary{}, err
		}
		if !ok {
			return summary{}, ipld.ErrNotFound{Cid: c}
		}
		k.here += n
		k.known[h] = summary{raw: true, kind: kindFile, bytes: n}
		return k.known[h], nil
	}
	k.w.rely(c)
	b, err := k.w.s.disk.Get(ctx, c)
	if err != nil {
		return summary{}, err
	}
	n, err := decodeNode(b)
	if err != nil {
		return summary{}, err
	}
	k.here += uint64(len(b.RawData()))
	out := summary{kind: n.kind, width: n.width}
	if n.kind == kindFile {
		out.bytes = n.bytes
	}
	for _, l := range n.links {
		sub := false
		if n.kind != kindFile {
			if _, sub, err = n.entryName(l); err != nil {
				return summary{}, fmt.Errorf("%s: %w: %w", c, ErrDAG, err)
			}
		}
		below, err := k.look(ctx, l.cid, depth+1)
		if err != nil {
			return summary{}, err
		}
		switch {
		case n.kind == kindFile:
			if below.kind != kindFile || below.bytes != l.bytes {
				return summary{}, fmt.Errorf("%s: %w: its part %s is not the %d bytes that it should be", c, ErrDAG, l.cid, l.bytes)
			}
		case sub && (below.kind != kindShard || below.width != n.width):
			return summary{}, fmt.Errorf("%s: %w: %s is no part of a folder", c, ErrDAG, l.cid)
		default:
			out.bytes += min(below.bytes, math.MaxInt64-min(out.bytes, math.MaxInt64))
		}
	}
	k.known[h] = out
	return out, nil
}
