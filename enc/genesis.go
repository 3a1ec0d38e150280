package enc

import (
	"fmt"

	"github.com/metanode/metanode/internal/sign"
)

// Check validates what a chain is to begin with.
func (g *Genesis) Check() error {
	if g.SQLEngine.IsZero() || g.SQLBytes == 0 || g.SQLBytes > 1<<32 {
		return fmt.Errorf("genesis: SQL engine %s of %d bytes: want a digest and 1 to %d bytes", g.SQLEngine.Short(), g.SQLBytes, uint64(1<<32))
	}
	if len(g.Nodes) > 4096 || len(g.Clients) > 4096 {
		return fmt.Errorf("genesis: %d nodes and %d clients: at most 4096 each", len(g.Nodes), len(g.Clients))
	}
	seen := make(map[sign.PublicKey]bool, len(g.Nodes))
	for i, n := range g.Nodes {
		if n.Node.IsZero() || n.Operator.IsZero() || seen[n.Node] {
			return fmt.Errorf("genesis: node %d (%s): want a node key, once, and an operator key", i, n.Node.Short())
		}
		seen[n.Node] = true
	}
	p := &g.Params
	for _, x := range []struct {
		what           string
		have, min, max uint64
	}{
		{"lease_ms", p.LeaseMs, 100, 3600_000}, {"commit_window_ms", p.CommitWindowMs, 100, 3600_000},
		{"reveal_window_ms", p.RevealWindowMs, 100, 3600_000}, {"max_rounds", uint64(p.MaxRounds), 1, 16},
		{"queue_ms", p.QueueMs, 100, 30 * 24 * 3600_000}, {"result_ttl_ms", p.ResultTTLMs, 1000, 3650 * 24 * 3600_000},
		{"client_per_minute", uint64(p.ClientPerMinute), 1, 1 << 30}, {"client_open_jobs", uint64(p.ClientOpenJobs), 1, 1 << 20},
		{"holders", uint64(p.HoldersDefault), 1, MaxHolders},
	} {
		if x.have < x.min || x.have > x.max {
			return fmt.Errorf("genesis: %s %d: want %d to %d", x.what, x.have, x.min, x.max)
		}
	}
	return nil
}

// DefaultParams are the numbers of a network that does not choose others.
func DefaultParams() Params {
	return Params{
		LeaseMs: 10_000, CommitWindowMs: 30_000, RevealWindowMs: 15_000, MaxRounds: 4, QueueMs: 600_000,
		ResultTTLMs: 7 * 24 * 3600_000, ClientPerMinute: 6000, ClientOpenJobs: 1000, HoldersDefault: 3,
	}
}
