package analytics

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// WriteCSV writes a header and the rows (RFC 4180, with LF). NULL is an empty field.
func (r *Result) WriteCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	line := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		line[i] = c.Name
	}
	if err := out.Write(line); err != nil {
		return err
	}
	for _, row := range r.Rows {
		for i, v := range row {
			line[i] = Text(&r.Columns[i].Type, v)
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// maxCell bounds the width of a cell in a table for people.
const maxCell = 60

// WriteTable writes an aligned table for people: control characters are made visible, long values are cut, numbers
// stand right, NULL is spelt out. At most maxRows rows (0: all), and a line that says how many there are.
func (r *Result) WriteTable(w io.Writer, maxRows int) error {
	shown := r.Rows
	if maxRows > 0 && len(shown) > maxRows {
		shown = shown[:maxRows]
	}
	widths := make([]int, len(r.Columns))
	cells := make([][]string, 0, len(shown)+1)
	head := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		head[i] = cellText(c.Name)
	}
	cells = append(cells, head)
	for _, row := range shown {
		line := make([]string, len(row))
		for i, v := range row {
			line[i] = "NULL"
			if v != nil {
				line[i] = cellText(Text(&r.Columns[i].Type, v))
			}
		}
		cells = append(cells, line)
	}
	for _, line := range cells {
		for i, c := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	out := bufio.NewWriter(w)
	for n, line := range cells {
		for i, c := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i > 0 {
				out.WriteString("  ")
			}
			if isNumber(r.Columns[i].Type.Kind) {
				out.WriteString(pad + c)
			} else if i < len(line)-1 {
				out.WriteString(c + pad)
			} else {
				out.WriteString(c)
			}
		}
		out.WriteByte('\n')
		if n == 0 {
			for i, width := range widths {
				if i > 0 {
					out.WriteString("  ")
				}
				out.WriteString(strings.Repeat("-", width))
			}
			out.WriteByte('\n')
		}
	}
	unit := "rows"
	if len(r.Rows) == 1 {
		unit = "row"
	}
	if len(shown) < len(r.Rows) {
		fmt.Fprintf(out, "(%d %s, %d shown)\n", len(r.Rows), unit, len(shown))
	} else {
		fmt.Fprintf(out, "(%d %s)\n", len(r.Rows), unit)
	}
	return out.Flush()
}

func isNumber(k Kind) bool { return k >= TinyInt && k <= Decimal }

// cellText keeps a value to one line and free of what a terminal would obey.
func cellText(s string) string {
	var b strings.Builder
	n := 0
	for _, c := range s {
		if n == maxCell {
			b.WriteString("…")
			break
		}
		if c < 0x20 || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 || c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 {
			b.WriteString("·")
		} else {
			b.WriteRune(c)
		}
		n++
	}
	return b.String()
}
