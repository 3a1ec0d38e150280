package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/metanode/metanode/bench/consensus/load"
	"github.com/metanode/metanode/bench/consensus/rpc"
	"github.com/metanode/metanode/bench/measure"
)

// lab starts networks, each in a folder and on loopback addresses of its own, so that none meets the leavings of another.
type lab struct {
	bin, dir string
	nets     int // started so far
}

func newLab(bin, dir string) *lab { return &lab{bin: bin, dir: dir} }

// place is where a network may live.
type place struct {
	bin string // the programs
	dir string // empty, for its data
	net string // first three bytes of its addresses; validator i has the fourth byte i+2
}

// address is validator i's RPC.
func (p place) address(i int) string { return fmt.Sprintf("%s.%d:26657", p.net, i+2) }

// system is something to measure: how its validators are started, and when one of them is ready for a load.
type system struct {
	name  string
	size  int
	make  func(ctx context.Context, p place, n int) error // writes what the validators need
	argv  func(p place, n, i int) []string
	ready func(s rpc.Status, n int) bool
}

// network is a running system.
type network struct {
	system
	place
	procs []*measure.Process
	rpc   []string
}

// start runs a network, waits until all of its validators are ready, and sees a first load through, because connections
// are made and caches filled by it.
func (l *lab) start(ctx context.Context, s system) (_ *network, err error) {
	l.nets++
	p := place{bin: l.bin, dir: filepath.Join(l.dir, fmt.Sprintf("net%d", l.nets)), net: fmt.Sprintf("127.%d.%d", 64+os.Getpid()%128, 1+(l.nets-1)%250)}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	n := &network{system: s, place: p}
	defer func() {
		if err != nil {
			err = fmt.Errorf("start %s of %d: %w", s.name, s.size, errors.Join(err, n.check()))
			n.stop()
		}
	}()
	if err := s.make(ctx, p, s.size); err != nil {
		return nil, err
	}
	for i := range s.size {
		proc, err := measure.Start(filepath.Join(p.dir, fmt.Sprintf("validator%d.log", i)), s.argv(p, s.size, i))
		if err != nil {
			return nil, fmt.Errorf("%w; `make bench-consensus` builds the programs", err)
		}
		n.procs = append(n.procs, proc)
		n.rpc = append(n.rpc, p.address(i))
	}
	if err := n.await(ctx); err != nil {
		return nil, err
	}
	first, _, err := n.load(ctx, load.Config{Rate: 50, For: time.Second, Drain: 20 * time.Second})
	if err == nil && first.Committed < first.Sent {
		err = fmt.Errorf("of %d first transactions %d were committed", first.Sent, first.Committed)
	}
	return n, err
}

// await polls until every validator is ready.
func (n *network) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for i := range n.procs {
		for {
			s, err := rpc.StatusOf(ctx, n.rpc[i])
			if err == nil && n.ready(s, n.size) {
				break
			}
			if dead := n.check(); dead != nil {
				return dead
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("validator %d is not ready within a minute: height %d, %d peers: %w", i, s.Height, s.Peers, errors.Join(err, ctx.Err()))
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// load runs a load on the validators that live. It gives the processor time that all of them took from its beginning
// until its last transaction was committed. Latencies are not collected.
func (n *network) load(ctx context.Context, cfg load.Config) (load.Sent, time.Duration, error) {
	s, _, cpu, err := n.run(ctx, cfg, false)
	return s, cpu, err
}

// timed runs a load as load does and collects the latencies.
func (n *network) timed(ctx context.Context, cfg load.Config) (load.Sent, load.Latencies, time.Duration, error) {
	return n.run(ctx, cfg, true)
}

func (n *network) run(ctx context.Context, cfg load.Config, collect bool) (s load.Sent, l load.Latencies, cpu time.Duration, err error) {
	for i, p := range n.procs {
		if !p.Killed() {
			cfg.Targets = append(cfg.Targets, n.rpc[i])
		}
	}
	r, err := load.Prepare(ctx, cfg)
	if err != nil {
		return s, l, 0, errors.Join(err, n.check())
	}
	defer r.Close()
	before, err := n.cpu()
	if err != nil {
		return s, l, 0, err
	}
	if s, err = r.Send(ctx); err != nil {
		return s, l, 0, errors.Join(err, n.check())
	}
	after, err := n.cpu()
	if err == nil && collect {
		l, err = r.Collect(ctx)
	}
	return s, l, after - before, errors.Join(err, n.check())
}

// check reports a validator that has ended by itself.
func (n *network) check() error {
	for i, p := range n.procs {
		if err := p.Ended(); err != nil {
			return fmt.Errorf("validator %d of %s: %w", i, n.name, err)
		}
	}
	return nil
}

// cpu is the processor time that the living validators have taken so far.
func (n *network) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, p := range n.procs {
		if p.Killed() {
			continue
		}
		t, err := p.CPU()
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// resident is the memory of all validators, in bytes.
func (n *network) resident() (int64, error) {
	var sum int64
	for _, p := range n.procs {
		b, err := p.Resident()
		if err != nil {
			return 0, err
		}
		sum += b
	}
	return sum, nil
}

// stop ends the validators and removes their data.
func (n *network) stop() {
	for _, p := range n.procs {
		p.Interrupt()
	}
	for _, p := range n.procs {
		p.Stop()
	}
	os.RemoveAll(n.dir)
}
