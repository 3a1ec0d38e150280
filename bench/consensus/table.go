package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// table is Markdown with a last column for verdicts.
type table struct {
	head  []string
	rows  [][]string
	short bool
}

// add appends a row. The last but one of its cells is the goal; a row with a goal gets a verdict.
func (t *table) add(ok bool, cells ...string) {
	verdict := ""
	switch {
	case cells[len(cells)-1] == "":
	case ok:
		verdict = "ok"
	default:
		verdict, t.short = "**short**", true
	}
	t.rows = append(t.rows, append(cells, verdict))
}

func (t table) String() string {
	var s strings.Builder
	line := func(cells []string) { fmt.Fprintf(&s, "| %s |\n", strings.Join(cells, " | ")) }
	line(append(slices.Clone(t.head), ""))
	s.WriteString(strings.Repeat("|---", len(t.head)+1) + "|\n")
	for _, r := range t.rows {
		line(r)
	}
	return s.String()
}

func (b *bench) print(t table) {
	b.short = b.short || t.short
	fmt.Fprintf(b.out, "\n%s", t)
}

// median of a list that is not empty; of an even number, the upper of the two in the middle.
func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return s[len(s)/2]
}

// number gives three significant digits or all before the point.
func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "not reached"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
