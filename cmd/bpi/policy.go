package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

// policies are those shipped with this program.
func policies() []*cage.Policy { return []*cage.Policy{cage.Sealed()} }

func policyCommand() *cli.Command {
	return &cli.Command{
		Name:  "policy",
		Usage: "the cage's rules",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list the policies of this program",
				Action: action(func(c *cli.Context, e *env) error {
					if err := noArguments(c); err != nil {
						return err
					}
					type line struct {
						Name   string        `json:"name"`
						Digest digest.Digest `json:"digest"`
						Calls  int           `json:"calls"`
					}
					list := []line{}
					for _, p := range policies() {
						list = append(list, line{p.Name, p.Digest(), len(p.Calls)})
					}
					if e.json {
						return writeJSON(e.out, list)
					}
					t := newTable(e.out, "POLICY", "SYSTEM CALLS", "DIGEST")
					for _, p := range list {
						t.row(p.Name, p.Calls, p.Digest)
					}
					return t.flush()
				}),
			},
			{
				Name: "show", Usage: "show what a policy allows; whatever is not listed kills the program", ArgsUsage: "NAME|DIGEST",
				Action: action(func(c *cli.Context, e *env) error {
					ref, err := argument(c, "policy")
					if err != nil {
						return err
					}
					p, err := policyNamed(ref)
					if err != nil {
						return err
					}
					if e.json {
						return writeJSON(e.out, map[string]any{"name": p.Name, "version": cage.PolicyVersion, "digest": p.Digest(), "calls": p.Calls})
					}
					e.say("%s, sha256:%s; a call that is not listed kills the program", p.Name, p.Digest())
					t := newTable(e.out, "SYSTEM CALL", "ANSWER", "WHEN")
					for _, call := range p.Calls {
						answer := "allowed"
						if call.Errno != 0 {
							answer = fmt.Sprintf("error %d", call.Errno)
						}
						when := "always"
						for i, a := range call.When {
							if i == 0 {
								when = ""
							} else {
								when += ", "
							}
							when += fmt.Sprintf("arg%d & %#x = %#x", a.Index, a.Mask, a.Value)
						}
						t.row(call.Name, answer, when)
					}
					return t.flush()
				}),
			},
			{
				Name: "check", Usage: "whether this machine gives the walls that a policy needs, and which executors offer it", ArgsUsage: "NAME|DIGEST",
				Description: "Exit code 1 if this machine lacks a wall. The executors are asked of a node, where one is reached.",
				Flags:       doctorFlags(), Action: action(policyCheck),
			},
		},
	}
}

func policyCheck(c *cli.Context, e *env) error {
	ref, err := argument(c, "policy")
	if err != nil {
		return err
	}
	p, err := policyNamed(ref)
	if err != nil {
		return err
	}
	cfg, _ := doctorConfig(c, e)
	walls := checkWalls(cfg)
	var list []api.Executor
	n, err := e.connect(c.Context)
	if err == nil {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		list, err = n.Executors(ctx)
		err = n.explain(err)
		cancel()
		n.Close()
	}
	if err != nil && (e.api != "" || e.peer != "") {
		return err // a node was named
	}
	type offer struct {
		Peer   string `json:"peer"`
		Name   string `json:"name,omitempty"`
		Offers bool   `json:"offers"`
	}
	offers := []offer{}
	for _, x := range list {
		offers = append(offers, offer{x.Peer, x.Name, slices.Contains(x.Policies, p.Digest())})
	}
	good := true
	for _, w := range walls {
		good = good && w.Status != "FAILED"
	}
	if e.json {
		if err := writeJSON(e.out, map[string]any{"policy": p.Name, "digest": p.Digest(), "this_machine": good, "walls": walls, "executors": offers}); err != nil {
			return err
		}
	} else {
		t := newTable(e.out)
		for _, w := range walls {
			detail := w.Detail
			if w.Next != "" {
				detail += "; " + w.Next
			}
			t.row(w.Check, w.Status, detail)
		}
		for _, o := range offers {
			state := "ok"
			detail := "offers " + p.Name
			if !o.Offers {
				state, detail = "no", "does not offer "+p.Name
			}
			t.row("executor "+orElse(o.Name, o.Peer), state, detail)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		e.say("no executor was asked: no node was reached; start one, or name one with --peer")
	}
	if !good {
		e.say("bpi: this machine cannot enforce %s, and would execute nothing", p.Name)
		return quietly(exitFailure)
	}
	e.say("this machine can enforce %s (sha256:%s)", p.Name, p.Digest())
	return nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
