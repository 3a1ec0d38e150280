package driver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/sign"
)

// gossipBatchBytes bounds the transactions of a batch that goes by gossip: whoever passes it on checks it before, and
// holds up other gossip meanwhile.
const gossipBatchBytes = 64 << 10

// spread tells the validators of the transactions that came to this node first. The first one after a pause leaves at
// once; while more come, those of Config.BatchWait, or of a full batch, leave together. What finds no room in the
// uncommitted batches that a node may have waits in the mempool.
func (d *Driver) spread(ctx context.Context) {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	var last, swept time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.fresh:
		case <-timer.C:
		}
		now := time.Now()
		if now.Sub(swept) >= time.Second {
			swept = now
			d.sweep(now)
		}
		t := d.term.Load()
		most := d.cfg.BatchBytes
		if !t.member || d.cfg.NoFastPath {
			most = min(most, gossipBatchBytes)
		}
		next := time.Second
		for len(t.others) > 0 && d.batches.ownBytes() < maxOwnBytes {
			txs, bytes := d.cfg.Mempool.Fresh()
			if txs == 0 {
				break
			}
			if wait := d.cfg.BatchWait - time.Since(last); wait > 0 && bytes < most && txs < consensus.MaxBatchTxs {
				next = wait
				break
			}
			last = time.Now()
			list := d.cfg.Mempool.Take(consensus.MaxBatchTxs, most)
			if len(list) == 0 {
				list = d.cfg.Mempool.Take(1, consensus.MaxTxBytes) // one that is larger than a batch should be
			}
			if len(list) == 0 {
				break
			}
			d.seal(list)
		}
		timer.Reset(next)
	}
}

// sweep forgets old batches, and puts this node's own transactions that were lost with them up for another.
func (d *Driver) sweep(now time.Time) {
	if back := d.batches.expire(now); len(back) > 0 {
		d.cfg.Mempool.Return(back)
	}
}

// seal makes a batch of this node's and sends it.
func (d *Driver) seal(txs [][]byte) {
	b, raw := newBatch(txs)
	d.seen.learn(b.id, Accept)
	if !d.batches.put(b) { // others' batches hold them, or blocks
		d.batches.keep(b)
	}
	d.count.batches.Add(1)
	d.count.batchBytes.observe(float64(b.size))
	d.sendBatch(b, raw)
}

// sendBatch puts a batch on the streams to the validators, and on gossip if too few of them can be reached so. Whoever
// is left out fetches what a block names.
func (d *Driver) sendBatch(b *batch, raw []byte) {
	t := d.term.Load()
	if t.member && !d.cfg.NoFastPath {
		var reached uint64
		for _, v := range t.set.All() {
			if v.Key == d.self {
				reached += v.Weight
			} else if d.cfg.Network.Send(v.Peer, KindBatch, raw) {
				d.count.sent.Add(1)
				reached += v.Weight
			}
		}
		if t.set.IsQuorum(reached) {
			return
		}
	}
	if err := d.cfg.Network.Gossip(KindBatch, raw); err == nil {
		d.count.gossiped.Add(1)
		return
	}
	for i := 0; !t.member && i < len(b.txs); i++ { // nobody hears the gossip; validators read such a stream of anybody
		d.sendTx(b.txs[i])
	}
}

// Submit takes a transaction from a client of this node: into the mempool, and on to the others. The error is the
// mempool's. It is not durable: whoever must not lose it submits it again until it is committed. One that waits already
// is sent to the validators again, and the mempool's error for duplicates returned.
func (d *Driver) Submit(tx []byte) error { return d.SubmitAll([][]byte{tx})[0] }

// SubmitAll is Submit for many transactions, whose signatures are checked together.
func (d *Driver) SubmitAll(txs [][]byte) []error {
	errs := make([]error, len(txs))
	ids, bad, err := d.checks.run(txs, false)
	offered := false
	for i, tx := range txs {
		if err != nil && i >= bad {
			// Some transaction from here on is not sound: the mempool says what is wrong with each.
			if _, _, err := d.checks.run(txs[i:i+1], false); err != nil {
				errs[i] = &invalidTx{err}
				continue
			}
		}
		take := d.cfg.Mempool.Offer
		if d.batches.holds(ids[i]) {
			take = d.cfg.Mempool.Add // another node has told the others
		}
		if errs[i] = take(tx); errs[i] == nil {
			offered = true
		} else if d.cfg.Mempool.Has(ids[i]) {
			d.sendTx(tx)
		}
	}
	if offered {
		d.pokeSpread()
	}
	return errs
}

// invalidTx is the error of Submit for a transaction that Config.Check refuses: no node would take it.
type invalidTx struct{ err error }

func (e *invalidTx) Error() string { return fmt.Sprintf("transaction refused: %v", e.err) }

func (e *invalidTx) Unwrap() error { return e.err }

// Invalid is true, as for the mempool's own error.
func (e *invalidTx) Invalid() bool { return true }

func (d *Driver) pokeSpread() {
	select {
	case d.fresh <- struct{}{}:
	default:
	}
}

// sendTx puts a transaction on the streams to the validators. Gossip does not carry the same bytes twice.
func (d *Driver) sendTx(tx []byte) {
	for _, to := range d.term.Load().others {
		if d.cfg.Network.Send(to, KindTx, tx) {
			d.count.sent.Add(1)
		}
	}
}

// repeatTxs tells of transactions that wait again: the view has run out although there is work, perhaps because nobody
// else knows of it. A new salt makes it another batch, which gossip carries once more.
func (d *Driver) repeatTxs() {
	const mostTxs, mostBytes = 64, 64 << 10
	txs := d.cfg.Mempool.Reap(mostTxs/2, mostBytes/2, nil)
	size := 0
	for _, tx := range txs {
		size += len(tx)
	}
	for _, b := range d.batches.waiting() {
		for i := 0; b.from.IsZero() && i < len(b.txs) && len(txs) < mostTxs; i++ {
			if size += len(b.txs[i]); size > mostBytes && len(txs) > 0 {
				break
			}
			txs = append(txs, b.txs[i])
		}
	}
	if len(txs) == 0 || len(d.term.Load().others) == 0 {
		return
	}
	b, raw := newBatch(txs)
	d.seen.learn(b.id, Accept)
	d.batches.keep(b)
	d.sendBatch(b, raw)
}

// newBatch makes a batch of this node's.
func newBatch(txs [][]byte) (b *batch, raw []byte) {
	b = &batch{salt: rand.Uint64(), txs: txs, ids: idsOf(txs), born: time.Now()}
	raw = b.encode()
	b.id, b.size = consensus.BatchIDOf(raw), len(raw)
	return b, raw
}

// onBatch takes a batch from another node: Accept if it is sound, whether or not there is room for it.
func (d *Driver) onBatch(from sign.PublicKey, path Path, raw []byte) Verdict {
	id := consensus.BatchIDOf(raw)
	if v, ok := d.seen.verdict(id); ok {
		d.count.duplicates.Add(1)
		return v
	}
	if !d.batches.room(from, len(raw)) && !d.gather.misses(id) {
		d.count.batchesDropped.Add(1)
		return Ignore
	}
	if err := d.admit(from, id, raw, false); err != nil {
		return d.refused(from, path, KindBatch, err)
	}
	return Accept
}

// admit decodes and checks a batch, keeps it, and completes the outlines that wait for it. While one goroutine does, the
// others that have the same batch wait for it.
func (d *Driver) admit(from sign.PublicKey, id consensus.BatchID, raw []byte, urgent bool) error {
	mine, others := d.batches.enter(id)
	if !mine {
		<-others
		if v, ok := d.seen.verdict(id); ok && v == Reject {
			return fmt.Errorf("batch %s: refused before", id.Short())
		}
		return nil
	}
	defer d.batches.leave(id)
	err := d.admitOne(from, id, raw, urgent)
	if err != nil {
		d.seen.learn(id, Reject)
	} else {
		d.seen.learn(id, Accept)
	}
	return err
}

func (d *Driver) admitOne(from sign.PublicKey, id consensus.BatchID, raw []byte, urgent bool) error {
	dec, err := consensus.DecodeBatch(raw)
	if err != nil {
		return err
	}
	ids, at, err := d.checks.run(dec.Txs, urgent)
	if err != nil {
		return fmt.Errorf("batch %s: transaction %d: %w", id.Short(), at, err)
	}
	b := &batch{id: id, salt: dec.Salt, size: len(raw), txs: dec.Txs, ids: ids, from: from, born: time.Now()}
	if d.batches.put(b) {
		d.count.batchesTaken.Add(1)
	}
	for _, a := range d.gather.arrived(b) {
		d.fill(a)
	}
	d.inbox.poke()
	return nil
}
