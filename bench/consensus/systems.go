package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/metanode/metanode/bench/consensus/load"
	"github.com/metanode/metanode/bench/measure"
)

// bench is one run: what was found, and where it is printed.
type bench struct {
	plan  plan
	lab   *lab
	out   io.Writer
	short bool    // something fell short of its goal
	sat   float64 // BPI's saturated throughput, if it was measured
}

// The rate at which latencies are compared.
const steadyRate = 200

// print prints a table and remembers whether something in it is short.
func (b *bench) print(t measure.Table) {
	b.short = b.short || t.Short
	fmt.Fprintf(b.out, "\n%s", t)
}

// readings are what one round finds out about one system. A latency that was not reached is infinite.
type readings struct {
	p50, p99           float64 // ms at steadyRate
	saturated          float64 // tx/s
	halfP50, halfP99   float64 // ms at half of that
	cpu                float64 // µs a committed transaction there, all validators together
	deadP50, deadP99   float64 // ms at steadyRate with one validator killed
	committedWhileDead float64 // share of what was due
}

// systems measures the four systems in turn, round after round, and prints the medians.
func (b *bench) systems(ctx context.Context) error {
	list := append(cometSystems(4), bpi(4, true, 0, plainBlockTime))
	all := make([][]readings, len(list))
	for round := range b.plan.rounds {
		for i, s := range list {
			r, err := b.measure(ctx, s)
			if err != nil {
				return err
			}
			all[i] = append(all[i], r)
			fmt.Fprintf(b.out, "round %d, %s: p50 %s ms at %d tx/s, %.0f tx/s saturated\n", round+1, s.name, measure.Number(r.p50), steadyRate, r.saturated)
		}
	}
	names := make([]string, len(list))
	mid := make([]readings, len(list))
	for i, s := range list {
		names[i], mid[i] = s.name, medians(all[i])
	}
	b.sat = mid[3].saturated
	b.print(systemsTable(names, mid, b.plan.rounds))
	return nil
}

// measure takes a system through one round. A network that was overloaded is not used again: it would go on with what
// waits in its mempools.
func (b *bench) measure(ctx context.Context, s system) (r readings, err error) {
	n, err := b.lab.start(ctx, s)
	if err != nil {
		return r, err
	}
	_, l, _, err := n.timed(ctx, b.steady(steadyRate))
	if err == nil {
		r.p50, r.p99 = ms(l, .5), ms(l, .99)
		r.saturated, err = b.saturate(ctx, s, n)
	} else {
		n.stop()
	}
	if err != nil {
		return r, err
	}
	if n, err = b.lab.start(ctx, s); err != nil {
		return r, err
	}
	defer n.stop()
	sent, l, cpu, err := n.timed(ctx, b.steady(max(1, int(r.saturated/2))))
	if err != nil {
		return r, err
	}
	r.halfP50, r.halfP99 = ms(l, .5), ms(l, .99)
	r.cpu = float64(cpu.Microseconds()) / float64(max(1, sent.Committed))
	n.procs[s.size-1].Kill()
	cfg := b.steady(steadyRate)
	cfg.Drain = 20 * time.Second
	sent, l, _, err = n.timed(ctx, cfg)
	r.deadP50, r.deadP99 = ms(l, .5), ms(l, .99)
	r.committedWhileDead = float64(sent.Committed) / float64(max(1, sent.Due))
	return r, err
}

// steady is a load whose transactions are waited for.
func (b *bench) steady(rate int) load.Config {
	return load.Config{Rate: rate, For: b.plan.warm + b.plan.steady, Warm: b.plan.warm, Drain: 5 * time.Second}
}

func ms(l load.Latencies, q float64) float64 {
	d, ok := l.Quantile(q)
	if !ok {
		return math.Inf(1)
	}
	return float64(d) / float64(time.Millisecond)
}

// medians is the median of each figure over the rounds.
func medians(rounds []readings) readings {
	pick := func(f func(readings) float64) float64 {
		var list []float64
		for _, r := range rounds {
			list = append(list, f(r))
		}
		return measure.Median(list)
	}
	return readings{
		p50: pick(func(r readings) float64 { return r.p50 }), p99: pick(func(r readings) float64 { return r.p99 }),
		saturated: pick(func(r readings) float64 { return r.saturated }),
		halfP50:   pick(func(r readings) float64 { return r.halfP50 }), halfP99: pick(func(r readings) float64 { return r.halfP99 }),
		cpu:     pick(func(r readings) float64 { return r.cpu }),
		deadP50: pick(func(r readings) float64 { return r.deadP50 }), deadP99: pick(func(r readings) float64 { return r.deadP99 }),
		committedWhileDead: pick(func(r readings) float64 { return r.committedWhileDead }),
	}
}

// systemsTable sets the medians beside each other. Where a goal speaks of the plain kvstore, it is the better of the
// default and the tuned one.
func systemsTable(names []string, m []readings, rounds int) measure.Table {
	const tuned, checking, own = 1, 2, 3
	t := measure.Table{Head: append(append([]string{fmt.Sprintf("four validators, medians of %d", rounds)}, names...), "BPI to it", "goal")}
	row := func(what string, f func(readings) float64, ratio, goal string, ok bool) {
		cells := []string{what}
		for _, r := range m {
			cells = append(cells, measure.Number(f(r)))
		}
		t.Add(ok, append(cells, ratio, goal)...)
	}
	ratio := func(what string, value float64, goal float64, atMost bool) {
		ok := value <= goal
		sign := "≤"
		if !atMost {
			ok, sign = value >= goal, "≥"
		}
		t.Add(ok, what, "", "", "", "", fmt.Sprintf("%.2f", value), fmt.Sprintf("%s %g", sign, goal))
	}
	at := fmt.Sprintf("at %d tx/s", steadyRate)
	row("p50 "+at+", ms", func(r readings) float64 { return r.p50 }, "", "", true)
	ratio("of the tuned", m[own].p50/m[tuned].p50, 0.5, true)
	row("p99 "+at+", ms", func(r readings) float64 { return r.p99 }, "", "", true)
	row("saturated throughput, tx/s", func(r readings) float64 { return r.saturated }, "", "", true)
	ratio("of the plain", m[own].saturated/max(m[0].saturated, m[tuned].saturated), 2, false)
	ratio("of the checking one", m[own].saturated/m[checking].saturated, 4, false)
	row("p50 at half of its saturation, ms", func(r readings) float64 { return r.halfP50 }, "", "", true)
	row("p99 there, ms", func(r readings) float64 { return r.halfP99 }, "", "", true)
	ratio("of its own p50", m[own].halfP99/m[own].halfP50, 5, true)
	row("CPU a committed transaction there, µs of all four", func(r readings) float64 { return r.cpu }, "", "", true)
	ratio("of the plain", m[own].cpu/min(m[0].cpu, m[tuned].cpu), 0.5, true)
	ratio("of the checking one", m[own].cpu/m[checking].cpu, 0.25, true)
	row("one of four killed: p50 "+at+", ms", func(r readings) float64 { return r.deadP50 }, "", "", true)
	ratio("of the tuned", m[own].deadP50/m[tuned].deadP50, 0.1, true)
	row("p99 there, ms", func(r readings) float64 { return r.deadP99 }, "", "", true)
	row("committed there, % of what was due", func(r readings) float64 { return 100 * r.committedWhileDead }, "", "", true)
	return t
}
