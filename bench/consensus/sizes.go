package main

import (
	"context"
	"fmt"

	"github.com/metanode/metanode/bench/measure"
)

// sizes measures BPI's saturated throughput with more validators, with streams and by gossip alone.
func (b *bench) sizes(ctx context.Context) error {
	t := measure.Table{Head: []string{"BPI, saturated, tx/s", "fast_path = true", "fast_path = false", "goal"}}
	for _, n := range []int{4, 7, 16} {
		cells := []string{fmt.Sprintf("n = %d", n)}
		for _, fast := range []bool{true, false} {
			got, err := b.saturate(ctx, bpi(n, fast, 0, plainBlockTime), nil)
			if err != nil {
				return fmt.Errorf("n = %d, fast_path = %t: %w", n, fast, err)
			}
			cells = append(cells, measure.Number(got))
		}
		t.Add(true, append(cells, "")...)
	}
	b.print(t)
	return nil
}
