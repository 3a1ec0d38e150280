package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

const (
	maxLocalRuns   = 4        // checks, sniffs and explanations at once
	maxLocalOutput = 16 << 20 // bytes that one of them may answer with
	maxChecked     = 1024     // remembered checks
)

// sqlService runs the SQL engine for this node itself, in the same cage as jobs: to check a query before it is signed,
// to explain it, and to find the schema of files. Nothing that it finds is agreed on.
type sqlService struct {
	x     *executor
	dir   string
	slots chan struct{}

	mu      sync.Mutex
	checked map[digest.Digest]*analytics.Checked // by work digest; only what passed
	order   []digest.Digest
}

func newSQLService(x *executor, dir string) *sqlService {
	return &sqlService{x: x, dir: dir, slots: make(chan struct{}, maxLocalRuns), checked: map[digest.Digest]*analytics.Checked{}}
}

// errNoCage says that this machine cannot run the engine.
var errNoCage = errors.New("this node has no cage")

// run executes a work here and gives what the worker left.
func (s *sqlService) run(ctx context.Context, w *receipt.Work) (stdout, stderr []byte, exit int, err error) {
	if s.x.engine == nil {
		return nil, nil, 0, errNoCage
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return nil, nil, 0, ctx.Err()
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, nil, 0, err
	}
	dir, err := os.MkdirTemp(s.dir, "run-")
	if err != nil {
		return nil, nil, 0, err
	}
	defer os.RemoveAll(dir)
	name := "local/" + filepath.Base(dir)
	defer s.x.blobs.store.Unuse(name)
	for _, in := range w.Inputs {
		s.x.blobs.store.Use(in.Digest, name)
		if err := s.x.blobs.fetch(ctx, enc.BlobRef{Digest: in.Digest, Bytes: in.Bytes}); err != nil {
			return nil, nil, 0, fmt.Errorf("input %s: %w", in.Path, err)
		}
	}
	o, err := s.x.Execute(ctx, digest.Digest{}, w, dir)
	if err != nil {
		return nil, nil, 0, err
	}
	if o.Killed != "" {
		return nil, nil, 0, fmt.Errorf("the engine was stopped by its cage: %s", o.Killed)
	}
	if stdout, err = readBounded(filepath.Join(dir, cage.OutputStdout)); err != nil {
		return nil, nil, 0, err
	}
	stderr, err = readBounded(filepath.Join(dir, cage.OutputStderr))
	return stdout, stderr, int(o.ExitCode), err
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxLocalOutput))
}

// check prepares a query without running it. The engine's refusal is an *analytics.Failure.
func (s *sqlService) check(ctx context.Context, spec analytics.JobSpec) (*analytics.Checked, error) {
	spec.Action = analytics.ActionCheck
	spec.Limits.WallMs, spec.Limits.CPUMs = 0, 0 // the job's are for running it; this only reads the query
	w, err := analytics.Job(spec)
	if err != nil {
		return nil, err
	}
	id := w.Digest()
	s.mu.Lock()
	known := s.checked[id]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	stdout, stderr, exit, err := s.run(ctx, w)
	if err != nil {
		return nil, err
	}
	if f := analytics.ParseFailure(exit, stderr); f != nil {
		return nil, f
	}
	c, err := analytics.ParseCheck(stdout)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.checked[id] == nil {
		s.checked[id] = c
		if s.order = append(s.order, id); len(s.order) > maxChecked {
			delete(s.checked, s.order[0])
			s.order = s.order[1:]
		}
	}
	return c, nil
}

// explain is the engine's plan of a query, as text.
func (s *sqlService) explain(ctx context.Context, spec analytics.JobSpec) (string, error) {
	spec.Action = analytics.ActionExplain
	spec.Limits.WallMs, spec.Limits.CPUMs = 0, 0
	w, err := analytics.Job(spec)
	if err != nil {
		return "", err
	}
	stdout, stderr, exit, err := s.run(ctx, w)
	if err != nil {
		return "", err
	}
	if f := analytics.ParseFailure(exit, stderr); f != nil {
		return "", f
	}
	return analytics.ParseExplain(stdout)
}

// Sniff implements analytics.Sniffer over blobs that this node holds.
func (s *sqlService) Sniff(ctx context.Context, req []byte, files []analytics.LocalFile) (stdout, stderr []byte, exit int, err error) {
	engine, _, ok := s.x.ledger.head.Load().state.Engine(enc.KindSQL)
	if !ok {
		return nil, nil, 0, errors.New("the chain names no SQL engine")
	}
	w, err := analytics.SniffWork(engine, cage.Sealed().Digest(), req, files)
	if err != nil {
		return nil, nil, 0, err
	}
	return s.run(ctx, w)
}

// sqlProblem turns the engine's refusal into the API's.
func sqlProblem(f *analytics.Failure) *api.Error {
	p := api.SQLProblem{Kind: f.Kind, Message: f.Message, Position: -1}
	if f.Position != nil {
		p.Position = *f.Position
	}
	next := "correct the query"
	if f.Kind == "gate" {
		next = "ask with one SELECT over the datasets"
	}
	return api.BadSQL(p, next)
}
