package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// storyCommands are those that tell what the chain wrote about a job.
func storyCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "history", Usage: "what the chain wrote about a job, a line an event; follows a job that has not ended", ArgsUsage: "JOB",
			Flags:  []cli.Flag{&cli.BoolFlag{Name: "no-follow", Usage: "write what is there and end"}},
			Action: action(jobHistory),
		},
		{Name: "executions", Usage: "which peers ran a job in which round, and when they committed, revealed or declined", ArgsUsage: "JOB", Action: action(jobExecutions)},
		{Name: "diff", Usage: "where the results of a job's peers differ, if they do", ArgsUsage: "JOB", Action: action(jobDiff)},
		{Name: "logs", Usage: "what a job's program wrote to its standard error, and why peers gave no result", ArgsUsage: "JOB", Action: action(jobLogs)},
	}
}

func jobHistory(c *cli.Context, e *env) error {
	follow := !c.Bool("no-follow")
	wait := defaultWait
	if !follow {
		wait = time.Minute
	}
	return withJob(c, e, wait, func(ctx context.Context, n *conn, j api.Job) error {
		const row = "%-24s  %6v  %-10s  %5v  %-12s  %s\n"
		if !e.json {
			fmt.Fprintf(e.out, row, "TIME", "BLOCK", "EVENT", "ROUND", "PEER", "DETAIL")
		}
		err := story(ctx, n, &j, follow, func(l *storyLine) error {
			if e.json {
				return writeLine(e.out, l)
			}
			round, peer := any("-"), l.Name
			if l.Round > 0 {
				round = l.Round
			}
			if peer == "" && !l.Peer.IsZero() {
				peer = l.Peer.Short()
			}
			_, err := fmt.Fprintf(e.out, row, moment(l.TimeMs), l.Height, clean(l.What), round, orDash(clean(peer)), orDash(clean(l.Detail)))
			return err
		})
		if err != nil && errors.Is(c.Context.Err(), context.Canceled) {
			return nil // Ctrl-C is a way to end following
		}
		if err != nil {
			return waitError(ctx, err, j.ID)
		}
		return nil
	})
}

func jobExecutions(c *cli.Context, e *env) error {
	return withJob(c, e, time.Minute, func(ctx context.Context, n *conn, j api.Job) error {
		list, err := collect(ctx, n, &j)
		if err != nil {
			return err
		}
		all := parts(list, &j)
		if e.json {
			return writeJSON(e.out, map[string]any{"job": j.ID, "state": j.State, "r": j.R, "q": j.Q, "executions": notNil(all)})
		}
		if len(all) == 0 {
			e.say("job %s is %s: no peer was chosen; see: bpi job describe %s", j.ID.Short(), j.State, j.ID.Short())
			return nil
		}
		t := newTable(e.out, "ROUND", "PEER", "OPERATOR", "STATE", "ASSIGNED", "COMMITTED", "REVEALED", "REASON")
		for _, p := range all {
			name := p.Peer.Short()
			if p.Name != "" {
				name = p.Name + " " + name
			}
			reason := p.Reason
			if p.Late {
				reason = strings.TrimPrefix(reason+"; after the seal", "; ")
			}
			t.row(p.Round, name, p.Operator.Short(), p.State, moment(p.AssignedMs), after(p.AssignedMs, p.CommittedMs), after(p.AssignedMs, p.RevealedMs), orDash(reason))
		}
		return t.flush()
	})
}

// after is how long after the assignment something happened; without one, in a later round, the time itself.
func after(assigned, ms uint64) string {
	switch {
	case ms == 0:
		return "-"
	case assigned == 0 || ms < assigned:
		return moment(ms)
	}
	return "+" + (time.Duration(ms-assigned) * time.Millisecond).String()
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// roundResults are the results of one round, those that are equal together.
type roundResults struct {
	Round   uint32        `json:"round"`
	Results []equalResult `json:"results"`
}

// equalResult is a statement and who made it.
type equalResult struct {
	Statement digest.Digest   `json:"statement"`
	Sealed    bool            `json:"sealed"`
	Peers     []string        `json:"peers"` // names, or the starts of keys
	ExitCode  int32           `json:"exit_code"`
	Killed    string          `json:"killed,omitempty"`
	Outputs   []api.Output    `json:"outputs"`
	Witness   digest.Digest   `json:"witness"`
	outcome   receipt.Outcome //
}

// resultsOf groups what peers revealed by round and statement, in the order of the first reveal.
func resultsOf(all []*part, sealed digest.Digest) []roundResults {
	var out []roundResults
	for _, p := range all {
		if p.outcome == nil {
			continue
		}
		if len(out) == 0 || out[len(out)-1].Round != p.Round {
			out = append(out, roundResults{Round: p.Round})
		}
		r := &out[len(out)-1]
		name := p.Name
		if name == "" {
			name = p.Peer.Short()
		}
		known := false
		for i := range r.Results {
			if r.Results[i].Statement == p.Statement {
				r.Results[i].Peers, known = append(r.Results[i].Peers, name), true
			}
		}
		if known {
			continue
		}
		x := equalResult{
			Statement: p.Statement, Sealed: p.Statement == sealed, Peers: []string{name}, ExitCode: p.outcome.ExitCode,
			Killed: p.outcome.Killed, Outputs: []api.Output{}, Witness: p.outcome.Witness, outcome: *p.outcome,
		}
		for _, o := range p.outcome.Outputs {
			x.Outputs = append(x.Outputs, api.Output{Name: o.Name, Digest: o.Digest, Bytes: o.Bytes})
		}
		r.Results = append(r.Results, x)
	}
	return out
}

// difference is one thing in which two results are not the same.
type difference struct {
	What string `json:"what"` // "exit code", "output stdout", "witness"
	A    string `json:"a"`
	B    string `json:"b"`
}

// differences compares two outcomes. Two statements with equal outcomes differ in what was keyed: the order or form of
// the output bytes was not shown to be that of the digests.
func differences(a, b *receipt.Outcome) []difference {
	out := []difference{}
	add := func(what, x, y string) {
		if x != y {
			out = append(out, difference{what, x, y})
		}
	}
	add("end", outcomeWords(a), outcomeWords(b))
	of := func(o *receipt.Outcome, name string) string {
		for _, x := range o.Outputs {
			if x.Name == name {
				return fmt.Sprintf("%s, sha256:%s", size(x.Bytes), x.Digest.Short())
			}
		}
		return "none"
	}
	seen := map[string]bool{}
	for _, x := range append(append([]receipt.Output{}, a.Outputs...), b.Outputs...) {
		if !seen[x.Name] {
			seen[x.Name] = true
			add("output "+x.Name, of(a, x.Name), of(b, x.Name))
		}
	}
	if len(out) == 0 { // a witness over other outputs differs by itself and says nothing more
		add("witness", a.Witness.Short(), b.Witness.Short())
	}
	if len(out) == 0 {
		add("keyed output", "as sealed first", "other bytes behind equal digests")
	}
	return out
}

func jobDiff(c *cli.Context, e *env) error {
	return withJob(c, e, time.Minute, func(ctx context.Context, n *conn, j api.Job) error {
		list, err := collect(ctx, n, &j)
		if err != nil {
			return err
		}
		all := parts(list, &j)
		rounds := resultsOf(all, j.Statement)
		type pair struct {
			Round uint32       `json:"round"`
			A     []string     `json:"a"` // peers
			B     []string     `json:"b"`
			Diff  []difference `json:"differences"`
		}
		pairs := []pair{}
		for _, r := range rounds {
			for i := 1; i < len(r.Results); i++ {
				pairs = append(pairs, pair{r.Round, r.Results[0].Peers, r.Results[i].Peers, differences(&r.Results[0].outcome, &r.Results[i].outcome)})
			}
		}
		if e.json {
			return writeJSON(e.out, map[string]any{"job": j.ID, "state": j.State, "dissent": len(pairs) > 0, "rounds": notNil(rounds), "differences": pairs})
		}
		for _, r := range rounds {
			for _, x := range r.Results {
				mark := ""
				if x.Sealed {
					mark = ", sealed"
				}
				fmt.Fprintf(e.out, "round %d: %s: %s, statement %s%s\n", r.Round, clean(strings.Join(x.Peers, ", ")), outcomeWords(&x.outcome), x.Statement.Short(), mark)
			}
		}
		for _, p := range all {
			if p.outcome == nil && (p.DeclinedMs != 0 || p.LostMs != 0) {
				fmt.Fprintf(e.out, "round %d: %s: no result: %s\n", p.Round, clean(orKey(p)), clean(p.Reason))
			}
		}
		for _, p := range pairs {
			fmt.Fprintf(e.out, "\nround %d, %s against %s:\n", p.Round, clean(strings.Join(p.A, ", ")), clean(strings.Join(p.B, ", ")))
			t := newTable(e.out)
			for _, d := range p.Diff {
				t.row("  "+d.What, d.A, d.B)
			}
			if err := t.flush(); err != nil {
				return err
			}
		}
		switch {
		case len(pairs) > 0:
			e.say("the peers do not agree; where the work is the same, so should the bytes be: a query without a total order, threads that race (policy relaxed), or a faulty machine")
		case len(rounds) == 0:
			e.say("no peer has shown a result yet: job %s is %s", j.ID.Short(), j.State)
		default:
			e.say("no dissent: all results that were shown are the same")
		}
		return nil
	})
}

func orKey(p *part) string {
	if p.Name != "" {
		return p.Name
	}
	return p.Peer.Short()
}

func jobLogs(c *cli.Context, e *env) error {
	return withJob(c, e, time.Minute, func(ctx context.Context, n *conn, j api.Job) error {
		if j.State == api.JobSealed {
			return sealedLogs(ctx, e, n, &j)
		}
		list, err := collect(ctx, n, &j)
		if err != nil {
			return err
		}
		type line struct {
			Round  uint32 `json:"round"`
			Peer   string `json:"peer"`
			State  string `json:"state"`
			Reason string `json:"reason"`
		}
		lines := []line{}
		for _, p := range parts(list, &j) {
			if p.Reason != "" {
				lines = append(lines, line{p.Round, orKey(p), p.State, p.Reason})
			}
		}
		if e.json {
			return writeJSON(e.out, map[string]any{"job": j.ID, "state": j.State, "reason": j.Reason, "executions": lines})
		}
		for _, l := range lines {
			fmt.Fprintf(e.out, "round %d, %s: %s: %s\n", l.Round, clean(l.Peer), l.State, clean(l.Reason))
		}
		why := ""
		if j.Reason != "" {
			why = " (" + clean(j.Reason) + ")"
		}
		e.say("job %s is %s%s: what its programs wrote is kept only of sealed jobs", j.ID.Short(), j.State, why)
		return nil
	})
}

// sealedLogs writes the agreed standard error of a job, and for people what it means.
func sealedLogs(ctx context.Context, e *env, n *conn, j *api.Job) error {
	s, r, err := receiptOfJob(ctx, n, j)
	if err != nil {
		return err
	}
	raw, err := output(ctx, n, s, r, "stderr")
	if err != nil {
		return err
	}
	if e.json {
		return writeJSON(e.out, map[string]any{"job": j.ID, "state": j.State, "exit_code": s.Outcome.ExitCode, "killed": s.Outcome.Killed, "stderr": string(raw)})
	}
	if _, err := e.out.Write(raw); err != nil {
		return err
	}
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		fmt.Fprintln(e.out)
	}
	switch {
	case s.Outcome.Killed != "":
		e.say("the program was ended by the cage (%s), and the peers agree on that", s.Outcome.Killed)
	case s.Outcome.ExitCode != 0 && s.Work.Kind != enc.KindSQL:
		e.say("the program failed with exit code %d, and the peers agree on that", s.Outcome.ExitCode)
	case s.Outcome.ExitCode != 0:
		sql := ""
		if req, err := analytics.DecodeRequest(s.Work.Stdin); err == nil {
			sql = req.SQL
		}
		f := analytics.ParseFailure(int(s.Outcome.ExitCode), raw)
		e.say("the query failed (%s): %s", f.Kind, f.Explain(sql))
	case len(raw) == 0:
		e.say("the program ended well and wrote nothing to its standard error; its result: bpi job get %s", j.ID.Short())
	}
	return nil
}
