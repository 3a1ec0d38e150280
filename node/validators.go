package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

const (
	// evidenceLifeMs is how long a report may wait to be ordered before it is made again.
	evidenceLifeMs = 10 * 60_000
	// evidenceTurn is how long each validator in set order waits for those before it to report the same.
	evidenceTurn = 500 * time.Millisecond
	// maxEvidence bounds what waits to be reported; more is dropped, for one piece is enough to remove a key.
	maxEvidence = 64
)

// accused takes evidence from the driver's owner, and does not wait.
func (n *Node) accused(e consensus.Evidence) {
	select {
	case n.evidence <- e:
	default:
	}
}

// report orders evidence, once for each key: the validators take turns, so that one report is enough as a rule.
func (n *Node) report(ctx context.Context) error {
	sent := map[sign.PublicKey]uint64{} // validator key to the expiry of the report
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-n.evidence:
			if n.ledger.nowMs() < sent[e.Key] {
				continue
			}
			expires, err := n.reportOne(ctx, &e)
			if err != nil {
				n.log.Error("evidence not reported", "validator", e.Key.Short(), "kind", string(e.Kind), "err", err)
			} else if expires > 0 {
				sent[e.Key] = expires
			}
		}
	}
}

// reportOne sends a report, and gives the agreed time of its expiry, or 0 if none was needed.
func (n *Node) reportOne(ctx context.Context, e *consensus.Evidence) (uint64, error) {
	_, set := n.driver.Epoch()
	turn, in := set.Index(n.keys.validator.Public())
	key := n.keys.validator
	if !in {
		turn, key = set.Len(), n.keys.node
	}
	late := time.NewTimer(time.Duration(turn) * evidenceTurn)
	defer late.Stop()
	for waiting := true; waiting; {
		head, changed := n.ledger.watch()
		if head.state.Convicted(e.Key) || !head.state.IsValidator(e.Key) {
			return 0, nil
		}
		select {
		case <-ctx.Done():
			return 0, nil
		case <-changed:
		case <-late.C:
			waiting = false
		}
	}
	raw, err := canon.Marshal(&enc.ReportEvidence{Evidence: *e})
	if err != nil {
		return 0, err
	}
	tx, id, err := n.command.sign(key, enc.KindReportEvidence, raw, evidenceLifeMs)
	if err != nil {
		return 0, err
	}
	now := n.ledger.nowMs()
	if err := n.outbox.add(ctx, id, tx, now+evidenceLifeMs, now); err != nil {
		return 0, err
	}
	return now + evidenceLifeMs, n.driver.Submit(tx)
}

// follow makes the mesh that of the validators in force.
func (n *Node) follow(_ consensus.Epoch, set *consensus.ValidatorSet) {
	n.mesh.setValidators(set)
	n.host.ProtectOnly(n.mesh.validators())
	n.host.SetChainMembers(n.chainMembers(set))
}

// Validators implements api.ChainReader.
func (b *backend) Validators(context.Context) (api.Validators, error) {
	state := b.n.ledger.head.Load().state
	epoch, list := state.Validators()
	if next := state.NextValidators(); next != nil { // the head closes the epoch
		epoch, list = epoch+1, next
	}
	set, err := consensus.StoredValidatorSet(list)
	if err != nil {
		return api.Validators{}, err
	}
	v := api.Validators{
		Epoch: uint64(epoch), Digest: set.Digest(), Scheme: set.Scheme().String(), Total: set.Total(), Quorum: 2*set.Total()/3 + 1,
		Validators: publicSet(list), Proposals: []api.Proposal{},
	}
	for _, p := range state.Proposals() {
		v.Proposals = append(v.Proposals, api.Proposal{ID: p.ID, Next: publicSet(p.Next), Approvals: p.Approvals, Weight: p.Weight})
	}
	return v, nil
}

func publicSet(list []consensus.Validator) []api.Validator {
	out := []api.Validator{}
	for _, x := range list {
		out = append(out, api.Validator{Key: x.Key, Weight: x.Weight, Peer: x.Peer, Name: x.Name, BLS: x.BLS})
	}
	return out
}

// Evidence implements api.ChainReader.
func (b *backend) Evidence(context.Context) ([]api.Evidence, error) {
	out := []api.Evidence{}
	for _, c := range b.n.ledger.head.Load().state.Convictions() {
		e := &c.Evidence
		out = append(out, api.Evidence{
			ID: enc.EvidenceID(e), Key: e.Key, Kind: string(e.Kind), Epoch: uint64(e.Epoch), View: uint64(e.View),
			Height: c.Height, TimeMs: c.TimeMs, Reporter: c.Reporter, Removed: c.Removed, Proof: e.Encode(),
		})
	}
	return out, nil
}

// Trust implements api.ChainReader.
func (b *backend) Trust(_ context.Context, epoch uint64) (*api.TrustFile, error) {
	present, _ := b.n.driver.Epoch()
	if epoch == api.LatestEpoch {
		epoch = uint64(present)
	}
	if epoch == 0 {
		at, err := b.n.genesis.Block(b.n.ledger.genesisRoot)
		if err != nil {
			return nil, err
		}
		set, err := consensus.StoredValidatorSet(b.n.genesis.Validators)
		if err != nil {
			return nil, err
		}
		return receipt.NewTrustFile(b.n.genesis, &at.Header, set), nil
	}
	h, err := b.n.chain.Handover(consensus.Epoch(epoch))
	if errors.Is(err, driver.ErrNoBlock) {
		return nil, api.NotFound("", "epoch %d has not begun; the chain is in epoch %d", epoch, present)
	}
	if err != nil {
		return nil, err
	}
	set, err := consensus.StoredValidatorSet(h.Next)
	if err != nil {
		return nil, err
	}
	return receipt.NewTrustFile(b.n.genesis, h.Header(), set), nil
}

// handovers are those that lead from an epoch to a later one, in order.
func (n *Node) handovers(from, to consensus.Epoch) ([]*consensus.Handover, error) {
	var out []*consensus.Handover
	for e := from + 1; e <= to; e++ {
		h, err := n.chain.Handover(e)
		if err != nil {
			return nil, fmt.Errorf("handover to epoch %d: %w", e, err)
		}
		out = append(out, h)
	}
	return out, nil
}
