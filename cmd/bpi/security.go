package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
)

// sayBase tells, where everything is asked for, that the peer does not keep everything.
func (e *env) sayBase(ctx context.Context, n *conn, from uint64) error {
	s, err := n.ChainStatus(ctx)
	if err == nil && from == 0 && s.Base > 0 {
		e.say("note: this peer keeps blocks and events from %d on: what follows is complete from there; a peer that keeps all gives the rest, with --peer", s.Base)
	}
	return err
}

func securityCommand() *cli.Command {
	return &cli.Command{
		Name:  "security",
		Usage: "the chain's history as evidence",
		Subcommands: append([]*cli.Command{
			{
				Name: "export-audit", Usage: "write every event with the blocks and certificates that prove it, a line each",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "format", Value: "json", Usage: "json or csv; only json can be verified"},
					&cli.Uint64Flag{Name: "from", Usage: "first block `HEIGHT`"},
					&cli.Uint64Flag{Name: "to", Usage: "last block `HEIGHT` (default: the head)"},
				},
				Action: action(func(c *cli.Context, e *env) error {
					if err := noArguments(c); err != nil {
						return err
					}
					q := api.AuditQuery{From: c.Uint64("from"), To: c.Uint64("to"), Format: c.String("format")}
					if q.Format != "json" && q.Format != "csv" {
						return usageError(fmt.Errorf("--format %q: want json or csv", q.Format))
					}
					return e.withNode(c.Context, func(n *conn) error {
						ctx, cancel := e.bounded(c.Context, 0)
						defer cancel()
						if err := e.sayBase(ctx, n, q.From); err != nil {
							return err
						}
						body, err := n.Audit(ctx, q)
						if err != nil {
							return err
						}
						defer body.Close()
						if _, err := io.Copy(e.out, body); err != nil {
							return fmt.Errorf("the export broke off and is not whole: %w; run it again", err)
						}
						return nil
					})
				}),
			},
		}, auditCommands()...),
	}
}
