package driver_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/opaque"
	"github.com/metanode/metanode/consensus/mempool"
)

// signedNetwork starts n validators of signed transactions, with the real mempool.
func signedNetwork(t testing.TB, n int, change func(*driver.Config)) (*hub, []*testNode) {
	h := newHub(t, n, 60_000)
	h.genesis.MaxTxsPerBlock = 20_000
	h.change = func(c *driver.Config) {
		pool, err := mempool.New(mempool.Config{
			RatePerClient: -1, ClientTxs: 50_000, ClientBytes: 64 << 20,
			Check: func(tx []byte) (mempool.Info, error) { return mempool.Info{Client: opaque.Signer(tx)}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Mempool, c.App, c.GenesisStateRoot, c.Check = pool, opaque.New(), opaque.Genesis(), opaque.Check
		if change != nil {
			change(c)
		}
	}
	var nodes []*testNode
	for i := range n {
		nodes = append(nodes, h.newNode(i, t.TempDir()))
		nodes[i].start()
	}
	return h, nodes
}

// signedTxs makes transactions of eight clients.
func signedTxs(n int) [][]byte {
	txs := make([][]byte, n)
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			key := seedKey(5000 + c)
			for i := c; i < n; i += 8 {
				txs[i] = opaque.Sign(key, uint64(i), 256)
			}
		})
	}
	wg.Wait()
	return txs
}

// BenchmarkSaturated measures transactions of 256 bytes, signed, through four nodes of one process: use -benchtime=20000x.
func BenchmarkSaturated(b *testing.B) {
	for _, fast := range []bool{true, false} {
		b.Run(fmt.Sprintf("fast=%t", fast), func(b *testing.B) {
			_, nodes := signedNetwork(b, 4, func(c *driver.Config) { c.NoFastPath = !fast })
			txs := signedTxs(b.N)
			b.ResetTimer()
			begin := time.Now()
			var wg sync.WaitGroup
			for i, n := range nodes {
				wg.Go(func() {
					const group = 16
					for at := i * group; at < len(txs); at += 4 * group {
						for n.d.Stats().Crowd > 20_000 {
							<-n.told
						}
						for _, err := range n.d.SubmitAll(txs[at:min(at+group, len(txs))]) {
							if err != nil {
								b.Error(err)
								return
							}
						}
					}
				})
			}
			wg.Wait()
			for nodes[0].d.Stats().Txs < uint64(len(txs)) {
				<-nodes[0].told
			}
			b.StopTimer()
			s := nodes[0].d.Stats()
			b.ReportMetric(float64(len(txs))/time.Since(begin).Seconds(), "tx/s")
			b.ReportMetric(float64(s.Txs)/float64(s.Blocks), "tx/block")
			b.ReportMetric(float64(s.BatchesFetched), "fetched")
			stopAll(nodes)
		})
	}
}
