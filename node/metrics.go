package node

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// registerMetrics makes what /metrics shows, besides what the mesh registered itself.
func (n *Node) registerMetrics() error {
	var errs []error
	add := func(kind prometheus.ValueType, name, help string, value func() float64) {
		opts := prometheus.Opts{Namespace: "bpi", Name: name, Help: help}
		var c prometheus.Collector
		if kind == prometheus.CounterValue {
			c = prometheus.NewCounterFunc(prometheus.CounterOpts(opts), value)
		} else {
			c = prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts), value)
		}
		errs = append(errs, n.registry.Register(c))
	}
	gauge := func(name, help string, value func() float64) { add(prometheus.GaugeValue, name, help, value) }
	counter := func(name, help string, value func() float64) { add(prometheus.CounterValue, name, help, value) }

	gauge("height", "Height of the last committed block.", func() float64 { return float64(n.driver.Stats().Height) })
	gauge("view", "View that consensus is in.", func() float64 { return float64(n.driver.Stats().View) })
	gauge("epoch", "Epoch of the next block: how often the validators have changed.", func() float64 { return float64(n.driver.Stats().Epoch) })
	gauge("validates", "1 while this node's validator key is in the set.", func() float64 {
		if n.driver.Validates() {
			return 1
		}
		return 0
	})
	gauge("block_age_seconds", "Seconds since the agreed time of the last committed block.", func() float64 {
		return float64(time.Now().UnixMilli()-int64(n.ledger.head.Load().header.TimestampMs)) / 1000
	})
	counter("blocks_committed_total", "Blocks committed since the start.", func() float64 { return float64(n.driver.Stats().Blocks) })
	counter("transactions_committed_total", "Transactions committed since the start.", func() float64 { return float64(n.driver.Stats().Txs) })
	counter("view_timeouts_total", "View timers that ran out.", func() float64 { return float64(n.driver.Stats().Timeouts) })
	counter("consensus_messages_dropped_total", "Consensus messages that fell out of a full queue.", func() float64 { return float64(n.driver.Stats().Dropped) })
	counter("consensus_messages_refused_total", "Consensus messages that were not acceptable.", func() float64 { return float64(n.driver.Stats().Refused) })
	errs = append(errs, n.registry.Register(spreads{n.driver}))
	counter("wal_syncs_total", "fdatasyncs of the write-ahead log.", func() float64 { return float64(n.driver.Stats().Syncs) })
	gauge("mempool_transactions", "Transactions that wait to be ordered in this node's mempool.", func() float64 { return float64(n.pool.Len()) })
	gauge("mempool_bytes", "Bytes of these transactions.", func() float64 { return float64(n.pool.Bytes()) })
	gauge("waiting_transactions", "Transactions that wait to be ordered, in the mempool and in batches of other validators.", func() float64 { return float64(n.driver.Stats().Crowd) })
	gauge("batches_live", "Batches that are not wholly committed.", func() float64 { return float64(n.driver.Stats().BatchesLive) })
	gauge("batches_live_bytes", "Bytes of these batches.", func() float64 { return float64(n.driver.Stats().BatchBytes) })
	counter("batches_sealed_total", "Batches made of transactions that came to this node first.", func() float64 { return float64(n.driver.Stats().Batches) })
	counter("batches_taken_total", "Batches of other nodes taken in.", func() float64 { return float64(n.driver.Stats().BatchesTaken) })
	counter("batches_fetched_total", "Batches asked for because a block named them.", func() float64 { return float64(n.driver.Stats().BatchesFetched) })
	counter("batches_dropped_total", "Batches of other nodes for which there was no room.", func() float64 { return float64(n.driver.Stats().BatchesDropped) })
	counter("blocks_proposed_total", "Blocks proposed by this node.", func() float64 { return float64(n.driver.Stats().Proposed) })
	counter("outlines_proposed_total", "Of these, blocks that named batches.", func() float64 { return float64(n.driver.Stats().Outlines) })
	counter("blocks_fetched_total", "Blocks brought by catch-up.", func() float64 { return float64(n.driver.Stats().Fetched) })
	gauge("outbox_commands", "Accepted commands that are not ordered yet.", func() float64 { return float64(n.outbox.size()) })
	counter("executions_started_total", "Executions started.", func() float64 { return float64(n.runner.Stats().Started) })
	counter("executions_finished_total", "Executions that came to an outcome.", func() float64 { return float64(n.runner.Stats().Finished) })
	counter("executions_failed_total", "Executions that came to none.", func() float64 { return float64(n.runner.Stats().Failed) })
	counter("manifests_held_total", "Manifests of data sets and images fetched and attested.", func() float64 { return float64(n.runner.Stats().Held) })
	gauge("clock_drift_seconds", "This machine's clock minus the median of its peers'.", func() float64 { return float64(n.driftMs.Load()) / 1000 })
	gauge("base_height", "First block from which on blocks and events are kept.", func() float64 { return float64(n.ledger.base.Load()) })
	gauge("snapshots", "Snapshots of the state that this node can give.", func() float64 { return float64(len(n.snaps.folder.List())) })
	gauge("snapshot_height", "Block of the newest of them.", func() float64 {
		list := n.snaps.folder.List()
		if len(list) == 0 {
			return 0
		}
		return float64(list[len(list)-1].Height())
	})
	counter("snapshots_made_total", "Snapshots made.", func() float64 { return float64(n.snaps.made.Load()) })
	counter("snapshots_skipped_total", "Snapshots not made because the one before was not finished.", func() float64 { return float64(n.snaps.skipped.Load()) })
	counter("snapshots_joined_total", "Snapshots of others that this node went on from.", func() float64 { return float64(n.snaps.installed.Load()) })
	counter("snapshot_chunks_fetched_total", "Chunks of snapshots fetched and proved.", func() float64 { return float64(n.snaps.fetch.Stats().Chunks) })
	counter("snapshot_bytes_fetched_total", "Bytes of those.", func() float64 { return float64(n.snaps.fetch.Stats().Bytes) })
	counter("snapshot_lies_total", "Heads, offers and chunks of snapshots that were false.", func() float64 { return float64(n.snaps.fetch.Stats().Bad) })
	counter("blocks_pruned_total", "Blocks removed from this node.", func() float64 { return float64(n.snaps.pruned.Load()) })
	gauge("blob_bytes", "Bytes of blobs on disk.", func() float64 { return float64(n.store.Usage().UsedBytes) })
	counter("api_connections_refused_total", "Connections to the API and the gateway closed because an address, or all, had too many.", func() float64 { return float64(n.connsRefused()) })
	gauge("ready", "1 when the node does its work.", func() float64 {
		if len(n.notReady()) == 0 {
			return 1
		}
		return 0
	})
	errs = append(errs, n.registry.Register(collectors.NewGoCollector()),
		n.registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})))
	return errors.Join(errs...)
}
