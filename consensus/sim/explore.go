package sim

import (
	"errors"
	"fmt"
	"sync"

	"github.com/metanode/metanode/consensus"
)

// Survey sums up many scenarios.
type Survey struct {
	Scenarios int
	Four      int // of four validators; the others are of seven
	Summed    int // under BLS12-381; the others are under Ed25519
	Twins     int // keys that had a twin
	Views     consensus.View
	Commits   consensus.Height // highest of each scenario
	After     consensus.View   // most views that a scenario took after its last partition
	Dropped   int
	Repeated  int
	Crashes   int
	Evidence  int
	Steps     int
}

// String is for people.
func (s Survey) String() string {
	return fmt.Sprintf("%d scenarios (%d of 4 validators, %d of 7; %d under bls12-381; %d keys with a twin): %d views, %d steps, %d blocks committed; %d messages cut off, %d repeated, %d crashes, %d pieces of evidence; at most %d views from the last partition to everyone's commit",
		s.Scenarios, s.Four, s.Scenarios-s.Four, s.Summed, s.Twins, s.Views, s.Steps, s.Commits, s.Dropped, s.Repeated, s.Crashes, s.Evidence, s.After)
}

func (s *Survey) add(c Scenario, o Outcome) {
	s.Scenarios++
	if c.Validators == 4 {
		s.Four++
	}
	if c.Scheme == consensus.BLS12381 {
		s.Summed++
	}
	s.Twins += c.Twins
	s.Views += o.Views
	s.Commits += o.Height
	s.After = max(s.After, o.After)
	s.Dropped += o.Dropped
	s.Repeated += o.Repeated
	s.Crashes += o.Crashes
	s.Evidence += o.Evidence
	s.Steps += o.Steps
}

func (s *Survey) merge(t Survey) {
	s.Scenarios += t.Scenarios
	s.Four += t.Four
	s.Summed += t.Summed
	s.Twins += t.Twins
	s.Views += t.Views
	s.Commits += t.Commits
	s.After = max(s.After, t.After)
	s.Dropped += t.Dropped
	s.Repeated += t.Repeated
	s.Crashes += t.Crashes
	s.Evidence += t.Evidence
	s.Steps += t.Steps
}

// Failure is the scenario that failed, and how.
type Failure struct {
	Scenario Scenario
	Outcome  Outcome
	Err      error
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s\n%v\ntrace %s", f.Scenario, f.Err, f.Outcome.Trace)
}

func (f *Failure) Unwrap() error { return f.Err }

// Explore plays the scenarios of the seeds from first to last, divided among workers. The error is a *Failure, of the
// lowest seed that fails, whatever the number of workers; the survey is then of those played until it was known.
func Explore(first, last uint64, workers int) (Survey, error) {
	return explore(first, last, workers, nil)
}

// explore lets change, if not nil, alter each scenario first.
func explore(first, last uint64, workers int, change func(*Scenario)) (Survey, error) {
	type share struct {
		survey Survey
		err    error
	}
	shares := make([]share, workers)
	var mu sync.Mutex
	lowest := last + 1 // seed of a failure; guarded by mu
	failed := func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return lowest
	}
	var wg sync.WaitGroup
	for k := range shares {
		wg.Go(func() {
			mine := &shares[k]
			type kind struct {
				scheme     consensus.Scheme
				validators int
			}
			casts := make(map[kind]*cast)
			for seed := first + uint64(k); seed <= last && seed < failed(); seed += uint64(workers) {
				s := NewScenario(seed)
				if change != nil {
					change(&s)
				}
				k := kind{s.Scheme, s.Validators}
				c := casts[k]
				if c == nil {
					if c, mine.err = newCast(s.Scheme, s.Validators, 0); mine.err != nil {
						return
					}
					casts[k] = c
				}
				o, err := playOn(c, s)
				if err != nil {
					mine.err = &Failure{s, o, err}
					mu.Lock()
					lowest = min(lowest, seed)
					mu.Unlock()
					return
				}
				mine.survey.add(s, o)
			}
		})
	}
	wg.Wait()
	var total Survey
	var worst error
	for _, m := range shares {
		total.merge(m.survey)
		var f, g *Failure
		if m.err != nil && (worst == nil || errors.As(m.err, &f) && errors.As(worst, &g) && f.Scenario.Seed < g.Scenario.Seed) {
			worst = m.err
		}
	}
	return total, worst
}
