package blob

import (
	"errors"
	"fmt"
	"math"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	pb "github.com/ipfs/boxo/ipld/unixfs/pb"
	blocks "github.com/ipfs/go-block-format"
)

// ErrDAG means that blocks, though each is what its name says, do not make a file or folder together.
var ErrDAG = errors.New("no file or folder")

// nodeKind is what a block is in a DAG.
type nodeKind byte

const (
	kindFile   nodeKind = iota // bytes, then those of its links in order
	kindFolder                 // links with names
	kindShard                  // a part of a large folder
	kindLink                   // a symbolic link
)

// node is a block taken apart. Its links are checked; their names are not.
type node struct {
	kind  nodeKind
	data  []byte // of a file: bytes in front of those of the links; of a link: where it points
	bytes uint64 // of a file: with those of all links
	total uint64 // bytes below by the links' word, for progress
	width int    // of a shard: hexadecimal digits in front of a name
	links []edge
}

type edge struct {
	cid   CID
	name  string
	bytes uint64 // of a file's part
}

// maxFileBytes bounds what a file may claim to hold.
const maxFileBytes = 1 << 50

// decodeNode takes a block apart, whose bytes are those of its name.
func decodeNode(b blocks.Block) (node, error) {
	c, raw := b.Cid(), b.RawData()
	if len(raw) > MaxBlock {
		return node{}, fmt.Errorf("block %s: %w: %d bytes, at most %d", c, ErrDAG, len(raw), MaxBlock)
	}
	if isRaw(c) {
		return node{kind: kindFile, data: raw, bytes: uint64(len(raw)), total: uint64(len(raw))}, nil
	}
	n, err := decodePB(raw)
	if err != nil {
		return node{}, fmt.Errorf("block %s: %w: %w", c, ErrDAG, err)
	}
	return n, nil
}

func decodePB(raw []byte) (node, error) {
	outer, err := merkledag.DecodeProtobuf(raw)
	if err != nil {
		return node{}, err
	}
	inner, err := unixfs.FSNodeFromBytes(outer.Data())
	if err != nil {
		return node{}, err
	}
	var n node
	switch inner.Type() {
	case pb.Data_File, pb.Data_Raw:
		n = node{kind: kindFile, data: inner.Data(), bytes: uint64(len(inner.Data()))}
		if inner.NumChildren() != len(outer.Links()) {
			return node{}, fmt.Errorf("%d links with %d sizes", len(outer.Links()), inner.NumChildren())
		}
	case pb.Data_Directory:
		n = node{kind: kindFolder}
	case pb.Data_HAMTShard:
		n = node{kind: kindShard}
		if f := inner.Fanout(); f < 2 || f > 1024 || f&(f-1) != 0 {
			return node{}, fmt.Errorf("a shard of %d", f)
		}
		n.width = len(fmt.Sprintf("%X", inner.Fanout()-1))
	case pb.Data_Symlink:
		n = node{kind: kindLink, data: inner.Data()}
		if len(outer.Links()) > 0 || len(n.data) == 0 || len(n.data) > maxLinkTarget {
			return node{}, errors.New("a symbolic link that is none")
		}
	default:
		return node{}, fmt.Errorf("a node of type %s", inner.Type())
	}
	n.total = n.bytes
	for i, l := range outer.Links() {
		if err := CheckCID(l.Cid); err != nil {
			return node{}, err
		}
		e := edge{cid: l.Cid, name: l.Name}
		if n.kind == kindFile {
			e.bytes = inner.BlockSize(i)
			if e.bytes > maxFileBytes || n.bytes+e.bytes > maxFileBytes {
				return node{}, errors.New("a file of more than 1 PiB")
			}
			n.bytes += e.bytes
			n.total = n.bytes
		} else {
			n.total += min(l.Size, math.MaxUint64/2-min(n.total, math.MaxUint64/2))
		}
		n.links = append(n.links, e)
	}
	if n.kind == kindFile && inner.FileSize() != n.bytes {
		return node{}, fmt.Errorf("a file of %d bytes in parts of %d", inner.FileSize(), n.bytes)
	}
	return n, nil
}

// Links are a block's links, in order, and the bytes of everything below it by its own word. The block's bytes are those
// of its name.
func Links(b blocks.Block) ([]CID, uint64, error) {
	n, err := decodeNode(b)
	if err != nil {
		return nil, 0, err
	}
	list := make([]CID, len(n.links))
	for i, l := range n.links {
		list[i] = l.cid
	}
	return list, n.total, nil
}
