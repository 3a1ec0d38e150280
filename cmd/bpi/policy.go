package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

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
					for _, p := range policies() {
						if p.Name != ref && p.Digest().String() != ref {
							continue
						}
						if e.json {
							return writeJSON(e.out, map[string]any{"name": p.Name, "version": p.Version, "digest": p.Digest(), "calls": p.Calls})
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
					}
					return fmt.Errorf("there is no policy %q; see: bpi policy list", ref)
				}),
			},
		},
	}
}
