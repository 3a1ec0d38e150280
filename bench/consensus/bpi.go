package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/metanode/metanode/bench/consensus/rpc"
)

// bpi is BPI with the key-value application, with or without streams between validators. delay holds every message
// back, inside of the validator that sends it, between its driver and its mesh; blockTime is how long an idle chain waits
// between blocks.
func bpi(n int, fastPath bool, delay, blockTime time.Duration) system {
	return system{
		name: "BPI", size: n,
		make: func(context.Context, place, int) error { return nil },
		argv: func(p place, n, i int) []string {
			return []string{
				filepath.Join(p.bin, "bpi-kv"), "-n", fmt.Sprint(n), "-i", fmt.Sprint(i), "-net", p.net,
				"-dir", filepath.Join(p.dir, fmt.Sprintf("node%d", i)), fmt.Sprintf("-fast-path=%t", fastPath),
				"-delay", delay.String(), "-block-time", blockTime.String(),
			}
		},
		ready: func(s rpc.Status, n int) bool { return s.Peers >= n-1 },
	}
}

// plainBlockTime is the network's default.
const plainBlockTime = 5 * time.Second
