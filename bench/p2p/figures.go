package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/metanode/metanode/bench/measure"
)

// times is how long one thing took, again and again.
type times []time.Duration

// quantile is the time that a share q of them does not exceed, at least the first; 0 of an empty list.
func (l times) quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(l))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

func (l times) p50() time.Duration { return l.quantile(0.5) }
func (l times) p95() time.Duration { return l.quantile(0.95) }

// show is a time for a table, to three digits.
func show(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d >= time.Second:
		return measure.Number(d.Seconds()) + " s"
	case d >= time.Millisecond:
		return measure.Number(float64(d)/float64(time.Millisecond)) + " ms"
	}
	return measure.Number(float64(d)/float64(time.Microsecond)) + " µs"
}

// rate is MB/s, of 10^6 bytes.
func rate(bytes int64, took time.Duration) float64 {
	return float64(bytes) / 1e6 / took.Seconds()
}

// atMost is a row whose figure is to be at most a goal, and atLeast one whose figure is to be at least that; both take
// the figure as it is shown besides.
func atMost(t *measure.Table, what string, value, goal float64, shown, goalShown string) {
	t.Add(value <= goal, what, shown, "≤ "+goalShown)
}

func atLeast(t *measure.Table, what string, value, goal float64, shown, goalShown string) {
	t.Add(value >= goal, what, shown, "≥ "+goalShown)
}

// within is a row of a time and its bound.
func within(t *measure.Table, what string, took, bound time.Duration) {
	atMost(t, what, float64(took), float64(bound), show(took), show(bound))
}

// told is a row without a goal.
func told(t *measure.Table, what, shown string) { t.Add(true, what, shown, "") }

// timesAs shows a ratio.
func timesAs(v float64) string { return fmt.Sprintf("× %.2f", v) }
