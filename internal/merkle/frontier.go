package merkle

import (
	"crypto/sha256"
	"fmt"
	"math/bits"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Frontier is the right edge of an append-only list: enough to append to it and to know its root, in 32 bytes for each
// bit set in its length. The zero Frontier is the empty list. Its Root always equals Root over the same entries. Not
// for concurrent use.
type Frontier struct {
	count uint64
	peaks []digest.Digest // roots of the perfect subtrees, largest first: one for each bit set in count
}

// frontierWire is the canonical form.
type frontierWire struct {
	_     struct{} `cbor:",toarray"`
	Count uint64
	Peaks []digest.Digest
}

// maxFrontierBytes bounds an encoded frontier: 64 peaks of 34 bytes and the heads around them.
const maxFrontierBytes = 64*34 + 16

// Append adds one entry at the end.
func (f *Frontier) Append(entry []byte) {
	h := Leaf(entry)
	for c := f.count; c&1 == 1; c >>= 1 {
		h = node(f.peaks[len(f.peaks)-1], h)
		f.peaks = f.peaks[:len(f.peaks)-1]
	}
	f.peaks = append(f.peaks, h)
	f.count++
}

// Count is the number of entries appended.
func (f *Frontier) Count() uint64 { return f.count }

// Root is the RFC 6962 tree hash of the entries appended so far.
func (f *Frontier) Root() digest.Digest {
	n := len(f.peaks)
	if n == 0 {
		return sha256.Sum256(nil)
	}
	r := f.peaks[n-1]
	for i := n - 2; i >= 0; i-- {
		r = node(f.peaks[i], r)
	}
	return r
}

// Clone is an independent copy: a fork of the list.
func (f *Frontier) Clone() *Frontier {
	return &Frontier{count: f.count, peaks: append([]digest.Digest(nil), f.peaks...)}
}

// Encode gives the canonical bytes.
func (f *Frontier) Encode() []byte { return canon.Must(&frontierWire{Count: f.count, Peaks: f.peaks}) }

// DecodeFrontier reads what Encode wrote.
func DecodeFrontier(raw []byte) (*Frontier, error) {
	if len(raw) > maxFrontierBytes {
		return nil, fmt.Errorf("frontier of %d bytes: over the limit of %d", len(raw), maxFrontierBytes)
	}
	var w frontierWire
	if err := canon.Unmarshal(raw, &w); err != nil {
		return nil, err
	}
	if len(w.Peaks) != bits.OnesCount64(w.Count) {
		return nil, fmt.Errorf("frontier of %d entries with %d peaks: want %d", w.Count, len(w.Peaks), bits.OnesCount64(w.Count))
	}
	return &Frontier{count: w.Count, peaks: w.Peaks}, nil
}
