package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// maxTableRows bounds a table for people; the other formats are whole.
const maxTableRows = 1000

func checkFormat(f string) error {
	switch f {
	case "", "table", "csv", "json", "ndjson":
		return nil
	}
	return usageError(fmt.Errorf("--format %q: want table, csv, json or ndjson", f))
}

// output gives an output's bytes, from the receipt or from the peer, checked against the agreed digest.
func output(ctx context.Context, n *conn, s *receipt.Statement, r *receipt.Receipt, name string) ([]byte, error) {
	o, err := outputNamed(s, name)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := fetchOutput(ctx, n, s, r, o, &b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// showResult writes a sealed query's rows.
func showResult(ctx context.Context, e *env, n *conn, s *receipt.Statement, r *receipt.Receipt, format string) error {
	if err := checkFormat(format); err != nil {
		return err
	}
	if failed(s) {
		return programFailure(ctx, n, s, r, "")
	}
	stdout, err := output(ctx, n, s, r, "stdout")
	if err != nil {
		return err
	}
	result, err := analytics.Decode(bytes.NewReader(stdout), int64(max(len(stdout), 1)))
	if err != nil {
		return fmt.Errorf("read the result of job %s: %w", s.Job.Short(), err)
	}
	if e.json && format == "" {
		raw, err := json.Marshal(result)
		if err != nil {
			return err
		}
		return writeJSON(e.out, map[string]any{
			"job": s.Job, "chain": s.ChainID, "state": "sealed", "round": s.Round, "agreeing": len(r.Envelope.Signatures),
			"result": json.RawMessage(raw), "ordered_digest": digest.Of(stdout),
		})
	}
	switch format {
	case "csv":
		return result.WriteCSV(e.out)
	case "json":
		return writeJSON(e.out, result)
	case "ndjson":
		return result.WriteNDJSON(e.out)
	}
	return result.WriteTable(e.out, maxTableRows)
}

// programFailure is the error of a job whose program failed: that is its agreed result.
func programFailure(ctx context.Context, n *conn, s *receipt.Statement, r *receipt.Receipt, sql string) error {
	if s.Outcome.Killed != "" {
		return fail(exitProgram, "the program was ended by the cage (%s), and the peers agree on that; %s", s.Outcome.Killed, afterKill(s))
	}
	stderr, err := output(ctx, n, s, r, "stderr")
	if err != nil {
		return fail(exitProgram, "the program failed with exit code %d; its message could not be fetched: %w", s.Outcome.ExitCode, err)
	}
	f := analytics.ParseFailure(int(s.Outcome.ExitCode), stderr)
	if sql == "" {
		if req, err := analytics.DecodeRequest(s.Work.Stdin); err == nil {
			sql = req.SQL
		}
	}
	if f.Kind == "limit" { // the engine's advice is about settings that a job cannot change
		f.Message, _, _ = strings.Cut(f.Message, "\n\nPossible solutions")
		return fail(exitProgram, "the query failed (%s): %s; raise the limit with --memory BYTES, now %d", f.Kind, f.Explain(sql), memoryOf(s))
	}
	return fail(exitProgram, "the query failed (%s): %s", f.Kind, f.Explain(sql))
}

// memoryOf is the memory limit as --memory gives it; the cage's is wider by what the engine itself takes.
func memoryOf(s *receipt.Statement) uint64 {
	if req, err := analytics.DecodeRequest(s.Work.Stdin); err == nil {
		return req.MemoryBytes
	}
	return s.Work.Limits.MemoryBytes
}

// afterKill is what one can do about a program that the cage ended.
func afterKill(s *receipt.Statement) string {
	switch s.Outcome.Killed {
	case "output":
		return fmt.Sprintf("ask for less, or raise the limit with --output-limit BYTES, now %d", s.Work.Limits.OutputBytes)
	case "memory":
		return fmt.Sprintf("raise the limit with --memory BYTES, now %d", memoryOf(s))
	}
	return "see: bpi job describe " + s.Job.Short()
}

// programExit is nil if the program ended well.
func programExit(s *receipt.Statement) error {
	if failed(s) {
		return quietly(exitProgram)
	}
	return nil
}

// failed reports whether the program did not end well.
func failed(s *receipt.Statement) bool { return s.Outcome.ExitCode != 0 || s.Outcome.Killed != "" }
