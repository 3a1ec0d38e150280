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
	ids     []digest.Digest  // of the transactions
	txs     map[digest.Digest]struct{}
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

// put adds an executed block on parent. set has the transactions' ids, too; nil if it is to be made. next is the set that
// the execution led to, nil for no change.
func (t *tree) put(b *consensus.Block, id consensus.BlockID, parent *executed, ids []digest.Digest, set map[digest.Digest]struct{}, next []consensus.Validator) {
	if set == nil {
		set = make(map[digest.Digest]struct{}, len(ids))
		for _, tx := range ids {
			set[tx] = struct{}{}
		}
	}
	n := &executed{block: b, id: id, history: parent.history.Clone(), ids: ids, txs: set, next: next}
	n.history.Append(id[:])
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

// stands finds a transaction in the uncommitted blocks from n down to the head.
func (t *tree) stands(n *executed, tx digest.Digest) (consensus.Height, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for ; n != nil && n != t.head; n = t.nodes[n.block.Header.Parent] {
		if _, ok := n.txs[tx]; ok {
			return n.block.Header.Height, true
		}
	}
	return 0, false
}

// pending is how many transactions are in the uncommitted blocks from id down to the head.
func (t *tree) pending(id consensus.BlockID) (txs int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for n := t.nodes[id]; n != nil; n = t.nodes[n.block.Header.Parent] {
		txs += len(n.ids)
	}
	return txs
}
