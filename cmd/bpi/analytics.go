package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// defaultWait bounds the wait for a job.
const defaultWait = 10 * time.Minute

func analyticsCommand() *cli.Command {
	query := queryFlags()
	submit := append([]cli.Flag{
		&cli.BoolFlag{Name: "detach", Usage: "return once the job is ordered, or on the peer's disk to be sent again"},
		&cli.BoolFlag{Name: "id-only", Usage: "write only the job's id"},
		formatFlag(),
		&cli.StringFlag{Name: "trust", Usage: "check the receipt against this trust `FILE` (default: the chain's pinned one)"},
		&cli.UintFlag{Name: "priority", Usage: "`0` to 9, higher first"},
	}, query...)
	return &cli.Command{
		Name:  "analytics",
		Usage: "SQL over datasets, agreed by several peers",
		Subcommands: []*cli.Command{
			{Name: "submit", Usage: "run a query and wait for its sealed result", ArgsUsage: "[STATEMENT]", Flags: submit, Action: action(analyticsSubmit)},
			{Name: "explain", Usage: "show how a query would run, without running it", ArgsUsage: "[STATEMENT]", Flags: query, Action: action(analyticsExplain)},
			{
				Name: "result", Usage: "show a sealed job's result", ArgsUsage: "JOB", Flags: []cli.Flag{formatFlag()},
				Action: action(func(c *cli.Context, e *env) error {
					ref, err := argument(c, "job id")
					if err != nil {
						return err
					}
					return e.withNode(c.Context, func(n *conn) error {
						ctx, cancel := e.bounded(c.Context, time.Minute)
						defer cancel()
						r, err := n.Receipt(ctx, ref)
						if err != nil {
							return err
						}
						s, err := receipt.ParseStatement(r.Envelope.Payload)
						if err != nil {
							return fail(exitInvalid, "receipt of %s: %w", ref, err)
						}
						return showResult(ctx, e, n, &s, r, c.String("format"))
					})
				}),
			},
			{Name: "list", Usage: "list SQL jobs, newest first", Flags: listFlags(), Action: action(jobList)},
		},
	}
}

// queryFlags are those of a command that takes a query.
func queryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "dataset", Aliases: []string{"d"}, Usage: "`NAME`, name@version or name@sha256:…; may be given more than once"},
		&cli.StringFlag{Name: "query", Aliases: []string{"q"}, Usage: "one SQL `STATEMENT` (or as the argument)"},
		&cli.UintFlag{Name: "replicas", Usage: "run on `R` peers (default: the network's, 3)"},
		&cli.UintFlag{Name: "quorum", Usage: "seal at `Q` equal results, more than half of R (default: 2 of 3)"},
		&cli.Uint64Flag{Name: "memory", Usage: "memory limit of the engine, `BYTES` (default: 536870912)"},
		&cli.Uint64Flag{Name: "output-limit", Usage: "limit of the result, `BYTES` (default: 67108864)"},
		&cli.DurationFlag{Name: "wall", Usage: "give up on the query after `TIME` (default: 2m)"},
		&cli.StringFlag{Name: "seed", Usage: "64 hexadecimal `DIGITS` from which the job's randomness comes (default: rng_seed of the configuration, or drawn from the work)"},
		&cli.BoolFlag{Name: "fresh", Usage: "run again even if an equal job is sealed already"},
	}
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Usage: "`FORMAT` of the result: table, csv, json or ndjson"}
}

// planRequest reads the flags of a query.
func planRequest(c *cli.Context, e *env) (api.PlanRequest, error) {
	var req api.PlanRequest
	req.SQL = c.String("query")
	switch {
	case req.SQL == "" && c.NArg() == 1:
		req.SQL = c.Args().First()
	case c.NArg() > 0:
		return req, usageError(fmt.Errorf("%s: unexpected argument %.60q; quote the statement, or give it with --query", c.Command.HelpName, c.Args().First()))
	}
	if strings.TrimSpace(req.SQL) == "" {
		return req, usageError(fmt.Errorf("%s: no query; give one with --query \"SELECT …\"", c.Command.HelpName))
	}
	req.Datasets = c.StringSlice("dataset")
	for _, d := range req.Datasets {
		if _, err := analytics.ResolveRef(d); err != nil {
			return req, usageError(err)
		}
	}
	req.R, req.Q = uint32(c.Uint("replicas")), uint32(c.Uint("quorum"))
	if req.R > 64 || req.Q > req.R && req.R > 0 || req.R > 0 && req.Q > 0 && 2*req.Q <= req.R {
		return req, usageError(fmt.Errorf("--replicas %d --quorum %d: want at most 64 replicas, and a quorum of more than half of them", req.R, req.Q))
	}
	req.MemoryBytes, req.OutputBytes = c.Uint64("memory"), c.Uint64("output-limit")
	req.WallMs = uint64(max(0, c.Duration("wall").Milliseconds()))
	req.Fresh = c.Bool("fresh")
	seed, origin := c.String("seed"), "--seed"
	if seed == "" {
		var err error
		if seed, err = defaultSeed(e); err != nil {
			return req, err
		}
		origin = "cage.rng_seed"
	}
	if seed != "" {
		cage := configs.Cage{RNGSeed: seed}
		d, _, err := cage.Seed()
		if err != nil {
			return req, usageError(fmt.Errorf("%s: %w", origin, err))
		}
		req.Seed = &d
	}
	return req, nil
}

// defaultSeed is rng_seed of this home's configuration and environment, which give the client's defaults; "" for none. A
// configuration that cannot be read is an error: it may name a seed.
func defaultSeed(e *env) (string, error) {
	cfg := configs.Default()
	path := configPath(e.home)
	raw, err := readBounded(path, configs.MaxFileBytes)
	switch {
	case err == nil:
		if cfg, err = configs.Parse(raw); err != nil {
			return "", fmt.Errorf("configuration %s, which may name a seed: %w", tilde(path), err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("configuration %s, which may name a seed: %w", tilde(path), err)
	}
	if err := cfg.ApplyEnv(os.LookupEnv); err != nil {
		return "", err
	}
	return cfg.Cage.RNGSeed, nil
}

// plan asks the peer to prepare the query, and checks that what is to be signed is what was asked for.
func plan(ctx context.Context, e *env, n *conn, req api.PlanRequest) (api.Plan, *receipt.Work, error) {
	p, err := n.PlanSQL(ctx, req)
	if err != nil {
		var a *api.Error
		if errors.As(err, &a) && a.SQL != nil {
			f := analytics.Failure{Kind: a.SQL.Kind, Message: a.SQL.Message}
			if a.SQL.Position >= 0 {
				f.Position = &a.SQL.Position
			}
			next := a.Next
			if next != "" {
				next = "\n" + next
			}
			return p, nil, fmt.Errorf("query refused (%s): %s%s", orDash(a.SQL.Kind), f.Explain(req.SQL), next)
		}
		return p, nil, err
	}
	var work receipt.Work
	if len(p.Work) > enc.MaxCommandBytes {
		return p, nil, fmt.Errorf("%s prepared a job of %d bytes: over the limit of %d", n.where, len(p.Work), enc.MaxCommandBytes)
	}
	if err := canon.Unmarshal(p.Work, &work); err != nil {
		return p, nil, fmt.Errorf("%s prepared something that is no job: %w", n.where, err)
	}
	if err := checkPlan(&p, &work, &req); err != nil {
		return p, nil, fmt.Errorf("%s prepared another job than asked for: %w; it is not signed", n.where, err)
	}
	return p, &work, nil
}

// checkPlan compares what a peer wants signed with what was asked for.
func checkPlan(p *api.Plan, w *receipt.Work, req *api.PlanRequest) error {
	r, err := analytics.DecodeRequest(w.Stdin)
	if err != nil {
		return err
	}
	switch {
	case w.Kind != analytics.KindSQL:
		return fmt.Errorf("its kind is %.20q", w.Kind)
	case r.SQL != req.SQL:
		return errors.New("its query is another")
	case r.Action != analytics.ActionQuery:
		return fmt.Errorf("its action is %.20q", r.Action)
	case w.Digest() != p.WorkDigest:
		return errors.New("its digest is another")
	case req.Seed != nil && w.Seed != *req.Seed:
		return errors.New("its seed is another")
	case req.R != 0 && p.R != req.R, req.Q != 0 && p.Q != req.Q:
		return fmt.Errorf("it is to run on %d peers with a quorum of %d", p.R, p.Q)
	case 2*p.Q <= p.R:
		return fmt.Errorf("its quorum of %d of %d is no majority", p.Q, p.R)
	}
	names := map[string]bool{}
	for _, d := range req.Datasets {
		ref, err := analytics.ResolveRef(d)
		if err != nil {
			return err
		}
		names[ref.Name] = true
		found := false
		for _, have := range p.Datasets {
			if have.Name == ref.Name && (ref.Version == 0 || ref.Version == have.Version) && (ref.Manifest.IsZero() || ref.Manifest == have.Manifest) {
				found = true
			}
		}
		if !found {
			return fmt.Errorf("it leaves out dataset %s", ref)
		}
	}
	for _, t := range r.Tables {
		if len(names) > 0 && !names[t.Name] {
			return fmt.Errorf("it reads dataset %q", t.Name)
		}
	}
	return nil
}

func sayPlan(e *env, p *api.Plan) {
	for _, d := range p.Datasets {
		e.say("dataset %s = %s@%d (sha256:%s)", d.Ref, d.Name, d.Version, d.Manifest.Short())
	}
	for _, w := range p.Warnings {
		e.say("warning: %s", clean(w))
	}
}

func analyticsExplain(c *cli.Context, e *env) error {
	req, err := planRequest(c, e)
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		req.Explain = true
		p, work, err := plan(ctx, e, n, req)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, p)
		}
		sayPlan(e, &p)
		e.say("%d of %d peers must agree; engine sha256:%s; %s; memory %s", p.Q, p.R, work.Engine.Short(), count(len(work.Inputs), "file"), size(work.Limits.MemoryBytes))
		if p.Reuse != nil {
			e.say("an equal job is sealed already and would be the answer: %s", *p.Reuse)
		}
		_, err = fmt.Fprintln(e.out, strings.TrimRight(p.Explain, "\n"))
		return err
	})
}

func analyticsSubmit(c *cli.Context, e *env) error {
	req, err := planRequest(c, e)
	if err != nil {
		return err
	}
	if err := checkFormat(c.String("format")); err != nil {
		return err
	}
	if c.Uint("priority") > 9 {
		return usageError(fmt.Errorf("--priority %d: want 0 to 9", c.Uint("priority")))
	}
	key, err := e.clientKey()
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, defaultWait)
		defer cancel()
		p, work, err := plan(ctx, e, n, req)
		if err != nil {
			return err
		}
		sayPlan(e, &p)
		var job digest.Digest
		if p.Reuse != nil && !req.Fresh {
			job = *p.Reuse
			e.say("an equal job is sealed already: its receipt is the answer (--fresh runs it again)")
		} else {
			s := enc.SubmitJob{Work: *work, R: p.R, Q: p.Q, Priority: uint32(c.Uint("priority")), Note: note(req.SQL)}
			if _, err := rand.Read(s.Salt[:]); err != nil {
				return fmt.Errorf("draw a salt: %w", err)
			}
			cmd, err := signCommand(key, p.Chain.ID, p.TimeMs, enc.KindSubmitJob, &s)
			if err != nil {
				return err
			}
			job = enc.JobID(work.Digest(), key.Public(), s.Salt)
			if c.Bool("detach") {
				queued, err := n.accept(ctx, cmd)
				if err != nil {
					return err
				}
				return sayDetached(c, e, job, queued)
			}
			a, err := n.SubmitCommand(ctx, cmd.Encode())
			if err != nil {
				return err
			}
			e.say("job %s", job)
			if err := n.follow(ctx, e, job, a.ID); err != nil {
				return err
			}
		}
		if c.Bool("detach") {
			return sayDetached(c, e, job, false)
		}
		return finish(ctx, c, e, n, job, work, req.SQL)
	})
}

func sayDetached(c *cli.Context, e *env, job digest.Digest, queued bool) error {
	state, how := "ordered", "ordered"
	if queued {
		state, how = "queued", "the network orders nothing at present; the peer keeps the job on its disk and sends it until it expires"
	}
	switch {
	case c.Bool("id-only"):
		fmt.Fprintln(e.out, job)
		return nil
	case e.json:
		return writeJSON(e.out, map[string]any{"job": job, "state": state})
	}
	fmt.Fprintln(e.out, job)
	e.say("%s; wait for it with: bpi job wait %s", how, job.Short())
	return nil
}

// finish fetches and verifies the receipt of a sealed job, keeps it, and writes the result.
func finish(ctx context.Context, c *cli.Context, e *env, n *conn, job digest.Digest, work *receipt.Work, sql string) error {
	r, err := n.Receipt(ctx, job.String())
	if err != nil {
		return err
	}
	trust, err := e.trustFor(ctx, c.String("trust"), r.Chain.ID, n)
	if err != nil {
		return err
	}
	if err := checkReceipt(r, trust); err != nil {
		return fail(exitInvalid, "the receipt of job %s does not verify: %w; do not use this result, and ask another peer with --peer", job.Short(), err)
	}
	s, err := receipt.ParseStatement(r.Envelope.Payload)
	if err != nil {
		return fail(exitInvalid, "the receipt of job %s: %w", job.Short(), err)
	}
	if s.Job != job || s.Work.Digest() != work.Digest() {
		return fail(exitInvalid, "the receipt that %s sent is another job's; ask another peer with --peer", n.where)
	}
	if err := e.keepReceipt(job, r); err != nil {
		e.say("note: %v", err)
	}
	e.say("sealed: %s; receipt verified; see it with: bpi receipt get %s", agreeing(len(r.Envelope.Signatures)), job.Short())
	if c.Bool("id-only") {
		fmt.Fprintln(e.out, job)
		return programExit(&s)
	}
	if s.Outcome.ExitCode != 0 || s.Outcome.Killed != "" {
		return programFailure(ctx, n, &s, r, sql)
	}
	return showResult(ctx, e, n, &s, r, c.String("format"))
}

// note is the start of a query, for people.
func note(sql string) string {
	n := strings.Join(strings.Fields(sql), " ")
	for len(n) > 200 {
		r := []rune(n)
		n = string(r[:len(r)-max(1, len(r)/10)])
	}
	return n
}
