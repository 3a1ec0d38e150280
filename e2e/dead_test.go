package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// TestTwoOfSevenDead kills as many of seven as may fail: the chain goes on, with every leader that is left, and those
// that come back have all of it.
func TestTwoOfSevenDead(t *testing.T) {
	n := up(t, 7)
	nothing := cancelling(t, n.client(n.peers[0]))
	dead := n.peers[5:]
	for _, p := range dead {
		n.kill(p)
	}
	for i := range 10 {
		if !n.orders(n.peers[i%5], nothing(uint64(i)), 30*time.Second) {
			t.Fatal("with two of seven dead nothing is ordered")
		}
	}
	for _, p := range dead {
		n.start(p)
	}
	for _, p := range dead {
		n.ready(p)
		n.reaches(p, n.height(n.peers[0]))
	}
}

// reaches waits until a peer has a height.
func (n *testnet) reaches(p *peer, height uint64) {
	n.t.Helper()
	eventually(n.t, 60*time.Second, fmt.Sprintf("%s at height %d", p.Name, height), func() bool { return n.height(p) >= height })
}

// TestBenchRecovery prints how long a network of 4, 7 and 16 takes to order the first command after a fault, and a peer
// to be where the others are when its fault is over. It only fails if one of them never does.
func TestBenchRecovery(t *testing.T) {
	if os.Getenv("BPI_BENCH") == "" {
		t.Skip("figures are measured by make bench")
	}
	fmt.Printf("\n| validators | fault | next command ordered, p50 / p99 | peer back, p50 / p99 |\n|---|---|---|---|\n")
	for _, size := range []int{4, 7, 16} {
		n := up(t, size)
		nothing := cancelling(t, n.client(n.peers[0]))
		nonce := uint64(0)
		ordered := func() time.Duration {
			t.Helper()
			begin := time.Now()
			if nonce++; !n.orders(n.peers[0], nothing(nonce), 2*time.Minute) {
				t.Fatalf("%d validators: nothing is ordered any more", size)
			}
			return time.Since(begin)
		}
		one := func(i int) []*peer { return n.peers[1+i%(size-1):][:1] }
		most := func(int) []*peer { return n.peers[size-(size-1)/3:] }
		for _, f := range []struct {
			name  string
			whom  func(round int) []*peer
			begin func(p *peer) (over func())
			times int
		}{
			{"none", func(int) []*peer { return nil }, nil, 20},
			{"one killed", one, func(p *peer) func() { n.kill(p); return func() { n.start(p) } }, max(4, 40/size)},
			{"one frozen", one, func(p *peer) func() { return n.freeze(p) }, max(4, 40/size)},
			{fmt.Sprintf("%d killed", (size-1)/3), most, func(p *peer) func() { n.kill(p); return func() { n.start(p) } }, max(3, 20/size)},
		} {
			var next, back []time.Duration
			for round := range f.times {
				var over []func()
				whom := f.whom(round)
				for _, p := range whom {
					over = append(over, f.begin(p))
				}
				next = append(next, ordered())
				for range 2 * size { // past every leader that is away
					ordered()
				}
				top := n.height(n.peers[0])
				for i, p := range whom {
					begin := time.Now()
					over[i]()
					n.reaches(p, top)
					back = append(back, time.Since(begin))
				}
				for _, p := range whom {
					n.ready(p)
				}
			}
			fmt.Printf("| %d | %s | %s | %s |\n", size, f.name, spread(next), spread(back))
		}
		n.must("devnet", "down")
		for _, p := range n.peers {
			if p.again != nil {
				_ = p.again.Process.Kill()
				_ = p.again.Wait()
				p.again = nil
			}
		}
	}
	wiredRecovery(t)
}

// wiredRecovery does the same for a wire that is pulled.
func wiredRecovery(t *testing.T) {
	w, err := newWires(t, 4)
	if err != nil {
		fmt.Printf("| 4 | one cut off | not measured: %v | |\n", err)
		return
	}
	n := w.founders(4)
	nothing := cancelling(t, n.client(n.peers[0]))
	nonce := uint64(0)
	ordered := func() time.Duration {
		t.Helper()
		begin := time.Now()
		if nonce++; !n.orders(n.peers[0], nothing(nonce), 2*time.Minute) {
			t.Fatal("nothing is ordered any more")
		}
		return time.Since(begin)
	}
	var next, back []time.Duration
	for round := range 10 {
		i := 1 + round%3
		heal := w.cut(i)
		next = append(next, ordered())
		for range 8 {
			ordered()
		}
		top := n.height(n.peers[0])
		begin := time.Now()
		heal()
		n.reaches(n.peers[i], top)
		back = append(back, time.Since(begin))
	}
	fmt.Printf("| 4 | one cut off | %s | %s |\n", spread(next), spread(back))
}

// spread is the median and the 99th percentile of some times.
func spread(l []time.Duration) string {
	if len(l) == 0 {
		return "–"
	}
	return fmt.Sprintf("%d / %d ms of %d", quantile(l, 50).Milliseconds(), quantile(l, 99).Milliseconds(), len(l))
}
