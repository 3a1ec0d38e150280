package driver

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

func someBatch(rng *rand.Rand, from sign.PublicKey, born time.Time) *batch {
	var txs [][]byte
	for range 1 + rng.IntN(5) {
		txs = append(txs, []byte(fmt.Sprint(rng.IntN(60))))
	}
	b, _ := newBatch(txs)
	b.from, b.born = from, born
	return b
}

// TestBatchesKeepTheirAccounts does random things to batches that share transactions, and counts by hand.
func TestBatchesKeepTheirAccounts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newRecent()
	s := newBatches(r)
	nodes := []sign.PublicKey{{}, {1}, {2}}
	now := time.Unix(1e9, 0)
	var height consensus.Height
	for step := range 4000 {
		switch rng.IntN(8) {
		default:
			b := someBatch(rng, nodes[rng.IntN(3)], now)
			if s.put(b); rng.IntN(8) == 0 {
				s.keep(b)
			}
		case 5:
			var ids []digest.Digest
			for range rng.IntN(20) {
				id := digest.Of([]byte(fmt.Sprint(rng.IntN(60))))
				if !slices.Contains(ids, id) {
					ids = append(ids, id)
				}
			}
			height++
			r.add(height, ids)
			s.committed(ids)
		case 6:
			now = now.Add(time.Duration(rng.IntN(8)) * time.Second)
			mine := map[digest.Digest]bool{}
			for _, b := range s.live {
				if b.from.IsZero() && now.Sub(b.born) >= ownBatchAge {
					for _, id := range b.ids {
						mine[id] = !r.has(id)
					}
				}
			}
			for _, id := range s.expire(now) {
				if !mine[id] {
					t.Fatalf("step %d: gave back what is committed or not of this node", step)
				}
			}
		case 7: // everything is forgotten in the end, so that transactions can come again
			if rng.IntN(10) == 0 {
				r.mu.Lock()
				clear(r.at)
				r.mu.Unlock()
			}
		}
		var bytes, own int
		from, open := map[sign.PublicKey]int{}, map[digest.Digest]bool{}
		for _, b := range s.live {
			bytes += b.size
			from[b.from] += b.size
			if s.byID[b.id] != b {
				t.Fatalf("step %d: a live batch is not found", step)
			}
			left := 0
			seen := map[digest.Digest]bool{}
			for _, id := range b.ids {
				if (s.in[id] == b || slices.Contains(s.also[id], b)) && !seen[id] {
					left++
					open[id] = true
				}
				seen[id] = true
			}
			if left == 0 || left != b.left {
				t.Fatalf("step %d: %d transactions left of a batch that counts %d", step, left, b.left)
			}
			if b.from.IsZero() {
				own += left
			}
		}
		if bytes != s.bytes || own != s.own || len(open) != len(s.in) || fmt.Sprint(from) != fmt.Sprint(s.from) {
			t.Fatalf("step %d: accounts of %d bytes, %d own, %d open: want %d, %d, %d", step, s.bytes, s.own, len(s.in), bytes, own, len(open))
		}
		kept := 0
		for _, b := range s.done {
			kept += b.size
		}
		if kept != s.kept || len(s.byID) != len(s.live)+len(s.done) {
			t.Fatalf("step %d: %d kept, %d known: want %d, %d", step, s.kept, len(s.byID), kept, len(s.live)+len(s.done))
		}
	}
}

func TestBatchesAreBounded(t *testing.T) {
	s := newBatches(newRecent())
	big := func(i int, from sign.PublicKey) *batch {
		tx := make([]byte, 200<<10)
		tx[0], tx[1] = byte(i), byte(i>>8)
		b, _ := newBatch([][]byte{tx})
		b.from = from
		return b
	}
	var ids []digest.Digest
	for i := range 400 {
		b := big(i, sign.PublicKey{byte(1 + i%20)})
		if !s.put(b) {
			continue
		}
		ids = append(ids, b.ids...)
		if s.from[b.from] > maxPeerBytes || s.bytes > maxBatchBytes {
			t.Fatalf("%d bytes of one node, %d in all", s.from[b.from], s.bytes)
		}
	}
	if s.bytes < maxBatchBytes-(1<<20) {
		t.Errorf("only %d bytes were taken", s.bytes)
	}
	s.committed(ids)
	if n, bytes := s.size(); n != 0 || bytes != 0 || s.kept > maxDoneBytes || len(s.byID) != len(s.done) {
		t.Errorf("after all was committed: %d batches, %d bytes, %d kept", n, bytes, s.kept)
	}
	s.expire(time.Now().Add(time.Hour))
	if len(s.byID) != 0 || s.kept != 0 {
		t.Errorf("after an hour: %d batches, %d bytes", len(s.byID), s.kept)
	}
}

func TestRecentRemembersTheWindow(t *testing.T) {
	r := newRecent()
	const last, each = 60, rememberTxs / onceWindow
	for h := consensus.Height(1); h <= last; h++ {
		ids := make([]digest.Digest, each)
		for i := range ids {
			ids[i] = digest.Of(fmt.Appendf(nil, "%d %d", h, i))
		}
		r.add(h, ids)
	}
	for h := consensus.Height(1); h <= last; h++ {
		if have := r.has(digest.Of(fmt.Appendf(nil, "%d 7", h))); !have && h+onceWindow >= last {
			t.Errorf("block %d is forgotten after block %d", h, last)
		}
	}
	if r.total > each*(onceWindow+1) || len(r.at) != r.total {
		t.Errorf("%d transactions remembered, %d counted", len(r.at), r.total)
	}
}

// TestCheckerJudgesEachOnce lets many goroutines ask for verdicts on lists that overlap.
func TestCheckerJudgesEachOnce(t *testing.T) {
	var most, groups atomic.Int64
	errBad := errors.New("bad")
	c := newChecker(func(txs [][]byte) []error {
		groups.Add(1)
		if n := int64(len(txs)); n > most.Load() {
			most.Store(n)
		}
		errs := make([]error, len(txs))
		for i, tx := range txs {
			if tx[0]%7 == 0 {
				errs[i] = errBad
			}
		}
		return errs
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for k := range 50 {
				var txs [][]byte
				first := -1
				for i := range 1 + (g*k)%150 {
					tx := []byte{byte(g*31 + k*7 + i), byte(i % 3)}
					if tx[0]%7 == 0 && first < 0 {
						first = i
					}
					txs = append(txs, tx)
				}
				ids, at, err := c.run(txs, k%2 == 0)
				if (err != nil) != (first >= 0) || err != nil && at != first {
					t.Errorf("verdict %v at %d: want an offender at %d", err, at, first)
				}
				for i := range txs {
					if ids[i] != digest.Of(txs[i]) {
						t.Error("another id")
					}
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > checkGroup || groups.Load() == 0 {
		t.Errorf("groups of up to %d", most.Load())
	}
	before := groups.Load()
	if _, _, err := c.run([][]byte{{1, 0}, {2, 0}}, false); err != nil || groups.Load() != before {
		t.Error("what was sound was judged again")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != 0 && len(c.bulk)+len(c.urgent) > 0 {
		t.Error("work is left")
	}
}

// TestCheckerWaitsForCompany shows when transactions wait: many at once, none of which a proposal needs.
func TestCheckerWaitsForCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var groups []int
		c := newChecker(func(txs [][]byte) []error {
			groups = append(groups, len(txs))
			return make([]error, len(txs))
		})
		c.most = 1
		var made atomic.Int64
		list := func(n int) (txs [][]byte) {
			for range n {
				txs = append(txs, fmt.Appendf(nil, "tx %d", made.Add(1)))
			}
			return txs
		}
		run := func(n int, urgent bool) time.Duration {
			began := time.Now()
			if _, _, err := c.run(list(n), urgent); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		if took := run(1, false); took != 0 {
			t.Errorf("one alone waited %v", took)
		}
		if took := run(checkGroup, false); took != 0 {
			t.Errorf("a full group waited %v", took)
		}
		if took := run(holdFrom, true); took != 0 {
			t.Errorf("urgent ones waited %v", took)
		}
		groups = nil
		var wg sync.WaitGroup
		wg.Go(func() {
			if took := run(holdFrom, false); took != holdFor {
				t.Errorf("%d waited %v for company, want %v", holdFrom, took, holdFor)
			}
		})
		wg.Go(func() {
			time.Sleep(holdFor / 2)
			if took := run(holdFrom, false); took != holdFor/2 {
				t.Errorf("those who came later waited %v", took)
			}
		})
		wg.Wait()
		if fmt.Sprint(groups) != fmt.Sprint([]int{2 * holdFrom}) {
			t.Errorf("groups of %v: want one of %d", groups, 2*holdFrom)
		}
		wg.Go(func() {
			if took := run(holdFrom, false); took != holdFor/5 {
				t.Errorf("those that a proposal needs waited %v", took)
			}
		})
		time.Sleep(holdFor / 5)
		c.ripen()
		wg.Wait()
		wg.Go(func() {
			if took := run(holdFrom, false); took != holdFor/5 {
				t.Errorf("those that an urgent group had room for waited %v", took)
			}
		})
		time.Sleep(holdFor / 5)
		run(1, true)
		wg.Wait()
		time.Sleep(3 * holdFor)
		if took := run(1, false); took != 0 {
			t.Errorf("one alone waited %v after a pause", took)
		}
	})
}

func TestHistogram(t *testing.T) {
	h := newHistogram(1, 10)
	for _, v := range []float64{0, 1, 1.5, 10, 11, 1000} {
		h.observe(v)
	}
	s := h.snapshot()
	if fmt.Sprint(s.Counts) != "[2 2 2]" || s.Sum != 1023.5 || s.Count() != 6 {
		t.Errorf("%+v", s)
	}
}
