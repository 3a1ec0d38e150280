package trie

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/metanode/metanode/internal/digest"
)

// MaxKeyBytes bounds a key, so that bit positions fit in 32 bits with room to spare.
const MaxKeyBytes = 1 << 16

// leafBit is the bit of a leaf: below every inner node.
const leafBit = ^uint32(0)

// node is a leaf (bit == leafBit) or an inner node. Once it can be reached from two maps it is never written again.
type node struct {
	bit         uint32
	hashed      bool
	own         *token // the map edit that made the node and may still change it
	hash        digest.Digest
	left, right *node  // inner: keys with a 0, with a 1 at bit
	key, val    []byte // leaf
}

// token stands for one map between two forks. It has a size, so that two tokens never share an address.
type token struct{ _ byte }

// Map is a version of the map. The zero Map is empty and ready to use. Not safe for concurrent use; forks are
// independent of each other.
type Map struct {
	root *node
	n    int
	own  *token // nil after a fork, until the next edit
}

// Len is the number of entries.
func (m *Map) Len() int { return m.n }

// Fork makes an independent copy in constant time (and computes the root first if it is not known yet, so that shared
// nodes need no writing later). Forking one map from several goroutines is safe once Root or Fork was called after
// its last edit.
func (m *Map) Fork() *Map {
	m.Root()
	if m.own != nil {
		m.own = nil
	}
	return &Map{root: m.root, n: m.n}
}

// Get returns the value of key, which the caller must not change.
func (m *Map) Get(key []byte) ([]byte, bool) {
	if m.root == nil {
		return nil, false
	}
	l := closest(m.root, key)
	if !bytes.Equal(l.key, key) {
		return nil, false
	}
	return l.val, true
}

// Set puts an entry in the map. The map keeps both slices; the caller must not change them afterwards. It panics on a
// key over MaxKeyBytes, which only a programming error can bring about.
func (m *Map) Set(key, val []byte) {
	if len(key) > MaxKeyBytes {
		panic("trie: key too long")
	}
	m.edit()
	if m.root == nil {
		m.root = m.leaf(key, val)
		m.n++
		return
	}
	l := closest(m.root, key)
	d := critBit(l.key, key)
	if d == leafBit {
		if bytes.Equal(l.val, val) {
			return
		}
	} else {
		m.n++
	}
	m.root = m.set(m.root, key, val, d)
}

// set puts the entry below n; d is the first bit in which key differs from its closest leaf, leafBit if in none.
func (m *Map) set(n *node, key, val []byte, d uint32) *node {
	if n.bit > d {
		nl := m.leaf(key, val)
		if bit(key, d) {
			return m.inner(d, n, nl)
		}
		return m.inner(d, nl, n)
	}
	if n.bit == leafBit {
		n = m.mine(n)
		n.val = val
		return n
	}
	n = m.mine(n)
	if bit(key, n.bit) {
		n.right = m.set(n.right, key, val, d)
	} else {
		n.left = m.set(n.left, key, val, d)
	}
	return n
}

// Delete removes key, and reports whether it was there.
func (m *Map) Delete(key []byte) bool {
	if _, ok := m.Get(key); !ok {
		return false
	}
	m.edit()
	m.root = m.del(m.root, key)
	m.n--
	return true
}

func (m *Map) del(n *node, key []byte) *node {
	if n.bit == leafBit {
		return nil
	}
	if bit(key, n.bit) {
		r := m.del(n.right, key)
		if r == nil {
			return n.left
		}
		n = m.mine(n)
		n.right = r
		return n
	}
	l := m.del(n.left, key)
	if l == nil {
		return n.right
	}
	n = m.mine(n)
	n.left = l
	return n
}

// Root commits to all entries. It hashes only what changed since the last call.
func (m *Map) Root() digest.Digest {
	if m.root == nil {
		return sha256.Sum256(nil)
	}
	return m.root.sum()
}

func (m *Map) edit() {
	if m.own == nil {
		m.own = new(token)
	}
}

func (m *Map) leaf(key, val []byte) *node {
	return &node{bit: leafBit, own: m.own, key: key, val: val}
}

func (m *Map) inner(b uint32, left, right *node) *node {
	return &node{bit: b, own: m.own, left: left, right: right}
}

// mine is n, or a copy of it, that this map may write; its hash is forgotten.
func (m *Map) mine(n *node) *node {
	if n.own != m.own {
		c := *n
		c.own = m.own
		n = &c
	}
	n.hashed = false
	return n
}

func (n *node) sum() digest.Digest {
	if !n.hashed {
		if n.bit == leafBit {
			n.hash = leafHash(n.key, sha256.Sum256(n.val))
		} else {
			n.hash = innerHash(n.bit, n.left.sum(), n.right.sum())
		}
		n.hashed = true
	}
	return n.hash
}

func leafHash(key []byte, val digest.Digest) digest.Digest {
	b := make([]byte, 0, 5+len(key)+digest.Size)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	b = append(b, key...)
	b = append(b, val[:]...)
	return sha256.Sum256(b)
}

func innerHash(at uint32, l, r digest.Digest) digest.Digest {
	var b [5 + 2*digest.Size]byte
	b[0] = 1
	binary.BigEndian.PutUint32(b[1:], at)
	copy(b[5:], l[:])
	copy(b[5+digest.Size:], r[:])
	return sha256.Sum256(b[:])
}

// closest is the leaf that key's bits lead to: key's own if it is in the map, else one that shares the longest prefix.
func closest(n *node, key []byte) *node {
	for n.bit != leafBit {
		if bit(key, n.bit) {
			n = n.right
		} else {
			n = n.left
		}
	}
	return n
}

// bit reads bit i of key's nine-bit form.
func bit(key []byte, i uint32) bool {
	at, k := i/9, i%9
	if at >= uint32(len(key)) {
		return false
	}
	return k == 0 || key[at]>>(8-k)&1 == 1
}

// critBit is the first bit in which a and b differ, leafBit if they are equal.
func critBit(a, b []byte) uint32 {
	n := min(len(a), len(b))
	for i := range n {
		if x := a[i] ^ b[i]; x != 0 {
			return uint32(i)*9 + 1 + uint32(bits.LeadingZeros8(x))
		}
	}
	if len(a) == len(b) {
		return leafBit
	}
	return uint32(n) * 9
}
