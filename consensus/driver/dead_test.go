package driver_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/metanode/metanode/consensus"
)

// TestAsManyDeadAsMayBe stops the most validators that a chain can lose while it has work, those that lead next among
// them: the others go on, and those that come back have it all.
func TestAsManyDeadAsMayBe(t *testing.T) {
	for _, n := range []int{4, 7, 16} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHubOf(t, consensus.Ed25519, n, 60_000)
				var nodes []*testNode
				for i := range n {
					nodes = append(nodes, h.newNode(i, t.TempDir()))
					nodes[i].start()
				}
				submit(t, nodes[0], "before")
				eventually(t, "the first transaction", allHave(nodes, "before"))
				f := (n - 1) / 3
				alive := nodes[:n-f]
				submit(t, nodes[1], "amid")
				for _, dead := range nodes[n-f:] {
					dead.stop()
				}
				for i, tx := range names("during", 2*n) {
					submit(t, alive[i%len(alive)], tx)
					eventually(t, tx+" without "+fmt.Sprint(f), allHave(alive, tx))
				}
				for i := n - f; i < n; i++ {
					nodes[i] = h.newNode(i, nodes[i].dir)
					nodes[i].start()
				}
				submit(t, nodes[0], "after")
				eventually(t, "all of it, on those that came back", allHave(nodes, append(names("during", 2*n), "before", "amid", "after")...))
				stopAll(nodes)
			})
		})
	}
}
