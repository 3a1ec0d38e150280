package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/node"
	"github.com/metanode/metanode/receipt"
)

// showProgram writes the agreed streams of a program, brings its files, and ends as it ended.
func showProgram(ctx context.Context, e *env, n *conn, s *receipt.Statement, r *receipt.Receipt, outs []place, force bool) error {
	if e.json {
		if err := programJSON(ctx, e, n, s, r); err != nil {
			return err
		}
	} else {
		if err := writeOutput(ctx, n, s, r, cage.OutputStdout, e.out); err != nil {
			return err
		}
		if err := writeOutput(ctx, n, s, r, cage.OutputStderr, e.err); err != nil {
			return err
		}
	}
	err := bringOutputs(ctx, e, n, s, r, outs, force)
	switch {
	case s.Outcome.Killed != "":
		return fail(exitProgram, "the program was ended by the cage, and the peers agree on that: %s", endOf(s))
	case s.Outcome.ExitCode != 0:
		return fail(exitProgram, "the program failed with exit code %d, and the peers agree on that; see: bpi job describe %s", s.Outcome.ExitCode, s.Job.Short())
	}
	return err
}

// endOf says how the cage ended a program, the same way on every peer, and what one can do about it.
func endOf(s *receipt.Statement) string {
	spec, err := node.CageSpec(&s.Work)
	policy, ok := cage.PolicyOf(s.Work.Policy)
	if err != nil || !ok { // of another version of the cage
		return s.Outcome.Killed
	}
	return killedText(s.Outcome.Killed, &spec, policy.Name)
}

// programJSON is a sealed program's end as one object. Its streams are in it where they are small.
func programJSON(ctx context.Context, e *env, n *conn, s *receipt.Statement, r *receipt.Receipt) error {
	o := &s.Outcome
	out := map[string]any{
		"job": s.Job, "chain": s.ChainID, "state": api.JobSealed, "round": s.Round, "agreeing": len(r.Envelope.Signatures),
		"exit_code": o.ExitCode, "killed": o.Killed, "witness": o.Witness, "image": s.Work.Engine, "policy": s.Work.Policy,
	}
	outputs := []api.Output{}
	for _, x := range o.Outputs {
		outputs = append(outputs, api.Output{Name: x.Name, Digest: x.Digest, Bytes: x.Bytes})
		if x.Name != cage.OutputStdout && x.Name != cage.OutputStderr || x.Bytes > receipt.MaxArchivedBytes {
			continue
		}
		raw, err := output(ctx, n, s, r, x.Name)
		if err != nil {
			return err
		}
		if utf8.Valid(raw) && !bytes.ContainsRune(raw, 0) {
			out[x.Name] = string(raw)
		} else {
			out[x.Name+"_base64"] = raw
		}
	}
	out["outputs"] = outputs
	return writeJSON(e.out, out)
}

// bringOutputs writes what the program left in the folders /out/NAME to their places here.
func bringOutputs(ctx context.Context, e *env, n *conn, s *receipt.Statement, r *receipt.Receipt, outs []place, force bool) error {
	if len(outs) == 0 {
		return nil
	}
	scratch, err := os.MkdirTemp("", "bpi-out-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	var missing []string
	for _, o := range outs {
		files := 0
		for _, x := range s.Outcome.Outputs {
			name, ok := strings.CutPrefix(x.Name, cage.OutputPrefix)
			if top, _, _ := strings.Cut(name, "/"); !ok || top != o.name {
				continue
			}
			if !filepath.IsLocal(name) {
				return fail(exitInvalid, "job %s has an output called %q, which cannot be a file here", s.Job.Short(), x.Name)
			}
			if err := writeFile(ctx, n, s, r, &x, filepath.Join(scratch, filepath.FromSlash(name))); err != nil {
				return err
			}
			files++
		}
		if files == 0 {
			missing = append(missing, o.name)
			continue
		}
		if err := deliver(filepath.Join(scratch, o.name), o, force); err != nil {
			return err
		}
		e.say("output %s: %s in %s", o.name, count(files, "file"), o.path)
	}
	if len(missing) > 0 {
		return fail(exitProgram, "the program left no file in /out/%s, which --out asks for; what it left: bpi job describe %s", strings.Join(missing, ", /out/"), s.Job.Short())
	}
	return nil
}

func writeFile(ctx context.Context, n *conn, s *receipt.Statement, r *receipt.Receipt, o *receipt.Output, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(fetchOutput(ctx, n, s, r, o, f), f.Close())
}

// writeOutput writes an output to w once all of it is here and checked.
func writeOutput(ctx context.Context, n *conn, s *receipt.Statement, r *receipt.Receipt, name string, w io.Writer) error {
	o, err := outputNamed(s, name)
	if err != nil {
		return err
	}
	if o.Bytes <= receipt.MaxArchivedBytes {
		raw, err := output(ctx, n, s, r, name)
		if err != nil {
			return err
		}
		_, err = w.Write(raw)
		return err
	}
	f, err := os.CreateTemp("", "bpi-output-*")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // nobody else needs its name
		return err
	}
	if err := fetchOutput(ctx, n, s, r, o, f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// fetchOutput writes an output's bytes to w, from the receipt or from the peer. They are the agreed ones if there is no
// error.
func fetchOutput(ctx context.Context, n *conn, s *receipt.Statement, r *receipt.Receipt, o *receipt.Output, w io.Writer) error {
	var from io.Reader = strings.NewReader("")
	if o.Bytes > 0 {
		archived := false
		for _, a := range r.Outputs {
			if a.Name == o.Name {
				from, archived = strings.NewReader(string(a.Content)), true
			}
		}
		if !archived {
			body, _, err := n.JobOutput(ctx, s.Job.String(), o.Name)
			if err != nil {
				return err
			}
			defer body.Close()
			from = body
		}
	}
	h := sha256.New()
	got, err := io.Copy(io.MultiWriter(h, w), io.LimitReader(from, int64(o.Bytes)+1))
	if err != nil {
		return fmt.Errorf("fetch output %q: %w", o.Name, err)
	}
	if uint64(got) != o.Bytes || digest.Digest(h.Sum(nil)) != o.Digest {
		return fail(exitInvalid, "output %q from %s is not what the peers agreed on; ask another peer with --peer", o.Name, n.where)
	}
	return nil
}

// outputNamed finds an output of a statement.
func outputNamed(s *receipt.Statement, name string) (*receipt.Output, error) {
	var names []string
	for i := range s.Outcome.Outputs {
		if s.Outcome.Outputs[i].Name == name {
			return &s.Outcome.Outputs[i], nil
		}
		names = append(names, s.Outcome.Outputs[i].Name)
	}
	return nil, fmt.Errorf("job %s has no output %q; it has: %s", s.Job.Short(), name, clean(strings.Join(names, ", ")))
}
