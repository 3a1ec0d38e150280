package cagetest

import (
	"strings"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

// recorded is the outcome of a run of a case in which these things were written.
func recorded(t *testing.T, code int32, writes ...string) *outcome {
	t.Helper()
	policy, _ := cage.PolicyNamed(cage.PolicyStrict)
	c := strictCase{name: "x", argv: []string{"/opt/x"}}
	spec := c.spec(t, &passFiles{root: digest.Of([]byte("root"))})
	rec := new(cage.Recording)
	r := cage.NewRecorder(&spec, policy, rec)
	text := strings.Join(writes, "")
	for _, w := range writes {
		if err := r.Record(cage.EventWrite, 2, append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, w...)); err != nil {
			t.Fatal(err)
		}
	}
	res := cage.Result{ExitCode: code, Outputs: []cage.Output{{Name: "stderr", Digest: digest.Of(nil)}, {Name: "stdout", Digest: digest.Of([]byte(text)), Bytes: uint64(len(text))}}}
	r.Finish(&res, cage.Totals{Calls: 1})
	return &outcome{Code: code, Witness: res.Witness.String(), stdout: text, rec: rec}
}

func TestStrictSeesDifferences(t *testing.T) {
	a, b := &pass{What: "one"}, &pass{What: "other"}
	same := recorded(t, 0, "ab", "c\n")
	if d := difference(a, b, same, recorded(t, 0, "ab", "c\n")); d != "" {
		t.Errorf("two equal runs differ: %s", d)
	}
	for what, other := range map[string]*outcome{
		"line 1":    recorded(t, 0, "ab", "d\n"), // in what was written
		"event":     recorded(t, 0, "a", "bc\n"), // in how it was written
		"exit code": recorded(t, 1, "ab", "c\n"),
	} {
		if d := difference(a, b, same, other); !strings.Contains(d, what) || !strings.Contains(d, "other") {
			t.Errorf("a difference in %s is told as %q", what, d)
		}
	}
}

func TestStrictSeesWrongEnds(t *testing.T) {
	c := strictCase{code: 0}
	for _, o := range []outcome{{Code: 1}, {Killed: cage.KilledDeadlock}, {Reason: cage.ReasonWall}, {Trouble: "the machine is on fire"}} {
		if c.wrong(&o) == "" {
			t.Errorf("%+v passes for an end by exit code 0", o)
		}
	}
	spin := strictCase{reason: cage.ReasonSpin}
	if spin.wrong(&outcome{Reason: cage.ReasonSpin}) != "" || spin.wrong(&outcome{}) == "" {
		t.Error("a program that spins must end without a result, and for that reason")
	}
}
