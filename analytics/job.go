package analytics

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// KindSQL is receipt.Work.Kind of a query.
const KindSQL = "sql"

// CPUClass is what the worker is built for: its libm is bound to the plain x86-64 variants at link time, so the class
// asks nothing of the executor's CPU.
const CPUClass = "x86-64-v2"

// DefaultEpochNs is the virtual clock's start unless the client gives another: 2025-01-01T00:00:00Z. A constant, so
// that the same query has the same answer tomorrow and its receipt can be reused.
const DefaultEpochNs = 1735689600_000000000

// Default limits of a job.
const (
	DefaultMemoryBytes = 512 << 20
	DefaultOutputBytes = 64 << 20
	DefaultCPUMs       = 60_000
	DefaultWallMs      = 120_000
	DefaultOpenFiles   = 64
)

// engineBytes is what the worker itself needs beside the engine's memory limit.
const engineBytes = 512 << 20

// JobSpec is a query over resolved datasets.
type JobSpec struct {
	Engine   digest.Digest // the SQL engine in force
	Policy   digest.Digest
	Action   string // "" is ActionQuery
	SQL      string
	TimeZone string // "" is UTC
	Datasets []Dataset
	Seed     digest.Digest  // zero: derived from request and datasets
	EpochNs  uint64         // 0 is DefaultEpochNs
	Limits   receipt.Limits // zero fields take the defaults; MemoryBytes is the engine's memory limit
}

// Dataset is a manifest under the name that the query uses.
type Dataset struct {
	Table    string // the table's name
	Origin   string // the resolution, "users@3"; shown in receipts as "dataset:users@3"
	Manifest *Manifest
}

// Job builds the work of a query. Equal specs give equal work, whoever builds it.
func Job(s JobSpec) (*receipt.Work, error) {
	if s.Engine.IsZero() {
		return nil, errors.New("the chain names no SQL engine")
	}
	limits := withDefaults(s.Limits)
	req := Request{Version: RequestVersion, Action: s.Action, SQL: s.SQL, TimeZone: s.TimeZone, MemoryBytes: limits.MemoryBytes}
	if req.Action == "" {
		req.Action = ActionQuery
	}
	if req.TimeZone == "" {
		req.TimeZone = "UTC"
	}
	var inputs []receipt.Input
	sets := slices.Clone(s.Datasets)
	slices.SortFunc(sets, func(a, b Dataset) int { return strings.Compare(a.Table, b.Table) })
	var names [][]byte
	for _, d := range sets {
		if d.Manifest == nil {
			return nil, fmt.Errorf("dataset %q has no manifest", d.Table)
		}
		if err := d.Manifest.Validate(); err != nil {
			return nil, fmt.Errorf("dataset %q: %w", d.Table, err)
		}
		req.Tables = append(req.Tables, d.Manifest.Table(d.Table))
		for i, f := range d.Manifest.Files {
			inputs = append(inputs, receipt.Input{Path: InputPath(d.Table, i, d.Manifest.Format), Digest: f.Digest, Bytes: f.Bytes, Origin: "dataset:" + d.Origin})
		}
		id := d.Manifest.Digest()
		names = append(names, id[:])
	}
	slices.SortFunc(inputs, func(a, b receipt.Input) int { return strings.Compare(a.Path, b.Path) })
	stdin, err := req.Encode()
	if err != nil {
		return nil, err
	}
	w := &receipt.Work{
		Kind: KindSQL, Engine: s.Engine, Policy: s.Policy, CPUClass: CPUClass,
		Args: []string{"sql-worker"}, Env: []string{}, Stdin: stdin, Inputs: inputs,
		Seed: s.Seed, EpochNs: s.EpochNs, Limits: limits,
	}
	w.Limits.MemoryBytes += engineBytes
	if w.Seed.IsZero() {
		w.Seed = digest.Sum("analytics/seed/1", append([][]byte{stdin}, names...)...)
	}
	if w.EpochNs == 0 {
		w.EpochNs = DefaultEpochNs
	}
	return w, nil
}

func withDefaults(l receipt.Limits) receipt.Limits {
	def := func(v *uint64, d uint64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.MemoryBytes, DefaultMemoryBytes)
	def(&l.OutputBytes, DefaultOutputBytes)
	def(&l.CPUMs, DefaultCPUMs)
	def(&l.WallMs, DefaultWallMs)
	if l.Files == 0 {
		l.Files = DefaultOpenFiles
	}
	l.Processes = 1
	return l
}

// InputPath is where the worker finds file i of a table, below /in.
func InputPath(table string, i int, format string) string {
	return fmt.Sprintf("%s/%d.%s", table, i, format)
}

// ReuseKey names everything that a result depends on: two jobs with the same key have the same answer, and the older
// receipt is it.
func ReuseKey(w *receipt.Work) digest.Digest { return digest.Sum("analytics/reuse/1", canon.Must(w)) }
