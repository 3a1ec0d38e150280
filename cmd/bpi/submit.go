package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// agreementFlags are those of a command that prepares a job.
func agreementFlags() []cli.Flag {
	return []cli.Flag{
		&cli.UintFlag{Name: "replicas", Usage: "run on `R` peers (default: the network's, 3)"},
		&cli.UintFlag{Name: "quorum", Usage: "seal at `Q` equal results, more than half of R (default: 2 of 3)"},
		&cli.BoolFlag{Name: "fresh", Usage: "run again even if an equal job is sealed already"},
	}
}

// submitFlags are those of a command that orders a job.
func submitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "detach", Usage: "return once the job is ordered, or on the peer's disk to be sent again"},
		&cli.BoolFlag{Name: "id-only", Usage: "write only the job's id"},
		&cli.StringFlag{Name: "trust", Usage: "check the receipt against this trust `FILE` (default: the chain's pinned one)"},
		&cli.UintFlag{Name: "priority", Usage: "`0` to 9, higher first"},
	}
}

func agreementOf(c *cli.Context) (r, q uint32, err error) {
	r, q = uint32(c.Uint("replicas")), uint32(c.Uint("quorum"))
	if r > 64 || q > r && r > 0 || r > 0 && q > 0 && 2*q <= r {
		return r, q, usageError(fmt.Errorf("--replicas %d --quorum %d: want at most 64 replicas, and a quorum of more than half of them", r, q))
	}
	return r, q, nil
}

func priorityOf(c *cli.Context) (uint32, error) {
	p := c.Uint("priority")
	if p > enc.MaxPriority {
		return 0, usageError(fmt.Errorf("--priority %d: want 0 to %d", p, enc.MaxPriority))
	}
	return uint32(p), nil
}

// readWork decodes the work that a peer wants signed.
func readWork(n *conn, p *api.Plan) (*receipt.Work, error) {
	var work receipt.Work
	if len(p.Work) > enc.MaxCommandBytes {
		return nil, fmt.Errorf("%s prepared a job of %d bytes: over the limit of %d", n.where, len(p.Work), enc.MaxCommandBytes)
	}
	if err := canon.Unmarshal(p.Work, &work); err != nil {
		return nil, fmt.Errorf("%s prepared something that is no job: %w", n.where, err)
	}
	return &work, nil
}

// checkAgreement compares a plan's peers and quorum with those asked for; 0 asked for none.
func checkAgreement(p *api.Plan, r, q uint32) error {
	switch {
	case r != 0 && p.R != r, q != 0 && p.Q != q:
		return fmt.Errorf("it is to run on %d peers with a quorum of %d", p.R, p.Q)
	case 2*p.Q <= p.R:
		return fmt.Errorf("its quorum of %d of %d is no majority", p.Q, p.R)
	}
	return nil
}

// checkResolved sees to it that a plan names every dataset that was asked for, in the version asked for.
func checkResolved(p *api.Plan, asked []string) error {
	for _, d := range asked {
		ref, err := analytics.ResolveRef(d)
		if err != nil {
			return err
		}
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
	return nil
}

// submitPlan signs and orders a planned job, and follows it to its seal; or finds the sealed job that answers it. ended
// means that there is nothing to wait for, since the caller wants to go on without.
func submitPlan(ctx context.Context, c *cli.Context, e *env, n *conn, key sign.PrivateKey, p *api.Plan, work *receipt.Work, priority uint32, note string) (job digest.Digest, ended bool, err error) {
	if p.Reuse != nil && !c.Bool("fresh") {
		e.say("an equal job is sealed already: its receipt is the answer (--fresh runs it again)")
		if c.Bool("detach") {
			return *p.Reuse, true, sayDetached(c, e, *p.Reuse, false)
		}
		return *p.Reuse, false, nil
	}
	s := enc.SubmitJob{Work: *work, R: p.R, Q: p.Q, Priority: priority, Note: note}
	if _, err := rand.Read(s.Salt[:]); err != nil {
		return job, true, fmt.Errorf("draw a salt: %w", err)
	}
	cmd, err := signCommand(key, p.Chain.ID, p.TimeMs, enc.KindSubmitJob, &s)
	if err != nil {
		return job, true, err
	}
	job = enc.JobID(work.Digest(), key.Public(), s.Salt)
	if c.Bool("detach") {
		queued, err := n.accept(ctx, cmd)
		if err != nil {
			return job, true, err
		}
		return job, true, sayDetached(c, e, job, queued)
	}
	a, err := n.SubmitCommand(ctx, cmd.Encode())
	if err != nil {
		return job, true, err
	}
	e.say("job %s", job)
	return job, false, n.follow(ctx, e, job, a.ID)
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

// sealedJob fetches and verifies the receipt of a sealed job, and keeps it.
func sealedJob(ctx context.Context, c *cli.Context, e *env, n *conn, job digest.Digest, work *receipt.Work) (*receipt.Statement, *receipt.Receipt, error) {
	r, err := n.Receipt(ctx, job.String())
	if err != nil {
		return nil, nil, err
	}
	trust, err := e.trustFor(ctx, c.String("trust"), r.Chain.ID, n)
	if err != nil {
		return nil, nil, err
	}
	if err := checkReceipt(r, trust); err != nil {
		return nil, nil, fail(exitInvalid, "the receipt of job %s does not verify: %w; do not use this result, and ask another peer with --peer", job.Short(), err)
	}
	s, err := receipt.ParseStatement(r.Envelope.Payload)
	if err != nil {
		return nil, nil, fail(exitInvalid, "the receipt of job %s: %w", job.Short(), err)
	}
	if s.Job != job || s.Work.Digest() != work.Digest() {
		return nil, nil, fail(exitInvalid, "the receipt that %s sent is another job's; ask another peer with --peer", n.where)
	}
	if err := e.keepReceipt(job, r); err != nil {
		e.say("note: %v", err)
	}
	e.say("sealed: %s; receipt verified; see it with: bpi receipt get %s", agreeing(len(r.Envelope.Signatures)), job.Short())
	return &s, r, nil
}

// receiptOfJob fetches the receipt of a job that need not be the caller's.
func receiptOfJob(ctx context.Context, n *conn, job *api.Job) (*receipt.Statement, *receipt.Receipt, error) {
	r, err := n.Receipt(ctx, job.ID.String())
	if err != nil {
		return nil, nil, err
	}
	s, err := receipt.ParseStatement(r.Envelope.Payload)
	if err == nil && s.Job != job.ID {
		err = errors.New("it is another job's; ask another peer with --peer")
	}
	if err != nil {
		return nil, nil, fail(exitInvalid, "receipt of %s: %w", job.ID.Short(), err)
	}
	return &s, r, nil
}
