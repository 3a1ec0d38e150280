package node

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// What the archive of receipts keeps of pruned blocks.
const (
	inclusionPrefix = "/inclusion" // job → proof that its seal is in its block
	finalityPrefix  = "/finality"  // height of a pruned block with a seal → its proof that it is final
)

// baseKey holds the first height from which on all blocks and events are here; absent, all are.
var baseKey = datastore.RawKey("/base")

func be64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// loadBase reads the base.
func (l *ledger) loadBase(ctx context.Context) error {
	raw, err := l.db.Get(ctx, baseKey)
	if errors.Is(err, datastore.ErrNotFound) {
		return nil
	}
	if err == nil && len(raw) != 8 {
		err = fmt.Errorf("%d bytes, want 8", len(raw))
	}
	if err != nil {
		return fmt.Errorf("load the base: %w", err)
	}
	l.base.Store(binary.BigEndian.Uint64(raw))
	return nil
}

// prune removes some blocks below a height with their events and the places of their commands, and reports whether there
// are more. What the receipts of their seals rest on goes into the archive in the same batch.
func (l *ledger) prune(ctx context.Context, chain *chainstore.Store, below uint64) (removed int, more bool, err error) {
	base := l.base.Load()
	more, err = chain.Prune(consensus.Height(below), func(b datastore.Batch, x driver.Committed) error {
		height := uint64(x.Block.Header.Height)
		if err := l.archiveSeals(ctx, b, x); err != nil {
			return err
		}
		if err := b.Delete(ctx, heightKey(eventsPrefix, height)); err != nil {
			return err
		}
		for _, tx := range x.Block.Txs {
			id := digest.Of(tx)
			if cmd, err := enc.DecodeCommand(tx); err == nil {
				id = cmd.ID()
			}
			if at, ok := l.command(ctx, id); ok && at.Height == height {
				if err := b.Delete(ctx, digestKey(commandPrefix, id)); err != nil {
					return err
				}
			}
		}
		removed++
		if height < below && height >= base { // else it is left over from before a snapshot
			base = height + 1
			return b.Put(ctx, baseKey, be64(base))
		}
		return nil
	})
	if err == nil {
		l.base.Store(max(base, l.base.Load()))
	}
	return removed, more, err
}

// archiveSeals keeps the proofs of the seals in a block that goes.
func (l *ledger) archiveSeals(ctx context.Context, b datastore.Batch, x driver.Committed) error {
	height := uint64(x.Block.Header.Height)
	events, err := l.events(ctx, height)
	if err != nil {
		return err
	}
	sealed := false
	for i, raw := range events {
		var ev receipt.Event
		if err := canon.Unmarshal(raw, &ev); err != nil {
			return fmt.Errorf("event %d of block %d: %w", i, height, err)
		}
		if ev.Kind != receipt.KindJobSealed {
			continue
		}
		proof, err := json.Marshal(receipt.NewInclusion(events, i))
		if err != nil {
			return err
		}
		if err := b.Put(ctx, digestKey(inclusionPrefix, ev.Subject), proof); err != nil {
			return err
		}
		sealed = true
	}
	if !sealed {
		return nil
	}
	return b.Put(ctx, heightKey(finalityPrefix, height), x.Finality.Encode())
}

// archivedSeal is the proof of a seal in a block that was pruned; datastore.ErrNotFound if the block is here yet.
func (l *ledger) archivedSeal(ctx context.Context, job digest.Digest, at place) (seal receipt.Inclusion, f *consensus.Finality, err error) {
	raw, err := l.db.Get(ctx, digestKey(inclusionPrefix, job))
	if err == nil {
		err = json.Unmarshal(raw, &seal)
	}
	if err == nil {
		raw, err = l.db.Get(ctx, heightKey(finalityPrefix, at.Height))
	}
	if err == nil {
		f, err = consensus.DecodeFinality(raw)
	}
	if err != nil {
		return seal, nil, fmt.Errorf("load the archived seal of job %s: %w", job.Short(), err)
	}
	return seal, f, nil
}
