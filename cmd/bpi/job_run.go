package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

func jobRunCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "run a program in a published image on several peers, and wait for its sealed result", ArgsUsage: "-- PROGRAM [ARGUMENT…]",
		Description: "Standard output and standard error are the program's, once the peers agree on them. If it failed, that is the sealed\n" +
			"result too, and the exit code here is 3. Of the same image, policy, inputs, seed and epoch come the same bytes.",
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "image", Usage: "`NAME`, name@version or name@sha256:… of a published image"},
			&cli.StringFlag{Name: "policy", Value: cage.PolicyStrict, Usage: "`NAME` or digest of the rules that it runs under"},
			manyFlag("in", "show the files of a dataset at /in/NAME/, as `NAME=DATASET`, or one blob that peers hold at /in/NAME, as NAME=DIGEST; may be given more than once"),
			manyFlag("out", "bring what the program leaves in /out/NAME to the folder NAME here, or to PATH: `NAME[=PATH]`; may be given more than once"),
			&cli.BoolFlag{Name: "force", Usage: "replace a folder of outputs that is not empty"},
			manyFlag("env", "set a variable: `NAME=VALUE`; may be given more than once"),
			&cli.StringFlag{Name: "workdir", Usage: "start in this `FOLDER` (default: /work)"},
			&cli.StringFlag{Name: "stdin", Usage: "give the program this `FILE` as its standard input; - is this command's own (default: none)"},
			manyFlag("limit", "bound the run, as `cpu=10s,mem=1g`: cpu, wall, time, mem, out, files, procs, started, calls (default: the policy's)"),
			&cli.StringFlag{Name: "epoch", Usage: "`MOMENT` at which the program's clock begins (default: 2026-01-01T00:00:00Z)"},
			&cli.StringFlag{Name: "seed", Usage: "64 hexadecimal `DIGITS` from which the program's randomness comes (default: rng_seed of the configuration, or drawn from the work)"},
		}, submitFlags()...), agreementFlags()...),
		Action: action(jobRun),
	}
}

// runRequest reads the flags of a program's job, and the places of its outputs.
func runRequest(c *cli.Context, e *env) (req api.NativeRequest, outs []place, err error) {
	if req.Image = c.String("image"); req.Image == "" {
		return req, nil, usageError(errors.New("bpi job run: no image; name one with --image, or publish one with: bpi image add ROOTDIR --name NAME"))
	}
	if _, err := enc.ParseRef("image", req.Image); err != nil {
		return req, nil, usageError(err)
	}
	if req.Args = c.Args().Slice(); len(req.Args) == 0 || req.Args[0] == "" {
		return req, nil, usageError(errors.New("bpi job run: no program; give it after --, as: bpi job run --image base -- echo hello"))
	}
	policy, err := networkPolicy(c.String("policy"))
	if err != nil {
		return req, nil, err
	}
	req.Policy = policy.Digest()
	if req.Inputs, err = parseRefs(many(c, "in")); err != nil {
		return req, nil, usageError(err)
	}
	if outs, err = parseOut(many(c, "out")); err != nil {
		return req, nil, usageError(err)
	}
	for _, o := range outs {
		if err := checkOut(o, c.Bool("force")); err != nil {
			return req, nil, err
		}
		req.Outs = append(req.Outs, o.name)
	}
	if req.Env, err = parseEnv(many(c, "env")); err != nil {
		return req, nil, usageError(err)
	}
	if req.Workdir, err = parseWorkdir(c.String("workdir")); err != nil {
		return req, nil, usageError(err)
	}
	limits, err := parseLimits(cage.Limits{}, many(c, "limit"))
	if err != nil {
		return req, nil, usageError(err)
	}
	req.Limits = api.Limits{
		MemoryBytes: limits.MemoryBytes, OutputBytes: limits.OutputBytes, Files: limits.Files, Processes: limits.Processes,
		CPUMs: limits.CPUMs, WallMs: limits.WallMs, Calls: limits.Calls, VirtualMs: limits.VirtualMs, Spawned: limits.Spawned,
	}
	if req.EpochNs, err = parseEpoch(c.String("epoch")); err != nil {
		return req, nil, usageError(err)
	}
	if req.Seed, err = jobSeed(c, e); err != nil {
		return req, nil, err
	}
	if req.R, req.Q, err = agreementOf(c); err != nil {
		return req, nil, err
	}
	req.Fresh = c.Bool("fresh")
	req.Stdin, err = readStdin(c.String("stdin"))
	return req, outs, err
}

// networkPolicy finds a policy that a job in an image can name: the peers must know it, so it is a shipped one.
func networkPolicy(ref string) (*cage.Policy, error) {
	if isPolicyFile(ref) {
		return nil, usageError(fmt.Errorf("policy %s: a file is for local runs; the peers of a network know the policies of: bpi policy list", ref))
	}
	p, err := policyNamed(ref)
	if err != nil {
		return nil, err
	}
	if p.Mode == cage.ModeSealed {
		return nil, fmt.Errorf("policy %s is for engines that bring their own clock and randomness, not for programs in images; use %s", p.Name, cage.PolicyStrict)
	}
	return p, nil
}

// parseRefs reads NAME=DATASET and NAME=DIGEST.
func parseRefs(list []string) ([]api.NativeInput, error) {
	var out []api.NativeInput
	for _, v := range list {
		name, ref, ok := strings.Cut(v, "=")
		if !ok || !plainFileName(name) || ref == "" {
			return nil, fmt.Errorf("--in %.80q: want NAME=DATASET or NAME=DIGEST, where NAME is one plain name", v)
		}
		if _, blob := blobRef(ref); !blob {
			if _, err := enc.ParseRef("dataset", ref); err != nil {
				return nil, fmt.Errorf("--in %.80q: %w; files of this machine are published with: bpi dataset add", v, err)
			}
		}
		if slices.ContainsFunc(out, func(in api.NativeInput) bool { return in.Name == name }) {
			return nil, fmt.Errorf("--in %.80q: there is another input called %s", v, name)
		}
		out = append(out, api.NativeInput{Name: name, Ref: ref})
	}
	return out, nil
}

// blobRef tells a blob's digest from a dataset's name, which is never that long.
func blobRef(ref string) (digest.Digest, bool) {
	d, err := digest.Parse(strings.TrimPrefix(ref, "sha256:"))
	return d, err == nil
}

// checkRun compares what a peer wants signed with what was asked for. What a name stands for, the peer says; all else is
// the caller's own.
func checkRun(p *api.Plan, w *receipt.Work, req *api.NativeRequest) error {
	outs := slices.Clone(req.Outs)
	slices.Sort(outs)
	asked, have := &req.Limits, &w.Limits
	switch {
	case w.Kind != enc.KindNative:
		return fmt.Errorf("its kind is %.20q", w.Kind)
	case w.Digest() != p.WorkDigest:
		return errors.New("its digest is another")
	case w.Policy != req.Policy:
		return errors.New("its policy is another")
	case !slices.Equal(w.Args, req.Args):
		return errors.New("its program or arguments are others")
	case len(w.Env) != len(req.Env) || slices.ContainsFunc(w.Env, func(v string) bool { return !slices.Contains(req.Env, v) }):
		return errors.New("its environment is another")
	case string(w.Stdin) != string(req.Stdin):
		return errors.New("its standard input is another")
	case w.Workdir != req.Workdir || !slices.Equal(w.Outs, outs):
		return errors.New("its folders are others")
	case w.EpochNs != req.EpochNs, req.Seed != nil && w.Seed != *req.Seed:
		return errors.New("its clock or seed is another")
	case p.Image == nil || p.Image.Ref != req.Image || p.Image.Digest != w.Engine:
		return errors.New("its image is another")
	}
	for _, l := range []struct{ asked, have uint64 }{
		{asked.MemoryBytes, have.MemoryBytes}, {asked.OutputBytes, have.OutputBytes}, {uint64(asked.Files), uint64(have.Files)},
		{uint64(asked.Processes), uint64(have.Processes)}, {asked.CPUMs, have.CPUMs}, {asked.WallMs, have.WallMs},
		{asked.Calls, have.Calls}, {asked.VirtualMs, have.VirtualMs}, {uint64(asked.Spawned), uint64(have.Spawned)},
	} {
		if l.asked != 0 && l.asked != l.have {
			return errors.New("its limits are others")
		}
	}
	if ref, err := enc.ParseRef("image", req.Image); err != nil || !ref.Manifest.IsZero() && ref.Manifest != w.Engine {
		return errors.New("its image is another")
	}
	if err := checkRunInputs(p, w, req); err != nil {
		return err
	}
	return checkAgreement(p, req.R, req.Q)
}

// checkRunInputs sees to it that every input is one that was asked for, and none is missing.
func checkRunInputs(p *api.Plan, w *receipt.Work, req *api.NativeRequest) error {
	for _, asked := range req.Inputs {
		found := 0
		for _, in := range w.Inputs {
			if name, _, _ := strings.Cut(in.Path, "/"); name != asked.Name {
				continue
			}
			found++
			if d, blob := blobRef(asked.Ref); blob && (in.Digest != d || in.Path != asked.Name) {
				return fmt.Errorf("its input %s is another", asked.Name)
			}
		}
		if found == 0 {
			return fmt.Errorf("it leaves out input %s", asked.Name)
		}
	}
	for _, in := range w.Inputs {
		name, _, _ := strings.Cut(in.Path, "/")
		if !slices.ContainsFunc(req.Inputs, func(a api.NativeInput) bool { return a.Name == name }) {
			return fmt.Errorf("it has an input %.40q", in.Path)
		}
	}
	var names []string
	for _, in := range req.Inputs {
		if _, blob := blobRef(in.Ref); !blob {
			names = append(names, in.Ref)
		}
	}
	return checkResolved(p, names)
}

func jobRun(c *cli.Context, e *env) error {
	req, outs, err := runRequest(c, e)
	if err != nil {
		return err
	}
	priority, err := priorityOf(c)
	if err != nil {
		return err
	}
	key, err := e.clientKey()
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, defaultWait)
		defer cancel()
		p, err := n.PlanNative(ctx, req)
		if err != nil {
			return err
		}
		work, err := readWork(n, &p)
		if err == nil {
			if err = checkRun(&p, work, &req); err != nil {
				err = fmt.Errorf("%s prepared another job than asked for: %w; it is not signed", n.where, err)
			}
		}
		if err != nil {
			return err
		}
		e.say("image %s = %s@%d (sha256:%s)", p.Image.Ref, p.Image.Name, p.Image.Version, p.Image.Digest.Short())
		sayPlan(e, &p)
		job, ended, err := submitPlan(ctx, c, e, n, key, &p, work, priority, note(strings.Join(req.Args, " ")))
		if err != nil || ended {
			return err
		}
		s, r, err := sealedJob(ctx, c, e, n, job, work)
		if err != nil {
			return err
		}
		if c.Bool("id-only") {
			fmt.Fprintln(e.out, job)
			return programExit(s)
		}
		return showProgram(ctx, e, n, s, r, outs, c.Bool("force"))
	})
}

// jobSeed is the seed that the caller or the configuration asks for, nil for none.
func jobSeed(c *cli.Context, e *env) (*digest.Digest, error) {
	seed, origin := c.String("seed"), "--seed"
	if seed == "" {
		var err error
		if seed, err = defaultSeed(e); err != nil || seed == "" {
			return nil, err
		}
		origin = "cage.rng_seed"
	}
	cage := configs.Cage{RNGSeed: seed}
	d, _, err := cage.Seed()
	if err != nil {
		return nil, usageError(fmt.Errorf("%s: %w", origin, err))
	}
	return &d, nil
}
