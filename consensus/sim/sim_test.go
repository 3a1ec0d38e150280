package sim

import (
	"os"
	"strconv"
	"testing"
)

// seeds is how many seeds each scenario gets: BPI_SIM_SEEDS, or few enough for an ordinary test run.
func seeds(t *testing.T, ordinary uint64) uint64 {
	s := os.Getenv("BPI_SIM_SEEDS")
	if s == "" {
		return ordinary
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatalf("BPI_SIM_SEEDS: %v", err)
	}
	return n
}

// first is BPI_SIM_SEED, the seed to replay alone, and whether it is set.
func first(t *testing.T) (uint64, bool) {
	s := os.Getenv("BPI_SIM_SEED")
	if s == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("BPI_SIM_SEED: %v", err)
	}
	return n, true
}

func runAll(t *testing.T, cfg Config, ordinary uint64) {
	t.Helper()
	from, to := uint64(1), seeds(t, ordinary)
	if s, ok := first(t); ok {
		from, to = s, s
	}
	var crashes, evidence int
	var height uint64
	for seed := from; seed <= to; seed++ {
		r, err := Run(seed, cfg)
		if err != nil {
			t.Fatalf("%v\nreplay with: BPI_SIM_SEED=%d go test -run '^%s$' ./consensus/sim", err, seed, t.Name())
		}
		crashes, evidence, height = crashes+r.Crashes, evidence+r.Evidence, height+uint64(r.Height)
	}
	t.Logf("%d seeds: %d crashes, %d pieces of evidence, mean height %d", to-from+1, crashes, evidence, height/(to-from+1))
}

func TestFourValidatorsAgreeAndGoOn(t *testing.T) {
	runAll(t, DefaultConfig(), 100)
}

func TestTwinsCannotSplitTheChain(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Twins = 1
	cfg.Split = 0.5
	runAll(t, cfg, 60)
}

func TestOneDeadValidatorIsPassedOver(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Dead = 1
	cfg.Crash = 0.003
	runAll(t, cfg, 30)
}

func TestLateJoinerCatchesUp(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Asleep = true
	cfg.Crash = 0
	runAll(t, cfg, 15)
}

func TestSevenValidatorsWithTwoTwins(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Validators, cfg.Twins = 7, 2
	cfg.BadMs = 400
	runAll(t, cfg, 15)
}

func TestOneValidatorAloneMakesAChain(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Validators = 1
	cfg.BadMs, cfg.DownMs = 200, 50
	runAll(t, cfg, 20)
}

func TestSameSeedSameRun(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Twins = 1
	a, err := Run(7, cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Run(7, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if a != b {
		t.Fatalf("two runs of one seed differ:\n%+v\n%+v", a, b)
	}
}
