// Command consensus measures BPI beside CometBFT v1.0.1 on this machine, in one run, with one loader (package load):
// four validators of each as processes on loopback, their data on a disk that they sync, transactions of 256 bytes. It
// prints Markdown tables with the goal of each figure, and marks what falls short. `make bench-consensus` builds what it
// needs and runs it; nothing in the tests depends on its figures.
//
// # The systems
//
// CometBFT's own kvstore as it comes ("default"); the same tuned for latency (comet.go lists the settings); the tuned one
// with an Ed25519 check of every transaction in CheckTx (comet-kv, a module of its own); and BPI with a key-value
// application (bpi-kv), every transaction's signature verified by every validator. The kvstore of CometBFT keeps its pairs
// in memory, BPI's on disk.
//
// # Environment
//
// BENCH_QUICK=1 runs about 3 minutes: one round, short loads. Its figures show that everything works, no more.
// BENCH_MEMORY is how long the memory is watched (10m; 10s when quick). BENCH_ROUNDS is of how many rounds the medians
// are (3; 1 when quick). The systems take turns in each round.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/metanode/metanode/bench/measure"
)

func main() {
	bin := flag.String("bin", "build/bench", "folder with cometbft, comet-kv and bpi-kv")
	dir := flag.String("dir", "build/bench/run", "folder for the validators' data, on a disk; emptied at the end")
	parts := flag.String("parts", "systems,memory,sizes,idle", "what to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *dir, strings.Split(*parts, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench-consensus:", err)
		os.Exit(1)
	}
}

// plan says how long and how often.
type plan struct {
	rounds     int
	steady     time.Duration // load at a rate that is followed
	step       time.Duration // each rate on the way to saturation
	warm       time.Duration // of any load
	firstRate  int           // tx/s of the first step
	rateFactor float64       // from one step to the next
	memory     time.Duration
	probes     int // of an idle network, for each delay
}

func planFrom(env func(string) string) (plan, error) {
	p := plan{rounds: 3, steady: 20 * time.Second, step: 8 * time.Second, warm: 2 * time.Second, firstRate: 500, rateFactor: 1.5, memory: 10 * time.Minute, probes: 40}
	if env("BENCH_QUICK") == "1" {
		p = plan{rounds: 1, steady: 2500 * time.Millisecond, step: 1500 * time.Millisecond, warm: time.Second / 2, firstRate: 1000, rateFactor: 2.5, memory: 10 * time.Second, probes: 8}
	}
	if s := env("BENCH_MEMORY"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d < 5*time.Second {
			return p, fmt.Errorf("BENCH_MEMORY=%q: want a time of at least 5s, such as 10m", s)
		}
		p.memory = d
	}
	if s := env("BENCH_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return p, fmt.Errorf("BENCH_ROUNDS=%q: want a number from 1", s)
		}
		p.rounds = n
	}
	return p, nil
}

// run measures the parts and prints as it goes. What could not be measured does not stop the rest, but is its error.
func run(ctx context.Context, bin, dir string, parts []string) error {
	p, err := planFrom(os.Getenv)
	if err != nil {
		return err
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{plan: p, lab: newLab(bin, dir), out: os.Stdout}
	m, err := measure.DescribeMachine(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%s\n", m)
	measure := map[string]func(context.Context) error{"systems": b.systems, "memory": b.memory, "sizes": b.sizes, "idle": b.idle}
	var errs []error
	for _, name := range parts {
		f := measure[name]
		if f == nil {
			return fmt.Errorf("there is no part %q; the parts are systems, memory, sizes and idle", name)
		}
		if err := f(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			fmt.Fprintf(b.out, "\n%s: not measured: %v\n", name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if b.short {
		if err := b.profile(ctx); err != nil {
			errs = append(errs, fmt.Errorf("profile: %w", err))
		}
	}
	fmt.Fprintf(b.out, "\n%s\n", m.Since())
	return errors.Join(errs...)
}
