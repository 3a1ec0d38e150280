package sim

import (
	"os"
	"strconv"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// number is an environment variable's, or def if it is not set.
func number(t *testing.T, name string, def uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return def
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// runAll runs cfg for BPI_SIM_SEEDS seeds, or few enough for an ordinary test run, or for BPI_SIM_SEED alone if set.
func runAll(t *testing.T, cfg Config, ordinary uint64) Report {
	t.Helper()
	from, to := uint64(1), number(t, "BPI_SIM_SEEDS", ordinary)
	if s := number(t, "BPI_SIM_SEED", 0); s != 0 {
		from, to = s, s
	}
	var sum Report
	for seed := from; seed <= to; seed++ {
		r, err := Run(seed, cfg)
		if err != nil {
			t.Fatalf("%v\nreplay with: BPI_SIM_SEED=%d go test -count=1 -v -run '^%s$' ./consensus/sim", err, seed, t.Name())
		}
		sum.Ms += r.Ms
		sum.Events += r.Events
		sum.Evidence += r.Evidence
		sum.Height += r.Height
		sum.Views += r.Views
		sum.Epoch += r.Epoch
		sum.Faults.Add(r.Faults)
	}
	t.Logf("seeds %d to %d: %.3f simulated hours, %d events, %d views, %d blocks, %d changes of the validators, %d pieces of evidence; %v",
		from, to, float64(sum.Ms)/3.6e6, sum.Events, sum.Views, sum.Height, sum.Epoch, sum.Evidence, sum.Faults)
	return sum
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

// The clock of one validator is ahead by more than the others allow, those of the rest are not equal either: its blocks
// are held back, the chain goes on.
func TestClocksAreSkewed(t *testing.T) {
	cfg := DefaultConfig()
	cfg.AheadMs, cfg.SkewMs, cfg.DriftMille = 700, 200, 100
	if sum := runAll(t, cfg, 20); sum.Faults.HeldBack == 0 {
		t.Fatal("no proposal was ahead of a clock")
	}
}

// The validators change again and again while the network misbehaves: one at a time among seven keys, and all at once.
func TestValidatorsChangeOneAtATime(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Spare, cfg.Turn, cfg.Step = 3, 6, 1
	if sum := runAll(t, cfg, 40); sum.Epoch < 40 {
		t.Fatalf("%d changes in all", sum.Epoch)
	}
}

func TestAllValidatorsChangeAtOnce(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Spare, cfg.Turn, cfg.Step = 6, 5, 5
	cfg.Crash, cfg.Split = 0.02, 0.3
	if sum := runAll(t, cfg, 30); sum.Epoch < 30 {
		t.Fatalf("%d changes in all", sum.Epoch)
	}
}

// The validators change with every block: each is the root of an epoch of its own.
func TestEveryBlockClosesAnEpoch(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Spare, cfg.Turn, cfg.Step = 2, 1, 2
	runAll(t, cfg, 15)
}

// A node that slept from genesis on follows through all changes.
func TestLateJoinerFollowsTheChanges(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Spare, cfg.Turn, cfg.Step = 4, 4, 2
	cfg.Asleep, cfg.Crash = true, 0
	runAll(t, cfg, 15)
}

// The same under BLS12-381: fewer seeds, since its arithmetic is slow and the rules are not its.
func TestSummedSignaturesChangeNothing(t *testing.T) {
	for name, shape := range map[string]func(*Config){
		"default": func(*Config) {},
		"twins":   func(c *Config) { c.Twins, c.Split = 1, 0.5 },
		"dead":    func(c *Config) { c.Dead, c.Crash = 1, 0.003 },
		"late":    func(c *Config) { c.Asleep, c.Crash = true, 0 },
		"changes": func(c *Config) { c.Spare, c.Turn, c.Step = 3, 6, 2 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Scheme = consensus.BLS12381
			shape(&cfg)
			runAll(t, cfg, 2)
		})
	}
}

func TestHoursOfTrouble(t *testing.T) {
	if sum := runAll(t, WideConfig(), 1); sum.Faults.Crashes == 0 || sum.Faults.Splits == 0 || sum.Faults.Reordered == 0 {
		t.Fatal("there was no trouble")
	}
}

func TestSameSeedSameRun(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Twins = 1
	traces := make(map[digest.Digest]uint64)
	for seed := uint64(1); seed <= 10; seed++ {
		a, err := Run(seed, cfg)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Run(seed, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if a != b {
			t.Fatalf("two runs of one seed differ:\n%+v\n%+v", a, b)
		}
		if had, ok := traces[a.Trace]; ok {
			t.Fatalf("seeds %d and %d have one trace", had, seed)
		}
		traces[a.Trace] = seed
	}
}
