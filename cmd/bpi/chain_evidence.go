package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

func chainEvidence(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		if c.Bool("watch") {
			return watchEvidence(c, e, n)
		}
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		chain, _, err := n.chainNow(ctx)
		if err != nil {
			return err
		}
		list, err := n.Evidence(ctx)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, list)
		}
		if len(list) == 0 {
			e.say("nothing was ever proved against a validator of this chain")
			return nil
		}
		t := newTable(e.out, "BLOCK", "TIME", "VALIDATOR KEY", "WHAT", "EPOCH", "VIEW", "KEY", "PROOF")
		for _, x := range list {
			t.row(x.Height, moment(x.TimeMs), x.Key, x.Kind, x.Epoch, x.View, removed(&x), proofOf(chain, &x))
		}
		return t.flush()
	})
}

func removed(x *api.Evidence) string {
	if x.Removed {
		return "removed"
	}
	return "kept: the only one"
}

// proofOf checks a piece of evidence here: it proves itself, whoever shows it.
func proofOf(chain digest.Digest, x *api.Evidence) string {
	p, err := consensus.DecodeEvidence(x.Proof)
	if err == nil {
		err = p.Verify(chain)
	}
	if err != nil || p.Key != x.Key || string(p.Kind) != x.Kind || uint64(p.Epoch) != x.Epoch || uint64(p.View) != x.View {
		return "DOES NOT HOLD"
	}
	return "holds"
}
