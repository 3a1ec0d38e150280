package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	chunker "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	unixio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
)

// Put takes a block of a DAG that is being made, its children before it. It may keep the block.
type Put func(ctx context.Context, b ipld.Node) error

// The shape of a DAG is part of its name, so it is fixed: what IPIP-499 calls unixfs-v1-2025, and kubo makes with that
// profile. Blocks of 1 MiB, raw, 1024 links a node, CIDv1, SHA-256.
const fileWidth = 1024

var cidBuilder = cid.V1Builder{Codec: cid.DagProtobuf, MhType: mh.SHA2_256}

// BuildFile cuts what r yields into blocks, gives them to put, and returns the top. It holds a block of each layer.
func BuildFile(ctx context.Context, r io.Reader, put Put) (ipld.Node, error) {
	params := helpers.DagBuilderParams{Maxlinks: fileWidth, RawLeaves: true, CidBuilder: cidBuilder, Dagserv: builder{ctx: ctx, put: put}}
	h, err := params.New(chunker.NewSizeSplitter(ctxReader{ctx, r}, chunk))
	if err != nil {
		return nil, err
	}
	return balanced.Layout(h)
}

// ErrChanged means that a file was written to while it was read.
var ErrChanged = errors.New("changed while it was added; add it again when nothing writes to it")

// Built is what BuildTree found.
type Built struct {
	Root  CID
	Bytes uint64 // of files
	Files int
}

// BuildTree makes the DAG of a file or a folder on this machine: file names, bytes and symbolic links, nothing else of
// it. The same tree gives the same root everywhere. It holds one folder's names and a block of each layer above the byte
// in hand. read, if not nil, hears of bytes as they are read.
func BuildTree(ctx context.Context, at string, put Put, read func(n int)) (Built, error) {
	b := treeBuilder{put: put, read: read}
	info, err := os.Stat(at) // the top may be a link to what is meant
	if err != nil {
		return Built{}, err
	}
	top, err := b.entry(ctx, at, info, 0)
	if err != nil {
		return Built{}, err
	}
	b.out.Root = top.Cid()
	return b.out, nil
}

type treeBuilder struct {
	put  Put
	read func(int)
	out  Built
}

func (b *treeBuilder) entry(ctx context.Context, at string, info os.FileInfo, depth int) (ipld.Node, error) {
	switch {
	case depth > MaxDepth/2: // the other half is for the layers of a file
		return nil, fmt.Errorf("%s: more than %d folders deep", at, MaxDepth/2)
	case info.IsDir():
		return b.folder(ctx, at, depth)
	case info.Mode()&os.ModeSymlink != 0:
		return b.link(ctx, at)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is neither a file nor a folder; leave it out", at)
	}
	f, err := os.Open(at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := &counted{r: io.LimitReader(f, info.Size()+1), told: b.read}
	n, err := BuildFile(ctx, in, b.put)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	if in.n != uint64(info.Size()) {
		return nil, fmt.Errorf("%s %w", at, ErrChanged)
	}
	b.out.Bytes += in.n
	b.out.Files++
	return n, nil
}

func (b *treeBuilder) link(ctx context.Context, at string) (ipld.Node, error) {
	target, err := os.Readlink(at)
	if err != nil {
		return nil, err
	}
	if len(target) > maxLinkTarget {
		return nil, fmt.Errorf("%s points to a path of %d bytes: at most %d", at, len(target), maxLinkTarget)
	}
	data, err := unixfs.SymlinkData(target)
	if err != nil {
		return nil, err
	}
	n := merkledag.NodeWithData(data)
	if err := n.SetCidBuilder(cidBuilder); err != nil {
		return nil, err
	}
	return n, b.put(ctx, n)
}

func (b *treeBuilder) folder(ctx context.Context, at string, depth int) (ipld.Node, error) {
	names, err := os.ReadDir(at)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(names, func(x, y os.DirEntry) int {
		switch {
		case x.Name() < y.Name():
			return -1
		case x.Name() > y.Name():
			return 1
		}
		return 0
	})
	dag := builder{ctx: ctx, put: b.put}
	dir, err := unixio.NewDirectory(dag, unixio.WithCidBuilder(cidBuilder), unixio.WithMaxHAMTFanout(256), unixio.WithSizeEstimationMode(unixio.SizeEstimationBlock))
	if err != nil {
		return nil, err
	}
	for _, e := range names {
		if len(e.Name()) > maxName {
			return nil, fmt.Errorf("%s: a name of %d bytes", at, len(e.Name()))
		}
		path := filepath.Join(at, e.Name())
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		n, err := b.entry(ctx, path, info, depth+1)
		if err != nil {
			return nil, err
		}
		if err := dir.AddChild(ctx, e.Name(), n); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	n, err := dir.GetNode()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	return n, b.put(ctx, n)
}

// builder is what the builders of files and folders write to. They read nothing back.
type builder struct {
	ctx context.Context // of the whole build: the builder of files passes none
	put Put
}

var _ ipld.DAGService = builder{}

var errWriteOnly = errors.New("a DAG that is being made is not read")

func (b builder) Add(_ context.Context, n ipld.Node) error { return b.put(b.ctx, n) }

func (b builder) AddMany(_ context.Context, list []ipld.Node) error {
	for _, n := range list {
		if err := b.put(b.ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (builder) Get(_ context.Context, c cid.Cid) (ipld.Node, error) {
	return nil, ipld.ErrNotFound{Cid: c}
}
func (builder) GetMany(context.Context, []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, 1)
	out <- &ipld.NodeOption{Err: errWriteOnly}
	close(out)
	return out
}
func (builder) Remove(context.Context, cid.Cid) error       { return errWriteOnly }
func (builder) RemoveMany(context.Context, []cid.Cid) error { return errWriteOnly }

// counted counts what is read through it.
type counted struct {
	r    io.Reader
	n    uint64
	told func(int)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += uint64(n)
	if c.told != nil && n > 0 {
		c.told(n)
	}
	return n, err
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
