package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/receipt"
)

func receiptCommand() *cli.Command {
	return &cli.Command{
		Name:  "receipt",
		Usage: "fetch receipts, and check them offline",
		Subcommands: []*cli.Command{
			{
				Name: "get", Usage: "write a sealed job's receipt", ArgsUsage: "JOB",
				Flags: []cli.Flag{&cli.Uint64Flag{Name: "since", Usage: "leave out handovers of the validators from before `EPOCH`: for a trust file of that epoch"}},
				Action: action(func(c *cli.Context, e *env) error {
					ref, err := argument(c, "job id")
					if err != nil {
						return err
					}
					return e.withNode(c.Context, func(n *conn) error {
						ctx, cancel := e.bounded(c.Context, time.Minute)
						defer cancel()
						r, err := n.ReceiptSince(ctx, ref, c.Uint64("since"))
						if err != nil {
							return err
						}
						return writeReceipt(e, r)
					})
				}),
			},
			{
				Name: "verify", Usage: "check a receipt, a line a step; needs no network with --trust", ArgsUsage: "[FILE]",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "job-id", Usage: "fetch the receipt of this `JOB`, or take the copy kept here"},
					&cli.StringFlag{Name: "trust", Usage: "trust `FILE` (default: what was pinned on first contact with the chain)"},
					&cli.StringSliceFlag{Name: "output", Usage: "also check this output, as `NAME=FILE`; may be given more than once"},
					&cli.BoolFlag{Name: "re-execute", Usage: "also run the work again in a cage on this machine, on bytes that a peer gives, and compare"},
				},
				Action: action(receiptVerify),
			},
			{
				Name: "export", Usage: "write a receipt for other tools", ArgsUsage: "FILE|JOB",
				Description: "intoto is the DSSE envelope as the executors signed it; sigstore is a bundle a line, one an executor, without\n" +
					"certificate or log entry, for a verifier that is told the keys; slsa-vsa is an unsigned SLSA verification\n" +
					"summary, made after verifying the receipt, for you to sign. None of them holds the chain's proof: only the\n" +
					"receipt itself does.",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "format", Value: "intoto", Usage: "`FORMAT`: intoto, sigstore or slsa-vsa"},
					&cli.StringFlag{Name: "trust", Usage: "for slsa-vsa, trust `FILE` (default: what was pinned on first contact with the chain)"},
				},
				Action: action(func(c *cli.Context, e *env) error {
					f := c.String("format")
					if f != "intoto" && f != "sigstore" && f != "slsa-vsa" {
						return usageError(fmt.Errorf("--format %q: want intoto, sigstore or slsa-vsa", f))
					}
					ref, err := argument(c, "file or job id")
					if err != nil {
						return err
					}
					r, err := loadReceipt(c.Context, e, ref)
					if err != nil {
						return err
					}
					raw, err := exportReceipt(c, e, r, f)
					if err != nil {
						return err
					}
					_, err = e.out.Write(raw)
					return err
				}),
			},
		},
	}
}

func exportReceipt(c *cli.Context, e *env, r *receipt.Receipt, format string) ([]byte, error) {
	switch format {
	case "intoto":
		return receipt.ExportInToto(r)
	case "sigstore":
		return receipt.ExportSigstoreBundles(r)
	}
	trust, err := e.trustFor(c.Context, c.String("trust"), r.Chain.ID, nil)
	if err != nil {
		return nil, err
	}
	text, err := r.Encode()
	if err != nil {
		return nil, err
	}
	raw, err := receipt.ExportVSA(text, receipt.Verify(r, trust, nil), trust, time.Now())
	if errors.Is(err, receipt.ErrNotValid) {
		return nil, fail(exitInvalid, "the receipt does not verify, so there is nothing to vouch for: %w; see where: bpi receipt verify FILE", checkReceipt(r, trust))
	}
	return append(raw, '\n'), err
}

func writeReceipt(e *env, r *receipt.Receipt) error {
	raw, err := r.Encode()
	if err != nil {
		return err
	}
	_, err = e.out.Write(raw)
	return err
}

// loadReceipt reads a receipt from a file, or fetches the job's.
func loadReceipt(ctx context.Context, e *env, ref string) (*receipt.Receipt, error) {
	raw, err := readBounded(ref, receipt.MaxReceiptBytes)
	if err == nil {
		r, err := receipt.Parse(raw)
		if err != nil {
			return nil, fail(exitInvalid, "receipt %s: %w", ref, err)
		}
		return r, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("receipt %s: %w", ref, err)
	}
	if strings.ContainsAny(ref, "/.") {
		return nil, fmt.Errorf("receipt %s: no such file; fetch one with: bpi receipt get JOB", ref)
	}
	r, n, err := e.receiptOf(ctx, ref)
	if n != nil {
		n.Close()
	}
	return r, err
}

func receiptVerify(c *cli.Context, e *env) error {
	job := c.String("job-id")
	if (job == "") == (c.NArg() == 0) || c.NArg() > 1 {
		return usageError(errors.New("bpi receipt verify: want either a file or --job-id JOB"))
	}
	outputs := map[string][]byte{}
	for _, o := range c.StringSlice("output") {
		name, path, ok := strings.Cut(o, "=")
		if !ok {
			return usageError(fmt.Errorf("--output %q: want NAME=FILE", o))
		}
		raw, err := readBounded(path, 1<<30)
		if err != nil {
			return fmt.Errorf("output %s: %w; bpi job get JOB --output %s > FILE writes it", name, err, name)
		}
		outputs[name] = raw
	}
	if job == "" {
		raw, err := readBounded(c.Args().First(), receipt.MaxReceiptBytes)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("receipt %[1]s: no such file; fetch one with: bpi receipt get JOB > %[1]s", c.Args().First())
		}
		if err != nil {
			return fmt.Errorf("receipt %s: %w", c.Args().First(), err)
		}
		r, err := receipt.Parse(raw)
		if err != nil {
			return fail(exitInvalid, "receipt %s: %w", c.Args().First(), err)
		}
		trust, err := e.trustFor(c.Context, c.String("trust"), r.Chain.ID, nil)
		if err != nil {
			return err
		}
		return verified(c, e, receipt.Verify(r, trust, outputs))
	}
	r, n, err := e.receiptOf(c.Context, job)
	if err != nil {
		return err
	}
	if n != nil {
		defer n.Close()
	}
	s, err := receipt.ParseStatement(r.Envelope.Payload)
	if err != nil {
		return fail(exitInvalid, "receipt of job %s: %w", job, err)
	}
	if !strings.HasPrefix(s.Job.String(), job) {
		return fail(exitInvalid, "the receipt that came is of job %s, not of %s", s.Job, job)
	}
	trust, err := e.trustFor(c.Context, c.String("trust"), r.Chain.ID, n)
	if err != nil {
		return err
	}
	return verified(c, e, receipt.Verify(r, trust, outputs))
}

// verified runs the work again, if that is wanted, and reports.
func verified(c *cli.Context, e *env, rep *receipt.Report) error {
	if c.Bool("re-execute") {
		ctx, cancel := e.bounded(c.Context, defaultWait)
		defer cancel()
		reexecute(ctx, e, rep)
	}
	return report(e, rep)
}

// receiptOf fetches a job's receipt, or takes the copy that was kept when it was submitted from here.
func (e *env) receiptOf(ctx context.Context, job string) (*receipt.Receipt, *conn, error) {
	n, err := e.connect(ctx)
	if err == nil {
		fetch, cancel := e.bounded(ctx, time.Minute)
		defer cancel()
		var r *receipt.Receipt
		if r, err = n.Receipt(fetch, job); err == nil {
			return r, n, nil
		}
		err = n.explain(err)
		n.Close()
	}
	kept, globErr := filepath.Glob(filepath.Join(e.home, "receipts", job+"*.json"))
	if globErr != nil || len(kept) != 1 || len(job) < 4 {
		return nil, nil, err
	}
	raw, readErr := readBounded(kept[0], receipt.MaxReceiptBytes)
	if readErr != nil {
		return nil, nil, err
	}
	r, parseErr := receipt.Parse(raw)
	if parseErr != nil {
		return nil, nil, fail(exitInvalid, "receipt %s: %w", kept[0], parseErr)
	}
	e.say("no peer was reached (%v); checking the copy kept in %s", err, tilde(kept[0]))
	return r, nil, nil
}

// report writes a verification, a line a step, and ends with exit code 6 if the receipt is not valid.
func report(e *env, rep *receipt.Report) error {
	if e.json {
		if err := writeJSON(e.out, map[string]any{"valid": rep.Valid(), "steps": rep.Steps}); err != nil {
			return err
		}
	} else {
		t := newTable(e.out)
		for _, s := range rep.Steps {
			t.row(s.Name, string(s.Status), s.Detail)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if !rep.Valid() {
		e.say("bpi: the receipt is NOT valid")
		return quietly(exitInvalid)
	}
	if rep.Statement != nil {
		e.say("the receipt is valid: job %s", rep.Statement.Job)
	}
	return nil
}

// checkReceipt is an error that names the first step that does not hold.
func checkReceipt(r *receipt.Receipt, t *receipt.TrustFile) error {
	rep := receipt.Verify(r, t, nil)
	if rep.Valid() {
		return nil
	}
	for _, s := range rep.Steps {
		if s.Status == receipt.Failed || s.Mandatory && s.Status != receipt.OK {
			return fmt.Errorf("%s %s: %s", s.Name, s.Status, s.Detail)
		}
	}
	return errors.New("nothing in it could be checked")
}
