package main

import (
	"context"
	"fmt"

	"github.com/metanode/metanode/bench/consensus/load"
)

// follows is the share of the offered rate below which a chain does not follow.
const follows = 0.9

// Bounds of the rates that are tried, in tx/s: what one loader can send, and what is no throughput.
const (
	maxRate = 200_000
	minRate = 20
)

// saturate raises the rate step by step until the chain does not follow, and gives the highest rate at which it
// committed. If it does not follow the first step, it may have broken down under it, and is tried again with less. n is
// where to begin, or nil for a fresh network; it is stopped.
func (b *bench) saturate(ctx context.Context, s system, n *network) (best float64, err error) {
	for rate := b.plan.firstRate; ; rate /= 4 {
		if n == nil {
			if n, err = b.lab.start(ctx, s); err != nil {
				return best, err
			}
		}
		got, steps, err := ramp(rate, b.plan.rateFactor, func(rate int) (float64, error) {
			sent, _, err := n.load(ctx, load.Config{Rate: rate, For: b.plan.warm + b.plan.step, Warm: b.plan.warm})
			return sent.PerSecond, err
		})
		n.stop() // it would go on with what waits in its mempools
		n = nil
		best = max(best, got)
		if err != nil || steps > 1 || rate/4 < minRate {
			return best, err
		}
	}
}

// ramp raises the rate until step commits less than a chain that follows, and gives the most that it committed and how
// many steps there were.
func ramp(rate int, factor float64, step func(rate int) (perSecond float64, err error)) (best float64, steps int, err error) {
	for rate < maxRate {
		got, err := step(rate)
		if err != nil {
			return best, steps, fmt.Errorf("at %d tx/s: %w", rate, err)
		}
		steps++
		best = max(best, got)
		if got < follows*float64(rate) {
			break
		}
		rate = int(float64(rate) * factor)
	}
	return best, steps, nil
}
