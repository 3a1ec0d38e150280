package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/metanode/metanode/bench/consensus/rpc"
)

// Config is one run.
type Config struct {
	Targets []string      // RPC addresses, host:port; transactions go round them, and the first is watched
	Rate    int           // transactions a second, over all targets
	For     time.Duration // how long they are sent
	Warm    time.Duration // how much of it at the beginning is not counted
	Drain   time.Duration // the run ends when nothing more was committed for so long after the last was sent; 0: at once
	Clients int           // distinct signing keys; 0 means 16
}

func (c Config) check() error {
	if len(c.Targets) == 0 || c.Rate <= 0 || c.For <= 0 || c.Warm < 0 || c.Warm >= c.For {
		return fmt.Errorf("load of %d tx/s for %v, %v of it to warm up, on %d targets: each must be positive, and the warming shorter than the whole", c.Rate, c.For, c.Warm, len(c.Targets))
	}
	return nil
}

// Run is a prepared load. Send it once, then Collect if latencies are wanted, and Close it.
type Run struct {
	cfg     Config
	signer  *Signer
	txs     []byte // all of them, one after another
	targets []*rpc.Submitter
	watch   *rpc.Watcher
	start   time.Time
}

// Sent is what a run has shown when its sending is over.
type Sent struct {
	Due       int     // transactions in the plan
	Sent      int     // written to a validator in time
	Refused   int     // of those, answered with an error
	Committed int     // in blocks by the end of the run, leftovers of an earlier run on the chain included
	Blocks    int     // of the window, with its transactions counted
	PerSecond float64 // transactions committed a second in the window
}

// Prepare connects to the targets and signs every transaction of the run.
func Prepare(ctx context.Context, cfg Config) (*Run, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Clients == 0 {
		cfg.Clients = 16
	}
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("draw the run's number: %w", err)
	}
	r := &Run{cfg: cfg, signer: NewSigner(binary.BigEndian.Uint32(id[:]), cfg.Clients)}
	r.sign(int(float64(cfg.Rate) * cfg.For.Seconds()))
	for _, host := range cfg.Targets {
		s, err := rpc.NewSubmitter(ctx, host)
		if err != nil {
			r.Close()
			return nil, err
		}
		r.targets = append(r.targets, s)
	}
	var err error
	if r.watch, err = rpc.Watch(ctx, cfg.Targets[0]); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// sign makes the transactions on all cores.
func (r *Run) sign(count int) {
	r.txs = make([]byte, count*TxBytes)
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < count; i += workers {
				copy(r.txs[i*TxBytes:], r.signer.Tx(uint32(i)))
			}
		})
	}
	wg.Wait()
}

func (r *Run) count() int { return len(r.txs) / TxBytes }

// due is when a transaction ought to be sent.
func (r *Run) due(index int) time.Time {
	return r.start.Add(time.Duration(float64(index) / float64(r.cfg.Rate) * float64(time.Second)))
}

// Send sends everything as it falls due, waits until it is committed or Drain is over, and counts. A validator that
// cannot be written to is an error; one that refuses transactions is not.
func (r *Run) Send(ctx context.Context) (Sent, error) {
	r.start = time.Now()
	end := r.start.Add(r.cfg.For)
	sent := make([]int, len(r.targets))
	errs := make([]error, len(r.targets))
	var wg sync.WaitGroup
	for w, target := range r.targets {
		wg.Go(func() {
			if errs[w] = target.Until(end); errs[w] != nil {
				return
			}
			for i := w; i < r.count(); i += len(r.targets) {
				if err := wait(ctx, r.due(i)); err != nil {
					errs[w] = err
					return
				}
				err := target.Submit(r.txs[i*TxBytes : (i+1)*TxBytes])
				if !time.Now().Before(end) {
					return // the validator reads more slowly than it is written to
				}
				if err != nil {
					errs[w] = fmt.Errorf("send to the validator at %s: %w", r.cfg.Targets[w], err)
					return
				}
				sent[w]++
			}
		})
	}
	wg.Wait()
	s := Sent{Due: r.count()}
	for w := range r.targets {
		if errs[w] != nil {
			return s, errs[w]
		}
		s.Sent += sent[w]
	}
	committed, err := r.watch.Await(ctx, int64(s.Sent), r.cfg.Drain)
	if err != nil {
		return s, fmt.Errorf("watch the validator at %s: %w", r.cfg.Targets[0], err)
	}
	s.Committed = int(committed)
	for _, t := range r.targets {
		s.Refused += t.Refused()
	}
	seen, _ := r.watch.Seen()
	s.PerSecond, s.Blocks = throughput(seen, r.start.Add(r.cfg.Warm), end)
	return s, ctx.Err()
}

// wait sleeps until a time that has not passed.
func wait(ctx context.Context, until time.Time) error {
	if d := time.Until(until); d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// throughput is what the blocks that were seen in the window hold, without the first, over the time from the first to
// the last. With fewer than two it is what the window holds over its length.
func throughput(seen []rpc.Seen, from, to time.Time) (perSecond float64, blocks int) {
	var first, last time.Time
	var txs, all int64
	for _, e := range seen {
		if e.At.Before(from) || e.At.After(to) {
			continue
		}
		all += e.Txs
		if first.IsZero() {
			first = e.At
			continue
		}
		last = e.At
		txs += e.Txs
		blocks++
	}
	if span := last.Sub(first).Seconds(); blocks > 0 && span > 0 {
		return float64(txs) / span, blocks
	}
	return float64(all) / to.Sub(from).Seconds(), 0
}

// Close ends the connections.
func (r *Run) Close() {
	for _, t := range r.targets {
		t.Close()
	}
	if r.watch != nil {
		r.watch.Close()
	}
}
