package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
)

// watchEvery is how often a watching command asks for the head. The API has no stream of heads without events.
const watchEvery = 200 * time.Millisecond

func watchFlag(what string) cli.Flag {
	return &cli.BoolFlag{Name: "watch", Usage: "go on, with " + what + ", until interrupted"}
}

// heads calls f with the head now, and then with each one that this command sees, until f fails or ctx ends. An interrupt
// is how watching ends, and no error.
func (c *conn) heads(ctx context.Context, f func(api.ChainStatus) error) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for last, first := uint64(0), true; ; {
		s, err := c.ChainStatus(ctx)
		if err == nil && (first || s.Head.Height > last) {
			last, first = s.Head.Height, false
			err = f(s)
		}
		if ctx.Err() != nil {
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil
			}
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// watchStatus writes a line for each head.
func watchStatus(c *cli.Context, e *env, n *conn) error {
	ctx, cancel := e.bounded(c.Context, 0)
	defer cancel()
	return n.heads(ctx, func(s api.ChainStatus) error {
		if e.json {
			return writeLine(e.out, s)
		}
		_, err := fmt.Fprintf(e.out, "%s  block %d %s  view %d  epoch %d\n", moment(s.Head.TimeMs), s.Head.Height, short(s.Head.Block), s.Head.View, s.Head.Epoch)
		return err
	})
}

// watchBlocks writes a line for each block from the head on, none left out.
func watchBlocks(c *cli.Context, e *env, n *conn, from uint64) error {
	ctx, cancel := e.bounded(c.Context, 0)
	defer cancel()
	next := from
	return n.heads(ctx, func(s api.ChainStatus) error {
		if next == 0 {
			next = s.Head.Height
		}
		for ; next <= s.Head.Height; next++ {
			b, err := n.Block(ctx, next)
			if err != nil {
				return err
			}
			if e.json {
				err = writeLine(e.out, b)
			} else {
				closes := ""
				if len(b.Next) > 0 {
					closes = fmt.Sprintf("  closes epoch %d: %s follow", b.Epoch, count(len(b.Next), "validator"))
				}
				_, err = fmt.Fprintf(e.out, "%s  block %d %s  view %d  epoch %d  by %s  %s, %s%s\n", moment(b.TimeMs), b.Height, short(b.ID), b.View, b.Epoch,
					b.Proposer.Short(), count(b.Transactions, "transaction"), count(len(b.Events), "event"), closes)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// watchValidators writes the validators again whenever they or the proposals have changed.
func watchValidators(c *cli.Context, e *env, n *conn) error {
	ctx, cancel := e.bounded(c.Context, 0)
	defer cancel()
	last := ""
	return n.heads(ctx, func(api.ChainStatus) error {
		v, err := n.Validators(ctx)
		if err != nil {
			return err
		}
		now := fmt.Sprint(v)
		if now == last {
			return nil
		}
		if last != "" && !e.json {
			fmt.Fprintln(e.out)
		}
		last = now
		if e.json {
			return writeLine(e.out, v)
		}
		return writeValidators(e, &v)
	})
}

// watchEvidence writes each piece once.
func watchEvidence(c *cli.Context, e *env, n *conn) error {
	ctx, cancel := e.bounded(c.Context, 0)
	defer cancel()
	seen := map[string]bool{}
	return n.heads(ctx, func(s api.ChainStatus) error {
		list, err := n.Evidence(ctx)
		if err != nil {
			return err
		}
		for _, x := range list {
			if seen[x.ID.String()] {
				continue
			}
			seen[x.ID.String()] = true
			if e.json {
				err = writeLine(e.out, x)
			} else {
				_, err = fmt.Fprintf(e.out, "%s  block %d  validator key %s: %s, view %d of epoch %d; %s; proof %s\n", moment(x.TimeMs), x.Height, x.Key,
					clean(x.Kind), x.View, x.Epoch, removed(&x), proofOf(s.Chain.ID, &x))
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
