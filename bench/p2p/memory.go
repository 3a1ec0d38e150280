package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/metanode/metanode/bench/measure"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

const (
	crowd      = 100
	memoryGoal = 100.0 // MB
	pingEvery  = 500 * time.Millisecond
)

// footprint is what a node takes.
type footprint struct {
	resident, heap, stacks float64 // MB
	goroutines             int
}

// memory connects a hundred peers to a node and looks at its memory after each of them has spoken to it for a while.
func (b *bench) memory(ctx context.Context) error {
	n, err := b.solitary(ctx, fmt.Sprintf("BPI_P2P_MAX_PEERS=%d", 2*crowd))
	if err != nil {
		return err
	}
	defer n.stop()
	before, err := n.footprint(ctx)
	if err != nil {
		return err
	}
	hosts, err := b.gather(ctx, n)
	defer func() {
		var ending sync.WaitGroup
		for _, h := range hosts {
			ending.Go(h.close)
		}
		ending.Wait()
	}()
	if err != nil {
		return err
	}
	s, err := n.client.Status(ctx)
	if err != nil {
		return err
	}
	pings, err := pingAll(ctx, hosts, s.Key, b.plan.pings)
	if err != nil {
		return err
	}
	if s, err = n.client.Status(ctx); err != nil {
		return err
	}
	if s.Peers < crowd {
		return fmt.Errorf("of %d peers %d are still connected", crowd, s.Peers)
	}
	after, err := n.footprint(ctx)
	if err != nil {
		return err
	}
	b.print(memoryTable(before, after, s.Peers, pings))
	return nil
}

// gather opens peers that take part in everything that the node does, and waits until the node has them all. They trust
// the node alone, so that each holds a connection to it and to nobody else.
func (b *bench) gather(ctx context.Context, n *node) (hosts []*host, err error) {
	dir, err := b.home("crowd")
	if err != nil {
		return nil, err
	}
	s, err := n.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	only := p2p.ServicesConfig{
		Known:   func(k sign.PublicKey) bool { return k == s.Key },
		Members: func() []sign.PublicKey { return []sign.PublicKey{s.Key} },
	}
	for i := range crowd {
		cfg, err := hostConfig(s.Chain.Name, s.Addresses[0])
		if err != nil {
			return hosts, err
		}
		h, err := openHost(cfg, filepath.Join(dir, fmt.Sprint(i)), only)
		if err != nil {
			return hosts, err
		}
		hosts = append(hosts, h)
		h.run()
	}
	return hosts, poll(ctx, time.Minute, 50*time.Millisecond, fmt.Sprintf("node with %d peers", crowd), func() (bool, error) {
		s, err := n.client.Status(ctx)
		return s.Peers >= crowd, err
	})
}

// pingAll lets every host ask the node for its clock again and again, all at once, and gives the times.
func pingAll(ctx context.Context, hosts []*host, to sign.PublicKey, count int) (times, error) {
	all := make([]times, len(hosts))
	errs := make([]error, len(hosts))
	var pinging sync.WaitGroup
	for i, h := range hosts {
		pinging.Go(func() {
			tick := time.NewTicker(pingEvery)
			defer tick.Stop()
			for range count {
				begin := time.Now()
				if _, err := h.Call(ctx, to, "clock/1", nil); err != nil {
					errs[i] = fmt.Errorf("peer %d asks the node for its clock: %w", i, err)
					return
				}
				all[i] = append(all[i], time.Since(begin))
				<-tick.C
			}
		})
	}
	pinging.Wait()
	var list times
	for i := range hosts {
		if errs[i] != nil {
			return nil, errs[i]
		}
		list = append(list, all[i]...)
	}
	return list, nil
}

// footprint reads a node's memory: of the kernel, and of Go's own account. It asks for no collection.
func (n *node) footprint(ctx context.Context) (f footprint, err error) {
	heap, err := n.read(ctx, "/debug/pprof/heap?debug=1")
	if err != nil {
		return f, err
	}
	if f.heap, err = account(heap, "HeapInuse"); err != nil {
		return f, err
	}
	if f.stacks, err = account(heap, "Stack"); err != nil {
		return f, err
	}
	lines, err := n.read(ctx, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return f, err
	}
	if _, err := fmt.Sscanf(string(lines), "goroutine profile: total %d", &f.goroutines); err != nil {
		return f, fmt.Errorf("goroutines of a node: %w", err)
	}
	resident, err := n.proc.Resident()
	f.resident = float64(resident) / 1e6
	return f, err
}

// account is one line of the accounts below a heap profile, such as "# Stack = 1212416 / 1212416", in MB.
func account(profile []byte, name string) (float64, error) {
	m := regexp.MustCompile(`(?m)^# ` + name + ` = (\d+)`).FindSubmatch(profile)
	if m == nil {
		return 0, fmt.Errorf("a heap profile of %d bytes says nothing of %s", len(bytes.TrimSpace(profile)), name)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	return v / 1e6, err
}

func memoryTable(before, after footprint, peers int, pings times) measure.Table {
	t := measure.Table{Head: []string{fmt.Sprintf("a node with %d connections", peers), "before", "with them", "goal"}}
	mb := func(v float64) string { return measure.Number(v) + " MB" }
	t.Add(after.resident <= memoryGoal, "memory (RSS)", mb(before.resident), mb(after.resident), "≤ "+mb(memoryGoal))
	t.Add(true, "a connection", "", measure.Number(1e3*(after.resident-before.resident)/float64(peers))+" kB", "")
	t.Add(true, "Go's heap, in use", mb(before.heap), mb(after.heap), "")
	t.Add(true, "goroutine stacks", mb(before.stacks), mb(after.stacks), "")
	t.Add(true, "goroutines", fmt.Sprint(before.goroutines), fmt.Sprint(after.goroutines), "")
	t.Add(true, fmt.Sprintf("a question of each twice a second: p50 / p95 of %d", len(pings)), "", show(pings.p50())+" / "+show(pings.p95()), "")
	return t
}
