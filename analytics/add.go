package analytics

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/metanode/metanode/internal/digest"
)

// Sniffer runs the worker's sniff action over local files, in a cage; node gives it.
type Sniffer interface {
	// Sniff runs the request with files as its inputs and gives what the worker left. An error is trouble with this
	// machine: what the worker says of the data is in exit and stderr.
	Sniff(ctx context.Context, req []byte, files []LocalFile) (stdout, stderr []byte, exit int, err error)
}

// LocalFile is a file that is being added.
type LocalFile struct {
	Input  string // its path below /in
	Local  string // where it lies
	Path   string // its path in the manifest
	Digest digest.Digest
	Bytes  uint64
	Values []string // partition values
	stamp  stamp
}

// stamp is what tells a changed file from an unchanged one without reading it again.
type stamp struct {
	size    int64
	mtimeNs int64
	inode   uint64
}

// Store takes the bytes of a file while they are read for their digest; node gives one that keeps them, so that what is
// published is what was read. Put reads r to its end.
type Store interface {
	Put(ctx context.Context, r io.Reader) (digest.Digest, error)
}

// AddPlan is a dataset to be added from local files.
type AddPlan struct {
	Path    string // a file or a folder; folders named key=value are Hive partitions
	Format  string // "" to go by the files' names
	Columns []Column
	Dialect Dialect // of CSV; Delim "" has it inferred
}

// ErrChanged is returned, wrapped, when a file changed while it was added.
var ErrChanged = errors.New("changed while it was added; add it again when nothing writes to it")

const hiveNull = "__HIVE_DEFAULT_PARTITION__"

// Add reads the files, has their schema found and every value checked, and gives the manifest. The files' bytes go to
// store; the manifest's do not. Nothing is published.
func (p AddPlan) Add(ctx context.Context, store Store, sniffer Sniffer) (*Manifest, error) {
	files, keys, format, err := p.collect()
	if err != nil {
		return nil, err
	}
	for i := range files {
		if err := files[i].read(ctx, store); err != nil {
			return nil, err
		}
	}
	m := &Manifest{Version: 1, Format: format, Columns: p.Columns, Keys: keys}
	for i, f := range files {
		files[i].Input = InputPath("data", i, format)
		m.Files = append(m.Files, File{Path: f.Path, Digest: f.Digest, Bytes: f.Bytes, Values: f.Values})
	}
	dialect := p.Dialect
	if format != "csv" {
		dialect = Dialect{}
	}
	req := Request{Version: RequestVersion, Action: ActionSniff, TimeZone: "UTC", MemoryBytes: DefaultMemoryBytes, Tables: []Table{{
		Name: "data", Format: format, Columns: p.Columns, Dialect: dialect, Parts: []Part{{Files: uint32(len(files))}},
	}}}
	raw, err := req.Encode()
	if err != nil {
		return nil, err
	}
	stdout, stderr, exit, err := sniffer.Sniff(ctx, raw, files)
	if err != nil {
		return nil, fmt.Errorf("find the schema of %s: %w", p.Path, err)
	}
	if f := ParseFailure(exit, stderr); f != nil {
		return nil, fmt.Errorf("%s: %s", p.Path, localNames(f.Message, files))
	}
	s, err := ParseSniff(stdout, len(files))
	if err != nil {
		return nil, err
	}
	m.Columns = s.Columns
	if format == "csv" {
		m.Dialect = dialect
		if dialect.Delim == "" {
			m.Dialect = s.Dialect
			m.Dialect.Null = dialect.Null
		}
	}
	for i := range m.Files {
		m.Files[i].Rows = s.Rows[i]
		m.Rows += s.Rows[i]
		if err := files[i].unchanged(); err != nil {
			return nil, err
		}
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// localNames puts the files' own names in place of the cage's in an engine's message.
func localNames(message string, files []LocalFile) string {
	for _, f := range files {
		message = strings.ReplaceAll(message, "/in/"+f.Input, f.Local)
	}
	return message
}

// CheckFileName is nil if the name of a file shows which format it holds.
func CheckFileName(name string) error {
	_, err := formatOf(name)
	return err
}

func formatOf(name string) (string, error) {
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".csv", ".tsv":
		return "csv", nil
	case ".parquet":
		return "parquet", nil
	case ".ndjson", ".jsonl", ".json":
		return "ndjson", nil
	case ".duckdb", ".db", ".sqlite":
		return "", fmt.Errorf("%s: a database file is not a dataset, since opening one runs what it says; export its tables as Parquet", name)
	default:
		return "", fmt.Errorf("%s: what it holds does not show in its name; want .csv, .tsv, .parquet, .ndjson, .jsonl or .json, or give --format", name)
	}
}

// collect lists the files in order, with format and partitions.
func (p AddPlan) collect() (files []LocalFile, keys []Column, format string, err error) {
	info, err := os.Stat(p.Path)
	if err != nil {
		return nil, nil, "", fmt.Errorf("add a dataset: %w", err)
	}
	if !info.IsDir() {
		format, err := p.formatFor(p.Path, "")
		return []LocalFile{{Local: p.Path, Path: filepath.Base(p.Path), Values: []string{}}}, nil, format, err
	}
	var names []string
	err = filepath.WalkDir(p.Path, func(local string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if local != p.Path && (strings.HasPrefix(e.Name(), ".") || strings.HasPrefix(e.Name(), "_")) {
			if e.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if e.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(p.Path, local)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if format, err = p.formatFor(local, format); err != nil {
			return err
		}
		ks, values, err := partitions(rel)
		if err != nil {
			return err
		}
		if len(files) > 0 && !equal(ks, names) {
			return fmt.Errorf("%s: partition folders %v, and %v elsewhere: all files need the same", local, ks, names)
		}
		if len(files) == MaxFiles {
			return fmt.Errorf("%s: over %d files", p.Path, MaxFiles)
		}
		names = ks
		files = append(files, LocalFile{Local: local, Path: rel, Values: values})
		return nil
	})
	if err != nil {
		return nil, nil, "", fmt.Errorf("add a dataset: %w", err)
	}
	if len(files) == 0 {
		return nil, nil, "", fmt.Errorf("add a dataset: %s holds no files", p.Path)
	}
	slices.SortFunc(files, func(a, b LocalFile) int { return strings.Compare(a.Path, b.Path) })
	for k, name := range names {
		keys = append(keys, Column{Name: name, Type: keyType(files, k)})
	}
	return files, keys, format, nil
}

func (p AddPlan) formatFor(local, before string) (string, error) {
	format, err := p.Format, error(nil)
	if format == "" {
		if format, err = formatOf(local); err != nil {
			return "", err
		}
	} else if _, err := formatOf(local); err != nil && strings.Contains(err.Error(), "database file") {
		return "", err
	}
	if before != "" && format != before {
		return "", fmt.Errorf("%s is %s and the files before it are %s: a dataset has one format", local, format, before)
	}
	return format, nil
}

// partitions reads the folders key=value of a path.
func partitions(rel string) (keys, values []string, err error) {
	keys, values = []string{}, []string{}
	for dir := range strings.SplitSeq(path.Dir(rel), "/") {
		k, v, ok := strings.Cut(dir, "=")
		if !ok {
			continue
		}
		if k == "" || len(keys) == MaxKeys {
			return nil, nil, fmt.Errorf("%s: not a partition path", rel)
		}
		keys, values = append(keys, k), append(values, v)
	}
	return keys, values, nil
}

// keyType is BIGINT when every value of partition column k is a plain integer, DATE when every one is YYYY-MM-DD, else
// VARCHAR.
func keyType(files []LocalFile, k int) string {
	integer, date := true, true
	for _, f := range files {
		v := f.Values[k]
		if v == hiveNull {
			continue
		}
		digits := strings.Trim(v, "0123456789") == "" && v != "" && len(v) <= 18
		integer = integer && digits && (v == "0" || v[0] != '0')
		date = date && len(v) == 10 && v[4] == '-' && v[7] == '-' && strings.Trim(v, "-0123456789") == ""
	}
	switch {
	case integer:
		return "BIGINT"
	case date:
		return "DATE"
	}
	return "VARCHAR"
}

func stampOf(f *os.File) (stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	if !info.Mode().IsRegular() {
		return stamp{}, fmt.Errorf("%s is not a regular file", f.Name())
	}
	s := stamp{size: info.Size(), mtimeNs: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s, nil
}

// read streams the file to the store, with its digest taken on the way.
func (f *LocalFile) read(ctx context.Context, store Store) error {
	file, err := os.Open(f.Local)
	if err != nil {
		return fmt.Errorf("add a dataset: %w", err)
	}
	defer file.Close()
	if f.stamp, err = stampOf(file); err != nil {
		return fmt.Errorf("add a dataset: %w", err)
	}
	if f.stamp.size == 0 {
		return fmt.Errorf("add a dataset: %s is empty", f.Local)
	}
	if f.stamp.size > MaxFileBytes {
		return fmt.Errorf("add a dataset: %s is over %d bytes", f.Local, int64(MaxFileBytes))
	}
	h := sha256.New()
	n := &counter{}
	kept, err := store.Put(ctx, io.TeeReader(io.LimitReader(file, f.stamp.size+1), io.MultiWriter(h, n)))
	if err != nil {
		return fmt.Errorf("add %s: %w", f.Local, err)
	}
	h.Sum(f.Digest[:0])
	f.Bytes = n.bytes
	if after, err := stampOf(file); err != nil || after != f.stamp || int64(n.bytes) != f.stamp.size {
		return fmt.Errorf("%s %w", f.Local, ErrChanged)
	}
	if kept != f.Digest {
		return fmt.Errorf("%s: read as %s and kept as %s: it %w", f.Local, f.Digest.Short(), kept.Short(), ErrChanged)
	}
	return f.unchanged()
}

type counter struct{ bytes uint64 }

func (c *counter) Write(b []byte) (int, error) {
	c.bytes += uint64(len(b))
	return len(b), nil
}

// unchanged looks at the name again: it must be the file that was read, as it was read.
func (f *LocalFile) unchanged() error {
	file, err := os.Open(f.Local)
	if err != nil {
		return fmt.Errorf("%s %w", f.Local, ErrChanged)
	}
	defer file.Close()
	if now, err := stampOf(file); err != nil || now != f.stamp {
		return fmt.Errorf("%s %w", f.Local, ErrChanged)
	}
	return nil
}
