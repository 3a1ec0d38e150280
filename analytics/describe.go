package analytics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// ErrDescribe is wrapped for files or options that make no dataset.
var ErrDescribe = errors.New("not a dataset")

// Describe finds the schema of files that lie in a store already and gives their manifest. files have Path, Digest and
// Bytes; format "" goes by their names; options are those of Dialect.Options, and have the rest inferred. What the
// engine says of the data is a *Failure.
func Describe(ctx context.Context, sniffer Sniffer, files []File, format string, options map[string]string) (*Manifest, error) {
	if len(files) == 0 || len(files) > MaxFiles {
		return nil, fmt.Errorf("%w: %d files, want 1 to %d", ErrDescribe, len(files), MaxFiles)
	}
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	local := make([]LocalFile, len(files))
	var names []string
	for i := range files {
		f := &files[i]
		of, err := AddPlan{Format: format}.formatFor(f.Path, "")
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDescribe, err)
		}
		if format == "" {
			format = of
		}
		if of != format {
			return nil, fmt.Errorf("%w: %s is %s and the files before it are %s: a dataset has one format", ErrDescribe, f.Path, of, format)
		}
		keys, values, err := partitions(f.Path)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDescribe, err)
		}
		if i > 0 && !equal(keys, names) {
			return nil, fmt.Errorf("%w: %s has partition folders %v, and the files before it %v: all files need the same", ErrDescribe, f.Path, keys, names)
		}
		names, f.Values = keys, values
		local[i] = LocalFile{Local: f.Path, Path: f.Path, Digest: f.Digest, Bytes: f.Bytes, Values: values}
	}
	dialect, err := dialectOf(options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDescribe, err)
	}
	if format != "csv" && len(options) > 0 {
		return nil, fmt.Errorf("%w: options are for CSV, and the files are %s", ErrDescribe, format)
	}
	var keys []Column
	for k, name := range names {
		keys = append(keys, Column{Name: name, Type: keyType(local, k)})
	}
	m := &Manifest{Version: 1, Format: format, Keys: keys, Files: files}
	return describe(ctx, sniffer, m, local, dialect)
}

// describe completes a manifest that lacks what only the engine can tell: columns, rows, and the dialect of CSV.
func describe(ctx context.Context, sniffer Sniffer, m *Manifest, files []LocalFile, dialect Dialect) (*Manifest, error) {
	for i := range files {
		files[i].Input = InputPath("data", i, m.Format)
	}
	if m.Format != "csv" {
		dialect = Dialect{}
	}
	req := Request{Version: RequestVersion, Action: ActionSniff, TimeZone: "UTC", MemoryBytes: DefaultMemoryBytes, Tables: []Table{{
		Name: "data", Format: m.Format, Columns: m.Columns, Dialect: dialect, Parts: []Part{{Files: uint32(len(files))}},
	}}}
	raw, err := req.Encode()
	if err != nil {
		return nil, err
	}
	stdout, stderr, exit, err := sniffer.Sniff(ctx, raw, files)
	if err != nil {
		return nil, err
	}
	if f := ParseFailure(exit, stderr); f != nil {
		f.Message = localNames(f.Message, files)
		return nil, f
	}
	s, err := ParseSniff(stdout, len(files))
	if err != nil {
		return nil, err
	}
	m.Columns = s.Columns
	if m.Format == "csv" {
		m.Dialect = dialect
		if dialect.Delim == "" {
			m.Dialect = s.Dialect
			m.Dialect.Null = dialect.Null
		}
	}
	for i := range m.Files {
		m.Files[i].Rows = s.Rows[i]
		m.Rows += s.Rows[i]
	}
	return m, m.Validate()
}

// Options are the dialect as names and values, for people and programs.
func (d Dialect) Options() map[string]string {
	if d == (Dialect{}) {
		return nil
	}
	o := map[string]string{"delim": d.Delim, "quote": d.Quote, "escape": d.Escape, "header": strconv.FormatBool(d.Header)}
	for name, v := range map[string]string{"null": d.Null, "comment": d.Comment, "date_format": d.DateFormat, "timestamp_format": d.TimestampFormat} {
		if v != "" {
			o[name] = v
		}
	}
	if d.Skip > 0 {
		o["skip"] = strconv.FormatUint(d.Skip, 10)
	}
	return o
}

func dialectOf(options map[string]string) (Dialect, error) {
	var d Dialect
	var err error
	for name, v := range options {
		switch name {
		case "delim":
			d.Delim = v
		case "quote":
			d.Quote = v
		case "escape":
			d.Escape = v
		case "header":
			d.Header, err = strconv.ParseBool(v)
		case "null":
			d.Null = v
		case "comment":
			d.Comment = v
		case "date_format":
			d.DateFormat = v
		case "timestamp_format":
			d.TimestampFormat = v
		case "skip":
			d.Skip, err = strconv.ParseUint(v, 10, 32)
		default:
			return d, fmt.Errorf("option %.40q is not known; the options are delim, quote, escape, header, null, comment, skip, date_format and timestamp_format", name)
		}
		if err != nil {
			return d, fmt.Errorf("option %s=%.40q: %w", name, v, err)
		}
	}
	return d, nil
}

// SniffWork is the work of finding a schema: req with files as its inputs.
func SniffWork(engine, policy digest.Digest, req []byte, files []LocalFile) (*receipt.Work, error) {
	w := &receipt.Work{
		Kind: KindSQL, Engine: engine, Policy: policy, CPUClass: CPUClass, Args: []string{"sql-worker"}, Env: []string{}, Stdin: req,
		Seed: digest.Sum("analytics/seed/1", req), EpochNs: DefaultEpochNs, Limits: withDefaults(receipt.Limits{}),
	}
	w.Limits.MemoryBytes += engineBytes
	for _, f := range files {
		w.Inputs = append(w.Inputs, receipt.Input{Path: f.Input, Digest: f.Digest, Bytes: f.Bytes, Origin: "file:" + f.Path})
	}
	slices.SortFunc(w.Inputs, func(a, b receipt.Input) int { return strings.Compare(a.Path, b.Path) })
	return w, nil
}

// ParseExplain reads the answer of ActionExplain: the engine's plan as text.
func ParseExplain(stream []byte) (string, error) {
	r, err := Decode(bytes.NewReader(stream), 16<<20)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, row := range r.Rows {
		for _, v := range row {
			if s, ok := v.(string); ok {
				b.WriteString(s)
				b.WriteByte('\n')
			}
		}
	}
	return b.String(), nil
}
