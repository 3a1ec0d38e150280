package cagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/metanode/metanode/cage"
)

// StrictEngine is an engine that can run programs in strict mode.
type StrictEngine interface {
	Engine
	Record(ctx context.Context, spec cage.Spec, files cage.Files, out string, rec *cage.Recording) (cage.Result, error)
}

// Strict runs the suite of the strict mode: each of its programs several times, each time in a process of its own that
// differs from the others in all that a program might notice (see passes). Exit code, output and witness must be the
// same, and the programs themselves check that what they saw made sense. open makes an engine that keeps its files in
// dir, or skips the test; it is called in each of the processes.
//
// The test that calls Strict must be at the top level and do nothing else: it is run again by name.
func Strict(t *testing.T, open func(t testing.TB, dir string) StrictEngine) {
	if p := passOfThisProcess(t); p != nil {
		p.run(t, open(t, p.Dir))
		return
	}
	open(t, t.TempDir()) // skips where there is no cage
	s := &suite{base: publicDir(t, t.TempDir())}
	s.build(t)
	plans := passes(t, s.base)
	for i := range plans {
		s.start(t, &plans[i])
	}
	for _, c := range strictCases {
		t.Run(c.name, func(t *testing.T) {
			if why := s.missing[c.file()]; why != "" {
				t.Skip(why)
			}
			first := plans[0].load(t, &c)
			for i := range plans {
				p := &plans[i]
				o := p.load(t, &c)
				if why := c.wrong(o); why != "" {
					t.Fatalf("%s: %s\nstdout:\n%s\nstderr:\n%s", p.What, why, tail(o.stdout), tail(o.stderr))
				}
				if d := difference(&plans[0], p, first, o); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

// outcome is what one run of a program came to.
type outcome struct {
	Code    int32
	Killed  string
	Witness string
	Reason  cage.Reason // of no result
	Trouble string
	stdout  string
	stderr  string
	rec     *cage.Recording // nil without a result
}

// wrong says in what the outcome is not what every run of c must come to.
func (c *strictCase) wrong(o *outcome) string {
	switch {
	case o.Trouble != "":
		return o.Trouble
	case o.Reason != c.reason:
		return fmt.Sprintf("no result: %q; want %q", o.Reason, c.reason)
	case o.Code != c.code || o.Killed != c.killed:
		return fmt.Sprintf("exit code %d, killed %q; want %d, %q", o.Code, o.Killed, c.code, c.killed)
	}
	return ""
}

// difference says in what two runs differ; "" if in nothing.
func difference(a, b *pass, x, y *outcome) string {
	if x.stdout != y.stdout || x.stderr != y.stderr {
		return fmt.Sprintf("%s and %s differ in output: %s", a.What, b.What, firstDifference(x.stdout+x.stderr, y.stdout+y.stderr))
	}
	if x.rec == nil || y.rec == nil {
		return ""
	}
	if d, differ := cage.Compare(x.rec, y.rec); differ {
		return fmt.Sprintf("%s and %s differ:\n%s", a.What, b.What, d.Text(a.What, b.What))
	}
	if x.Witness != y.Witness {
		return fmt.Sprintf("%s and %s have witnesses %s and %s, and recordings without a difference", a.What, b.What, x.Witness, y.Witness)
	}
	return ""
}

// run makes every case's run of this pass and leaves the outcomes for the process that compares them.
func (p *pass) run(t *testing.T, e StrictEngine) {
	files := p.files(t)
	for i := range strictCases {
		c := &strictCases[i]
		if _, err := os.Stat(filepath.Join(p.Root, c.file())); err != nil {
			continue // could not be built; the other process says why
		}
		dir := filepath.Join(p.Dir, "runs", c.folder())
		var rec cage.Recording
		res, err := e.Record(context.Background(), c.spec(t, files), files, dir, &rec)
		o := outcome{Code: res.ExitCode, Killed: res.Killed}
		var none *cage.ErrNoResult
		switch {
		case errors.As(err, &none):
			o.Reason = none.Reason
		case err != nil:
			o.Trouble = err.Error()
		default:
			o.Witness = res.Witness.String()
			raw, err := rec.Encode()
			if err != nil {
				o.Trouble = "encode the recording: " + err.Error()
			}
			write(t, filepath.Join(p.Dir, "runs", c.folder()+".cbor"), raw)
		}
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(p.Dir, "runs", c.folder()+".json"), raw)
	}
}

// load reads what run left.
func (p *pass) load(t *testing.T, c *strictCase) *outcome {
	t.Helper()
	base := filepath.Join(p.Dir, "runs", c.folder())
	o := new(outcome)
	if err := json.Unmarshal([]byte(read(t, base+".json", "")), o); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]*string{"stdout": &o.stdout, "stderr": &o.stderr} {
		if b, err := os.ReadFile(filepath.Join(base, name)); err == nil { // a run without a result leaves none
			*to = string(b)
		}
	}
	if o.Witness != "" && o.Trouble == "" {
		rec, err := cage.DecodeRecording([]byte(read(t, base+".cbor", "")))
		if err != nil {
			t.Fatalf("%s: %v", p.What, err)
		}
		o.rec = rec
	}
	return o
}
