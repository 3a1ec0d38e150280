package blob

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"

	blocks "github.com/ipfs/go-block-format"
)

// Bounds of a DAG that somebody else made.
const (
	// MaxDepth bounds the layers of a DAG, from its top to a byte: folders, parts of folders and layers of a file.
	MaxDepth      = 128
	maxName       = 255  // bytes of a name in a folder
	maxPath       = 4096 // bytes of a path
	maxLinkTarget = 4096

	// maxNodes bounds the files, folders and parts of them that are read of one DAG, however often each occurs: a few blocks
	// can be 2^60 files. At blocks of 1 MiB it is 16 TiB.
	maxNodes = 1 << 24
)

// Source gives a block by name; its bytes are what the name says.
type Source func(ctx context.Context, c CID) (blocks.Block, error)

// Sink takes a tree apart as it is read. Paths are clean, relative to the top and separated by slashes; "" is the top
// itself. A folder comes before what is in it.
type Sink interface {
	Folder(path string) error
	// File begins a file of that many bytes. Close says that they have come.
	File(path string, bytes uint64) (io.WriteCloser, error)
	Link(path, target string) error
}

// Unpack reads the file or folder at c in order, depth first, a block wherever it occurs, and holds no more than the
// nodes between the top and the byte in hand. It trusts nothing but the bytes of blocks: names, depth, number and sizes are
// checked. Errors: ErrDAG, those of the source and those of the sink.
func Unpack(ctx context.Context, c CID, from Source, to Sink) error {
	return unpack(ctx, c, from, to, maxNodes)
}

func unpack(ctx context.Context, c CID, from Source, to Sink, nodes int) error {
	u := unpacker{from: from, to: to, most: nodes}
	return u.entry(ctx, c, "", 0)
}

type unpacker struct {
	from       Source
	to         Sink
	seen, most int // nodes
}

func (u *unpacker) node(ctx context.Context, c CID, depth int) (node, error) {
	if depth > MaxDepth {
		return node{}, fmt.Errorf("%s: %w: more than %d layers", c, ErrDAG, MaxDepth)
	}
	if u.seen++; u.seen > u.most {
		return node{}, fmt.Errorf("%s: %w: more than %d files, folders and parts of them", c, ErrDAG, u.most)
	}
	b, err := u.from(ctx, c)
	if err != nil {
		return node{}, err
	}
	return decodeNode(b)
}

func (u *unpacker) entry(ctx context.Context, c CID, at string, depth int) error {
	n, err := u.node(ctx, c, depth)
	if err != nil {
		return err
	}
	switch n.kind {
	case kindFile:
		w, err := u.to.File(at, n.bytes)
		if err != nil {
			return err
		}
		if err := u.file(ctx, c, n, w, depth); err != nil {
			_ = w.Close()
			return err
		}
		return w.Close()
	case kindLink:
		return u.to.Link(at, string(n.data))
	}
	if err := u.to.Folder(at); err != nil {
		return err
	}
	return u.folder(ctx, c, n, at, depth)
}

// file writes the bytes of a node, which are as many as it says.
func (u *unpacker) file(ctx context.Context, c CID, n node, w io.Writer, depth int) error {
	if _, err := w.Write(n.data); err != nil {
		return err
	}
	for _, l := range n.links {
		part, err := u.node(ctx, l.cid, depth+1)
		if err != nil {
			return err
		}
		if part.kind != kindFile || part.bytes != l.bytes {
			return fmt.Errorf("%s: %w: its part %s is not the %d bytes that it should be", c, ErrDAG, l.cid, l.bytes)
		}
		if err := u.file(ctx, l.cid, part, w, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) folder(ctx context.Context, c CID, n node, at string, depth int) error {
	for _, l := range n.links {
		name, sub, err := n.entryName(l)
		if err != nil {
			return fmt.Errorf("%s: %w: %w", c, ErrDAG, err)
		}
		if sub {
			part, err := u.node(ctx, l.cid, depth+1)
			if err != nil {
				return err
			}
			if part.kind != kindShard || part.width != n.width {
				return fmt.Errorf("%s: %w: %s is no part of a folder", c, ErrDAG, l.cid)
			}
			if err := u.folder(ctx, l.cid, part, at, depth+1); err != nil {
				return err
			}
			continue
		}
		to := path.Join(at, name)
		if len(to) > maxPath {
			return fmt.Errorf("%s: %w: a path of %d bytes", c, ErrDAG, len(to))
		}
		if err := u.entry(ctx, l.cid, to, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// entryName is the name of a folder's entry; sub says that the link is a part of the folder instead.
func (n node) entryName(l edge) (name string, sub bool, err error) {
	name = l.name
	if n.kind == kindShard {
		if len(name) < n.width {
			return "", false, fmt.Errorf("a shard's entry %q", name)
		}
		if name = name[n.width:]; name == "" {
			return "", true, nil
		}
	}
	if name == "" || name == "." || name == ".." || len(name) > maxName || strings.ContainsAny(name, "/\x00") {
		return "", false, fmt.Errorf("a name in a folder: %.80q", name)
	}
	return name, false, nil
}

// discard is a Sink that keeps nothing.
type discard struct{}

func (discard) Folder(string) error                         { return nil }
func (discard) Link(string, string) error                   { return nil }
func (discard) File(string, uint64) (io.WriteCloser, error) { return nopCloser{io.Discard}, nil }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
