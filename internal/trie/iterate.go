package trie

import (
	"bytes"
	"iter"
)

// All visits every entry in key order.
func (m *Map) All() iter.Seq2[[]byte, []byte] { return m.Prefix(nil) }

// Prefix visits the entries whose keys begin with prefix, in key order.
func (m *Map) Prefix(prefix []byte) iter.Seq2[[]byte, []byte] { return m.From(prefix, prefix) }

// From visits the entries whose keys begin with prefix and are not below from, in key order. It sees the map as it was
// when the iteration began only if the map is not edited meanwhile; collect first, then edit.
func (m *Map) From(prefix, from []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		stack := seek(m.root, from)
		for len(stack) > 0 {
			n := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			for n.bit != leafBit {
				stack = append(stack, n.right)
				n = n.left
			}
			if !bytes.HasPrefix(n.key, prefix) {
				if bytes.Compare(n.key, prefix) > 0 {
					return
				}
				continue
			}
			if !yield(n.key, n.val) {
				return
			}
		}
	}
}

// seek gives the subtrees that hold the keys not below from, the first one last.
func seek(root *node, from []byte) []*node {
	if root == nil {
		return nil
	}
	d := critBit(closest(root, from).key, from)
	var stack []*node
	n := root
	for n.bit < d {
		if bit(from, n.bit) {
			n = n.right
		} else {
			stack = append(stack, n.right)
			n = n.left
		}
	}
	// All keys below n agree with each other up to bit d, where from is the first to differ: they are all above it
	// (from has the 0 there), or all below.
	if d == leafBit || !bit(from, d) {
		stack = append(stack, n)
	}
	return stack
}

// Diff visits, in key order, what must be set (value) or deleted (nil) to make the entries of old those of new. It
// skips what they share, so for maps forked from one another it costs the number of changes times the depth.
func Diff(old, new *Map) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		diff(old.root, new.root, yield)
	}
}

func diff(a, b *node, yield func(k, v []byte) bool) bool {
	switch {
	case a == b:
		return true
	case a == nil:
		return each(b, func(n *node) bool { return yield(n.key, value(n.val)) })
	case b == nil:
		return each(a, func(n *node) bool { return yield(n.key, nil) })
	}
	ka, kb := first(a).key, first(b).key
	d := critBit(ka, kb)
	switch {
	case d < a.bit && d < b.bit: // disjoint ranges
		if bit(kb, d) {
			return diff(a, nil, yield) && diff(nil, b, yield)
		}
		return diff(nil, b, yield) && diff(a, nil, yield)
	case a.bit == leafBit && b.bit == leafBit:
		return bytes.Equal(a.val, b.val) || yield(b.key, value(b.val))
	case a.bit == b.bit:
		return diff(a.left, b.left, yield) && diff(a.right, b.right, yield)
	case a.bit < b.bit: // all of b lies on one side of a
		if bit(kb, a.bit) {
			return diff(a.left, nil, yield) && diff(a.right, b, yield)
		}
		return diff(a.left, b, yield) && diff(a.right, nil, yield)
	default:
		if bit(ka, b.bit) {
			return diff(nil, b.left, yield) && diff(a, b.right, yield)
		}
		return diff(a, b.left, yield) && diff(nil, b.right, yield)
	}
}

// value keeps "set to nothing" apart from "deleted".
func value(v []byte) []byte {
	if v == nil {
		return []byte{}
	}
	return v
}

func first(n *node) *node {
	for n.bit != leafBit {
		n = n.left
	}
	return n
}

func each(n *node, yield func(*node) bool) bool {
	if n.bit == leafBit {
		return yield(n)
	}
	return each(n.left, yield) && each(n.right, yield)
}
