package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// Config shapes a run. Times are virtual milliseconds. The zero value of a probability is never.
type Config struct {
	Scheme     consensus.Scheme
	Validators int     // keys; at least 1
	Twins      int     // keys 0 to Twins-1 have two nodes each; safety is owed while they are less than a third
	BadMs      uint64  // how long the network misbehaves
	GoodMs     uint64  // how long it may be good afterwards until the chain has gone on; the run ends when it has
	MinMs      uint64  // shortest delay of a message
	MaxMs      uint64  // longest, in both periods
	Loss       float64 // a message is lost
	Repeat     float64 // a message arrives twice
	Late       float64 // a message takes ten times as long
	Split      float64 // every SplitMs: the network splits in two for up to three times that
	SplitMs    uint64
	Crash      float64 // at each save: the node crashes before it, between it and the sending, or right after
	DownMs     uint64  // longest time a crashed node stays down
	Dead       int     // the last keys that never start
	Asleep     bool    // the last node starts only when the network becomes good, from genesis
	Spare      int     // further keys, whose nodes follow until it is their turn
	Turn       uint64  // every so many blocks other keys validate; 0: never. Not with Twins or Dead
	Step       int     // how many keys on the next validators are; those of two epochs differ by about as many
	SkewMs     uint64  // every clock is ahead or behind by up to this much, in both periods
	DriftMille uint64  // and runs faster or slower by up to this many thousandths; below 1000
	AheadMs    uint64  // the clock of validator 0 is ahead by this much more
	PaceMs     uint64  // how long a leader takes to build a block
	TimeoutMs  uint64  // of a view after none failed
	MinCommits uint64  // heights that every live node must gain in the good period
}

// DefaultConfig is four validators and all kinds of trouble, then a good network.
func DefaultConfig() Config {
	return Config{
		Validators: 4, BadMs: 600, GoodMs: 5000, MinMs: 1, MaxMs: 10, Loss: 0.05, Repeat: 0.05, Late: 0.05,
		Split: 0.2, SplitMs: 100, Crash: 0.01, DownMs: 150, SkewMs: 100, DriftMille: 50, PaceMs: 1, TimeoutMs: 60, MinCommits: 10,
	}
}

// WideConfig is the same over a wide network, where a view takes most of a second: an hour of it costs a second or two.
func WideConfig() Config {
	return Config{
		Validators: 4, BadMs: 3_600_000, GoodMs: 120_000, MinMs: 20, MaxMs: 150, Loss: 0.02, Repeat: 0.02, Late: 0.02,
		Split: 0.05, SplitMs: 5000, Crash: 0.003, DownMs: 20_000, SkewMs: 200, DriftMille: 0, PaceMs: 500, TimeoutMs: 1500,
		MinCommits: 10,
	}
}

// Report is what a run saw.
type Report struct {
	Seed     uint64
	Height   consensus.Height // highest committed
	Lowest   consensus.Height // lowest of the live nodes
	Views    consensus.View   // highest entered
	Epoch    consensus.Epoch  // highest entered
	Ms       uint64           // simulated
	Events   int
	Evidence int
	Faults   Faults
	Trace    digest.Digest // of everything that happened, in order: two runs of one seed are equal
}

// Faults counts what the world did to the nodes.
type Faults struct {
	Lost      int // messages that the network lost
	Repeated  int // messages that arrived twice
	Late      int // messages that took ten times as long
	Reordered int // messages that arrived after a later one of the same sender
	Splits    int // times that the network split in two
	CutOff    int // messages lost to a split
	Crashes   int // and restarts but for nodes still down at the end
	Deaf      int // messages that came to a node that was down
	HeldBack  int // proposals ahead of their receiver's clock
}

// Add counts g too.
func (f *Faults) Add(g Faults) {
	f.Lost += g.Lost
	f.Repeated += g.Repeated
	f.Late += g.Late
	f.Reordered += g.Reordered
	f.Splits += g.Splits
	f.CutOff += g.CutOff
	f.Crashes += g.Crashes
	f.Deaf += g.Deaf
	f.HeldBack += g.HeldBack
}

// String is for people.
func (f Faults) String() string {
	return fmt.Sprintf("%d messages lost, %d repeated, %d late, %d reordered, %d cut off by %d splits, %d at a node that was down; %d crashes; %d proposals ahead of a clock",
		f.Lost, f.Repeated, f.Late, f.Reordered, f.CutOff, f.Splits, f.Deaf, f.Crashes, f.HeldBack)
}

// startMs is what a right clock shows when a run begins: late enough for one that is behind.
const startMs = 1_000_000

// world is the timed network: one queue of events, in the order of their times.
type world struct {
	*play
	cfg    Config
	rng    *rand.Rand
	now    uint64
	seq    uint64
	queue  queue
	side   []int // which side of the split a node is on; nil when whole
	clocks []clock
	last   map[[2]int]uint64 // the newest message that arrived from one node at another
	report Report
}

// clock is a node's: what it shows when a right one shows startMs, and its thousandths in a thousandth.
type clock struct{ start, mille uint64 }

// Run runs one network. The error wraps ErrViolation or ErrStuck, or is a replica's own.
func Run(seed uint64, cfg Config) (Report, error) {
	w, err := newWorld(seed, cfg)
	if err != nil {
		return Report{}, err
	}
	err = w.run()
	w.measure()
	r := &w.report
	r.Epoch = w.reached
	r.Views, r.Ms, r.Evidence, r.Trace = w.views, w.now, w.evidence, w.trace.digest()
	r.Faults.Crashes, r.Faults.HeldBack = w.crashes, w.heldBack
	if err != nil {
		return w.report, fmt.Errorf("seed %d at %d ms, event %d: %w", seed, w.now, r.Events, err)
	}
	return w.report, nil
}

func newWorld(seed uint64, cfg Config) (*world, error) {
	c, err := newCast(cfg.Scheme, cfg.Validators, cfg.Spare)
	if err != nil {
		return nil, err
	}
	c.turn, c.step = consensus.Height(cfg.Turn), cfg.Step
	w := &world{
		cfg: cfg, rng: rand.New(rand.NewPCG(seed, 0x6a6f6c74656f6e)),
		last: make(map[[2]int]uint64), report: Report{Seed: seed},
	}
	w.play = &play{
		cast: c, stage: w, referee: newReferee(c, cfg.Twins), trace: newTrace(),
		paceMs: cfg.PaceMs, timerMs: cfg.TimeoutMs,
	}
	for _, k := range c.keys[:cfg.Validators+cfg.Spare-cfg.Dead] {
		w.join(k)
	}
	for _, k := range c.keys[:cfg.Twins] {
		w.join(k)
	}
	for i := range w.nodes {
		k := clock{
			start: startMs - cfg.SkewMs + w.rng.Uint64N(2*cfg.SkewMs+1),
			mille: 1000 - cfg.DriftMille + w.rng.Uint64N(2*cfg.DriftMille+1),
		}
		if i == 0 {
			k.start += cfg.AheadMs
		}
		w.clocks = append(w.clocks, k)
	}
	return w, nil
}

func (w *world) bad() bool { return w.now < w.cfg.BadMs }

func (w *world) run() error {
	for i, n := range w.nodes {
		if w.cfg.Asleep && i == len(w.nodes)-1 {
			w.at(w.cfg.BadMs, n.boot)
			continue
		}
		if err := n.boot(); err != nil {
			return err
		}
	}
	if w.cfg.Split > 0 {
		w.at(w.cfg.SplitMs, w.split)
	}
	var before consensus.Height
	w.at(w.cfg.BadMs, func() error {
		w.side = nil
		for _, n := range w.nodes {
			before = max(before, n.height())
		}
		return nil
	})
	for w.queue.Len() > 0 {
		e := heap.Pop(&w.queue).(event)
		if e.at > w.cfg.BadMs+w.cfg.GoodMs {
			break
		}
		w.now = e.at
		w.report.Events++
		if err := e.do(); err != nil {
			return err
		}
		if w.now > w.cfg.BadMs {
			w.measure()
			if uint64(w.report.Lowest) >= uint64(before)+w.cfg.MinCommits {
				return nil
			}
		}
	}
	w.measure()
	return fmt.Errorf("%w: lowest height %d, %d when the network became good", ErrStuck, w.report.Lowest, before)
}

// measure notes the highest and the lowest node.
func (w *world) measure() {
	w.report.Lowest = ^consensus.Height(0)
	for _, n := range w.nodes {
		w.report.Height = max(w.report.Height, n.height())
		w.report.Lowest = min(w.report.Lowest, n.height())
	}
}

// event is something that happens at a time; seq orders those of one time.
type event struct {
	at, seq uint64
	do      func() error
}

func (w *world) at(t uint64, do func() error) {
	w.seq++
	heap.Push(&w.queue, event{t, w.seq, do})
}

type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}
