package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

func configPath(home string) string { return filepath.Join(home, "config.toml") }

func nodeCommand() *cli.Command {
	return &cli.Command{
		Name:  "node",
		Usage: "run a peer, and look after it",
		Subcommands: []*cli.Command{
			startCommand(),
			{Name: "status", Usage: "what the node does, and what keeps it from doing more", Action: action(nodeStatus)},
			{Name: "peers", Usage: "the peers that the node knows", Action: action(listPeers)},
			{
				Name: "drain", Usage: "let the node finish its work and take no more",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "off", Usage: "take work again"},
					&cli.BoolFlag{Name: "detach", Usage: "do not wait until the last execution has ended"},
				},
				Action: action(nodeDrain),
			},
			{Name: "doctor", Usage: "check this machine and the node on it", Flags: doctorFlags(), Action: action(doctor)},
		},
	}
}

func nodeStatus(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		s, err := n.Status(ctx)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, s)
		}
		t := newTable(e.out)
		t.row("peer", s.Peer)
		if s.Name != "" {
			t.row("name", s.Name)
		}
		t.row("version", s.Version)
		t.row("up", (time.Duration(s.UptimeMs) * time.Millisecond).Round(time.Second))
		t.row("chain", fmt.Sprintf("%s, height %d, %s", s.Chain.Name, s.Head.Height, moment(s.Head.TimeMs)))
		roles := strings.Join(s.Roles, ", ")
		if roles == "" {
			roles = "follower"
		}
		t.row("roles", roles)
		state := "ready"
		if !s.Ready {
			state = "not ready: " + strings.Join(s.NotReady, "; ")
		}
		t.row("state", state)
		t.row("peers", s.Peers)
		mesh := "open"
		if s.Private {
			mesh = "private: members only"
		}
		if s.Refused > 0 {
			mesh += fmt.Sprintf("; limits refused %s, see bpi network resources", times(s.Refused))
		}
		t.row("mesh", mesh)
		t.row("waiting", fmt.Sprintf("%d commands in the mempool, %d in the outbox", s.Mempool, s.Outbox))
		work := fmt.Sprintf("%d of %d slots", s.Executing, s.Slots)
		if s.Draining {
			work += ", draining"
		}
		t.row("executing", work)
		if s.Engine != nil {
			at := "being fetched"
			if s.Engine.Present {
				at = "at hand"
			}
			t.row("engine", fmt.Sprintf("sha256:%s, %s", s.Engine.Digest.Short(), at))
		}
		t.row("clock", fmt.Sprintf("%+d ms from its peers'", s.DriftMs))
		for _, a := range s.Addresses {
			t.row("address", a)
		}
		for _, w := range s.Walls {
			if !w.OK {
				t.row("missing wall", w.Name+": "+w.Detail)
			}
		}
		for _, w := range s.Warnings {
			t.row("warning", w)
		}
		return t.flush()
	})
}

func nodeDrain(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if e.peer != "" && e.api == "" {
		return usageError(errors.New("bpi node drain: only the machine of a node may drain it; run it there, without --peer"))
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, 10*time.Minute)
		defer cancel()
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			s, err := n.Drain(ctx, !c.Bool("off"))
			if err != nil {
				return err
			}
			if c.Bool("off") || c.Bool("detach") || s.Executing == 0 {
				if e.json {
					return writeJSON(e.out, s)
				}
				if s.Draining {
					e.say("the node takes no more work; %d executions still run", s.Executing)
				} else {
					e.say("the node takes work again")
				}
				return nil
			}
			select {
			case <-ctx.Done():
				return fail(exitTimeout, "%d executions still run; the node goes on draining", s.Executing)
			case <-tick.C:
			}
		}
	})
}
