package load

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/metanode/metanode/bench/consensus/rpc"
)

// Latencies are those of the transactions that were due in the window, in order. Lost counts those in no block that was
// seen; they stand behind all others.
type Latencies struct {
	Sorted []time.Duration
	Lost   int
}

// Collect fetches the blocks that the first target committed and finds the run's transactions in them.
func (r *Run) Collect(ctx context.Context) (Latencies, error) {
	seen, _ := r.watch.Seen()
	at := make([]time.Time, r.count())
	for i, e := range seen {
		if i > 0 && e.Height != seen[i-1].Height+1 {
			return Latencies{}, fmt.Errorf("the validator at %s told of block %d after block %d: events are missing", r.cfg.Targets[0], e.Height, seen[i-1].Height)
		}
		if e.Txs == 0 {
			continue
		}
		txs, err := rpc.Block(ctx, r.cfg.Targets[0], e.Height)
		if err != nil {
			return Latencies{}, err
		}
		for _, tx := range txs {
			if i, ok := r.signer.Index(tx); ok && int(i) < len(at) && at[i].IsZero() {
				at[i] = e.At
			}
		}
	}
	var l Latencies
	from := r.start.Add(r.cfg.Warm)
	for i, t := range at {
		due := r.due(i)
		switch {
		case due.Before(from):
		case t.IsZero():
			l.Lost++
		default:
			l.Sorted = append(l.Sorted, t.Sub(due))
		}
	}
	slices.Sort(l.Sorted)
	return l, nil
}

// Quantile is the latency that a share q (0 to 1) of the transactions do not exceed; false if that share was not
// committed.
func (l Latencies) Quantile(q float64) (time.Duration, bool) {
	n := len(l.Sorted) + l.Lost
	i := int(q * float64(n-1))
	if n == 0 || i >= len(l.Sorted) {
		return 0, false
	}
	return l.Sorted[i], true
}
