package bench

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

const (
	rounds   = 21   // measured, each query on each side
	goal     = 1.15 // × the worker outside the cage
	goalOpen = 1.02 // × the same with its engine open: what sealed mode itself may cost
)

// side is one way to have a spec answered. The time is from asking to having the whole answer.
type side interface {
	run(spec cage.Spec) (stdout []byte, took time.Duration, err error)
}

// failure is an answer that is none.
type failure struct {
	exit   int
	stderr string
}

func (f *failure) Error() string { return fmt.Sprintf("exit code %d: %s", f.exit, f.stderr) }

// caged runs a spec as node's executor does: namespaces, mounts, filter and limits made for the run, outputs hashed and
// left in a folder.
type caged struct {
	engine *native.Engine
	image  digest.Digest
	files  files
	dir    string
}

func newCaged(t *testing.T, worker string, fs files) *caged {
	t.Helper()
	c := &caged{files: fs, dir: t.TempDir()}
	var err error
	if c.image, err = fs.add(worker); err != nil {
		t.Fatal(err)
	}
	if c.engine, err = native.New(native.Config{Dir: filepath.Join(c.dir, "cage")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.engine.Close() })
	if err := c.engine.Ready(); err != nil {
		t.Skip(err)
	}
	return c
}

func (c *caged) run(spec cage.Spec) ([]byte, time.Duration, error) {
	out := filepath.Join(c.dir, "out")
	defer os.RemoveAll(out)
	begin := time.Now()
	res, err := c.engine.Run(context.Background(), spec, c.files, out)
	took := time.Since(begin)
	if err != nil {
		return nil, 0, err
	}
	stdout, err := os.ReadFile(filepath.Join(out, cage.OutputStdout))
	if err == nil && (res.ExitCode != 0 || res.Killed != "") {
		stderr, _ := os.ReadFile(filepath.Join(out, cage.OutputStderr))
		return nil, 0, &failure{int(res.ExitCode), string(stderr) + res.Killed}
	}
	return stdout, took, err
}

// bare runs the worker as a plain process: fork and exec, the request on a pipe, the answer from a pipe, the files opened
// where they lie. Environment and arguments are the spec's.
type bare struct{ worker, in string }

func (b *bare) run(spec cage.Spec) ([]byte, time.Duration, error) {
	cmd := exec.Command(b.worker, spec.Argv[1:]...)
	cmd.Env = append(spec.Environ(), "DOCKLOCK_INPUT_DIR="+b.in)
	cmd.Stdin = bytes.NewReader(spec.Stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin)
	if err != nil {
		return nil, 0, &failure{cmd.ProcessState.ExitCode(), stderr.String()}
	}
	return stdout.Bytes(), took, nil
}

// specOf is the cage's view of a work, as node's.
func specOf(w *receipt.Work) (cage.Spec, error) {
	s := cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: cage.ModeSealed, Image: w.Engine,
		Argv: w.Args, Env: w.Env, Stdin: w.Stdin, Seed: w.Seed, EpochNs: w.EpochNs, CPUClass: w.CPUClass, Policy: w.Policy,
		Limits: cage.Limits{
			MemoryBytes: w.Limits.MemoryBytes, OutputBytes: w.Limits.OutputBytes, Files: w.Limits.Files,
			Processes: w.Limits.Processes, CPUMs: w.Limits.CPUMs, WallMs: w.Limits.WallMs,
		},
	}
	for _, in := range w.Inputs {
		s.Inputs = append(s.Inputs, cage.Input{Path: in.Path, Digest: in.Digest, Bytes: in.Bytes})
	}
	return s, s.Check()
}

// TestBenchCage asks TPC-H queries of one worker on three sides in turn: in the cage as a node does, where the engine is
// open already; as a plain process, which opens it; and forked from an open engine without walls, so that what the open
// engine saves hides nothing of what the walls cost. The answers must be the same to the byte; the times are printed, and
// marked where they fall short.
func TestBenchCage(t *testing.T) {
	if os.Getenv("BPI_BENCH") == "" {
		t.Skip("figures are measured by make bench")
	}
	worker := os.Getenv("BPI_ENGINE")
	if worker == "" {
		t.Skip("BPI_ENGINE names no SQL worker; use make bench")
	}
	dir, fs := generated(t), files{}
	inside := newCaged(t, worker, fs)
	sets := datasets(t, dir, inside)
	sides := []side{inside, &bare{worker, dir}, newOpen(t, dir)}

	var lines []line
	for _, q := range append([]query{startup}, queries...) {
		spec := analytics.JobSpec{Engine: inside.image, Policy: cage.Sealed().Digest(), SQL: q.sql}
		for _, name := range q.tables {
			spec.Datasets = append(spec.Datasets, sets[name])
		}
		w, err := analytics.Job(spec)
		if err != nil {
			t.Fatalf("%s: %v", q.name, err)
		}
		s, err := specOf(w)
		if err != nil {
			t.Fatalf("%s: %v", q.name, err)
		}
		lines = append(lines, measure(t, q, s, sides))
	}
	report(lines)
}

// line is a query's median on each side.
type line struct {
	name                  string
	rows                  int
	inside, outside, open time.Duration
}

// measure runs the sides in turn, each first as often as the others, after one round that warms the page cache.
func measure(t *testing.T, q query, spec cage.Spec, sides []side) line {
	t.Helper()
	times := make([][]time.Duration, len(sides))
	var answer []byte
	for round := range rounds + 1 {
		for i := range sides {
			n := (i + round) % len(sides)
			stdout, took, err := sides[n].run(spec)
			if err != nil {
				t.Fatalf("%s on side %d: %v", q.name, n, err)
			}
			if answer == nil {
				answer = stdout
			} else if !bytes.Equal(answer, stdout) {
				t.Fatalf("%s on side %d: the answer differs from the others'", q.name, n)
			}
			if round > 0 {
				times[n] = append(times[n], took)
			}
		}
	}
	r, err := analytics.Decode(bytes.NewReader(answer), 0)
	if err != nil || len(r.Rows) == 0 {
		t.Fatalf("%s: no rows: %v", q.name, err)
	}
	return line{q.name, len(r.Rows), median(times[0]), median(times[1]), median(times[2])}
}

// report prints the medians and the ratios' geometric means. The first line is the start-up's, and not in the means.
func report(lines []line) {
	host, _ := exec.Command("uname", "-sr").Output()
	cpu := "unknown CPU"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for l := range strings.Lines(string(raw)) {
			if name, ok := strings.CutPrefix(l, "model name"); ok {
				cpu = strings.Trim(name, " \t:\n")
			}
		}
	}
	fmt.Printf("\nMachine: %s, %d cores, %s, %s\n\n", cpu, runtime.NumCPU(), strings.TrimSpace(string(host)), runtime.Version())
	fmt.Printf("| medians of %d, ms | rows | in the cage | outside | outside, engine open | ratio | ratio, engine open |\n|---|---|---|---|---|---|---|\n", rounds)
	var whole, strict []float64
	for i, l := range lines {
		w, s := ratio(l.inside, l.outside), ratio(l.inside, l.open)
		fmt.Printf("| %s | %d | %.1f | %.1f | %.1f | %.2f | %.2f |\n", l.name, l.rows, ms(l.inside), ms(l.outside), ms(l.open), w, s)
		if i > 0 {
			whole, strict = append(whole, w), append(strict, s)
		}
	}
	fmt.Printf("\n| figure | measured | goal | |\n|---|---|---|---|\n")
	for _, f := range []struct {
		what   string
		ratios []float64
		goal   float64
	}{
		{"caged query / the same worker outside the cage", whole, goal},
		{"the same, the worker outside with its engine open already", strict, goalOpen},
	} {
		mean := geometric(f.ratios)
		verdict := "ok"
		if mean > f.goal {
			verdict = "**SHORT**"
		}
		fmt.Printf("| %s: geometric mean of %d TPC-H queries, SF 0.1 (largest) | %.2f (%.2f) | ≤ %.2f | %s |\n",
			f.what, len(f.ratios), mean, slices.Max(f.ratios), f.goal, verdict)
	}
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func median(l []time.Duration) time.Duration {
	s := slices.Clone(l)
	slices.Sort(s)
	return s[len(s)/2]
}

func geometric(l []float64) float64 {
	var sum float64
	for _, v := range l {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(l)))
}
