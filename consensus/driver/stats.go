package driver

import (
	"sync/atomic"

	"github.com/metanode/metanode/consensus"
)

// Stats are counters since the start, and where the node stands. Fields are read one by one, not as a snapshot.
type Stats struct {
	Height     consensus.Height // last committed
	View       consensus.View
	Epoch      consensus.Epoch
	Validator  bool   // votes in this epoch
	Recovered  bool   // what the log proves to be final is committed again; before, Height may be below what it was
	Blocks     uint64 // committed
	Txs        uint64 // committed
	Proposed   uint64 // blocks of this node
	Timeouts   uint64 // view timers that ran out
	Executed   uint64 // blocks executed
	Duplicates uint64 // messages seen before
	Dropped    uint64 // messages that fell out of a full queue
	Refused    uint64 // messages that were not acceptable
	Fetched    uint64 // blocks brought by catch-up
	Snapshots  uint64 // snapshots gone on from, in place of blocks
	Syncs      uint64 // fdatasyncs of the write-ahead log
	Sent       uint64 // messages on the fast path
	Gossiped   uint64 // messages on gossip

	Outlines       uint64 // proposals of this node that named batches
	Batches        uint64 // sealed by this node
	BatchesTaken   uint64 // of other nodes, taken in
	BatchesFetched uint64 // of these, asked for because a block named them
	BatchesDropped uint64 // for which there was no room
	BatchesLive    int    // not wholly committed
	BatchBytes     int    // of those
	Crowd          int    // transactions that wait here, in the mempool or in batches

	SyncSeconds  Histogram // a write of the log with its fdatasync
	RoundSeconds Histogram // from a proposal of this node to the certificate that ended its view
	SealedBytes  Histogram // of a batch of this node
	BlockTxs     Histogram // transactions of a committed block
}

type counters struct {
	recovered                                                       atomic.Bool
	validates                                                       atomic.Bool
	height, view, epoch                                             atomic.Uint64
	blocks, txs, proposed, timeouts, executed, duplicates, dropped  atomic.Uint64
	refused, fetched, snapshots, syncs, sent, gossiped              atomic.Uint64
	outlines, batches, batchesTaken, batchesFetched, batchesDropped atomic.Uint64
	syncTime, roundTrip, batchBytes, blockTxs                       *histogram
}

func (c *counters) init() {
	seconds := []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	c.syncTime, c.roundTrip = newHistogram(seconds...), newHistogram(seconds...)
	c.batchBytes = newHistogram(256, 1<<10, 4<<10, 16<<10, 64<<10, 128<<10, 256<<10)
	c.blockTxs = newHistogram(0, 1, 4, 16, 64, 256, 1024, 4096, 16384)
}

// Stats gives the counters. Safe for concurrent use.
func (d *Driver) Stats() Stats {
	c := &d.count
	live, bytes := d.batches.size()
	return Stats{
		Height: consensus.Height(c.height.Load()), View: consensus.View(c.view.Load()), Epoch: consensus.Epoch(c.epoch.Load()), Validator: c.validates.Load(), Recovered: c.recovered.Load(),
		Blocks: c.blocks.Load(), Txs: c.txs.Load(), Proposed: c.proposed.Load(), Timeouts: c.timeouts.Load(),
		Executed: c.executed.Load(), Duplicates: c.duplicates.Load(), Dropped: c.dropped.Load(), Refused: c.refused.Load(),
		Fetched: c.fetched.Load(), Snapshots: c.snapshots.Load(), Syncs: c.syncs.Load(), Sent: c.sent.Load(), Gossiped: c.gossiped.Load(),
		Outlines: c.outlines.Load(), Batches: c.batches.Load(), BatchesTaken: c.batchesTaken.Load(), BatchesFetched: c.batchesFetched.Load(), BatchesDropped: c.batchesDropped.Load(),
		BatchesLive: live, BatchBytes: bytes, Crowd: d.cfg.Mempool.Len() + d.batches.foreign(),
		SyncSeconds: c.syncTime.snapshot(), RoundSeconds: c.roundTrip.snapshot(), SealedBytes: c.batchBytes.snapshot(), BlockTxs: c.blockTxs.snapshot(),
	}
}
