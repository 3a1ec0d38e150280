package trie

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/metanode/metanode/internal/digest"
)

// ErrOutline is wrapped by what is wrong with an outline that somebody else made.
var ErrOutline = errors.New("outline of a map")

// ErrPart is wrapped by what is wrong with entries that somebody else gave for parts of an outline.
var ErrPart = errors.New("part of a map")

// Limits of an outline that Check accepts.
const (
	MaxParts     = 1 << 16
	MaxPartBytes = 4 << 20 // of a part; only a single entry makes one so large
)

// entryCost is what an entry counts for besides its key and value, so that many small ones have a size too.
const entryCost = 16

// partMark stands in Outline.Shape where a part is.
const partMark = leafBit

// Outline is the top of a map, down to parts: subtrees that are small enough to be handed on one by one. The hash of a
// subtree is the root of a map of its entries alone, since nodes name whole keys and absolute bits; so whoever has an
// outline and the root can check each part by itself, and nobody can make an outline of the root with a part that is not
// under it. An outline made by Outline is a function of the entries and the limit. No key may be empty.
type Outline struct {
	_     struct{} `cbor:",toarray"`
	Shape []uint32 // in preorder: the branching bit of an inner node, or partMark
	Parts []Part   // in key order
}

// Part is one subtree.
type Part struct {
	_       struct{} `cbor:",toarray"`
	Hash    digest.Digest
	Entries uint32
	Bytes   uint32 // of keys and values, and entryCost for each entry
}

// Outline cuts the map into the largest subtrees of at most limitBytes; an entry that is larger is a part of its own.
// It only reads, so it may run beside others that read or fork the map, once Root or Fork was called after its last edit.
func (m *Map) Outline(limitBytes int) (*Outline, error) {
	o := &Outline{Shape: []uint32{}, Parts: []Part{}}
	if m.root == nil {
		return o, nil
	}
	c := cutter{limit: uint64(limitBytes)}
	top := c.cut(m.root)
	c.close(&top)
	o.Shape, o.Parts = top.shape, top.parts
	for i := range o.Parts {
		if o.Parts[i].Bytes > MaxPartBytes {
			return nil, fmt.Errorf("%w: an entry of %d bytes: at most %d can be handed on", ErrOutline, o.Parts[i].Bytes, MaxPartBytes)
		}
	}
	if len(o.Parts) > MaxParts {
		return nil, fmt.Errorf("%w: %d parts of %d bytes: at most %d can be handed on", ErrOutline, len(o.Parts), limitBytes, MaxParts)
	}
	return o, nil
}

// cutter finds the parts from the bottom up.
type cutter struct{ limit uint64 }

// piece is a subtree: whole while it can still grow, else its outline.
type piece struct {
	n       *node
	whole   bool
	bytes   uint64
	entries uint64
	shape   []uint32
	parts   []Part
}

func (c *cutter) cut(n *node) piece {
	if n.bit == leafBit {
		return piece{n: n, whole: true, bytes: cost(n.key, n.val), entries: 1}
	}
	l, r := c.cut(n.left), c.cut(n.right)
	if l.whole && r.whole && l.bytes+r.bytes <= c.limit {
		return piece{n: n, whole: true, bytes: l.bytes + r.bytes, entries: l.entries + r.entries}
	}
	c.close(&l)
	c.close(&r)
	p := piece{n: n, shape: append(append([]uint32{n.bit}, l.shape...), r.shape...)}
	p.parts = append(l.parts, r.parts...)
	return p
}

// close makes a whole piece a part.
func (c *cutter) close(p *piece) {
	if p.whole {
		p.shape = []uint32{partMark}
		p.parts = []Part{{Hash: p.n.sum(), Entries: uint32(p.entries), Bytes: uint32(min(p.bytes, uint64(^uint32(0))))}}
		p.whole = false
	}
}

func cost(k, v []byte) uint64 { return uint64(len(k)) + uint64(len(v)) + entryCost }

// Check checks an outline against the root of the map that it is said to be of. Sizes are claims until the parts are
// there: CheckPart holds them against the entries.
func (o *Outline) Check(root digest.Digest) error {
	if len(o.Parts) > MaxParts || len(o.Shape) > 2*MaxParts {
		return fmt.Errorf("%w: %d parts, %d nodes: at most %d parts", ErrOutline, len(o.Parts), len(o.Shape), MaxParts)
	}
	if len(o.Parts) == 0 {
		if len(o.Shape) != 0 || root != sha256.Sum256(nil) {
			return fmt.Errorf("%w: empty, and the map is not", ErrOutline)
		}
		return nil
	}
	for i := range o.Parts {
		p := &o.Parts[i]
		if p.Entries == 0 || p.Bytes > MaxPartBytes || uint64(p.Bytes) < uint64(p.Entries)*(entryCost+1) {
			return fmt.Errorf("%w: part %d of %d entries and %d bytes", ErrOutline, i, p.Entries, p.Bytes)
		}
	}
	f := folder{o: o}
	at, err := f.fold(0, true)
	if err != nil {
		return err
	}
	if f.node != len(o.Shape) || f.part != len(o.Parts) {
		return fmt.Errorf("%w: %d nodes and %d parts are left over", ErrOutline, len(o.Shape)-f.node, len(o.Parts)-f.part)
	}
	if at != root {
		return fmt.Errorf("%w: it does not hash to the root", ErrOutline)
	}
	return nil
}

// folder hashes an outline.
type folder struct {
	o          *Outline
	node, part int
}

// fold hashes the next subtree, which branches below bit above. Bits rise, which bounds the depth.
func (f *folder) fold(above uint32, top bool) (digest.Digest, error) {
	if f.node == len(f.o.Shape) {
		return digest.Digest{}, fmt.Errorf("%w: it breaks off", ErrOutline)
	}
	b := f.o.Shape[f.node]
	f.node++
	if b == partMark {
		if f.part == len(f.o.Parts) {
			return digest.Digest{}, fmt.Errorf("%w: more parts in its shape than in its list", ErrOutline)
		}
		f.part++
		return f.o.Parts[f.part-1].Hash, nil
	}
	if !top && b <= above || b >= 9*MaxKeyBytes {
		return digest.Digest{}, fmt.Errorf("%w: bit %d below bit %d", ErrOutline, b, above)
	}
	l, err := f.fold(b, false)
	if err != nil {
		return l, err
	}
	r, err := f.fold(b, false)
	return innerHash(b, l, r), err
}

// Runs groups neighbouring parts into runs of at most limitBytes, each at least one part: half-open ranges of indexes.
func (o *Outline) Runs(limitBytes int) [][2]int {
	var runs [][2]int
	var size uint64
	for i := range o.Parts {
		b := uint64(o.Parts[i].Bytes)
		if i == 0 || size+b > uint64(limitBytes) {
			runs = append(runs, [2]int{i, i})
			size = 0
		}
		size += b
		runs[len(runs)-1][1] = i + 1
	}
	return runs
}

// Bytes is the size that the outline claims for all its parts.
func (o *Outline) Bytes() uint64 {
	var n uint64
	for i := range o.Parts {
		n += uint64(o.Parts[i].Bytes)
	}
	return n
}

// Entry is a key with its value.
type Entry struct {
	_     struct{} `cbor:",toarray"`
	Key   []byte
	Value []byte
}

// CheckParts checks that entries are exactly those of parts[from:to], in key order. All errors wrap ErrPart.
func (o *Outline) CheckParts(from, to int, entries []Entry) error {
	var before []byte
	for i := from; i < to; i++ {
		p := &o.Parts[i]
		if uint64(len(entries)) < uint64(p.Entries) {
			return fmt.Errorf("%w %d: %d entries, want %d", ErrPart, i, len(entries), p.Entries)
		}
		var m Map
		var size uint64
		for j, e := range entries[:p.Entries] {
			if len(e.Key) == 0 || len(e.Key) > MaxKeyBytes || (i > from || j > 0) && string(e.Key) <= string(before) {
				return fmt.Errorf("%w %d: its keys are not in order", ErrPart, i)
			}
			before = e.Key
			size += cost(e.Key, e.Value)
			m.Set(e.Key, e.Value)
		}
		if size != uint64(p.Bytes) {
			return fmt.Errorf("%w %d: %d bytes, the outline says %d", ErrPart, i, size, p.Bytes)
		}
		if m.Root() != p.Hash {
			return fmt.Errorf("%w %d: its entries do not hash to what the outline says", ErrPart, i)
		}
		entries = entries[p.Entries:]
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w %d: %d entries too many", ErrPart, to-1, len(entries))
	}
	return nil
}
