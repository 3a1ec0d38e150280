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

// planned is a checked job that only lacks a signature.
type planned struct {
	work     *receipt.Work
	r, q     uint32
	resolved []api.ResolvedDataset
	image    *api.ResolvedImage // kind "native"
	warnings []string
	spec     analytics.JobSpec // kind "sql"
	explain  string            // the engine's plan as another peer's engine gave it; "" if this one's can
	reuse    *digest.Digest
}

// plan resolves the datasets against the newest committed state, builds the work, and has the engine check the query.
func (n *Node) plan(ctx context.Context, req api.PlanRequest) (*planned, error) {
	state := n.ledger.head.Load().state
	engine, _, ok := state.Engine(enc.KindSQL)
	if !ok {
		return nil, api.Unavailable("", "the chain names no SQL engine")
	}
	p, err := n.quorum(state, req.R, req.Q)
	if err != nil {
		return nil, err
	}
	spec := analytics.JobSpec{
		Engine: engine, Policy: cage.Sealed().Digest(), SQL: req.SQL, EpochNs: req.EpochNs,
		Limits: receipt.Limits{MemoryBytes: req.MemoryBytes, OutputBytes: req.OutputBytes, CPUMs: req.CPUMs, WallMs: req.WallMs},
	}
	if req.Seed != nil {
		spec.Seed = *req.Seed
	}
	for _, ref := range req.Datasets {
		d, err := n.dataset(ctx, state, ref)
		if err != nil {
			return nil, err
		}
		p.resolved = append(p.resolved, d.resolved)
		spec.Datasets = append(spec.Datasets, analytics.Dataset{Table: d.resolved.Name, Origin: d.origin(), Manifest: d.manifest})
	}
	p.spec = spec
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
		warnings, explain, by, err := n.checkElsewhere(ctx, req, p)
		var refused *api.Error
		switch {
		case errors.As(err, &refused):
			return nil, refused
		case err != nil:
			n.log.Info("no executor checked a query for this node", "err", err)
			p.warnings = append(p.warnings, "this peer has no cage and no other checked the query; the executors will")
		default:
			p.warnings, p.explain = append(warnings, "this peer has no cage; "+by+" checked the query"), explain
		}
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

// quorum begins a plan with the peers asked for, or the network's usual ones.
func (n *Node) quorum(s *enc.State, r, q uint32) (*planned, error) {
	p := &planned{r: r, q: q, resolved: []api.ResolvedDataset{}}
	if p.r == 0 {
		p.r = min(3, max(1, n.executors(s)))
	}
	if p.q == 0 {
		p.q = p.r/2 + 1
	}
	if p.r > enc.MaxPeersPerRound || p.q > p.r || 2*p.q <= p.r {
		return nil, api.Malformed("", "r=%d, q=%d: want r of at most %d, and q of more than half of r and at most r", p.r, p.q, enc.MaxPeersPerRound)
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
	entry    *enc.Published
	manifest *analytics.Manifest
	encoded  []byte
}

func (d *dataset) origin() string { return fmt.Sprintf("%s@%d", d.resolved.Name, d.resolved.Version) }

// dataset finds what a reference means in a committed state, and fetches its manifest.
func (n *Node) dataset(ctx context.Context, s *enc.State, text string) (*dataset, error) {
	entry, err := n.resolve(datasets, s, text)
	if err != nil {
		return nil, err
	}
	_, size, ok := s.BlobManifest(entry.Manifest)
	if !ok || size > analytics.MaxManifestBytes {
		return nil, fmt.Errorf("dataset %s: its manifest of %d bytes is not acceptable", text, size)
	}
	encoded, err := n.blobs.read(ctx, enc.BlobRef{Digest: entry.Manifest, Bytes: size})
	if err != nil {
		return nil, api.Unavailable("start a peer that holds it", "the manifest of dataset %q cannot be had: %v", entry.Name, err)
	}
	m, err := analytics.DecodeManifest(encoded)
	if err != nil {
		return nil, api.Malformed("ask the owner to add the dataset again", "dataset %q: what was published is no manifest: %v", entry.Name, err)
	}
	return &dataset{
		resolved: api.ResolvedDataset{Ref: text, Name: entry.Name, Version: entry.Version, Manifest: entry.Manifest},
		entry:    entry, manifest: m, encoded: encoded,
	}, nil
}

func (b *backend) plan(p *planned) api.Plan {
	return api.Plan{
		Work: canon.Must(p.work), WorkDigest: p.work.Digest(), R: p.r, Q: p.q, Datasets: p.resolved, Image: p.image, Warnings: p.warnings,
		Reuse: p.reuse, Chain: b.chain(), TimeMs: b.n.ledger.nowMs(),
	}
}

// PlanSQL implements api.Backend.
func (b *backend) PlanSQL(ctx context.Context, req api.PlanRequest) (api.Plan, error) {
	p, err := b.n.plan(ctx, req)
	if err != nil {
		return api.Plan{}, err
	}
	out := b.plan(p)
	if out.Explain = p.explain; req.Explain && out.Explain == "" {
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
