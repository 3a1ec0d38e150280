// Package merkle is the binary hash tree of RFC 6962 (section 2.1): roots over ordered lists, and proofs that an entry
// is at its place in one.
package merkle

import (
	"crypto/sha256"
	"errors"
	"math/bits"

	"github.com/metanode/metanode/internal/digest"
)

// ErrProof is returned for a proof that does not lead from the leaf to the root.
var ErrProof = errors.New("inclusion proof does not lead to the root")

// Leaf hashes one entry: SHA-256(0x00 ‖ entry).
func Leaf(entry []byte) digest.Digest {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(entry)
	var d digest.Digest
	h.Sum(d[:0])
	return d
}

func node(l, r digest.Digest) digest.Digest {
	var b [1 + 2*digest.Size]byte
	b[0] = 1
	copy(b[1:], l[:])
	copy(b[1+digest.Size:], r[:])
	return sha256.Sum256(b[:])
}

// Root is the tree hash of the ordered entries; of none, it is SHA-256 of the empty string.
func Root(entries [][]byte) digest.Digest {
	leaves := make([]digest.Digest, len(entries))
	for i, e := range entries {
		leaves[i] = Leaf(e)
	}
	return rootOf(leaves)
}

func rootOf(l []digest.Digest) digest.Digest {
	switch len(l) {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return l[0]
	}
	k := split(len(l))
	return node(rootOf(l[:k]), rootOf(l[k:]))
}

// split is the largest power of two smaller than n, for n > 1.
func split(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

// Proof is the audit path of entry i (RFC 6962 section 2.1.1), from the leaf upwards. It panics if i is not in range.
func Proof(entries [][]byte, i int) []digest.Digest {
	leaves := make([]digest.Digest, len(entries))
	for j, e := range entries {
		leaves[j] = Leaf(e)
	}
	_ = leaves[i]
	return path(leaves, i)
}

func path(l []digest.Digest, i int) []digest.Digest {
	if len(l) == 1 {
		return []digest.Digest{}
	}
	k := split(len(l))
	if i < k {
		return append(path(l[:k], i), rootOf(l[k:]))
	}
	return append(path(l[k:], i-k), rootOf(l[:k]))
}

// Verify checks that entry is at index of a list of size entries with that root (RFC 9162 section 2.1.3.2). Nothing but
// ErrProof is returned.
func Verify(root digest.Digest, entry []byte, index, size uint64, proof []digest.Digest) error {
	if index >= size {
		return ErrProof
	}
	fn, sn, r := index, size-1, Leaf(entry)
	for _, p := range proof {
		if sn == 0 {
			return ErrProof
		}
		if fn&1 == 1 || fn == sn {
			r = node(p, r)
			for fn&1 == 0 && fn != 0 {
				fn >>= 1
				sn >>= 1
			}
		} else {
			r = node(r, p)
		}
		fn >>= 1
		sn >>= 1
	}
	if sn != 0 || r != root {
		return ErrProof
	}
	return nil
}
