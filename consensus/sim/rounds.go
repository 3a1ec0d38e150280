package sim

import (
	"fmt"
	"math/rand/v2"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// Outcome is what a scenario led to.
type Outcome struct {
	Seed     uint64
	Height   consensus.Height // highest committed
	Views    consensus.View   // highest entered
	After    consensus.View   // views from the last partition to the last node's commit
	Dropped  int              // messages that a partition kept
	Repeated int
	Crashes  int
	Evidence int
	Steps    int           // messages, timers and builds
	Trace    digest.Digest // of everything that happened, in order
}

// rounds plays a scenario: what is under way arrives in an order drawn from the seed; when nothing is, all timers run
// out. A partition of a view in which everyone is stuck is lifted after some time, since that is all that a partition can
// do to a view, and there is more to come.
type rounds struct {
	*play
	s       Scenario
	rng     *rand.Rand
	pending []func() error
	lifted  []bool         // by round
	saves   map[[2]int]int // saves of a node in a round
	out     Outcome
}

const (
	stuckTimers = 3  // timers without a new view after which a partition is lifted
	repeatOneIn = 16 // messages arrive twice
	earlyOneIn  = 64 // after a message a timer runs out at some node
)

// Play plays the scenario. The error wraps ErrViolation or ErrStuck, or is a replica's own.
func Play(s Scenario) (Outcome, error) {
	c, err := newCast(s.Scheme, s.Validators, 0)
	if err != nil {
		return Outcome{}, err
	}
	return playOn(c, s)
}

func playOn(c *cast, s Scenario) (Outcome, error) {
	r := &rounds{
		s: s, rng: rand.New(rand.NewPCG(s.Seed, 0x706c6179)),
		lifted: make([]bool, len(s.Rounds)), saves: make(map[[2]int]int), out: Outcome{Seed: s.Seed},
	}
	r.play = &play{cast: c, stage: r, referee: newReferee(c, s.Twins), trace: newTrace(), schedule: s.leader}
	for _, k := range c.keys {
		r.join(k)
	}
	for _, k := range c.keys[:s.Twins] {
		r.join(k)
	}
	err := r.run()
	o := &r.out
	for _, n := range r.nodes {
		o.Height = max(o.Height, n.height())
	}
	o.Views, o.Crashes, o.Evidence, o.Trace = r.views, r.crashes, r.evidence, r.trace.digest()
	if err != nil {
		return *o, fmt.Errorf("step %d: %w", o.Steps, err)
	}
	return *o, nil
}

func (r *rounds) run() error {
	for _, n := range r.nodes {
		if err := n.boot(); err != nil {
			return err
		}
	}
	last := consensus.View(len(r.s.Rounds))
	progress, stuck := uint64(0), 0
	for {
		if err := r.settle(last); err != nil {
			return err
		}
		if r.done(last) {
			r.out.After = r.views - last
			return nil
		}
		if err := r.revive(); err != nil {
			return err
		}
		if now := r.progress(); now == progress {
			if stuck++; stuck == stuckTimers {
				if !r.lift() {
					return fmt.Errorf("%w: nobody enters a new view", ErrStuck)
				}
				stuck = 0
			}
		} else {
			progress, stuck = now, 0
		}
		for _, n := range r.nodes {
			r.out.Steps++
			if err := n.expire(); err != nil {
				return err
			}
		}
	}
}

// settle lets everything arrive that is under way, and what that brings about, until all is quiet or done.
func (r *rounds) settle(last consensus.View) error {
	for len(r.pending) > 0 && !r.done(last) {
		i, end := r.rng.IntN(len(r.pending)), len(r.pending)-1
		do := r.pending[i]
		r.pending[i], r.pending[end] = r.pending[end], nil
		r.pending = r.pending[:end]
		r.out.Steps++
		if err := do(); err != nil {
			return err
		}
		if r.rng.IntN(earlyOneIn) == 0 {
			n := r.nodes[r.rng.IntN(len(r.nodes))]
			if n.replica != nil && n.replica.View() <= last {
				if err := n.expire(); err != nil {
					return err
				}
			}
		}
		if r.views <= last {
			continue
		}
		if err := r.revive(); err != nil {
			return err
		}
		if r.views > last+r.s.Bound() {
			return fmt.Errorf("%w: view %d is entered, %d views after the last partition, and a node has not committed", ErrStuck, r.views, r.views-last)
		}
	}
	return nil
}

// revive boots the nodes that are down.
func (r *rounds) revive() error {
	for _, n := range r.nodes {
		if n.replica == nil {
			if err := n.boot(); err != nil {
				return err
			}
		}
	}
	return nil
}

// done reports whether every node has committed a block of a view after the last partition.
func (r *rounds) done(last consensus.View) bool {
	for _, n := range r.nodes {
		if n.final[len(n.final)-1].Header.View <= last {
			return false
		}
	}
	return true
}

// progress changes whenever a node enters a view.
func (r *rounds) progress() uint64 {
	var sum uint64
	for _, n := range r.nodes {
		if n.replica != nil {
			sum += uint64(n.replica.View())
		}
	}
	return sum
}

// lift ends the partition of the lowest view that a node is stuck in.
func (r *rounds) lift() bool {
	lowest := -1
	for _, n := range r.nodes {
		if n.replica == nil {
			continue
		}
		if i := int(n.replica.View()) - 1; i < len(r.lifted) && !r.lifted[i] && (lowest < 0 || i < lowest) {
			lowest = i
		}
	}
	if lowest < 0 {
		return false
	}
	r.lifted[lowest] = true
	return true
}

// carry puts what is handed over among what is under way, unless the view's partition keeps it.
func (r *rounds) carry(from, to *node, view consensus.View, do func() error) {
	arrive := func() error {
		if to.replica == nil {
			return nil
		}
		return do()
	}
	if i := int(view) - 1; i >= 0 && i < len(r.s.Rounds) {
		if p := r.s.Rounds[i].Parts; !r.lifted[i] && p[from.id] != p[to.id] {
			r.out.Dropped++
			r.trace.note(traceDrop, from.id, uint64(to.id), digest.Digest{})
			return
		}
		if r.rng.IntN(repeatOneIn) == 0 {
			r.out.Repeated++
			r.pending = append(r.pending, arrive)
		}
	}
	r.pending = append(r.pending, arrive)
}

// after forgets how long: anything may happen before anything.
func (r *rounds) after(_ *node, _ uint64, do func() error) { r.pending = append(r.pending, do) }

// clock stands still: the rule about time is Run's to try.
func (r *rounds) clock(*node) uint64 { return startMs }

// fate is the round's for its victim.
func (r *rounds) fate(n *node) fate {
	i := int(n.replica.View()) - 1
	if i < 0 || i >= len(r.s.Rounds) || r.s.Rounds[i].Victim != n.id {
		return lives
	}
	at := [2]int{n.id, i}
	r.saves[at]++
	if r.saves[at] != r.s.Rounds[i].Save+1 {
		return lives
	}
	if r.s.Rounds[i].Soon {
		r.pending = append(r.pending, func() error {
			if n.replica != nil {
				return nil
			}
			return n.boot()
		})
	}
	return r.s.Rounds[i].Where
}

// sources is everyone else: with a random one, luck would decide how many views a fetch takes.
func (r *rounds) sources(n *node) []*node {
	all := make([]*node, 0, len(r.nodes)-1)
	for _, m := range r.nodes {
		if m != n {
			all = append(all, m)
		}
	}
	return all
}
