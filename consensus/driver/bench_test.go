package driver_test

import (
	"fmt"
	"sort"
	"testing"
	"time"

	"github.com/metanode/metanode/consensus"
)

// BenchmarkCommit measures, for one transaction at a time, the time from Submit to the commit on the node that took it.
func BenchmarkCommit(b *testing.B) {
	_, nodes := network(b, 4, 60_000)
	submit(b, nodes[0], "warm")
	eventually(b, "warm", allHave(nodes, "warm"))
	var all []time.Duration
	for i := 0; b.Loop(); i++ {
		tx := fmt.Sprintf("tx-%d", i)
		from := nodes[i%4]
		height := from.d.Stats().Txs
		begin := time.Now()
		submit(b, from, tx)
		for from.d.Stats().Txs == height {
			<-from.told
		}
		all = append(all, time.Since(begin))
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	s := nodes[0].d.Stats()
	b.ReportMetric(float64(s.Syncs)/float64(s.Blocks), "syncs/block")
	stopAll(nodes)
}

// BenchmarkBlock measures the time of a block on four nodes that always have work: one block after another, empty.
func BenchmarkBlock(b *testing.B) {
	_, nodes := network(b, 4, 60_000)
	for _, n := range nodes {
		n.app.work.Store(true)
	}
	eventually(b, "a block", func() bool { return nodes[0].d.Stats().Height > 3 })
	b.ResetTimer()
	want := nodes[0].d.Stats().Height + consensus.Height(b.N)
	eventually(b, "the blocks", func() bool { return nodes[0].d.Stats().Height >= want })
	b.StopTimer()
	for _, n := range nodes {
		n.app.work.Store(false)
	}
	s := nodes[0].d.Stats()
	b.ReportMetric(float64(s.Syncs)/float64(s.Blocks), "syncs/block")
	stopAll(nodes)
}
