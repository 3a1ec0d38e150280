package e2e

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/digest"
)

// orders submits a command to a peer and reports whether it is ordered in time.
func (n *testnet) orders(p *peer, tx []byte, within time.Duration) bool {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), within)
	defer cancel()
	s, err := order(ctx, []*api.Client{n.client(p)}, tx)
	return err == nil && s.State == api.CommandOrdered
}

// order submits a command and waits until it is ordered or has expired, going from one peer to the next as long as none
// answers. The same bytes are the same command, so no try is one too many.
func order(ctx context.Context, peers []*api.Client, tx []byte) (api.CommandStatus, error) {
	var id digest.Digest
	last := errors.New("no peer was asked")
	for i := 0; ctx.Err() == nil; i++ {
		c := peers[i%len(peers)]
		try, cancel := context.WithTimeout(ctx, 3*time.Second)
		a, err := c.SubmitCommand(try, tx)
		if err == nil {
			id = a.ID
		}
		if err == nil || !id.IsZero() {
			var s api.CommandStatus
			if s, err = c.CommandStatus(try, id, 2*time.Second); err == nil && (s.State == api.CommandOrdered || s.State == api.CommandExpired) {
				cancel()
				return s, nil
			}
		}
		cancel()
		if err != nil {
			last = err
		}
		var refused *api.Error
		if errors.As(err, &refused) && refused.Status == 400 {
			return api.CommandStatus{}, err
		}
		if i%len(peers) == len(peers)-1 {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // all of them were asked
			}
		}
	}
	return api.CommandStatus{}, fmt.Errorf("not ordered: %w", last)
}
