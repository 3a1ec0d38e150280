package main

import (
	"context"
	"fmt"
	"time"

	"github.com/metanode/metanode/bench/measure"
)

// memoryParts is into how many parts the time is divided; one figure is taken at the end of each.
const memoryParts = 20

// flat is how much the last fifth of the time may be above the second fifth, when caches and pools have filled.
const flat = 1.1

// memory watches BPI's memory at half of its saturation.
func (b *bench) memory(ctx context.Context) error {
	if b.sat == 0 {
		var err error
		if b.sat, err = b.saturate(ctx, bpi(4, true, 0, plainBlockTime), nil); err != nil {
			return err
		}
	}
	n, err := b.lab.start(ctx, bpi(4, true, 0, plainBlockTime))
	if err != nil {
		return err
	}
	defer n.stop()
	rate := max(1, int(b.sat/2))
	cfg := b.steady(rate)
	cfg.For, cfg.Warm = b.plan.memory, 0

	ctx, cancel := context.WithCancel(ctx)
	var samples []float64
	watched := make(chan error, 1)
	go func() { watched <- sample(ctx, n, b.plan.memory/memoryParts, &samples) }()
	sent, _, err := n.load(ctx, cfg)
	cancel()
	if e := <-watched; err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if len(samples) < memoryParts {
		return fmt.Errorf("memory was read %d times in %v: want %d", len(samples), b.plan.memory, memoryParts)
	}
	b.print(memoryTable(samples[:memoryParts], b.plan.memory, rate, float64(sent.Committed)/float64(sent.Due)))
	return nil
}

// sample appends the memory in MB of all validators, at every interval until ctx ends.
func sample(ctx context.Context, n *network, every time.Duration, to *[]float64) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		bytes, err := n.resident()
		if err != nil {
			return err
		}
		*to = append(*to, float64(bytes)/1e6)
	}
}

func memoryTable(samples []float64, lasting time.Duration, rate int, committed float64) measure.Table {
	fifth := len(samples) / 5
	growth := measure.Median(samples[len(samples)-fifth:]) / measure.Median(samples[fifth:2*fifth])
	t := measure.Table{Head: []string{fmt.Sprintf("BPI, memory of four at %d tx/s", rate), "MB", "goal"}}
	for i := fifth - 1; i < len(samples); i += fifth {
		t.Add(true, fmt.Sprintf("after %v", (lasting*time.Duration(i+1)/time.Duration(len(samples))).Round(time.Second)), measure.Number(samples[i]), "")
	}
	t.Add(growth <= flat, "last fifth of the time to the second, medians", fmt.Sprintf("× %.2f", growth), fmt.Sprintf("≤ × %g", flat))
	t.Add(true, "committed of what was due", fmt.Sprintf("%.1f %%", 100*committed), "")
	return t
}
