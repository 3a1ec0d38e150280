package main

import (
	"strings"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

func TestRunningAgainIsComparedInAllThatIsSealed(t *testing.T) {
	of := func(text string) *receipt.Outcome {
		return &receipt.Outcome{
			Outputs: []receipt.Output{{Name: "stderr"}, {Name: "stdout", Digest: digest.Of([]byte(text)), Bytes: uint64(len(text))}},
			Witness: digest.Of([]byte("witness")),
		}
	}
	strict, _ := cage.PolicyNamed(cage.PolicyStrict)
	relaxed, _ := cage.PolicyNamed(cage.PolicyRelaxed)
	if s, detail := compareRuns(of("a"), of("a"), strict); s != receipt.OK {
		t.Errorf("%s: %s", s, detail)
	}
	for want, spoil := range map[string]func(o *receipt.Outcome){
		"end: sealed exit code 0, here exit code 7": func(o *receipt.Outcome) { o.ExitCode = 7 },
		"ended by the cage (calls)":                 func(o *receipt.Outcome) { o.Killed = "calls" },
		"output stdout: ":                           func(o *receipt.Outcome) { o.Outputs[1].Digest = digest.Of(nil) },
		"output stderr: ":                           func(o *receipt.Outcome) { o.Outputs[0].Bytes = 1 },
		"output out/x: sealed none":                 func(o *receipt.Outcome) { o.Outputs = append(o.Outputs, receipt.Output{Name: "out/x"}) },
		"witness: ":                                 func(o *receipt.Outcome) { o.Witness = digest.Of(nil) },
	} {
		again := of("a")
		spoil(again)
		if s, detail := compareRuns(of("a"), again, strict); s != receipt.Failed || !strings.Contains(detail, want) {
			t.Errorf("%s: %s, want FAILED and %q", s, detail, want)
		}
		if s, detail := compareRuns(of("a"), again, relaxed); s != receipt.NotChecked || !strings.Contains(detail, want) {
			t.Errorf("%s: %s, want not checked and %q", s, detail, want)
		}
	}
}
