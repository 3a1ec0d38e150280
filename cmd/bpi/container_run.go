package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/cage"
)

func containerRunCommand() *cli.Command {
	return &cli.Command{
		HideHelpCommand: true, // a program may be called h
		Name:            "run", Usage: "run a program in a cage on this machine, as docker run does: the same bytes every time", ArgsUsage: "[--] CMD [ARG…]",
		Description: "The program sees a root (by default this machine's /usr, /etc and so on, read-only), its inputs in /in, folders\n" +
			"that it may write: /work, /out, /tmp and /root; no network, no other process. Its clock, its randomness and the order of its\n" +
			"threads come from --epoch and --seed, so that the same line gives the same bytes. What it wrote to standard output\n" +
			"and error is shown when it has ended. Everything from CMD on is the program's.\n\n" +
			"Limits for --limit: cpu, wall (of this machine: no result if reached), time (of the program's clock), mem (of each\n" +
			"process), out (all outputs together), files (open at once), procs (alive at once), started (processes and threads\n" +
			"ever), calls. Times have a unit: ms, s, m, h, d; sizes may have k, m, g.\n\n" +
			"Exit codes: 3 if the program failed, whatever its own code, which is told; 4 if there is no result. With\n" +
			"--passthrough-exit the program's own code, as docker run has it, and 125 for trouble of bpi's, 126 or 127 if there is\n" +
			"no such program.",
		Flags: append(rootFlags(), []cli.Flag{
			&cli.StringFlag{Name: "policy", Value: cage.PolicyStrict, Usage: "`NAME` or FILE of the rules; see: bpi policy list"},
			manyFlag("in", "`NAME=PATH`: a file or folder to show read-only at /in/NAME; PATH alone: under its own name (repeatable)"),
			manyFlag("out", "`NAME=PATH`: the folder /out/NAME; what the program leaves there comes to PATH; PATH alone: under its own name (repeatable)"),
			&cli.BoolFlag{Name: "force", Usage: "replace folders of outputs that are not empty"},
			&cli.StringFlag{Name: "work", Usage: "a folder `DIR` of which the program gets a copy at /work to write in"},
			&cli.StringFlag{Name: "workdir", Usage: "`PATH` in the cage in which the program starts (default: /work)"},
			&cli.StringFlag{Name: "stdin", Usage: "`FILE` for the program's standard input, - for bpi's own (default: empty)"},
			manyFlag("env", "`NAME=VALUE` for the program's environment; NAME alone: with the value it has here (repeatable)"),
			&cli.StringFlag{Name: "seed", Usage: "64 hexadecimal `DIGITS` from which randomness comes (default: zeros)"},
			&cli.StringFlag{Name: "epoch", Usage: "`MOMENT` at which the program's clock begins, as 2026-01-01T00:00:00Z or in seconds since 1970 (default: that one)"},
			manyFlag("limit", "`NAME=VALUE,…`: limits, such as cpu=10s,mem=1g (default: those of the policy)"),
			&cli.StringFlag{Name: "witness", Usage: "keep a recording in `FILE`, for bpi container verify, diff and inspect"},
			&cli.BoolFlag{Name: "passthrough-exit", Usage: "end with the program's own exit code, as docker run does"},
		}...),
		Action: action(containerRun),
	}
}

// localRun is one run of a program here, from its flags to what came of it.
type localRun struct {
	policy    *cage.Policy
	policyRef string // its name or file, as given
	spec      cage.Spec
	inputs    localInputs
	outs      []place
	force     bool
	keep      string // the recording's path, "" for none
}

// exitPassthrough is the exit code for trouble of bpi's own with --passthrough-exit, as docker run has it.
const exitPassthrough = 125

func containerRun(c *cli.Context, e *env) error {
	err := containerRunHere(c, e)
	if err == nil || !c.Bool("passthrough-exit") {
		return err
	}
	var program *programError
	if errors.As(err, &program) {
		return &exitError{code: program.code, err: program}
	}
	return &exitError{code: exitPassthrough, err: err}
}

// programError says that a program failed, and with which exit code of its own.
type programError struct {
	code int
	text string
}

func (e *programError) Error() string { return e.text }

func containerRunHere(c *cli.Context, e *env) error {
	r, err := newLocalRun(c)
	if err != nil {
		return err
	}
	l, err := openCage(e, r.policy)
	if err != nil {
		return interrupted(c.Context, err)
	}
	defer l.close()
	ctx, cancel := e.bounded(c.Context, 0)
	defer cancel()
	r.inputs.root, err = chooseRoot(ctx, c, e, l)
	if err == nil && r.inputs.root == nil {
		r.inputs.root, err = hostRoot()
	}
	if err != nil {
		return interrupted(c.Context, err)
	}
	if r.spec.Inputs, err = r.inputs.hash(ctx); err != nil {
		return interrupted(c.Context, err)
	}
	r.spec.Image = r.inputs.root.digest
	if err := r.check(); err != nil {
		return err
	}
	rec, err := r.record(ctx, l)
	if err != nil {
		return interrupted(c.Context, err)
	}
	return r.report(e, l, rec)
}

// newLocalRun reads the flags, and refuses what can be refused before anything is opened.
func newLocalRun(c *cli.Context) (*localRun, error) {
	if !c.Args().Present() {
		return nil, usageError(errors.New("bpi container run: no program; try: bpi container run -- date"))
	}
	r := &localRun{policyRef: c.String("policy"), force: c.Bool("force"), keep: c.String("witness")}
	var err error
	if r.policy, err = policyFrom(r.policyRef); err != nil {
		if !isPolicyFile(r.policyRef) {
			err = usageError(err)
		}
		return nil, err
	}
	if r.policy.Mode == cage.ModeSealed {
		return nil, usageError(fmt.Errorf("policy %s is for images that bring their own clock and randomness, and run on the network; for any other program: --policy %s", r.policy.Name, cage.PolicyStrict))
	}
	if err := r.flags(c); err != nil {
		return nil, usageError(fmt.Errorf("bpi container run: %w", err))
	}
	if err := r.files(c); err != nil {
		return nil, err
	}
	return r, nil
}

// flags makes the spec of what stands on the command line.
func (r *localRun) flags(c *cli.Context) error {
	s := &r.spec
	*s = cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: r.policy.Mode, Argv: c.Args().Slice(),
		CPUClass: r.policy.Determinism.CPUClass, Policy: r.policy.Digest(),
	}
	if err := oneRoot(c); err != nil {
		return err
	}
	var errs [7]error
	s.Seed, errs[0] = parseSeed(c.String("seed"))
	s.EpochNs, errs[1] = parseEpoch(c.String("epoch"))
	s.Env, errs[2] = parseEnv(many(c, "env"))
	s.Limits, errs[3] = parseLimits(r.policy.Limits(), many(c, "limit"))
	s.Workdir, errs[4] = parseWorkdir(c.String("workdir"))
	r.outs, errs[5] = parseOut(many(c, "out"))
	_, errs[6] = parseIn(many(c, "in"))
	for _, o := range r.outs {
		s.Outs = append(s.Outs, o.name)
	}
	for _, err := range errs { // one at a time is what people can follow
		if err != nil {
			return err
		}
	}
	return nil
}

// files finds the inputs and looks whether the outputs have room.
func (r *localRun) files(c *cli.Context) error {
	r.inputs.skip = map[string]bool{}
	for _, o := range r.outs {
		if err := checkOut(o, r.force); err != nil {
			return err
		}
		r.inputs.skip[realPath(o.path)] = true
	}
	if r.keep != "" {
		if info, err := os.Stat(filepath.Dir(r.keep)); err != nil || !info.IsDir() {
			return fmt.Errorf("--witness %s: there is no folder %s; make it first", r.keep, filepath.Dir(r.keep))
		}
		if isFolder(r.keep) {
			return fmt.Errorf("--witness %s is a folder; name a file", r.keep)
		}
		r.inputs.skip[realPath(r.keep)] = true
	}
	list, err := parseIn(many(c, "in"))
	if err != nil {
		return err
	}
	for _, in := range list {
		if err := r.inputs.add(cage.PlaceIn, in.name, in.path); err != nil {
			return err
		}
	}
	if dir := c.String("work"); dir != "" {
		if err := r.inputs.add(cage.PlaceWork, "", dir); err != nil {
			return err
		}
	}
	r.spec.Stdin, err = readStdin(c.String("stdin"))
	return err
}

// realPath is the absolute path of p, without links above its last name.
func realPath(p string) string {
	whole, err := filepath.Abs(p)
	if err != nil {
		return p
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(whole)); err == nil {
		return filepath.Join(dir, filepath.Base(whole))
	}
	return whole
}

func readStdin(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("--stdin: %w", err)
		}
		defer f.Close()
	}
	b, err := io.ReadAll(io.LimitReader(f, cage.MaxStdinBytes+1))
	if err != nil {
		return nil, fmt.Errorf("--stdin %s: %w", path, err)
	}
	if len(b) > cage.MaxStdinBytes {
		return nil, fmt.Errorf("--stdin %s is longer than %d bytes; give it as a file: --in data=FILE -- sh -c 'CMD < /in/data'", path, cage.MaxStdinBytes)
	}
	return b, nil
}

// rootFlags name the root of a run.
func rootFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "host-root", Usage: "in this machine's own root, read-only; what run does where no root is named"},
		&cli.StringFlag{Name: "rootfs", Usage: "in the root in the folder `DIR`, read-only"},
		&cli.StringFlag{Name: "image", Usage: "in a published image, `NAME`, name@version or name@sha256:…, fetched from a peer unless it is here"},
	}
}

func oneRoot(c *cli.Context) error {
	n := 0
	for _, given := range []bool{c.Bool("host-root"), c.String("rootfs") != "", c.String("image") != ""} {
		if given {
			n++
		}
	}
	if n > 1 {
		return errors.New("want one of --host-root, --rootfs DIR and --image NAME")
	}
	return nil
}

// chooseRoot finds the root that the flags name, or gives nil where they name none.
func chooseRoot(ctx context.Context, c *cli.Context, e *env, l *localCage) (*localRoot, error) {
	switch {
	case c.String("rootfs") != "":
		return folderRoot(ctx, c.String("rootfs"), l)
	case c.String("image") != "":
		return imageRoot(ctx, e, c.String("image"), l)
	case c.Bool("host-root"):
		return hostRoot()
	}
	return nil, nil
}

// check refuses a spec that no cage may run under the policy. All that is in it comes from the command line.
func (r *localRun) check() error {
	err := r.spec.Check()
	if err == nil {
		err = r.policy.Admit(&r.spec)
	}
	if err != nil {
		return usageError(fmt.Errorf("bpi container run: %w", err))
	}
	return nil
}

// record runs the spec; the outputs' bytes are then in l.run/out.
func (r *localRun) record(ctx context.Context, l *localCage) (*cage.Recording, error) {
	rec := new(cage.Recording)
	_, err := l.engine.Record(ctx, r.spec, &r.inputs, outputsOf(l), rec)
	if err != nil {
		return nil, noResult(err)
	}
	if err := r.inputs.unchanged(); err != nil {
		return nil, err
	}
	for i := range rec.Hints {
		if rec.Hints[i].Name == "root" {
			rec.Hints[i].Path = r.inputs.root.origin
		}
	}
	return rec, nil
}

// outputsOf is where the engine leaves the outputs of a run.
func outputsOf(l *localCage) string { return filepath.Join(l.run, "out") }

// noResult says what to do about a run that gave nothing.
func noResult(err error) error {
	var none *cage.ErrNoResult
	if !errors.As(err, &none) {
		return err
	}
	next := map[cage.Reason]string{
		cage.ReasonWall: "raise the limit: --limit wall=10m",
		cage.ReasonCPU:  "raise the limit: --limit cpu=10m",
		cage.ReasonOOM:  "raise the limit, if the machine has more: --limit mem=4g; else end something else on it",
		cage.ReasonSpin: "raise the limit with --limit cpu=10m if it only computes; else let its threads wait by system calls, or run it with --policy " + cage.PolicyRelaxed,
	}[none.Reason]
	return fail(exitTimeout, "no result (%s): %s. That is no failure of the program's, and another machine may see another end; %s", none.Reason, none.Detail, next)
}

// interrupted says so if the caller ended the run by a signal.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errors.New("interrupted: the program was ended, and nothing of it is kept")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fail(exitTimeout, "the time given with --timeout is over: the program was ended, and nothing of it is kept")
	}
	return err
}
