package consensus

import "fmt"

// MaxTreeBlocks bounds the uncommitted blocks kept. Past it only blocks that a certificate asks for are taken, so that
// forks nobody certified cannot crowd out the chain.
const MaxTreeBlocks = 1024

// maxPerView bounds the uncertified blocks of one view: two show that the leader equivocates, a third shows no more.
const maxPerView = 2

// node is a block in the tree.
type node struct {
	block  *Block
	id     BlockID
	parent *node  // nil at the root
	active []bool // see leaders.go; nil until computed
}

func (n *node) view() View     { return n.block.Header.View }
func (n *node) height() Height { return n.block.Header.Height }

// tree holds the last committed block and all its known descendants.
type tree struct {
	root  *node
	nodes map[BlockID]*node
}

func newTree(root *Block) *tree {
	n := &node{block: root, id: root.ID()}
	return &tree{root: n, nodes: map[BlockID]*node{n.id: n}}
}

func (t *tree) get(id BlockID) *node { return t.nodes[id] }

// inView counts the blocks of a view.
func (t *tree) inView(v View) int {
	k := 0
	for _, n := range t.nodes {
		if n.view() == v {
			k++
		}
	}
	return k
}

// insert adds a block whose parent is in the tree; the caller has checked that.
func (t *tree) insert(b *Block, id BlockID) *node {
	n := &node{block: b, id: id, parent: t.nodes[b.Header.Parent]}
	t.nodes[id] = n
	return n
}

// commit makes n the root and returns the blocks from after the old root to n, in height order. What does not descend
// from n is forgotten.
func (t *tree) commit(n *node) ([]*Block, error) {
	var path []*Block
	for k := n; k != t.root; k = k.parent {
		if k == nil {
			return nil, fmt.Errorf("%w: committed block %s does not descend from committed block %s", ErrBroken, n.id.Short(), t.root.id.Short())
		}
		path = append(path, k.block)
	}
	for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
		path[i], path[j] = path[j], path[i]
	}
	for id, k := range t.nodes {
		for k != nil && k != n && k.height() > n.height() {
			k = k.parent
		}
		if k != n {
			delete(t.nodes, id)
		}
	}
	n.parent = nil
	t.root = n
	return path, nil
}

// hasTxs reports whether an uncommitted block carries a transaction.
func (t *tree) hasTxs() bool {
	for _, n := range t.nodes {
		if n != t.root && len(n.block.Txs) > 0 {
			return true
		}
	}
	return false
}
