package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// checkTime is what one executor may take to check a query for this node, and checkTotal what all of them may.
const (
	checkTime  = 10 * time.Second
	checkTotal = 20 * time.Second
)

// checkElsewhere has an executor check and explain a query that this node, which has no cage, has planned. The plan stays
// this node's own: what comes back counts only if it is of the same work, byte for byte, and nothing of it is signed. By
// is who checked it, for people.
func (n *Node) checkElsewhere(ctx context.Context, req api.PlanRequest, p *planned) (warnings []string, explain, by string, err error) {
	ask := req
	ask.Datasets = nil
	for _, d := range p.resolved { // what they name here and now, whatever they name there
		ask.Datasets = append(ask.Datasets, fmt.Sprintf("%s@%d", d.Name, d.Version))
	}
	ask.R, ask.Q, ask.Fresh = 1, 1, true
	msg, err := json.Marshal(ask)
	if err != nil {
		return nil, "", "", err
	}
	var got planAnswer
	ctx, cancel := context.WithTimeout(ctx, checkTotal)
	defer cancel()
	work := p.work.Digest()
	r, err := n.services.reg.Send(ctx, serviceSQL, 1, msg, p2p.SendOptions{TryTime: checkTime, Accept: func(_ sign.PublicKey, raw []byte) error {
		got = planAnswer{}
		if err := json.Unmarshal(raw, &got); err != nil {
			return fmt.Errorf("%w: %w", p2p.ErrNonsense, err)
		}
		switch {
		case got.Plan != nil && got.Error == nil && got.Plan.WorkDigest == work:
			return nil
		case got.Plan == nil && got.Error != nil && got.Error.Code == api.CodeBadSQL && got.Error.SQL != nil:
			return nil
		}
		return errors.New("the answer is of another query")
	}})
	if err != nil {
		return nil, "", "", err
	}
	by = n.peerName(r.From)
	if got.Error != nil {
		return nil, "", by, api.BadSQL(*got.Error.SQL, got.Error.Next)
	}
	return got.Plan.Warnings, got.Plan.Explain, by, nil
}
