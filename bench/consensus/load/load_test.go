package load

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/bench/consensus/rpc"
)

// fake is a chain that commits every transaction in a block of its own as soon as it comes. It implements rpc.Chain.
type fake struct {
	hosts   []string
	servers []*rpc.Server
	lose    func(n int) bool // of the n-th transaction: accepted, and in no block; nil: none
	refuse  bool

	mu     sync.Mutex // guards what follows
	came   int
	blocks [][][]byte
}

// newFake serves the chain as two validators.
func newFake(t *testing.T) *fake {
	f := &fake{}
	for range 2 {
		s := rpc.NewServer(f)
		h := httptest.NewServer(s)
		t.Cleanup(h.Close)
		f.servers = append(f.servers, s)
		f.hosts = append(f.hosts, strings.TrimPrefix(h.URL, "http://"))
	}
	return f
}

func (f *fake) Submit(txs [][]byte) []error {
	errs := make([]error, len(txs))
	for i, tx := range txs {
		errs[i] = f.submit(tx)
	}
	return errs
}

func (f *fake) submit(tx []byte) error {
	if f.refuse {
		return errors.New("no room")
	}
	if _, err := Check(tx); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.came++
	if f.lose != nil && f.lose(f.came) {
		return nil
	}
	f.blocks = append(f.blocks, [][]byte{tx})
	for _, s := range f.servers {
		s.Committed(rpc.Event{Height: int64(len(f.blocks)), Txs: 1, Proposer: 1, Syncs: 7})
	}
	return nil
}

func (f *fake) Block(height int64) ([][]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if height < 1 || height > int64(len(f.blocks)) {
		return nil, fmt.Errorf("no block %d", height)
	}
	return f.blocks[height-1], nil
}

func (f *fake) Status() rpc.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return rpc.Status{Height: int64(len(f.blocks)), Peers: 1, Syncs: 7}
}

// small is 100 transactions, the last 60 of which are counted.
func small(f *fake) Config {
	return Config{Targets: f.hosts, Rate: 400, For: 250 * time.Millisecond, Warm: 100 * time.Millisecond, Drain: 10 * time.Second}
}

func send(t *testing.T, cfg Config) (Sent, Latencies) {
	t.Helper()
	r, err := Prepare(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := r.Send(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := r.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

func TestRunFindsEveryTransaction(t *testing.T) {
	s, l := send(t, small(newFake(t)))
	if s.Due != 100 || s.Sent == 0 || s.Committed != s.Sent || s.Refused != 0 {
		t.Errorf("%+v: want 100 due, and all sent ones committed", s)
	}
	// What this machine was too slow to send counts as lost.
	if len(l.Sorted)+l.Lost != 60 || l.Lost > s.Due-s.Sent {
		t.Errorf("%d latencies and %d lost, %d not sent: want the 60 of the window", len(l.Sorted), l.Lost, s.Due-s.Sent)
	}
	for i, d := range l.Sorted {
		if d <= 0 || i > 0 && d < l.Sorted[i-1] {
			t.Fatalf("latency %d is %v after %v", i, d, l.Sorted[max(0, i-1)])
		}
	}
}

func TestLostTransactionsAreTheSlowest(t *testing.T) {
	f := newFake(t)
	f.lose = func(n int) bool { return n%4 == 0 }
	cfg := small(f)
	cfg.Drain = 50 * time.Millisecond
	s, l := send(t, cfg)
	if want := s.Sent - s.Sent/4; s.Committed != want {
		t.Errorf("%d of %d committed: want %d", s.Committed, s.Sent, want)
	}
	if l.Lost < 15 || len(l.Sorted)+l.Lost != 60 {
		t.Errorf("%d latencies, %d lost: want 60 in sum, a quarter or more lost", len(l.Sorted), l.Lost)
	}
	if d, ok := l.Quantile(0.99); ok {
		t.Errorf("p99 is %v with a quarter lost", d)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	f := newFake(t)
	f.refuse = true
	s, err := rpc.NewSubmitter(t.Context(), f.hosts[0])
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	signer := NewSigner(1, 1)
	for i := range 10 {
		if err := s.Submit(signer.Tx(uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for s.Refused() < 10 {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%d refusals: want 10", s.Refused())
		}
	}
}

func TestWatcherTellsWhatServersTell(t *testing.T) {
	f := newFake(t)
	w, err := rpc.Watch(t.Context(), f.hosts[1])
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := f.submit(NewSigner(1, 1).Tx(0)); err != nil {
		t.Fatal(err)
	}
	e, err := w.AwaitTxs(t.Context(), 0)
	if err != nil || e.Event != (rpc.Event{Height: 1, Txs: 1, Proposer: 1, Syncs: 7}) {
		t.Fatalf("%+v, %v", e, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if e, err := w.AwaitTxs(ctx, 1); err == nil {
		t.Fatalf("block %d is above height 1", e.Height)
	}
	if s, err := rpc.StatusOf(t.Context(), f.hosts[0]); err != nil || s != f.Status() {
		t.Fatalf("%+v, %v: want %+v", s, err, f.Status())
	}
	if _, err := rpc.Block(t.Context(), f.hosts[0], 2); err == nil || !strings.Contains(err.Error(), "no block 2") {
		t.Fatalf("error %v: want the server's", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Targets: []string{"127.0.0.1:1"}, Rate: 1, For: time.Second}
	for name, change := range map[string]func(*Config){
		"no target": func(c *Config) { c.Targets = nil },
		"no rate":   func(c *Config) { c.Rate = 0 },
		"no time":   func(c *Config) { c.For = 0 },
		"all warm":  func(c *Config) { c.Warm = c.For },
	} {
		c := good
		change(&c)
		if c.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := good.check(); err != nil {
		t.Error(err)
	}
}

func TestThroughputIsOfWholeBlocks(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int, txs int64) rpc.Seen {
		return rpc.Seen{Event: rpc.Event{Txs: txs}, At: start.Add(time.Duration(ms) * time.Millisecond)}
	}
	tests := []struct {
		name   string
		seen   []rpc.Seen
		want   float64
		blocks int
	}{
		{"three in the window, one before and one after", []rpc.Seen{at(-1, 1000), at(100, 50), at(600, 30), at(1100, 70), at(2001, 1000)}, 100, 2},
		{"one", []rpc.Seen{at(500, 80)}, 40, 0},
		{"none", nil, 0, 0},
	}
	for _, tt := range tests {
		if got, blocks := throughput(tt.seen, start, start.Add(2*time.Second)); got != tt.want || blocks != tt.blocks {
			t.Errorf("%s: %v tx/s in %d blocks, want %v in %d", tt.name, got, blocks, tt.want, tt.blocks)
		}
	}
}
