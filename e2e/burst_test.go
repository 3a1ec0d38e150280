package e2e

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/digest"
)

// TestBurstThroughAPeerThatOnlyFollows hands 5,000 commands, as fast as it takes them, to a peer that validates nothing: it
// reaches the validators by gossip, which may drop, and by its outbox, which does not. What it answered for is ordered.
func TestBurstThroughAPeerThatOnlyFollows(t *testing.T) {
	const clients, each = 5, 1000
	n := up(t, 4)
	joiner := n.join(n.peers[1])
	c := n.client(joiner)
	var mu sync.Mutex
	var ids []digest.Digest
	var wg sync.WaitGroup
	began := time.Now()
	for range clients {
		command := cancelling(t, c)
		next := 0
		for range 32 {
			wg.Go(func() {
				for {
					mu.Lock()
					i := next
					next++
					mu.Unlock()
					if i >= each {
						return
					}
					for {
						a, err := c.SubmitCommand(t.Context(), command(uint64(i)))
						if err == nil {
							mu.Lock()
							ids = append(ids, a.ID)
							mu.Unlock()
							break
						}
						var e *api.Error
						if !errors.As(err, &e) || e.RetryAfter == 0 {
							t.Errorf("command %d: %v", i, err)
							return
						}
						select {
						case <-time.After(e.RetryAfter):
						case <-t.Context().Done():
							return
						}
					}
				}
			})
		}
	}
	wg.Wait()
	t.Logf("%d commands taken in %s", len(ids), time.Since(began).Round(time.Millisecond))
	if len(ids) != clients*each {
		t.Fatalf("%d of %d commands were taken", len(ids), clients*each)
	}
	for _, p := range []*peer{n.peers[0], joiner} {
		at := n.client(p)
		for _, id := range ids {
			if s, err := at.CommandStatus(t.Context(), id, api.MaxWait); err != nil || s.State != api.CommandOrdered {
				t.Fatalf("%s: command %s is %s, %v", p.Name, id.Short(), s.State, err)
			}
		}
	}
	t.Logf("all ordered, and known where they were taken, after %s", time.Since(began).Round(time.Millisecond))
}
