package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/metanode/metanode/bench/measure"
)

const (
	lookupGoal  = 150 * time.Millisecond
	forgetGoal  = 10 * time.Minute
	changeGoal  = 2 * time.Second
	simulations = "TestRegistryConvergesInSimulation"
)

// registry runs the simulation of package p2p's tests, which tells what it found as attributes of the test. Its times are
// those of a simulated clock: what the protocols take, not this machine.
func (b *bench) registry(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, b.sim, "-test.run", "^"+simulations+"$", "-test.v", "-test.count=1", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), fmt.Sprintf("BPI_SIM_NODES=%d", b.plan.simulated))
	cmd.Dir = b.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", b.sim, err, bytes.TrimSpace(out[max(0, len(out)-600):]))
	}
	found, err := attributes(string(out))
	if err != nil {
		return err
	}
	t, err := registryTable(found, b.plan.simulated)
	if err == nil {
		b.print(t)
	}
	return err
}

// attributes reads the times among a test's attributes, lines such as "=== ATTR  TestName changed 55ms".
func attributes(out string) (map[string]time.Duration, error) {
	found := map[string]time.Duration{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 5 || f[0] != "===" || f[1] != "ATTR" {
			continue
		}
		d, err := time.ParseDuration(f[4])
		if err != nil {
			return nil, fmt.Errorf("attribute %s of %s: %w", f[3], f[2], err)
		}
		found[f[3]] = d
	}
	return found, nil
}

func registryTable(found map[string]time.Duration, nodes int) (measure.Table, error) {
	t := measure.Table{Head: []string{fmt.Sprintf("registry of %d simulated nodes, links of 25 ms one way", nodes), "measured", "goal"}}
	for _, row := range []struct {
		what, name string
		bound      time.Duration // 0: none
	}{
		{"lookup from the table, which everybody fills by gossip: p50", "warm-p50", lookupGoal},
		{"lookup by one who knows nothing, as a node does it (asks neighbours first): p50", "cold-p50", lookupGoal},
		{"the same by the DHT's provider records alone: p50", "records-p50", lookupGoal},
		{"the same, p90", "records-p90", 0},
		{"the same by the DHT's values of the chain's peers alone: p50", "values-p50", lookupGoal},
		{"the same, p90", "values-p90", 0},
		{"everybody knows everybody, from the start", "converged", 0},
		{"a change is known everywhere, by gossip", "changed", changeGoal},
		{"who is gone is forgotten everywhere", "forgotten", forgetGoal},
	} {
		d, ok := found[row.name]
		if !ok {
			return t, fmt.Errorf("the simulation tells nothing of %s", row.name)
		}
		if row.bound > 0 {
			within(&t, row.what, d, row.bound)
		} else {
			told(&t, row.what, show(d))
		}
	}
	return t, nil
}
