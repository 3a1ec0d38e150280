package driver

import (
	"errors"
	"fmt"
	"sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// A transaction is executed once: a validator votes for no block that holds one twice, or one that stands in any of the
// onceWindow blocks before it. That is a function of the chain, so that a leader and its voters agree on it. Past the
// window it is the application that knows what it has executed; leaders skip what they remember for longer.
const (
	onceWindow  = 32
	rememberTxs = 200_000
)

// errTwice says that a block repeats a transaction.
var errTwice = errors.New("the block repeats a transaction")

// recent remembers which committed block a transaction is in: those of the last onceWindow blocks at least, and of more
// while they are few. Safe for concurrent use; the owner writes.
type recent struct {
	mu     sync.RWMutex // guards what follows
	at     map[digest.Digest]consensus.Height
	blocks []recentBlock // oldest first
	total  int
}

type recentBlock struct {
	height consensus.Height
	ids    []digest.Digest
}

func newRecent() *recent { return &recent{at: map[digest.Digest]consensus.Height{}} }

func (r *recent) has(id digest.Digest) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.at[id]
	return ok
}

// add notes a committed block. Blocks come in height order.
func (r *recent) add(h consensus.Height, ids []digest.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		r.at[id] = h
	}
	r.blocks = append(r.blocks, recentBlock{h, ids})
	for r.total += len(ids); r.blocks[0].height+onceWindow < h && (r.total > rememberTxs || len(r.blocks) > rememberTxs); {
		old := r.blocks[0]
		for _, id := range old.ids {
			if r.at[id] == old.height {
				delete(r.at, id)
			}
		}
		r.total -= len(old.ids)
		r.blocks[0] = recentBlock{}
		r.blocks = r.blocks[1:]
	}
}

// once checks the rule for a block on parent, and gives the set of its transactions.
func (d *Driver) once(h *consensus.Header, parent *executed, ids []digest.Digest) (map[digest.Digest]struct{}, error) {
	set := make(map[digest.Digest]struct{}, len(ids))
	for i, id := range ids {
		if _, twice := set[id]; twice {
			return nil, fmt.Errorf("%w: %d (%s) stands in it before", errTwice, i, id.Short())
		}
		set[id] = struct{}{}
		if at, ok := d.tree.stands(parent, id); ok {
			return nil, fmt.Errorf("%w: %d (%s) stands in block %d", errTwice, i, id.Short(), at)
		}
	}
	d.recent.mu.RLock()
	defer d.recent.mu.RUnlock()
	for i, id := range ids {
		if at, ok := d.recent.at[id]; ok && at+onceWindow >= h.Height {
			return nil, fmt.Errorf("%w: %d (%s) stands in block %d", errTwice, i, id.Short(), at)
		}
	}
	return set, nil
}

// clear forgets all blocks.
func (r *recent) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.at)
	r.blocks, r.total = nil, 0
}

// recall reads the transactions of the last blocks from the store.
func (d *Driver) recall(head consensus.Height) error {
	d.recent.clear()
	for h := head - min(head, onceWindow-1); h <= head; h++ {
		x, err := d.cfg.Store.Block(h)
		if errors.Is(err, ErrNoBlock) {
			continue // pruned
		}
		if err != nil {
			return fmt.Errorf("chain store: %w", err)
		}
		d.recent.add(h, idsOf(x.Block.Txs))
	}
	return nil
}

func idsOf(txs [][]byte) []digest.Digest {
	ids := make([]digest.Digest, len(txs))
	for i, tx := range txs {
		ids[i] = digest.Of(tx)
	}
	return ids
}
