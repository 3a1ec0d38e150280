package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/receipt"
)

// auditCommands are the commands that read an audit file.
func auditCommands() []*cli.Command {
	return []*cli.Command{{
		Name: "verify-audit", Usage: "check an exported audit file, a line a step; needs no network with --trust", ArgsUsage: "FILE",
		Flags:  []cli.Flag{&cli.StringFlag{Name: "trust", Usage: "trust `FILE` (default: what was pinned on first contact with the chain)"}},
		Action: action(verifyAudit),
	}}
}

func verifyAudit(c *cli.Context, e *env) error {
	path, err := argument(c, "audit file")
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("audit file: %w; write one with: bpi security export-audit --format json > FILE", err)
	}
	defer f.Close()
	// Only to find the pinned trust file: VerifyAudit itself believes nothing in the file.
	var head struct {
		Chain receipt.ChainRef `json:"chain"`
	}
	first, err := bufio.NewReader(io.LimitReader(f, receipt.MaxAuditLine)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the audit file %s: %w", path, err)
	}
	if bytes.HasPrefix(first, []byte("height,index,")) {
		return fail(exitInvalid, "audit file %s is CSV, which is for spreadsheets and holds no proofs; export one that can be checked with: bpi security export-audit --format json", path)
	}
	if err := json.Unmarshal(first, &head); err != nil && c.String("trust") == "" {
		return fail(exitInvalid, "audit file %s: its first line is not an audit's: %w; export with: bpi security export-audit --format json", path, err)
	}
	trust, err := e.trustFor(c.Context, c.String("trust"), head.Chain.ID, nil)
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the audit file %s: %w", path, err)
	}
	rep := receipt.VerifyAudit(f, trust)
	if e.json {
		if err := writeJSON(e.out, map[string]any{
			"valid": rep.Valid(), "steps": rep.Steps, "from": rep.From, "to": rep.To, "events": rep.Events, "line": rep.Line,
		}); err != nil {
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
		e.say("bpi: the audit file is NOT valid")
		return quietly(exitInvalid)
	}
	e.say("the audit file is valid: %d events of blocks %d to %d", rep.Events, rep.From, rep.To)
	return nil
}
