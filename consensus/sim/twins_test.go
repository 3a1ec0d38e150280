package sim

import (
	"errors"
	"runtime"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// TestTwins plays BPI_TWINS scenarios, or as many as an ordinary test run has time for, and BPI_TWINS_SEED alone if set.
func TestTwins(t *testing.T) {
	first, last := uint64(1), number(t, "BPI_TWINS", 2000)
	if s := number(t, "BPI_TWINS_SEED", 0); s != 0 {
		first, last = s, s
		t.Log(NewScenario(s))
	}
	survey, err := Explore(first, last, runtime.GOMAXPROCS(0))
	t.Log(survey)
	var f *Failure
	if errors.As(err, &f) {
		t.Fatalf("%v\nreplay with: BPI_TWINS_SEED=%d go test -count=1 -v -run '^TestTwins$' ./consensus/sim", err, f.Scenario.Seed)
	}
	if err != nil {
		t.Fatal(err)
	}
	if survey.Scenarios >= 1000 && (survey.Crashes == 0 || survey.Evidence == 0 || survey.Dropped == 0 || survey.Summed == 0) {
		t.Fatal("the scenarios try nothing")
	}
}

func TestScenarioReplaysFromItsSeed(t *testing.T) {
	shared := make(map[consensus.Scheme]*cast)
	for _, scheme := range consensus.Schemes() {
		var err error
		if shared[scheme], err = newCast(scheme, 4, 0); err != nil {
			t.Fatal(err)
		}
	}
	traces := make(map[string]uint64)
	for seed := uint64(1); seed <= 40; seed++ {
		a, err := Play(NewScenario(seed))
		if err != nil {
			t.Fatal(err)
		}
		if had, ok := traces[a.Trace.String()]; ok {
			t.Fatalf("seeds %d and %d have one trace", had, seed)
		}
		traces[a.Trace.String()] = seed
		b, err := Play(NewScenario(seed))
		if err != nil {
			t.Fatal(err)
		}
		if a != b {
			t.Fatalf("two plays of one seed differ:\n%+v\n%+v", a, b)
		}
		if s := NewScenario(seed); s.Validators == 4 {
			if c, err := playOn(shared[s.Scheme], s); err != nil || c != a {
				t.Fatalf("a play differs with what was played before it: %v\n%+v\n%+v", err, a, c)
			}
		}
	}
}

// A referee that objects to nothing would let every scenario pass. What fails, fails again in the same way.
func TestExploreReportsTheLowestFailingSeed(t *testing.T) {
	var f *Failure
	var trace digest.Digest
	for workers := 1; workers <= 3; workers++ {
		_, err := explore(40, 90, workers, func(s *Scenario) {
			if s.Seed >= 57 {
				s.Twins = s.Validators // no quorum has an honest majority any more
				s.Rounds = split(s.Validators)
			}
		})
		if !errors.As(err, &f) || !errors.Is(err, ErrViolation) {
			t.Fatalf("twins of everyone split the chain and nobody objects: %v", err)
		}
		if f.Scenario.Seed != 57 {
			t.Fatalf("%d workers report seed %d, want 57", workers, f.Scenario.Seed)
		}
		if workers > 1 && f.Outcome.Trace != trace {
			t.Fatalf("%d workers play seed 57 differently", workers)
		}
		trace = f.Outcome.Trace
	}
}

// split is three views in which every twin is on the other side.
func split(validators int) []Round {
	parts := make([]int, 2*validators)
	for i := range parts {
		parts[i] = i / validators
	}
	r := Round{Parts: parts, Victim: -1}
	return []Round{r, r, r}
}
