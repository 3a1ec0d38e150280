package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/metanode/metanode/bench/measure"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

const (
	tableHosts = 10
	tablesGoal = time.Second
)

// tables starts ten hosts that know one of them by address, and waits until each has the nine others in the routing table
// of its DHT. Opening them is part of the time.
func (b *bench) tables(ctx context.Context) error {
	var all times
	for range b.plan.tables {
		took, err := b.fillTables(ctx)
		if err != nil {
			return err
		}
		all = append(all, took)
	}
	t := measure.Table{Head: []string{fmt.Sprintf("%d hosts in one process, joined by one of them, p50 of %d", tableHosts, len(all)), "measured", "goal"}}
	within(&t, "the first opens → every routing table has the nine others", all.p50(), tablesGoal)
	told(&t, "the same, the slowest", show(all.quantile(1)))
	b.print(t)
	return nil
}

func (b *bench) fillTables(ctx context.Context) (time.Duration, error) {
	dir, err := b.home("tables")
	if err != nil {
		return 0, err
	}
	var keys []sign.PublicKey
	configs := make([]p2p.Config, tableHosts)
	for i := range configs {
		if configs[i], err = hostConfig("bench"); err != nil {
			return 0, err
		}
		keys = append(keys, configs[i].Key.Public())
	}
	chain := p2p.ServicesConfig{
		Known:   func(k sign.PublicKey) bool { return slices.Contains(keys, k) },
		Members: func() []sign.PublicKey { return keys },
	}
	var hosts []*host
	defer func() {
		for _, h := range hosts {
			h.close()
		}
	}()
	begin := time.Now()
	for i, cfg := range configs {
		if i > 0 {
			cfg.Bootstrap = hosts[0].Addrs()[:1]
		}
		h, err := openHost(cfg, filepath.Join(dir, fmt.Sprint(i)), chain)
		if err != nil {
			return 0, err
		}
		hosts = append(hosts, h)
		h.run()
	}
	err = poll(ctx, time.Minute, 2*time.Millisecond, "full routing tables", func() (bool, error) {
		return !slices.ContainsFunc(hosts, func(h *host) bool { return h.Stats().RoutingTable < tableHosts-1 }), nil
	})
	return time.Since(begin), err
}
