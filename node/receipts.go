package node

import (
	"context"
	"fmt"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/receipt"
)

// receiptProtocol is how a node asks another for the receipt of a job that was sealed before it joined.
const receiptProtocol = "bpi/receipt/1"

// maxReceiptAsked bounds the peers that are asked for one receipt.
const maxReceiptAsked = 8

// serveReceipts answers other nodes from this node's own blocks and archive.
func (n *Node) serveReceipts() {
	limits := p2p.Limits{RequestBytes: digest.Size, ResponseBytes: receipt.MaxReceiptBytes, PerPeer: 4, Total: 16, PerSecond: 20}
	n.host.Handle(receiptProtocol, limits, func(ctx context.Context, _ sign.PublicKey, req []byte) ([]byte, error) {
		if len(req) != digest.Size {
			return nil, fmt.Errorf("request of %d bytes: want a job's id", len(req))
		}
		job := digest.Digest(req)
		at, ok := n.ledger.seal(ctx, job)
		if !ok {
			return nil, &p2p.RemoteError{Code: p2p.CodeNotFound, Message: "this node has no receipt of job " + job.Short()}
		}
		r, err := n.receiptAt(ctx, job, at, 0)
		if err != nil {
			return nil, err
		}
		return r.Encode()
	})
}

// receiptAt puts a sealed job's receipt together from the block of the seal, or from the archive if that is pruned, with
// the handovers from an epoch on.
func (n *Node) receiptAt(ctx context.Context, job digest.Digest, at place, since consensus.Epoch) (*receipt.Receipt, error) {
	envelope, err := n.ledger.envelope(ctx, job)
	if err != nil {
		return nil, err
	}
	st, err := receipt.ParseStatement(envelope.Payload)
	if err != nil {
		return nil, err
	}
	chain := receipt.ChainRef{ID: n.ledger.chain, Name: n.genesis.Name}
	outputs := n.archived(ctx, job, st.Outcome.Outputs)
	events, err := n.ledger.events(ctx, at.Height)
	if err != nil {
		return nil, err
	}
	var seal receipt.Inclusion
	var f *consensus.Finality
	if c, err := n.chain.Block(consensus.Height(at.Height)); err == nil && int(at.From) < len(events) {
		seal, f = receipt.NewInclusion(events, int(at.From)), c.Finality
	} else if seal, f, err = n.ledger.archivedSeal(ctx, job, at); err != nil { // also when it was pruned while this looked
		return nil, err
	}
	epoch := f.Header().Epoch
	handovers, err := n.handovers(min(since, epoch), epoch)
	if err != nil {
		return nil, err
	}
	return receipt.Assemble(chain, envelope, seal, f, handovers, outputs)
}

// receiptFromPeers asks others for a receipt from before this node joined, and believes what verifies.
func (b *backend) receiptFromPeers(ctx context.Context, job digest.Digest, since uint64) (*receipt.Receipt, error) {
	n := b.n
	trust, err := b.Trust(ctx, 0)
	if err != nil {
		return nil, err
	}
	asked := 0
	for _, p := range n.host.Peers() {
		if asked == maxReceiptAsked || ctx.Err() != nil {
			break
		}
		asked++
		raw, err := n.host.Call(ctx, p.Key, receiptProtocol, job[:])
		if err != nil {
			n.log.Debug("receipt not to be had", "job", job.Short(), "peer", p.ID, "reason", err)
			continue
		}
		r, err := receipt.Parse(raw)
		var st receipt.Statement
		if err == nil {
			st, err = receipt.ParseStatement(r.Envelope.Payload)
		}
		if err == nil && st.Job != job {
			err = fmt.Errorf("it is of job %s", st.Job.Short())
		}
		if err == nil && !receipt.Verify(r, trust, nil).Valid() {
			err = fmt.Errorf("it does not verify")
		}
		if err == nil {
			r.Handovers = r.Handovers[min(since, uint64(len(r.Handovers))):] // they came from epoch 0 on
			return r, nil
		}
		n.host.Penalise(p.Key, penaltyPoints, "a false receipt of job "+job.Short()+": "+err.Error())
	}
	return nil, api.NotFound("ask a peer that was there, with --peer", "the receipt of job %s is from before this node joined, at block %d, and none of %d peers gives it", job.Short(), n.ledger.base.Load(), asked)
}
