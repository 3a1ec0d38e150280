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
}

type counters struct {
	recovered                                                      atomic.Bool
	validates                                                      atomic.Bool
	height, view, epoch                                            atomic.Uint64
	blocks, txs, proposed, timeouts, executed, duplicates, dropped atomic.Uint64
	refused, fetched, snapshots, syncs, sent, gossiped             atomic.Uint64
}

// Stats gives the counters. Safe for concurrent use.
func (d *Driver) Stats() Stats {
	c := &d.count
	return Stats{
		Height: consensus.Height(c.height.Load()), View: consensus.View(c.view.Load()), Epoch: consensus.Epoch(c.epoch.Load()), Validator: c.validates.Load(), Recovered: c.recovered.Load(),
		Blocks: c.blocks.Load(), Txs: c.txs.Load(), Proposed: c.proposed.Load(), Timeouts: c.timeouts.Load(),
		Executed: c.executed.Load(), Duplicates: c.duplicates.Load(), Dropped: c.dropped.Load(), Refused: c.refused.Load(),
		Fetched: c.fetched.Load(), Snapshots: c.snapshots.Load(), Syncs: c.syncs.Load(), Sent: c.sent.Load(), Gossiped: c.gossiped.Load(),
	}
}
