package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/metanode/metanode/consensus/driver"
)

// spreads shows the driver's histograms to Prometheus.
type spreads struct{ driver *driver.Driver }

var spreadDescs = []struct {
	desc *prometheus.Desc
	of   func(*driver.Stats) *driver.Histogram
}{
	{spreadDesc("wal_sync_seconds", "A write of the write-ahead log with its fdatasync."), func(s *driver.Stats) *driver.Histogram { return &s.SyncSeconds }},
	{spreadDesc("round_trip_seconds", "From a proposal of this node to its certificate."), func(s *driver.Stats) *driver.Histogram { return &s.RoundSeconds }},
	{spreadDesc("batch_bytes", "Bytes of a batch made by this node."), func(s *driver.Stats) *driver.Histogram { return &s.SealedBytes }},
	{spreadDesc("block_transactions", "Transactions of a committed block."), func(s *driver.Stats) *driver.Histogram { return &s.BlockTxs }},
}

func spreadDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("bpi_"+name, help, nil, nil)
}

// Describe implements prometheus.Collector.
func (s spreads) Describe(out chan<- *prometheus.Desc) {
	for _, d := range spreadDescs {
		out <- d.desc
	}
}

// Collect implements prometheus.Collector.
func (s spreads) Collect(out chan<- prometheus.Metric) {
	stats := s.driver.Stats()
	for _, d := range spreadDescs {
		h := d.of(&stats)
		buckets := make(map[float64]uint64, len(h.Bounds))
		var below uint64
		for i, bound := range h.Bounds {
			below += h.Counts[i]
			buckets[bound] = below
		}
		out <- prometheus.MustNewConstHistogram(d.desc, h.Count(), h.Sum, buckets)
	}
}
