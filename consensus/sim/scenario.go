package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/metanode/metanode/consensus"
)

// Scenario is one case of Twins: who has a twin, and for each of the first views who leads it, who hears whom in it, and
// who crashes in it. Two nodes of one key lead together.
type Scenario struct {
	Seed       uint64
	Scheme     consensus.Scheme
	Validators int
	Twins      int // keys 0 to Twins-1 have a second node, numbered from Validators on
	Rounds     []Round
}

// Round is what a scenario says of a view; the first is of view 1.
type Round struct {
	Leader int   // key
	Parts  []int // the part of the network that each node is in for messages of this view
	Victim int   // node that crashes at a save in this view, or -1
	Save   int   // at which of its saves, from 0
	Where  fate  // and where in it
	Soon   bool  // it is back while messages are still under way, else at the next timer
}

const summedOneIn = 64

// NewScenario draws the scenario of a seed. Seven of eight have four validators, the others seven; most have as many twins
// as are allowed, since with fewer the rules are seldom near their limits. One of summedOneIn signs votes by BLS12-381: the
// rules are the same, and the arithmetic is ten times as slow.
func NewScenario(seed uint64) Scenario {
	rng := rand.New(rand.NewPCG(seed, 0x7477696e73))
	s := Scenario{Seed: seed, Validators: 4}
	if seed%8 == 0 {
		s.Validators = 7
	}
	if seed%summedOneIn == summedOneIn/2+1 {
		s.Scheme = consensus.BLS12381
	}
	s.Twins = (s.Validators - 1) / 3
	if rng.IntN(5) == 0 {
		s.Twins = rng.IntN(s.Twins + 1)
	}
	crashes := rng.IntN(2) == 0
	for range 4 + rng.IntN(5) {
		s.Rounds = append(s.Rounds, s.draw(rng, crashes))
	}
	return s
}

func (s *Scenario) draw(rng *rand.Rand, crashes bool) Round {
	r := Round{Leader: rng.IntN(s.Validators), Parts: make([]int, s.Nodes()), Victim: -1}
	if s.Twins > 0 && rng.IntN(2) == 0 {
		r.Leader = rng.IntN(s.Twins)
	}
	n := len(s.Rounds)
	switch kind := rng.IntN(8); {
	case kind < 2 && n > 0: // as before
		copy(r.Parts, s.Rounds[n-1].Parts)
	case kind < 4: // one node alone
		r.Parts[rng.IntN(s.Nodes())] = 1
	case kind < 7:
		parts := 2 + rng.IntN(2)
		for i := range r.Parts {
			r.Parts[i] = rng.IntN(parts)
		}
	}
	if crashes && rng.IntN(2) == 0 {
		r.Victim, r.Save = rng.IntN(s.Nodes()), rng.IntN(2)
		if rng.IntN(2) == 0 {
			r.Victim = r.Leader
		}
		r.Where = diesBeforeSave + fate(rng.IntN(3))
		r.Soon = rng.IntN(2) == 0
	}
	return r
}

// Nodes is the number of nodes, twins counted twice.
func (s *Scenario) Nodes() int { return s.Validators + s.Twins }

// Bound is how many views after the last partition every node must have committed a block of such a view. Then nothing
// is lost and no timer runs out before everything sent has arrived, so every view led by a key without a twin certifies
// its block, and two such views in a row commit. Leaders go round, and twins are less than a third, so any n views have
// such a pair; the next view tells everyone. As many again for the view in which the network is healed half way, and for
// the views of twins, which may certify nothing.
func (s *Scenario) Bound() consensus.View { return consensus.View(2*s.Validators + 1) }

// leader is who leads a view: as the scenario says, and round robin after its last round.
func (s *Scenario) leader(v consensus.View) int {
	if v >= 1 && v <= consensus.View(len(s.Rounds)) {
		return s.Rounds[v-1].Leader
	}
	return int(v % consensus.View(s.Validators))
}

// String shows the scenario, a line a round.
func (s Scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "scenario %d: %d validators who sign by %s, %d with a twin", s.Seed, s.Validators, s.Scheme, s.Twins)
	for i := range s.Twins {
		fmt.Fprintf(&b, ", nodes %d and %d share a key", i, s.Validators+i)
	}
	for i, r := range s.Rounds {
		fmt.Fprintf(&b, "\n  view %d: key %d leads; parts", i+1, r.Leader)
		for part := range 3 {
			var in []string
			for n, p := range r.Parts {
				if p == part {
					in = append(in, fmt.Sprint(n))
				}
			}
			if len(in) > 0 {
				fmt.Fprintf(&b, " {%s}", strings.Join(in, " "))
			}
		}
		if r.Victim >= 0 {
			where := map[fate]string{diesBeforeSave: "before", diesBeforeSend: "between saving and sending of", diesAfterSending: "after"}
			fmt.Fprintf(&b, "; node %d crashes %s its save %d", r.Victim, where[r.Where], r.Save)
		}
	}
	return b.String()
}
