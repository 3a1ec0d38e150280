package driver

import (
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// composed is what a leader's block will hold.
type composed struct {
	txs  [][]byte
	ids  []digest.Digest
	set  map[digest.Digest]struct{}
	refs []consensus.BatchRef // none: the proposal carries the transactions itself
	rest int                  // of txs, those from here on stand in no batch that is named
}

// outlined is this node's last proposal, as it goes to the others.
type outlined struct {
	id   consensus.BlockID
	refs []consensus.BatchRef
	txs  [][]byte
}

// compose chooses the transactions of a block on parent: those of batches, in the order in which they came, and then
// what waits in the mempool without one. The few of a quiet network travel in the proposal itself, and so do those of a
// view that follows a failed one: perhaps it failed because batches did not get through.
func (d *Driver) compose(parent *executed) *composed {
	limit := int(d.cfg.Genesis.MaxTxsPerBlock)
	room := d.cfg.MaxBlockBytes
	c := &composed{set: map[digest.Digest]struct{}{}}
	stands := func(id digest.Digest) bool {
		if _, ok := c.set[id]; ok || d.recent.has(id) {
			return true
		}
		_, ok := d.tree.stands(parent, id)
		return ok
	}
	waiting := d.batches.waiting()
	looseTxs, looseBytes := limit, room
	if len(waiting) > 0 { // both kinds get on
		looseTxs, looseBytes = max(1, limit/2), max(room/4, min(room, consensus.MaxTxBytes))
	}
	loose := d.cfg.Mempool.Reap(looseTxs, looseBytes, stands)
	looseIDs := idsOf(loose)
	for i, tx := range loose {
		c.set[looseIDs[i]] = struct{}{}
		room -= len(tx)
	}
	limit -= len(loose)
	named, full := 0, limit == 0
	for _, b := range waiting {
		if full || named+b.size > consensus.MaxNamedBytes || len(c.refs) == consensus.MaxOutlineBatches {
			break
		}
		var skip []int
		held := len(c.txs)
		for k, id := range b.ids {
			// Whatever follows one that has no room waits with it: clients' transactions keep their order.
			full = full || len(c.txs) == limit || len(b.txs[k]) > room
			if full || stands(id) {
				skip = append(skip, k)
				continue
			}
			c.set[id] = struct{}{}
			room -= len(b.txs[k])
			c.txs, c.ids = append(c.txs, b.txs[k]), append(c.ids, id)
		}
		if len(c.txs) > held {
			named += b.size
			c.refs = append(c.refs, consensus.BatchRef{Batch: b.id, Skip: consensus.SkipBitmap(skip)})
		}
	}
	c.rest = len(c.txs)
	c.txs, c.ids = append(c.txs, loose...), append(c.ids, looseIDs...)
	if d.cfg.MaxBlockBytes-room <= d.cfg.InlineBytes || d.pace.fails > 0 {
		c.refs = nil
	}
	if c.txs == nil {
		c.txs = [][]byte{}
	}
	return c
}

// message is what goes to the others for a proposal of this node whose batches are to be named.
func (o *outlined) message(p *consensus.Proposal) []byte {
	return (&consensus.Outline{
		Header: p.Block.Header, Justify: p.Block.Justify, LastTC: p.LastTC, Sig: p.Sig, Batches: o.refs, Txs: o.txs,
	}).Encode()
}

// crowd is how many transactions wait that stand in no uncommitted block.
func (d *Driver) crowd() int {
	return max(0, d.cfg.Mempool.Len()+d.batches.foreign()-d.tree.pending(d.tip()))
}

// load is how much is going on, for the pace: what the application knows of, and the transactions that wait. The first
// crowdEach of them tell of nothing.
func (d *Driver) load(crowd int) int {
	n := crowd / crowdEach
	if d.cfg.Load != nil {
		n += d.cfg.Load()
	}
	return n
}

const crowdEach = 32
