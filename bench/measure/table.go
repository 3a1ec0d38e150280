package measure

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Table is Markdown with a last column for verdicts.
type Table struct {
	Head  []string // without the verdicts
	Short bool     // a row is short of its goal

	rows [][]string
}

// Add appends a row. The last but one of its cells is the goal; a row with a goal gets a verdict.
func (t *Table) Add(ok bool, cells ...string) {
	verdict := ""
	switch {
	case cells[len(cells)-1] == "":
	case ok:
		verdict = "ok"
	default:
		verdict, t.Short = "**short**", true
	}
	t.rows = append(t.rows, append(cells, verdict))
}

// String is the table as Markdown.
func (t Table) String() string {
	var s strings.Builder
	line := func(cells []string) { fmt.Fprintf(&s, "| %s |\n", strings.Join(cells, " | ")) }
	line(append(slices.Clone(t.Head), ""))
	s.WriteString(strings.Repeat("|---", len(t.Head)+1) + "|\n")
	for _, r := range t.rows {
		line(r)
	}
	return s.String()
}

// Median of a list that is not empty; of an even number, the upper of the two in the middle.
func Median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return s[len(s)/2]
}

// Number gives three significant digits or all before the point.
func Number(v float64) string {
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
