package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
)

func chainCommand() *cli.Command {
	return &cli.Command{
		Name:  "chain",
		Usage: "look at the chain",
		Subcommands: []*cli.Command{
			{
				Name: "status", Usage: "the chain's name and head, and what the peer keeps of it",
				Flags:  []cli.Flag{watchFlag("a line for each new head")},
				Action: action(chainStatus),
			},
			{
				Name: "block", Usage: "one block with its events", ArgsUsage: "HEIGHT",
				Flags:  []cli.Flag{watchFlag("a line for each block, from HEIGHT or the head on")},
				Action: action(chainBlock),
			},
			validatorsCommand(),
			{
				Name: "evidence", Usage: "what was proved against validators; every proof is checked here",
				Flags:  []cli.Flag{watchFlag("each new piece")},
				Action: action(chainEvidence),
			},
			{
				Name: "events", Usage: "the chain's events, a line each",
				Flags: []cli.Flag{
					&cli.Uint64Flag{Name: "from", Usage: "first block `HEIGHT`"},
					&cli.Uint64Flag{Name: "to", Usage: "last block `HEIGHT` (default: the head)"},
					&cli.BoolFlag{Name: "follow", Aliases: []string{"watch"}, Usage: "go on with new ones"},
				},
				Action: action(chainEvents),
			},
			{
				Name: "trust", Usage: "write the trust file that receipts are verified against",
				Description: "A trust file is worth as much as the peer it comes from: get it once, from one you believe. That of the first\n" +
					"epoch verifies every receipt of the chain, by way of the handovers in it. That of a later one verifies those\n" +
					"from there on, and does not depend on the keys of validators who have left before.",
				Flags: []cli.Flag{&cli.StringFlag{Name: "epoch", Value: "0", Usage: "of the validators of this `EPOCH`, or latest"}},
				Action: action(func(c *cli.Context, e *env) error {
					if err := noArguments(c); err != nil {
						return err
					}
					return e.withNode(c.Context, func(n *conn) error {
						ctx, cancel := e.bounded(c.Context, time.Minute)
						defer cancel()
						epoch, err := epochArgument(c.String("epoch"))
						if err != nil {
							return err
						}
						t, err := n.Trust(ctx, epoch)
						if err != nil {
							return err
						}
						raw, err := t.Encode()
						if err != nil {
							return err
						}
						_, err = e.out.Write(raw)
						return err
					})
				}),
			},
		},
	}
}

// epochArgument reads an epoch's number, or latest.
func epochArgument(s string) (uint64, error) {
	if s == "latest" {
		return api.LatestEpoch, nil
	}
	epoch, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, usageError(fmt.Errorf("--epoch %q: want a number, or latest", s))
	}
	return epoch, nil
}

func chainStatus(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		if c.Bool("watch") {
			return watchStatus(c, e, n)
		}
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		s, err := n.ChainStatus(ctx)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, s)
		}
		t := newTable(e.out)
		t.row("chain", s.Chain.Name)
		t.row("id", s.Chain.ID)
		t.row("protocol", s.Chain.Protocol)
		t.row("height", s.Head.Height)
		t.row("block", s.Head.Block)
		t.row("time", moment(s.Head.TimeMs))
		t.row("view", s.Head.View)
		t.row("epoch", s.Head.Epoch)
		kept := "all"
		if s.Base > 0 {
			kept = fmt.Sprintf("from block %d on", s.Base)
		}
		t.row("kept", kept)
		for _, x := range s.Snapshots {
			t.row("snapshot", fmt.Sprintf("block %d, %s in %d chunks", x.Height, size(x.Bytes), x.Chunks))
		}
		return t.flush()
	})
}

func chainBlock(c *cli.Context, e *env) error {
	var height uint64
	if watch := c.Bool("watch"); !watch || c.NArg() > 0 {
		arg, err := argument(c, "height")
		if err != nil {
			return err
		}
		if height, err = strconv.ParseUint(arg, 10, 64); err != nil {
			return usageError(fmt.Errorf("height %q: want a number", arg))
		}
	}
	return e.withNode(c.Context, func(n *conn) error {
		if c.Bool("watch") {
			return watchBlocks(c, e, n, height)
		}
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		b, err := n.Block(ctx, height)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, b)
		}
		t := newTable(e.out)
		t.row("height", b.Height)
		t.row("id", b.ID)
		t.row("parent", b.Parent)
		t.row("view", b.View)
		t.row("epoch", b.Epoch)
		t.row("time", moment(b.TimeMs))
		t.row("proposer", b.Proposer)
		t.row("transactions", fmt.Sprintf("%d, %s", b.Transactions, size(uint64(b.Bytes))))
		t.row("state root", b.StateRoot)
		for i := range b.Next {
			what := ""
			if i == 0 {
				what = fmt.Sprintf("closes epoch %d for", b.Epoch)
			}
			t.row(what, fmt.Sprintf("%s, weight %d, key %s", called(&b.Next[i]), b.Next[i].Weight, b.Next[i].Key))
		}
		if err := t.flush(); err != nil {
			return err
		}
		if len(b.Events) == 0 {
			return nil
		}
		fmt.Fprintln(e.out)
		t = newTable(e.out, "EVENT", "SUBJECT", "ACTOR", "DECISION", "REASON")
		for _, ev := range b.Events {
			t.row(ev.Kind, short(ev.Subject), actor(&ev), orDash(ev.Decision), orDash(ev.Reason))
		}
		return t.flush()
	})
}

func actor(e *api.Event) string {
	if e.Actor.IsZero() {
		return "chain"
	}
	return e.Actor.Short()
}

func chainEvents(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	q := api.EventQuery{From: c.Uint64("from"), To: c.Uint64("to"), Follow: c.Bool("follow")}
	if q.To != 0 && q.To < q.From {
		return usageError(fmt.Errorf("--from %d --to %d: the range is empty", q.From, q.To))
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, 0)
		defer cancel()
		if err := e.sayBase(ctx, n, q.From); err != nil {
			return err
		}
		err := n.Events(ctx, q, func(ev *api.Event) error {
			if e.json {
				return writeLine(e.out, ev)
			}
			_, err := fmt.Fprintf(e.out, "%d.%d  %s  %-20s %s  %s  %s %s\n", ev.Height, ev.Index, moment(ev.TimeMs), ev.Kind,
				short(ev.Subject), actor(ev), clean(ev.Decision), clean(ev.Reason))
			return err
		})
		if q.Follow && errors.Is(err, ctx.Err()) && ctx.Err() != nil {
			return nil // Ctrl-C is how following ends
		}
		return err
	})
}
