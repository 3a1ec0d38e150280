package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/receipt"
)

// defaultWait bounds the wait for a job.
const defaultWait = 10 * time.Minute

func analyticsCommand() *cli.Command {
	query := queryFlags()
	submit := slices.Concat(submitFlags(), []cli.Flag{formatFlag()}, query)
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
						if s.Work.Kind != enc.KindSQL {
							return fmt.Errorf("job %s is no query but of kind %q; its outputs: bpi job get %[1]s", s.Job.Short(), s.Work.Kind)
						}
						return showResult(ctx, e, n, &s, r, c.String("format"))
					})
				}),
			},
			{Name: "list", Usage: "list SQL jobs, newest first", Flags: listFlags(), Action: action(jobsOf(api.KindSQL))},
		},
	}
}

// queryFlags are those of a command that takes a query.
func queryFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringSliceFlag{Name: "dataset", Aliases: []string{"d"}, Usage: "`NAME`, name@version or name@sha256:…; may be given more than once"},
		&cli.StringFlag{Name: "query", Aliases: []string{"q"}, Usage: "one SQL `STATEMENT` (or as the argument)"},
		&cli.Uint64Flag{Name: "memory", Usage: "memory limit of the engine, `BYTES` (default: 536870912)"},
		&cli.Uint64Flag{Name: "output-limit", Usage: "limit of the result, `BYTES` (default: 67108864)"},
		&cli.DurationFlag{Name: "wall", Usage: "give up on the query after `TIME` (default: 2m)"},
		&cli.StringFlag{Name: "seed", Usage: "64 hexadecimal `DIGITS` from which the job's randomness comes (default: rng_seed of the configuration, or drawn from the work)"},
	}, agreementFlags()...)
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
	var err error
	if req.R, req.Q, err = agreementOf(c); err != nil {
		return req, err
	}
	req.MemoryBytes, req.OutputBytes = c.Uint64("memory"), c.Uint64("output-limit")
	req.WallMs = uint64(max(0, c.Duration("wall").Milliseconds()))
	req.Fresh = c.Bool("fresh")
	req.Seed, err = jobSeed(c, e)
	return req, err
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
	work, err := readWork(n, &p)
	if err != nil {
		return p, nil, err
	}
	if err := checkPlan(&p, work, &req); err != nil {
		return p, nil, fmt.Errorf("%s prepared another job than asked for: %w; it is not signed", n.where, err)
	}
	return p, work, nil
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
	}
	if err := checkAgreement(p, req.R, req.Q); err != nil {
		return err
	}
	if err := checkResolved(p, req.Datasets); err != nil {
		return err
	}
	names := map[string]bool{}
	for _, d := range req.Datasets {
		name, _, _ := strings.Cut(d, "@")
		names[name] = true
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
		p, work, err := plan(ctx, e, n, req)
		if err != nil {
			return err
		}
		sayPlan(e, &p)
		job, ended, err := submitPlan(ctx, c, e, n, key, &p, work, priority, note(req.SQL))
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
		if failed(s) {
			return programFailure(ctx, n, s, r, req.SQL)
		}
		return showResult(ctx, e, n, s, r, c.String("format"))
	})
}

// note is the start of a query or of a command line, for people.
func note(text string) string {
	n := strings.Join(strings.Fields(text), " ")
	for len(n) > 200 {
		r := []rune(n)
		n = string(r[:len(r)-max(1, len(r)/10)])
	}
	return n
}
