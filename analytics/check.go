package analytics

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Checked is what the worker's check action finds: the columns the query would have, and what deserves a warning.
type Checked struct {
	Columns  []Column
	Findings []Finding
}

// Finding is one thing worth a warning.
type Finding struct {
	What string // "random", "clock", "limit-without-order", "float-aggregate"
	Name string // the function's name
}

// triples reads a stream of (what, name, value), as check and sniff write it.
func triples(stream []byte) ([][3]string, error) {
	r, err := Decode(bytes.NewReader(stream), 16<<20)
	if err != nil {
		return nil, err
	}
	if len(r.Columns) != 3 {
		return nil, fmt.Errorf("%w: %d columns, want 3", ErrStream, len(r.Columns))
	}
	out := make([][3]string, 0, len(r.Rows))
	for _, row := range r.Rows {
		var t [3]string
		for i, v := range row {
			t[i], _ = v.(string)
		}
		out = append(out, t)
	}
	return out, nil
}

// ParseCheck reads the answer of ActionCheck.
func ParseCheck(stream []byte) (*Checked, error) {
	rows, err := triples(stream)
	if err != nil {
		return nil, err
	}
	c := &Checked{}
	for _, r := range rows {
		if r[0] == "column" {
			c.Columns = append(c.Columns, Column{Name: r[1], Type: r[2]})
		} else {
			c.Findings = append(c.Findings, Finding{What: r[0], Name: r[1]})
		}
	}
	return c, nil
}

// Warnings says in words what may surprise in the answer of a checked query over tables.
func Warnings(c *Checked, tables []Table) []string {
	var floats []string // the columns, of all tables
	columns := map[string]bool{}
	for _, t := range tables {
		for _, col := range t.Columns {
			columns[strings.ToLower(col.Name)] = true
			up := strings.ToUpper(col.Type)
			if strings.Contains(up, "DOUBLE") || strings.Contains(up, "FLOAT") || strings.Contains(up, "REAL") {
				floats = append(floats, col.Name)
			}
		}
	}
	var out []string
	for _, f := range c.Findings {
		switch f.What {
		case "limit-without-order":
			out = append(out, "LIMIT without ORDER BY: which rows are kept is the engine's choice; add ORDER BY")
		case "random":
			out = append(out, fmt.Sprintf("%s draws from the job's seed: the same job has the same answer, and --seed gives another", strings.ToLower(f.Name)))
		case "clock":
			if columns[strings.ToLower(f.Name)] { // current_date may stand without brackets, and so may a column called age
				continue
			}
			out = append(out, fmt.Sprintf("%s is the job's virtual clock, not the time of day", strings.ToLower(f.Name)))
		case "float-aggregate":
			if len(floats) > 0 {
				out = append(out, fmt.Sprintf("%s over a DOUBLE or FLOAT, such as column %s, rounds in the order of the rows: cast that to DECIMAL for exact digits",
					strings.ToLower(f.Name), floats[0]))
			}
		}
	}
	return out
}

// Sniffed is the schema that the worker's sniff action found.
type Sniffed struct {
	Columns []Column
	Dialect Dialect
	Rows    []uint64 // for each file
}

// ParseSniff reads the answer of ActionSniff over files files.
func ParseSniff(stream []byte, files int) (*Sniffed, error) {
	rows, err := triples(stream)
	if err != nil {
		return nil, err
	}
	s := &Sniffed{}
	for _, r := range rows {
		switch r[0] {
		case "column":
			s.Columns = append(s.Columns, Column{Name: r[1], Type: r[2]})
		case "rows":
			n, err := strconv.ParseUint(r[2], 10, 63)
			if err != nil || r[1] != strconv.Itoa(len(s.Rows)) {
				return nil, fmt.Errorf("%w: rows of file %q: %q", ErrStream, r[1], r[2])
			}
			s.Rows = append(s.Rows, n)
		case "dialect":
			switch r[1] {
			case "delim":
				s.Dialect.Delim = r[2]
			case "quote":
				s.Dialect.Quote = r[2]
			case "escape":
				s.Dialect.Escape = r[2]
			case "header":
				s.Dialect.Header = r[2] == "true"
			case "comment":
				s.Dialect.Comment = r[2]
			case "skip":
				if s.Dialect.Skip, err = strconv.ParseUint(r[2], 10, 32); err != nil {
					return nil, fmt.Errorf("%w: skip %q", ErrStream, r[2])
				}
			case "dateformat":
				s.Dialect.DateFormat = r[2]
			case "timestampformat":
				s.Dialect.TimestampFormat = r[2]
			}
		}
	}
	if len(s.Rows) != files || len(s.Columns) == 0 {
		return nil, fmt.Errorf("%w: a schema of %d columns for %d of %d files", ErrStream, len(s.Columns), len(s.Rows), files)
	}
	return s, nil
}
