// Package sim runs whole networks of consensus replicas in one goroutine from one seed: messages are lost, repeated,
// delayed and reordered, the network splits, nodes crash between any two steps of the shell and come back from what was
// durable, and keys are shared by twins (arXiv 2004.10617), each an honest replica, which together equivocate. The run
// checks after every event what must never happen, and at the end that the chain went on once the network was good.
package sim

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Config shapes a run. Times are virtual milliseconds. The zero value of a probability is never.
type Config struct {
	Validators int     // keys; at least 1
	Twins      int     // keys 0 to Twins-1 have two nodes each; safety is owed while they are less than a third
	BadMs      uint64  // how long the network misbehaves
	GoodMs     uint64  // how long it may be good afterwards until the chain has gone on; the run ends when it has
	MinMs      uint64  // shortest delay of a message
	MaxMs      uint64  // longest, in both periods
	Loss       float64 // a message is lost
	Repeat     float64 // a message arrives twice
	Late       float64 // a message takes ten times as long
	Split      float64 // every 100 ms: the network splits in two for up to 300 ms
	Crash      float64 // at each save: the node crashes before it, or between it and the sending
	DownMs     uint64  // longest time a crashed node stays down
	Dead       int     // the last keys that never start
	Asleep     bool    // the last node starts only when the network becomes good, from genesis
	TimeoutMs  uint64  // of a view after none failed
	MinCommits uint64  // heights that every live node must gain in the good period
}

// DefaultConfig is four validators and all kinds of trouble, then a good network.
func DefaultConfig() Config {
	return Config{
		Validators: 4, BadMs: 600, GoodMs: 5000, MinMs: 1, MaxMs: 10, Loss: 0.05, Repeat: 0.05, Late: 0.05,
		Split: 0.2, Crash: 0.01, DownMs: 150, TimeoutMs: 60, MinCommits: 10,
	}
}

// Report is what a run saw.
type Report struct {
	Seed     uint64
	Height   consensus.Height // highest committed
	Lowest   consensus.Height // lowest of the live nodes
	Views    consensus.View   // highest entered
	Crashes  int
	Events   int
	Evidence int
	Digest   digest.Digest // of everything sent, in order: two runs of one seed are equal
}

// ErrViolation is wrapped when something happened that must never happen.
var ErrViolation = errors.New("safety violated")

// ErrStuck is wrapped when the chain did not go on in the good period.
var ErrStuck = errors.New("chain did not go on")

type world struct {
	cfg      Config
	rng      *rand.Rand
	now      uint64
	seq      uint64
	queue    queue
	genesis  *consensus.Genesis
	root     *consensus.Block
	verifier *consensus.Verifier // shared, so that each signature is checked once in a run
	nodes    []*node
	side     []int                                  // which side of the split a node is on; nil when whole
	chain    map[consensus.Height]consensus.BlockID // what anyone committed
	signed   map[promise]digest.Digest              // what honest keys signed
	report   Report
}

// promise is what an honest key signs at most once.
type promise struct {
	key  sign.PublicKey
	kind consensus.MessageKind
	view consensus.View
}

// Run runs one network. The error wraps ErrViolation or ErrStuck, or is a replica's own.
func Run(seed uint64, cfg Config) (Report, error) {
	w, err := newWorld(seed, cfg)
	if err != nil {
		return Report{}, err
	}
	if err := w.run(); err != nil {
		return w.report, fmt.Errorf("seed %d at %d ms, event %d: %w", seed, w.now, w.report.Events, err)
	}
	return w.report, nil
}

func newWorld(seed uint64, cfg Config) (*world, error) {
	w := &world{
		cfg: cfg, rng: rand.New(rand.NewPCG(seed, 0x6a6f6c74656f6e)),
		chain:  make(map[consensus.Height]consensus.BlockID),
		signed: make(map[promise]digest.Digest),
		report: Report{Seed: seed},
	}
	var keys []sign.PrivateKey
	g := &consensus.Genesis{
		Version: consensus.ProtocolVersion, Name: "sim", TimestampMs: 1, BlockTimeMs: 1000,
		MaxTxsPerBlock: 100, MaxTimestampAhead: 500,
	}
	for i := range cfg.Validators {
		s := digest.Sum("sim/key", []byte{byte(i), byte(i >> 8)})
		k := sign.FromSeed(s[:])
		keys = append(keys, k)
		g.Validators = append(g.Validators, consensus.Validator{Key: k.Public(), Weight: 1, Name: fmt.Sprint(i)})
	}
	root, err := g.Block(digest.Sum("sim/state"))
	if err != nil {
		return nil, err
	}
	w.genesis, w.root = g, root
	if w.verifier, err = consensus.NewVerifier(g, root.ID()); err != nil {
		return nil, err
	}
	for i, k := range keys {
		if i >= cfg.Validators-cfg.Dead {
			break
		}
		w.nodes = append(w.nodes, newNode(w, len(w.nodes), k, i >= cfg.Twins))
	}
	for i := range cfg.Twins {
		w.nodes = append(w.nodes, newNode(w, len(w.nodes), keys[i], false))
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
		w.after(100, w.split)
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
		w.measure()
		if w.now > w.cfg.BadMs && uint64(w.report.Lowest) >= uint64(before)+w.cfg.MinCommits {
			return nil
		}
	}
	if uint64(w.report.Lowest) < uint64(before)+w.cfg.MinCommits {
		return fmt.Errorf("%w: lowest height %d, %d when the network became good", ErrStuck, w.report.Lowest, before)
	}
	return nil
}

// measure notes the highest and the lowest node.
func (w *world) measure() {
	w.report.Lowest = ^consensus.Height(0)
	for _, n := range w.nodes {
		w.report.Height = max(w.report.Height, n.height())
		w.report.Lowest = min(w.report.Lowest, n.height())
	}
}

// split divides the nodes at random for a while.
func (w *world) split() error {
	if !w.bad() {
		return nil
	}
	if w.side == nil && w.rng.Float64() < w.cfg.Split {
		w.side = make([]int, len(w.nodes))
		for i := range w.side {
			w.side[i] = w.rng.IntN(2)
		}
		w.after(1+w.rng.Uint64N(300), func() error {
			w.side = nil
			return nil
		})
	}
	w.after(100, w.split)
	return nil
}

// deliver calls do at the receiver after the network's delay, perhaps twice, perhaps never.
func (w *world) deliver(from, to *node, do func() error) {
	copies := 1
	if w.bad() {
		if w.side != nil && w.side[from.id] != w.side[to.id] || w.rng.Float64() < w.cfg.Loss {
			return
		}
		if w.rng.Float64() < w.cfg.Repeat {
			copies = 2
		}
	}
	for range copies {
		d := w.cfg.MinMs + w.rng.Uint64N(w.cfg.MaxMs-w.cfg.MinMs+1)
		if w.bad() && w.rng.Float64() < w.cfg.Late {
			d *= 10
		}
		w.after(d, func() error {
			if to.replica == nil {
				return nil
			}
			return do()
		})
	}
}

// event is something that happens at a time; seq orders those of one time.
type event struct {
	at, seq uint64
	do      func() error
}

func (w *world) after(d uint64, do func() error) { w.at(w.now+d, do) }

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
