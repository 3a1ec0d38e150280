package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/sign"
)

// publishFlags are those of a command that puts a name on bytes.
func publishFlags(what string) []cli.Flag {
	return []cli.Flag{
		&cli.UintFlag{Name: "holders", Usage: "`NUMBER` of peers that are to hold the bytes (default: the network's, 3)"},
		&cli.BoolFlag{Name: "detach", Usage: "return once the " + what + " is published"},
		&cli.BoolFlag{Name: "id-only", Usage: "write only NAME@sha256:…"},
	}
}

// publish orders a new version of a name and says so, with done, unless the newest version is the same already.
func (c *conn) publish(ctx context.Context, e *env, key sign.PrivateKey, kind enc.Kind, payload any, done string) error {
	status, err := c.orderNow(ctx, key, kind, payload)
	if err != nil {
		return err
	}
	for _, ev := range status.Events {
		if (ev.Kind == enc.EventDataset || ev.Kind == enc.EventImage) && ev.Decision == "unchanged" {
			e.say("nothing is published: %s", clean(ev.Reason))
			return nil
		}
	}
	e.say("%s", done)
	return nil
}

// orderNow signs a command for the peer's chain and waits until it is ordered.
func (c *conn) orderNow(ctx context.Context, key sign.PrivateKey, kind enc.Kind, payload any) (api.CommandStatus, error) {
	chain, now, err := c.chainNow(ctx)
	if err != nil {
		return api.CommandStatus{}, err
	}
	cmd, err := signCommand(key, chain, now, kind, payload)
	if err != nil {
		return api.CommandStatus{}, err
	}
	return c.order(ctx, cmd)
}

// awaitHolders waits until as many peers hold a version as wanted. look asks for it.
func awaitHolders(ctx context.Context, e *env, what, ref string, detach bool, look func() (api.Publication, error)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	held := -1
	for {
		p, err := look()
		if err != nil {
			return err
		}
		if detach || len(p.Holders) >= int(p.Wanted) {
			return nil
		}
		if len(p.Holders) != held {
			held = len(p.Holders)
			e.say("%d of %d peers hold it", held, p.Wanted)
		}
		select {
		case <-ctx.Done():
			return fail(exitTimeout, "%s %s: %d of %d peers hold it so far; the network goes on, look again with: bpi %s show %s", what, ref, held, p.Wanted, what, p.Name)
		case <-tick.C:
		}
	}
}

// removeCommand withdraws versions of a name.
func removeCommand(what, catalog string, find func(ctx context.Context, n *conn, ref string) (api.Publication, []uint64, error)) *cli.Command {
	return &cli.Command{
		Name: "remove", Usage: "withdraw " + what + "s of yours: peers hold the bytes no more, and no new job may use them", ArgsUsage: "NAME[@VERSION]",
		Description: "Without a version, all versions of the name. The name stays yours, and the numbers are not given again: what a\n" +
			"receipt calls NAME@3 is never something else. Receipts stay valid. A job that has not ended may find the bytes gone.",
		Action: action(func(c *cli.Context, e *env) error {
			text, err := argument(c, what)
			if err != nil {
				return err
			}
			ref, err := enc.ParseRef(what, text)
			if err != nil {
				return usageError(err)
			}
			key, err := e.clientKey()
			if err != nil {
				return err
			}
			return e.withNode(c.Context, func(n *conn) error {
				ctx, cancel := e.bounded(c.Context, time.Minute)
				defer cancel()
				p, versions, err := find(ctx, n, text)
				if err != nil {
					return err
				}
				if p.Owner != key.Public() {
					return fmt.Errorf("%s %s belongs to client %s, and your key is %s: only its owner may remove it", what, p.Name, p.Owner.Short(), key.Public().Short())
				}
				if ref.Version != 0 || !ref.Manifest.IsZero() {
					versions = []uint64{p.Version}
				}
				if len(versions) == 0 {
					return errors.New("the peer names no versions")
				}
				for _, v := range versions {
					if _, err := n.orderNow(ctx, key, enc.KindWithdraw, &enc.Withdraw{Catalog: catalog, Name: p.Name, Version: v}); err != nil {
						return fmt.Errorf("remove %s@%d: %w", p.Name, v, err)
					}
					e.say("removed %s %s@%d", what, p.Name, v)
				}
				return nil
			})
		}),
	}
}
