// Command p2p measures what the mesh costs on this machine, in one run: how fast a peer joins, what the API costs over it,
// how fast blobs travel (beside a raw stream, and beside kubo), how much memory connections take, and what the service
// registry of a simulated network does. It prints Markdown tables with the goal of each figure, and marks what falls
// short. `make bench-p2p` builds what it needs and runs it; nothing in the tests depends on its figures.
//
// # What is real
//
// Peers are processes of bpi with their data on a disk that they sync, but for three things: the peers that crowd around
// the node whose memory is measured, and the ten whose routing tables fill, are hosts in this process, assembled as a node
// assembles its own; and the registry is hosts on simulated links, in a test of package p2p (-sim).
//
// # Environment
//
// BENCH_QUICK=1 takes less than 2 minutes: few rounds, small blobs, a simulation of 16 nodes. Its figures show that
// everything works, no more.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/metanode/metanode/bench/measure"
)

func main() {
	o := options{out: os.Stdout}
	flag.StringVar(&o.bpi, "bpi", "build/bpi", "the program that is measured")
	flag.StringVar(&o.engine, "engine", "build/sql-worker", "its SQL engine, which the chain begins with")
	flag.StringVar(&o.kubo, "kubo", "", "kubo's program, ipfs, to compare with")
	flag.StringVar(&o.sim, "sim", "build/bench/p2p.test", "the tests of package p2p, compiled")
	flag.StringVar(&o.dir, "dir", "build/bench/p2p-run", "folder for the peers' data, on a disk; emptied at the end")
	flag.StringVar(&o.profiles, "profiles", "", "folder for processor profiles of the peers that fetch and give blobs; empty takes none")
	parts := flag.String("parts", strings.Join(partNames(), ","), "what to measure")
	source := flag.String("source", "", "run as the source of a raw stream, and write the address to this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *source != "" {
		err = serveSource(ctx, *source)
	} else {
		err = run(ctx, o, strings.Split(*parts, ","))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-p2p:", err)
		os.Exit(1)
	}
}

type options struct {
	bpi, engine, kubo, sim, dir, profiles string
	out                                   io.Writer
}

// plan says how long and how often.
type plan struct {
	joins     int   // fresh peers
	tables    int   // times that ten hosts fill their tables
	rounds    int   // of requests, and of fetches
	requests  int   // in one round, under what a node allows one caller at once
	blobs     []int // MiB
	pings     int   // of each peer around a node
	simulated int   // nodes
}

func planFrom(env func(string) string) plan {
	if env("BENCH_QUICK") == "1" {
		return plan{joins: 3, tables: 3, rounds: 1, requests: 1000, blobs: []int{16}, pings: 6, simulated: 16}
	}
	return plan{joins: 15, tables: 11, rounds: 5, requests: 1800, blobs: []int{64, 256}, pings: 30, simulated: 64}
}

// bench is one run.
type bench struct {
	options
	plan  plan
	short bool // something fell short of its goal
	homes int  // folders made so far
}

// part is one thing to measure.
type part struct {
	name string
	run  func(*bench, context.Context) error
}

// parts are in the order in which they run. The simulation comes last: it has the machine's cores to itself, and its
// clock does not depend on them.
var parts = []part{
	{"join", (*bench).join}, {"tables", (*bench).tables}, {"api", (*bench).api}, {"blobs", (*bench).blobs}, {"memory", (*bench).memory},
	{"registry", (*bench).registry},
}

func partNames() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// run measures the parts and prints as it goes. What could not be measured does not stop the rest, but is its error.
func run(ctx context.Context, o options, names []string) error {
	for _, p := range []*string{&o.bpi, &o.engine, &o.sim, &o.dir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	m, err := measure.DescribeMachine(o.dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%s\n", m)
	b := &bench{options: o, plan: planFrom(os.Getenv)}
	var errs []error
	for _, name := range names {
		p, ok := find(name)
		if !ok {
			return fmt.Errorf("there is no part %q; the parts are %s", name, strings.Join(partNames(), ", "))
		}
		if err := p.run(b, ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			fmt.Fprintf(b.out, "\n%s: not measured: %v\n", name, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Fprintf(b.out, "\n%s\n", m.Since())
	if b.short {
		fmt.Fprintln(b.out, "Something falls short: -profiles FOLDER keeps profiles of where the peers' time goes.")
	}
	return errors.Join(errs...)
}

func find(name string) (part, bool) {
	for _, p := range parts {
		if p.name == name {
			return p, true
		}
	}
	return part{}, false
}

// print prints a table and remembers whether something in it is short.
func (b *bench) print(t measure.Table) {
	b.short = b.short || t.Short
	fmt.Fprintf(b.out, "\n%s", t)
}
