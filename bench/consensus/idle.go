package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/metanode/metanode/bench/measure"
)

// Goals of an idle network, in delays of one way and syncs of the log.
const (
	goalDelays     = 4 // at the leader of the view after the transaction's
	goalDelaysElse = 5
	goalSyncs      = 3
)

// idle measures how long a transaction takes on a network with nothing else to do, with three delays. The slope over the
// delay is how many messages one after another it takes, whatever the machine adds; the syncs are counted.
func (b *bench) idle(ctx context.Context) error {
	delays := []time.Duration{0, 10 * time.Millisecond, 50 * time.Millisecond}
	t := measure.Table{Head: []string{
		fmt.Sprintf("BPI, idle, medians of %d; the delay is put in between each validator's driver and its mesh", b.plan.probes),
		"at the next leader, ms", "one-way delays", "its fsyncs", "elsewhere, ms", "one-way delays", "goal",
	}}
	var next0, else0 float64
	for _, d := range delays {
		probes, err := b.probe(ctx, d)
		if err != nil {
			return fmt.Errorf("delay of %v: %w", d, err)
		}
		next, other, syncs := split(probes)
		goal := fmt.Sprintf("≤ %d fsyncs", goalSyncs)
		ok := syncs <= goalSyncs
		nextDelays, otherDelays := "", ""
		if d == 0 {
			next0, else0 = next, other
		} else {
			n, o := slope(next, next0, d), slope(other, else0, d)
			ok = ok && n <= goalDelays && o <= goalDelaysElse
			goal = fmt.Sprintf("≤ %d delays, %d elsewhere, and %d fsyncs", goalDelays, goalDelaysElse, goalSyncs)
			nextDelays, otherDelays = fmt.Sprintf("%.1f", n), fmt.Sprintf("%.1f", o)
		}
		t.Add(ok, fmt.Sprintf("delay of %v", d), measure.Number(next), nextDelays, fmt.Sprintf("%.0f", syncs), measure.Number(other), otherDelays, goal)
	}
	b.print(t)
	return nil
}

// slope is by how many delays a latency is above the one without, to a tenth: what is below that is the machine's noise.
func slope(with, without float64, delay time.Duration) float64 {
	return math.Round(10*(with-without)/(float64(delay)/float64(time.Millisecond))) / 10
}

// split gives the medians at the next leader, in ms and syncs, and in ms at the others. The next leader is the proposer
// of the following block, whose votes are what commits the transaction's.
func split(probes []probe) (next, other, syncs float64) {
	var nexts, others, counts []float64
	for _, p := range probes {
		for v, d := range p.took {
			ms := float64(d) / float64(time.Millisecond)
			if v == p.next {
				nexts = append(nexts, ms)
				counts = append(counts, float64(p.syncs[v]))
			} else {
				others = append(others, ms)
			}
		}
	}
	return measure.Median(nexts), measure.Median(others), measure.Median(counts)
}
