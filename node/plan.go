package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// planned is a checked SQL job that only lacks a signature.
type planned struct {
	work     *receipt.Work
	r, q     uint32
	resolved []api.ResolvedDataset
	warnings []string
	spec     analytics.JobSpec
	reuse    *digest.Digest
}

// plan resolves the datasets against the newest committed state, builds the work, and has the engine check the query.
func (n *Node) plan(ctx context.Context, req api.PlanRequest) (*planned, error) {
	state := n.ledger.head.Load().state
	engine, _, ok := state.Engine(enc.KindSQL)
	if !ok {
		return nil, api.Unavailable("", "the chain names no SQL engine")
	}
	p := &planned{r: req.R, q: req.Q}
	if p.r == 0 {
		p.r = min(3, max(1, n.executors(state)))
	}
	if p.q == 0 {
		p.q = p.r/2 + 1
	}
	if p.r > enc.MaxPeersPerRound || p.q > p.r || 2*p.q <= p.r {
		return nil, api.Malformed("", "r=%d, q=%d: want r of at most %d, and q of more than half of r and at most r", p.r, p.q, enc.MaxPeersPerRound)
	}
	spec := analytics.JobSpec{
		Engine: engine, Policy: cage.Sealed().Digest(), SQL: req.SQL, EpochNs: req.EpochNs,
		Limits: receipt.Limits{MemoryBytes: req.MemoryBytes, OutputBytes: req.OutputBytes, CPUMs: req.CPUMs, WallMs: req.WallMs},
	}
	if req.Seed != nil {
		spec.Seed = *req.Seed
	}
	for _, ref := range req.Datasets {
		d, err := n.resolve(ctx, state, ref)
		if err != nil {
			return nil, err
		}
		p.resolved = append(p.resolved, d.resolved)
		spec.Datasets = append(spec.Datasets, analytics.Dataset{Table: d.resolved.Name, Origin: d.origin(), Manifest: d.manifest})
	}
	p.spec = spec
	var err error
	if p.work, err = analytics.Job(spec); err != nil {
		return nil, api.Malformed("", "%v", err)
	}
	if job, ok := n.ledger.sealedWork(ctx, p.work.Digest()); ok && !req.Fresh {
		p.reuse = &job
	}
	checked, err := n.sql.check(ctx, spec)
	var failure *analytics.Failure
	switch {
	case errors.As(err, &failure):
		return nil, sqlProblem(failure)
	case errors.Is(err, errNoCage):
		p.warnings = append(p.warnings, "this peer has no cage, so it could not check the query; the executors will")
	case err != nil:
		return nil, fmt.Errorf("check the query: %w", err)
	default:
		var tables []analytics.Table
		for _, d := range spec.Datasets {
			tables = append(tables, d.Manifest.Table(d.Table))
		}
		p.warnings = analytics.Warnings(checked, tables)
	}
	return p, nil
}

// executors counts the nodes that take work.
func (n *Node) executors(s *enc.State) uint32 {
	var count uint32
	for _, x := range s.Nodes() {
		if x.Registered && x.Slots > 0 && !x.Draining {
			count++
		}
	}
	return count
}

// dataset is a data set with its manifest at hand.
type dataset struct {
	resolved api.ResolvedDataset
	entry    *enc.Dataset
	manifest *analytics.Manifest
	encoded  []byte
}

func (d *dataset) origin() string { return fmt.Sprintf("%s@%d", d.resolved.Name, d.resolved.Version) }

// resolve finds what a reference means in a committed state.
func (n *Node) resolve(ctx context.Context, s *enc.State, text string) (*dataset, error) {
	ref, err := analytics.ResolveRef(text)
	if err != nil {
		return nil, api.Malformed("", "%v", err)
	}
	latest, ok := s.Dataset(ref.Name, 0)
	if !ok {
		return nil, api.NotFound("add it with: bpi dataset add FILE --name "+ref.Name, "dataset %q is not registered on chain %s", ref.Name, n.genesis.DisplayName())
	}
	entry := latest
	switch {
	case ref.Version != 0:
		if entry, ok = s.Dataset(ref.Name, ref.Version); !ok {
			return nil, api.NotFound("", "dataset %q has no version %d on chain %s; the newest is %d", ref.Name, ref.Version, n.genesis.DisplayName(), latest.Version)
		}
	case !ref.Manifest.IsZero():
		for v := latest.Version; entry.Manifest != ref.Manifest; v-- {
			if entry, ok = s.Dataset(ref.Name, v); !ok || v == 0 {
				return nil, api.NotFound("", "dataset %q has no version with manifest sha256:%s on chain %s", ref.Name, ref.Manifest, n.genesis.DisplayName())
			}
		}
	}
	_, size, ok := s.BlobManifest(entry.Manifest)
	if !ok || size > analytics.MaxManifestBytes {
		return nil, fmt.Errorf("dataset %s: its manifest of %d bytes is not acceptable", text, size)
	}
	encoded, err := n.blobs.read(ctx, enc.BlobRef{Digest: entry.Manifest, Bytes: size})
	if err != nil {
		return nil, api.Unavailable("start a peer that holds it", "the manifest of dataset %q cannot be had: %v", ref.Name, err)
	}
	m, err := analytics.DecodeManifest(encoded)
	if err != nil {
		return nil, api.Malformed("ask the owner to add the dataset again", "dataset %q: what was published is no manifest: %v", ref.Name, err)
	}
	return &dataset{
		resolved: api.ResolvedDataset{Ref: text, Name: ref.Name, Version: entry.Version, Manifest: entry.Manifest},
		entry:    entry, manifest: m, encoded: encoded,
	}, nil
}

// read gives a small blob, fetched if need be.
func (b *blobs) read(ctx context.Context, ref enc.BlobRef) ([]byte, error) {
	if err := b.fetch(ctx, ref); err != nil {
		return nil, err
	}
	path, err := b.store.Path(ref.Digest)
	if err != nil {
		return nil, err
	}
	return readBounded(path)
}

// PlanSQL implements api.Backend.
func (b *backend) PlanSQL(ctx context.Context, req api.PlanRequest) (api.Plan, error) {
	p, err := b.n.plan(ctx, req)
	if err != nil {
		return api.Plan{}, err
	}
	out := api.Plan{
		Work: canon.Must(p.work), WorkDigest: p.work.Digest(), R: p.r, Q: p.q, Datasets: p.resolved, Warnings: p.warnings,
		Reuse: p.reuse, Chain: b.chain(), TimeMs: b.n.ledger.nowMs(),
	}
	if req.Explain {
		if out.Explain, err = b.n.sql.explain(ctx, p.spec); err != nil {
			return api.Plan{}, fmt.Errorf("explain the query: %w", err)
		}
	}
	return out, nil
}

// noteFor is a query's beginning, for lists of jobs.
func noteFor(sql string) string {
	return clipText(strings.Join(strings.Fields(sql), " "), 120)
}
