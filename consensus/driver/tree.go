package driver

import (
	"sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
)

// executed is a block whose outcome the application keeps.
type executed struct {
	block   *consensus.Block
	id      consensus.BlockID
	history *merkle.Frontier // with this block
	txs     []digest.Digest
	next    []consensus.Validator // that execution led to; nil for no change
}

// tree holds the last committed block and the executed ones above it. The owner writes; Serve reads.
type tree struct {
	mu    sync.RWMutex // guards what follows against readers other than the owner
	head  *executed
	nodes map[consensus.BlockID]*executed // above the head
}

func newTree(head *consensus.Block, history *merkle.Frontier) *tree {
	return &tree{head: &executed{block: head, id: head.ID(), history: history}, nodes: map[consensus.BlockID]*executed{}}
}

// reset begins anew above head. The application has forgotten what it kept.
func (t *tree) reset(head *consensus.Block, history *merkle.Frontier) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.head = &executed{block: head, id: head.ID(), history: history}
	clear(t.nodes)
}

// get is a block of the tree, the head included, or nil.
func (t *tree) get(id consensus.BlockID) *executed {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if id == t.head.id {
		return t.head
	}
	return t.nodes[id]
}

func (t *tree) headID() consensus.BlockID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.head.id
}

func (t *tree) height() consensus.Height {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.head.block.Header.Height
}

// put adds an executed block on parent.
func (t *tree) put(b *consensus.Block, id consensus.BlockID, parent *executed, next []consensus.Validator) {
	n := &executed{block: b, id: id, history: parent.history.Clone(), next: next}
	n.history.Append(id[:])
	for _, tx := range b.Txs {
		n.txs = append(n.txs, digest.Of(tx))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nodes[id] = n
}

func (t *tree) remove(id consensus.BlockID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.nodes, id)
}

// clear forgets the blocks above the head. After a closing block these are trailing ones, which the application never saw.
func (t *tree) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.nodes)
}

// commit moves the head to id and gives the executed blocks that can never be committed now: all that do not descend from
// it.
func (t *tree) commit(id consensus.BlockID) (dead []consensus.BlockID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.head = t.nodes[id]
	delete(t.nodes, id)
	alive := map[consensus.BlockID]bool{id: true}
	var lives func(n *executed) bool
	lives = func(n *executed) bool {
		if v, ok := alive[n.id]; ok {
			return v
		}
		p := t.nodes[n.block.Header.Parent]
		v := n.block.Header.Parent == id || p != nil && lives(p)
		alive[n.id] = v
		return v
	}
	var gone []*executed
	for _, n := range t.nodes {
		if !lives(n) {
			gone = append(gone, n)
		}
	}
	for _, n := range gone {
		delete(t.nodes, n.id)
		if !n.block.Header.Trails() {
			dead = append(dead, n.id)
		}
	}
	return dead
}

// pending is the set of transactions in the uncommitted blocks from id down to the head.
func (t *tree) pending(id consensus.BlockID) map[digest.Digest]struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := map[digest.Digest]struct{}{}
	for n := t.nodes[id]; n != nil; n = t.nodes[n.block.Header.Parent] {
		for _, tx := range n.txs {
			out[tx] = struct{}{}
		}
	}
	return out
}
