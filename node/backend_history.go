package node

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/receipt"
)

// pruned is the answer for a block that was removed here, or lies before the snapshot that this node began with; nil for
// one that is here or above the head.
func (b *backend) pruned(height uint64) error {
	if base := b.n.ledger.base.Load(); height > 0 && height < base {
		return api.Gone("ask a peer that keeps it, with --peer", "block %d is not kept here: this node has blocks and events from %d on", height, base)
	}
	return nil
}

// block is a committed block; nil and a NotFound error above the head, Gone below what is kept.
func (b *backend) block(height uint64) (driver.Committed, error) {
	if err := b.pruned(height); err != nil {
		return driver.Committed{}, err
	}
	c, err := b.n.chain.Block(consensus.Height(height))
	if errors.Is(err, driver.ErrNoBlock) {
		return c, api.NotFound("", "block %d is not here; the head is at %d", height, b.head().Height)
	}
	return c, err
}

// eventsOf lists a block's events with their places.
func (b *backend) eventsOf(ctx context.Context, height uint64) ([]api.Event, error) {
	if err := b.pruned(height); err != nil {
		return nil, err
	}
	raw, err := b.n.ledger.events(ctx, height)
	if err != nil || len(raw) == 0 {
		return []api.Event{}, err
	}
	c, err := b.block(height)
	if err != nil {
		return nil, err
	}
	list := make([]api.Event, 0, len(raw))
	for i, e := range raw {
		var ev receipt.Event
		if err := canon.Unmarshal(e, &ev); err != nil {
			return nil, fmt.Errorf("event %d of block %d: %w", i, height, err)
		}
		list = append(list, api.Event{
			Height: height, Index: uint64(i), TimeMs: c.Block.Header.TimestampMs, Kind: ev.Kind, Actor: ev.Actor, Subject: ev.Subject,
			Decision: ev.Decision, Reason: ev.Reason, Body: ev.Body,
		})
	}
	return list, nil
}

// Block implements api.ChainReader.
func (b *backend) Block(ctx context.Context, height uint64) (api.Block, error) {
	c, err := b.block(height)
	if err != nil {
		return api.Block{}, err
	}
	events, err := b.eventsOf(ctx, height)
	if err != nil {
		return api.Block{}, err
	}
	h := &c.Block.Header
	out := api.Block{
		Height: height, ID: h.ID(), Parent: h.Parent, View: uint64(h.View), Epoch: uint64(h.Epoch), TimeMs: h.TimestampMs,
		Proposer: h.Proposer, Transactions: len(c.Block.Txs), Bytes: len(c.Block.Encode()), StateRoot: h.StateRoot,
		Header: canon.Must(h), Events: events,
	}
	if c.Finality != nil {
		out.Finality = c.Finality.Encode()
	}
	if h.Closes() {
		o, err := b.n.chain.Handover(h.Epoch + 1)
		if err != nil {
			return api.Block{}, err
		}
		out.Next = publicSet(o.Next)
	}
	return out, nil
}

// Events implements api.ChainReader.
func (b *backend) Events(ctx context.Context, q api.EventQuery, emit func(api.Event) error) error {
	holds := &b.n.snaps.holds
	hold, from := holds.begin(q.From, b.n.ledger.base.Load)
	defer holds.end(hold)
	for height := from; ; height++ {
		holds.advance(hold, height)
		if q.To != 0 && height > q.To {
			return nil
		}
		for {
			head, changed := b.n.ledger.watch()
			if height <= uint64(head.header.Height) {
				break
			}
			if !q.Follow {
				return nil
			}
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		events, err := b.eventsOf(ctx, height)
		if err != nil {
			return err
		}
		for _, e := range events {
			if !q.Subject.IsZero() && e.Subject != q.Subject {
				continue
			}
			if err := emit(e); err != nil {
				return err
			}
		}
	}
}

// WriteAudit implements api.ChainReader: the whole history between two heights, provable without this node. Without a
// first height it begins with the lowest block that is kept with its events; the file says which.
func (b *backend) WriteAudit(ctx context.Context, q api.AuditQuery, w io.Writer) error {
	head := b.head().Height
	to := q.To
	if to == 0 || to > head {
		to = head
	}
	holds := &b.n.snaps.holds
	hold, from := holds.begin(q.From, b.n.ledger.base.Load)
	defer holds.end(hold)
	if err := b.pruned(from); err != nil {
		return err
	}
	if from > to {
		return api.Malformed("", "audit from block %d to %d: the head is at %d", from, to, head)
	}
	if to == 0 {
		return api.Unavailable("try again in a moment", "no block is final yet: there is nothing to prove")
	}
	var sink receipt.AuditSink
	var err error
	if q.Format == "csv" {
		sink, err = receipt.NewAuditCSV(w)
	} else {
		sink, err = receipt.NewAuditWriter(w, receipt.ChainRef{ID: b.n.ledger.chain, Name: b.n.genesis.Name}, from, to)
	}
	if err != nil {
		return err
	}
	if err := b.earlierHandovers(from, sink); err != nil {
		return err
	}
	err = b.eachBlock(ctx, from, to, func(c driver.Committed, events [][]byte) error {
		holds.advance(hold, uint64(c.Block.Header.Height))
		h := &c.Block.Header
		if err := sink.Block(h, events); err != nil {
			return err
		}
		switch {
		case h.Closes():
			o, err := b.n.chain.Handover(h.Epoch + 1)
			if err != nil {
				return err
			}
			return sink.Handover(o)
		case uint64(h.Height) == to:
			return sink.Certificate(c.Finality)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return sink.End()
}

// earlierHandovers writes what leads from the first validators to those of the block from.
func (b *backend) earlierHandovers(from uint64, sink receipt.AuditSink) error {
	c, err := b.block(from)
	if err != nil {
		return err
	}
	list, err := b.n.handovers(0, c.Block.Header.Epoch)
	for _, h := range list {
		if err := sink.Handover(h); err != nil {
			return err
		}
	}
	return err
}

func (b *backend) eachBlock(ctx context.Context, from, to uint64, do func(driver.Committed, [][]byte) error) error {
	for height := from; height <= to; height++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c, err := b.block(height)
		if err != nil {
			return err
		}
		events, err := b.n.ledger.events(ctx, height)
		if err != nil {
			return err
		}
		if err := do(c, events); err != nil {
			return err
		}
	}
	return nil
}
