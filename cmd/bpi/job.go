package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

func jobCommand() *cli.Command {
	return &cli.Command{
		Name:  "job",
		Usage: "run programs on the network, and see what became of jobs",
		Subcommands: append([]*cli.Command{
			jobRunCommand(),
			{Name: "list", Usage: "list jobs, newest first", Flags: listFlags(), Action: action(jobsOf(""))},
			{
				Name: "plan", Usage: "show what a query would have signed, and which peers could run it; orders nothing", ArgsUsage: "[STATEMENT]",
				Description: "Exit code 4 if the job could not be placed now.",
				Flags:       queryFlags(), Action: action(jobPlan),
			},
			{Name: "describe", Usage: "everything the chain says about a job", ArgsUsage: "JOB", Action: action(jobDescribe)},
			{
				Name: "wait", Usage: "wait until a job has ended", ArgsUsage: "JOB",
				Action: action(func(c *cli.Context, e *env) error {
					return withJob(c, e, defaultWait, func(ctx context.Context, n *conn, job api.Job) error {
						if err := n.follow(ctx, e, job.ID, digest.Digest{}); err != nil {
							return err
						}
						fmt.Fprintln(e.out, job.ID)
						return nil
					})
				}),
			},
			{Name: "cancel", Usage: "end a job of yours that is not sealed", ArgsUsage: "JOB", Action: action(jobCancel)},
			{
				Name: "get", Usage: "write an output of a sealed job, or bring its files here", ArgsUsage: "JOB",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "output", Value: "stdout", Usage: "write the output of this `NAME`: stdout, stderr or out/…"},
					manyFlag("out", "bring what the program left in /out/NAME to the folder NAME here, or to PATH: `NAME[=PATH]`; may be given more than once"),
					&cli.BoolFlag{Name: "force", Usage: "replace a folder of outputs that is not empty"},
				},
				Action: action(jobGet),
			},
		}, storyCommands()...),
	}
}

func listFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "limit", Value: 50, Usage: "at most `NUMBER` jobs"},
		&cli.StringFlag{Name: "state", Usage: "only jobs in this `STATE`"},
		&cli.StringFlag{Name: "cursor", Usage: "go on after a page whose end said so"},
		&cli.BoolFlag{Name: "id-only", Usage: "write only ids"},
	}
}

// jobsOf lists jobs of a kind; "" are all.
func jobsOf(kind string) func(*cli.Context, *env) error {
	return func(c *cli.Context, e *env) error { return jobList(c, e, kind) }
}

func jobList(c *cli.Context, e *env, kind string) error {
	if err := noArguments(c); err != nil {
		return err
	}
	limit := c.Int("limit")
	if limit < 1 || limit > 500 {
		return usageError(fmt.Errorf("--limit %d: want 1 to 500", limit))
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		l, err := n.Jobs(ctx, api.JobQuery{Limit: limit, State: c.String("state"), Kind: kind, Cursor: c.String("cursor")})
		if err != nil {
			return err
		}
		switch {
		case e.json:
			return writeJSON(e.out, l)
		case c.Bool("id-only"):
			for _, j := range l.Jobs {
				fmt.Fprintln(e.out, j.ID)
			}
			return nil
		}
		t := newTable(e.out, "JOB", "STATE", "SUBMITTED", "TOOK", "WHAT")
		for _, j := range l.Jobs {
			took := "-"
			if j.EndedMs >= j.TimeMs && j.EndedMs != 0 {
				took = time.Duration((j.EndedMs - j.TimeMs) * uint64(time.Millisecond)).String()
			}
			state := j.State
			if j.Reason != "" {
				word, _, _ := strings.Cut(j.Reason, ":") // the rest is for describe
				state += " (" + word + ")"
			}
			t.row(short(j.ID), state, moment(j.TimeMs), took, orDash(j.Note))
		}
		if l.Next != "" {
			defer e.say("more: add --cursor %s", l.Next)
		}
		return t.flush()
	})
}

// withJob looks up the job that the command names and hands it on.
func withJob(c *cli.Context, e *env, wait time.Duration, f func(ctx context.Context, n *conn, job api.Job) error) error {
	ref, err := argument(c, "job id")
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, wait)
		defer cancel()
		job, err := n.Job(ctx, ref)
		if err != nil {
			return err
		}
		return f(ctx, n, job)
	})
}

func jobDescribe(c *cli.Context, e *env) error {
	return withJob(c, e, time.Minute, func(ctx context.Context, n *conn, j api.Job) error {
		if e.json {
			return writeJSON(e.out, j)
		}
		t := newTable(e.out)
		state := j.State
		if j.Reason != "" {
			state += ": " + j.Reason
		}
		t.row("job", j.ID)
		t.row("state", state)
		t.row("kind", j.Kind)
		t.row("what", orDash(j.Note))
		t.row("client", j.Client)
		if j.OnBehalf != "" {
			t.row("asked by", j.OnBehalf)
		}
		t.row("submitted", fmt.Sprintf("%s, block %d", moment(j.TimeMs), j.Height))
		if j.EndedMs != 0 {
			t.row("ended", moment(j.EndedMs))
		}
		t.row("agreement", fmt.Sprintf("%d of %d peers, round %d", j.Q, j.R, j.Round))
		t.row("work", j.WorkDigest)
		if j.ExitCode != nil {
			t.row("exit code", *j.ExitCode)
		}
		if !j.Statement.IsZero() {
			t.row("statement", j.Statement)
			t.row("sealed in", fmt.Sprintf("block %d", j.SealHeight))
		}
		if err := t.flush(); err != nil {
			return err
		}
		if len(j.Executions) > 0 {
			fmt.Fprintln(e.out)
			t := newTable(e.out, "PEER", "OPERATOR", "ROUND", "STATE", "REASON")
			for _, x := range j.Executions {
				t.row(x.Peer.Short(), x.Operator.Short(), x.Round, x.State, orDash(x.Reason))
			}
			if err := t.flush(); err != nil {
				return err
			}
		}
		if len(j.Waiting) > 0 {
			fmt.Fprintln(e.out, "\nnot placed, because:")
			t := newTable(e.out)
			for _, w := range j.Waiting {
				t.row("  "+w.Node.Short(), w.Reason)
			}
			if err := t.flush(); err != nil {
				return err
			}
		}
		if len(j.Outputs) > 0 {
			fmt.Fprintln(e.out)
			t := newTable(e.out, "OUTPUT", "SIZE", "SHA-256")
			for _, o := range j.Outputs {
				t.row(o.Name, size(o.Bytes), o.Digest)
			}
			return t.flush()
		}
		return nil
	})
}

func jobCancel(c *cli.Context, e *env) error {
	key, err := e.clientKey()
	if err != nil {
		return err
	}
	return withJob(c, e, time.Minute, func(ctx context.Context, n *conn, j api.Job) error {
		if api.Ended(j.State) {
			return fmt.Errorf("job %s is %s and cannot be cancelled any more", j.ID.Short(), j.State)
		}
		if j.Client != key.Public() {
			return fmt.Errorf("job %s belongs to client %s, and your key is %s: only its client may cancel it", j.ID.Short(), j.Client.Short(), key.Public().Short())
		}
		chain, now, err := n.chainNow(ctx)
		if err != nil {
			return err
		}
		cmd, err := signCommand(key, chain, now, enc.KindCancelJob, &enc.CancelJob{Job: j.ID})
		if err != nil {
			return err
		}
		if _, err := n.order(ctx, cmd); err != nil {
			return err
		}
		e.say("cancelled job %s", j.ID.Short())
		return nil
	})
}

func jobGet(c *cli.Context, e *env) error {
	outs, err := parseOut(many(c, "out"))
	if err != nil {
		return usageError(err)
	}
	if len(outs) > 0 && c.IsSet("output") {
		return usageError(errors.New("bpi job get: want either --output or --out"))
	}
	for _, o := range outs {
		if err := checkOut(o, c.Bool("force")); err != nil {
			return err
		}
	}
	return withJob(c, e, time.Hour, func(ctx context.Context, n *conn, j api.Job) error {
		s, r, err := receiptOfJob(ctx, n, &j)
		if err != nil {
			return err
		}
		if len(outs) > 0 {
			return bringOutputs(ctx, e, n, s, r, outs, c.Bool("force"))
		}
		return writeOutput(ctx, n, s, r, c.String("output"), e.out)
	})
}

// follow streams a job's stages to standard error until it is sealed; another end is an error with its exit code.
// command, if not zero, is the command that submitted it: the peer may not know the job before that is ordered.
func (c *conn) follow(ctx context.Context, e *env, job, command digest.Digest) error {
	if !command.IsZero() {
		s, err := c.WaitCommand(ctx, command)
		if err != nil {
			return waitError(ctx, err, job)
		}
		if s.State == api.CommandExpired {
			return fail(exitTimeout, "job %s expired before it was ordered; the network may lack a quorum, see: bpi chain status", job.Short())
		}
		for _, ev := range s.Events {
			if ev.Decision == "refused" {
				return fmt.Errorf("the chain refused the job: %s", ev.Reason)
			}
		}
	}
	started := time.Now()
	var last api.JobEvent
	seen := 0
	for {
		count := 0
		err := c.JobEvents(ctx, job.String(), func(ev *api.JobEvent) error {
			count++
			if count <= seen { // told before the stream broke off
				return nil
			}
			seen = count
			last = *ev
			line := fmt.Sprintf("%6.2f s  %s", time.Since(started).Seconds(), ev.Stage)
			if ev.Round > 1 {
				line += fmt.Sprintf(" (round %d)", ev.Round)
			}
			if ev.Detail != "" {
				line += ": " + clean(ev.Detail)
			}
			e.say("%s", line)
			return nil
		})
		if err == nil {
			break
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) || ctx.Err() != nil {
			return waitError(ctx, err, job)
		}
	}
	if last.Stage == api.StageFailed {
		if j, err := c.Job(ctx, job.String()); err == nil && j.Reason != "" && !strings.HasPrefix(last.Detail, j.Reason) {
			last.Detail = strings.TrimSuffix(j.Reason+": "+last.Detail, ": ")
		}
	}
	return jobEnd(job, last)
}

func waitError(ctx context.Context, err error, job digest.Digest) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fail(exitTimeout, "job %s has not ended yet; it goes on: bpi job describe %[1]s says what it waits for, and bpi job wait %[1]s goes on waiting", job.Short())
	}
	return err
}

// jobEnd is nil for a sealed job.
func jobEnd(job digest.Digest, last api.JobEvent) error {
	why := ""
	if last.Detail != "" {
		why = ": " + clean(last.Detail)
	}
	next := "; see: bpi job describe " + job.Short()
	switch last.Stage {
	case api.StageSealed:
		return nil
	case api.StageFailed:
		return fail(failureCode(last.Detail), "job %s failed%s%s", job.Short(), why, next)
	case api.StageExpired:
		return fail(exitTimeout, "job %s could not be placed in time%s%s", job.Short(), why, next)
	case api.StageCancelled:
		return fmt.Errorf("job %s was cancelled%s", job.Short(), why)
	}
	return fmt.Errorf("job %s: unknown end %q%s", job.Short(), last.Stage, next)
}

// failureCode is the exit code of a failed job: its reason begins the detail.
func failureCode(detail string) int {
	for _, r := range []string{enc.FailUnavailable, enc.FailNoResult} {
		if len(detail) >= len(r) && detail[:len(r)] == r {
			return exitTimeout
		}
	}
	return exitNoAgreement
}
