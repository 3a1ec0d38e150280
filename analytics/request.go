package analytics

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/receipt"
)

// RequestVersion is the only version of Request that the worker reads.
const RequestVersion = 1

// Bounds of a request. The encoding as a whole is at most receipt.MaxStdinBytes.
const (
	MaxSQLBytes    = 48 << 10
	MaxTables      = 64
	MaxColumns     = 4096
	MaxKeys        = 16 // partition columns of a table
	MaxFiles       = receipt.MaxInputs
	MinMemoryBytes = 16 << 20
	MaxMemoryBytes = 1 << 40
)

// Actions of a request.
const (
	ActionQuery   = "query"   // answers with the result stream
	ActionCheck   = "check"   // answers with columns and warnings (ParseCheck), and runs nothing
	ActionExplain = "explain" // answers with the engine's plan
	ActionSniff   = "sniff"   // answers with the schema of a file set (ParseSniff)
)

// Request is what the SQL worker reads from stdin, in canonical encoding. worker/request.c is its other reader: the two
// change together, with the version.
type Request struct {
	_           struct{} `cbor:",toarray"`
	Version     uint32
	Action      string
	SQL         string
	TimeZone    string // IANA name, "UTC" by default
	MemoryBytes uint64
	Tables      []Table
}

// Table is a dataset as the engine sees it: a view over files /in/NAME/0.FORMAT, /in/NAME/1.FORMAT and so on.
type Table struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Format  string // "csv", "parquet" or "ndjson"
	Columns []Column
	Dialect Dialect  // of CSV; zero for others
	Keys    []Column // Hive partition columns
	Parts   []Part   // runs of files, in order, that share their partition values
}

// Column is a name and a type as SQL spells it.
type Column struct {
	_    struct{} `cbor:",toarray"`
	Name string   `json:"name"`
	Type string   `json:"type"`
}

// Dialect says how a CSV file is to be read.
type Dialect struct {
	_               struct{} `cbor:",toarray"`
	Delim           string   `json:"delim"`
	Quote           string   `json:"quote"`  // "" for none
	Escape          string   `json:"escape"` // "" for none
	Header          bool     `json:"header"`
	Null            string   `json:"null"` // the text that stands for NULL
	Comment         string   `json:"comment,omitempty"`
	Skip            uint64   `json:"skip,omitempty"` // lines before the header
	DateFormat      string   `json:"date_format,omitempty"`
	TimestampFormat string   `json:"timestamp_format,omitempty"`
}

// Part is a run of files with the same partition values, one for each of the table's Keys.
type Part struct {
	_      struct{} `cbor:",toarray"`
	Files  uint32
	Values []string
}

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)

// CheckName says whether a dataset may bear name: 1 to 63 of a-z, 0-9, _ and -, beginning with a letter.
func CheckName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("dataset name %.80q: want 1 to 63 of a-z, 0-9, _ and -, beginning with a letter", name)
	}
	return nil
}

// Validate checks the bounds.
func (r *Request) Validate() error {
	if r.Version != RequestVersion {
		return fmt.Errorf("request version %d: want %d", r.Version, RequestVersion)
	}
	switch r.Action {
	case ActionQuery, ActionCheck, ActionExplain, ActionSniff:
	default:
		return fmt.Errorf("request action %.40q: want query, check, explain or sniff", r.Action)
	}
	if len(r.SQL) > MaxSQLBytes {
		return fmt.Errorf("query of %d bytes: over the limit of %d", len(r.SQL), MaxSQLBytes)
	}
	if strings.TrimSpace(r.SQL) == "" && r.Action != ActionSniff {
		return errors.New("the query is empty")
	}
	if strings.IndexByte(r.SQL, 0) >= 0 {
		return errors.New("the query holds a NUL byte")
	}
	if r.TimeZone == "" || len(r.TimeZone) > 64 {
		return fmt.Errorf("time zone %.80q: want an IANA name such as UTC", r.TimeZone)
	}
	if r.MemoryBytes < MinMemoryBytes || r.MemoryBytes > MaxMemoryBytes {
		return fmt.Errorf("memory limit of %d bytes: want %d to %d", r.MemoryBytes, MinMemoryBytes, uint64(MaxMemoryBytes))
	}
	if len(r.Tables) > MaxTables {
		return fmt.Errorf("%d datasets: over the limit of %d", len(r.Tables), MaxTables)
	}
	files := 0
	for i := range r.Tables {
		n, err := r.Tables[i].validate()
		if err != nil {
			return err
		}
		files += n
		for j := range i {
			if r.Tables[j].Name == r.Tables[i].Name {
				return fmt.Errorf("dataset %q is named twice", r.Tables[i].Name)
			}
		}
	}
	if files > MaxFiles {
		return fmt.Errorf("%d files in the datasets: over the limit of %d", files, MaxFiles)
	}
	return nil
}

func (t *Table) validate() (files int, err error) {
	if err := CheckName(t.Name); err != nil {
		return 0, err
	}
	if err := checkSchema(t.Name, t.Format, t.Columns, t.Keys); err != nil {
		return 0, err
	}
	if len(t.Parts) > MaxFiles {
		return 0, fmt.Errorf("dataset %q: %d parts: over the limit of %d", t.Name, len(t.Parts), MaxFiles)
	}
	for _, p := range t.Parts {
		if p.Files == 0 || p.Files > MaxFiles {
			return 0, fmt.Errorf("dataset %q: a part of %d files", t.Name, p.Files)
		}
		if len(p.Values) != len(t.Keys) {
			return 0, fmt.Errorf("dataset %q: %d partition values for %d partition columns", t.Name, len(p.Values), len(t.Keys))
		}
		files += int(p.Files)
	}
	if files == 0 || files > MaxFiles {
		return 0, fmt.Errorf("dataset %q: %d files: want 1 to %d", t.Name, files, MaxFiles)
	}
	return files, nil
}

func checkSchema(name, format string, columns, keys []Column) error {
	switch format {
	case "csv", "parquet", "ndjson":
	default:
		return fmt.Errorf("dataset %q: format %.40q: want csv, parquet or ndjson", name, format)
	}
	if len(columns) > MaxColumns || len(keys) > MaxKeys {
		return fmt.Errorf("dataset %q: %d columns and %d partition columns: over the limits of %d and %d", name, len(columns), len(keys), MaxColumns, MaxKeys)
	}
	seen := make(map[string]bool, len(columns)+len(keys))
	for _, list := range [][]Column{columns, keys} {
		for _, c := range list {
			if err := checkColumn(c); err != nil {
				return fmt.Errorf("dataset %q: %w", name, err)
			}
			if low := strings.ToLower(c.Name); seen[low] {
				return fmt.Errorf("dataset %q: two columns named %.80q", name, c.Name)
			} else {
				seen[low] = true
			}
		}
	}
	return nil
}

// checkColumn keeps a declared type to a type: it stands in the worker's own SQL as it is.
func checkColumn(c Column) error {
	if c.Name == "" || len(c.Name) > 256 || strings.IndexByte(c.Name, 0) >= 0 {
		return fmt.Errorf("column name %.80q: want 1 to 256 bytes", c.Name)
	}
	bad := fmt.Errorf("column %.80q: type %.80q is not a type", c.Name, c.Type)
	if c.Type == "" || len(c.Type) > 1024 || strings.ContainsAny(c.Type, ";'`\\\n\x00") || strings.Contains(c.Type, "--") || strings.Contains(c.Type, "/*") {
		return bad
	}
	depth := 0
	for _, r := range c.Type {
		switch r {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth < 0 || depth == 0 && r == ',' {
			return bad
		}
	}
	if depth != 0 {
		return bad
	}
	return nil
}

// Encode gives the canonical bytes, or what is wrong with the request.
func (r *Request) Encode() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	b, err := canon.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(b) > receipt.MaxStdinBytes {
		return nil, fmt.Errorf("request of %d bytes: over the limit of %d; use fewer partitions, columns or a shorter query", len(b), receipt.MaxStdinBytes)
	}
	return b, nil
}

// DecodeRequest reads and checks a request. It is safe on untrusted bytes.
func DecodeRequest(b []byte) (*Request, error) {
	if len(b) > receipt.MaxStdinBytes {
		return nil, fmt.Errorf("request of %d bytes: over the limit of %d", len(b), receipt.MaxStdinBytes)
	}
	var r Request
	if err := canon.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return &r, nil
}
