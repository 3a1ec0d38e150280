package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

func policyCommand() *cli.Command {
	return &cli.Command{
		Name:  "policy",
		Usage: "the cage's rules",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list the policies of this program", Action: action(policyList)},
			{
				Name: "show", Usage: "show what a policy allows and what it makes of clock, randomness and threads", ArgsUsage: "NAME|DIGEST|FILE",
				Description: "With --json, in its canonical form, which is a policy file: the beginning of one of your own.",
				Action:      action(policyShow),
			},
			{
				Name: "check", Usage: "check a policy file; or whether this machine gives the walls that a policy needs, and which executors offer it",
				ArgsUsage: "FILE|NAME|DIGEST",
				Description: "A FILE: what is wrong with it, as FILE:LINE:COLUMN, or what it makes different from the policy of this program that\n" +
					"is nearest to it. A NAME or DIGEST: exit code 1 if this machine lacks a wall; the executors are asked of a node,\n" +
					"where one is reached.",
				Flags: doctorFlags(), Action: action(policyCheck),
			},
		},
	}
}

func policyList(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	type line struct {
		Name   string        `json:"name"`
		Mode   string        `json:"mode"`
		Digest digest.Digest `json:"digest"`
		Calls  int           `json:"calls"` // rules
		About  string        `json:"about"`
	}
	list := []line{}
	for _, p := range cage.Policies() {
		list = append(list, line{p.Name, p.Mode, p.Digest(), len(p.Calls), aboutPolicy[p.Name]})
	}
	if e.json {
		return writeJSON(e.out, list)
	}
	t := newTable(e.out, "POLICY", "MODE", "DIGEST", "FOR")
	for _, p := range list {
		t.row(p.Name, p.Mode, p.Digest, p.About)
	}
	return t.flush()
}

// aboutPolicy says what the shipped policies are for.
var aboutPolicy = map[string]string{
	cage.PolicyStrict:      "any program: the same bytes and the same witness every time",
	cage.PolicyComputeOnly: "the same for one process and thread that writes to standard output only",
	cage.PolicyRelaxed:     "threads on all processors; clock and randomness as in strict-determinism, results need not agree",
	cage.PolicySealed:      "images that bring their own clock and randomness, such as the SQL engine",
}

func policyShow(c *cli.Context, e *env) error {
	ref, err := argument(c, "policy")
	if err != nil {
		return err
	}
	p, err := policyFrom(ref)
	if err != nil {
		return err
	}
	if e.json {
		_, err := e.out.Write(p.Marshal())
		return err
	}
	d := &p.Determinism
	t := newTable(e.out)
	t.row("policy", p.Name)
	t.row("digest", "sha256:"+p.Digest().String())
	t.row("mode", p.Mode)
	t.row("clock", map[string]string{"virtual": "virtual, from the epoch of the run on", "image": "the image's own; calls that tell time kill"}[d.Clock])
	t.row("randomness", map[string]string{"seeded": "from the seed of the run", "image": "the image's own; calls that give randomness kill"}[d.RNG])
	t.row("processor", d.CPUClass+", whatever there is beyond it")
	t.row("network", d.Net)
	threads := map[string]string{"serial": "one at a time, in an order of the cage's", "host": "as the machine runs them: results need not agree"}[d.Scheduler]
	if !d.Processes {
		threads = "one"
	}
	t.row("threads", threads)
	t.row("new processes", yesNo(d.Processes))
	t.row("writable folders", yesNo(d.Writable))
	for _, b := range []struct {
		what string
		b    cage.Bounds
	}{{"default limits", d.Defaults}, {"highest limits", d.Max}} {
		if b.b != (cage.Bounds{}) {
			t.row(b.what, boundsText(b.b))
		}
	}
	t.row("other calls", map[bool]string{true: "answered as the cage answers them", false: "kill the program"}[p.Default == cage.ActionAllow])
	if err := t.flush(); err != nil {
		return err
	}
	if len(p.Calls) == 0 {
		return nil
	}
	fmt.Fprintln(e.out)
	return ruleTable(e.out, p)
}

func ruleTable(w io.Writer, p *cage.Policy) error {
	t := newTable(w, "SYSTEM CALL", "ANSWER", "WHEN")
	rows := func(list []cage.Call, more string) {
		for _, call := range list {
			answer := call.Answer()
			if name := unix.ErrnoName(unix.Errno(call.Errno)); call.Action == cage.ActionErrno && name != "" {
				answer = "error " + name
			}
			t.row(call.Name, answer, orElse(call.Conditions(), "always")+more)
		}
	}
	rows(p.Calls, "")
	rows(p.Startup, ", before the program begins")
	return t.flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func boundsText(b cage.Bounds) string {
	var parts []string
	for _, f := range []struct {
		name string
		v    uint64
	}{
		{"memory", b.MemoryBytes}, {"output", b.OutputBytes}, {"files", b.Files}, {"processes", b.Processes}, {"cpu ms", b.CPUMs},
		{"wall ms", b.WallMs}, {"calls", b.Calls}, {"virtual ms", b.VirtualMs}, {"started", b.Spawned},
	} {
		if f.v > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", f.name, f.v))
		}
	}
	return strings.Join(parts, ", ")
}

// policyName is a policy as people call it, with its digest.
func policyName(d digest.Digest) string {
	if p, ok := cage.PolicyOf(d); ok {
		return p.Name + " sha256:" + d.String()
	}
	return "sha256:" + d.String()
}

// policyNamed finds a policy of this program by name or digest.
func policyNamed(ref string) (*cage.Policy, error) {
	for _, p := range cage.Policies() {
		if p.Name == ref || p.Digest().String() == ref || "sha256:"+p.Digest().String() == ref {
			return p, nil
		}
	}
	return nil, fmt.Errorf("there is no policy %q; see: bpi policy list", ref)
}

// isPolicyFile reports whether ref means a file rather than a name: it has a slash or ends in .json, or it is none of
// this program's policies and there is a file of that name.
func isPolicyFile(ref string) bool {
	if strings.Contains(ref, "/") || strings.HasSuffix(ref, ".json") {
		return true
	}
	if _, err := policyNamed(ref); err == nil {
		return false
	}
	_, err := os.Stat(ref)
	return err == nil
}

// policyFrom finds a policy of this program, or reads one from a file.
func policyFrom(ref string) (*cage.Policy, error) {
	if !isPolicyFile(ref) {
		return policyNamed(ref)
	}
	return readPolicy(ref)
}

// readPolicy reads a policy file. What is wrong in it is told with its place.
func readPolicy(path string) (*cage.Policy, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("policy %s: there is no such file; begin one with: bpi --json policy show strict-determinism > %s", path, path)
	}
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, cage.MaxPolicyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	p, err := cage.ParsePolicy(raw)
	var wrong *cage.PolicyError
	if errors.As(err, &wrong) {
		return nil, fmt.Errorf("%s:%d:%d: %s", path, wrong.Line, wrong.Column, wrong.Cause)
	}
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", path, err)
	}
	if own, ok := cage.PolicyNamed(p.Name); ok && own.Digest() != p.Digest() {
		return nil, fmt.Errorf("policy %s calls itself %s, which is a policy of this program with other rules; give it a name of its own", path, p.Name)
	}
	return p, nil
}
