package node

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// planNative resolves the image and the inputs of a program against the newest committed state, and builds the work.
func (n *Node) planNative(ctx context.Context, req api.NativeRequest) (*planned, error) {
	state := n.ledger.head.Load().state
	p, err := n.quorum(state, req.R, req.Q)
	if err != nil {
		return nil, err
	}
	policy, err := n.nativePolicy(state, req.Policy)
	if err != nil {
		return nil, err
	}
	image, err := n.resolve(images, state, req.Image)
	if err != nil {
		return nil, err
	}
	if m, ok := state.Manifest(image.Manifest); !ok || len(m.Held) == 0 {
		return nil, api.Unavailable("wait until it is; see: bpi image show "+image.Name, "image %s@%d is held by no peer yet", image.Name, image.Version)
	}
	p.image = &api.ResolvedImage{Ref: req.Image, Name: image.Name, Version: image.Version, Digest: image.Manifest}
	w := &receipt.Work{
		Kind: enc.KindNative, Engine: image.Manifest, Policy: req.Policy, CPUClass: policy.Determinism.CPUClass,
		Args: req.Args, Env: slices.Clone(req.Env), Stdin: req.Stdin, EpochNs: req.EpochNs, Limits: nativeLimits(policy, &req.Limits),
		Workdir: cmp.Or(req.Workdir, cage.DefaultWorkdir), Outs: slices.Clone(req.Outs),
	}
	if w.EpochNs == 0 {
		w.EpochNs = analytics.DefaultEpochNs
	}
	slices.SortFunc(w.Env, byVariable)
	slices.Sort(w.Outs)
	for _, in := range req.Inputs {
		if err := n.nativeInput(ctx, state, p, w, in); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(w.Inputs, func(a, b receipt.Input) int { return strings.Compare(a.Path, b.Path) })
	if req.Seed != nil {
		w.Seed = *req.Seed
	} else {
		w.Seed = digest.Sum("native/seed/1", canon.Must(w)) // of all else, so that equal jobs are equal
	}
	if err := enc.CheckWork(w); err != nil {
		return nil, api.Malformed("", "%v", err)
	}
	spec, err := CageSpec(w)
	if err == nil {
		err = policy.Admit(&spec)
	}
	if err != nil {
		return nil, api.Malformed("", "%v", err)
	}
	p.work = w
	if job, ok := n.ledger.sealedWork(ctx, w.Digest()); ok && !req.Fresh {
		p.reuse = &job
	}
	if policy.Mode == cage.ModeRelaxed {
		p.warnings = append(p.warnings, fmt.Sprintf("policy %s lets threads race as the machine has them: the peers may come to different results", policy.Name))
	}
	return p, nil
}

// byVariable orders NAME=value by NAME.
func byVariable(a, b string) int {
	x, _, _ := strings.Cut(a, "=")
	y, _, _ := strings.Cut(b, "=")
	return strings.Compare(x, y)
}

// nativePolicy finds a policy that programs in images can run under, and that somebody on this chain offers.
func (n *Node) nativePolicy(s *enc.State, d digest.Digest) (*cage.Policy, error) {
	policy, ok := cage.PolicyOf(d)
	switch {
	case !ok:
		return nil, api.NotFound("what this peer knows: bpi policy list", "policy sha256:%s is not known to this peer", d)
	case policy.Mode == cage.ModeSealed:
		return nil, api.Malformed("use policy "+cage.PolicyStrict, "policy %s is for engines that bring their own clock and randomness, not for programs in images", policy.Name)
	case !s.PolicyOffered(d):
		return nil, api.Unavailable("see why: bpi policy check "+policy.Name, "policy %s is offered by no executor of chain %s", policy.Name, n.genesis.DisplayName())
	}
	return policy, nil
}

// nativeLimits are the policy's, but for those that were asked for.
func nativeLimits(p *cage.Policy, l *api.Limits) receipt.Limits {
	d := p.Limits()
	return receipt.Limits{
		MemoryBytes: cmp.Or(l.MemoryBytes, d.MemoryBytes), OutputBytes: cmp.Or(l.OutputBytes, d.OutputBytes),
		Files: cmp.Or(l.Files, d.Files), Processes: cmp.Or(l.Processes, d.Processes),
		CPUMs: cmp.Or(l.CPUMs, d.CPUMs), WallMs: cmp.Or(l.WallMs, d.WallMs),
		Calls: cmp.Or(l.Calls, d.Calls), VirtualMs: cmp.Or(l.VirtualMs, d.VirtualMs), Spawned: cmp.Or(l.Spawned, d.Spawned),
	}
}

// nativeInput adds what a program finds at /in/NAME: a data set's files below it, or one blob in its place.
func (n *Node) nativeInput(ctx context.Context, s *enc.State, p *planned, w *receipt.Work, in api.NativeInput) error {
	if strings.Contains(in.Name, "/") {
		return api.Malformed("", "input %.80q: want a plain name", in.Name)
	}
	if d, err := digest.Parse(strings.TrimPrefix(in.Ref, "sha256:")); err == nil {
		_, bytes, ok := s.BlobManifest(d)
		if !ok {
			return api.NotFound("add it with: bpi dataset add FILE --name NAME", "input %.80q: blob sha256:%s belongs to no dataset of chain %s", in.Name, d, n.genesis.DisplayName())
		}
		w.Inputs = append(w.Inputs, receipt.Input{Path: in.Name, Digest: d, Bytes: bytes, Origin: "blob"})
		return nil
	}
	d, err := n.dataset(ctx, s, in.Ref)
	if err != nil {
		return err
	}
	p.resolved = append(p.resolved, d.resolved)
	for _, f := range d.manifest.Files {
		w.Inputs = append(w.Inputs, receipt.Input{Path: path.Join(in.Name, f.Path), Digest: f.Digest, Bytes: f.Bytes, Origin: "dataset:" + d.origin()})
	}
	return nil
}

// PlanNative implements api.Backend.
func (b *backend) PlanNative(ctx context.Context, req api.NativeRequest) (api.Plan, error) {
	p, err := b.n.planNative(ctx, req)
	if err != nil {
		return api.Plan{}, err
	}
	return b.plan(p), nil
}
