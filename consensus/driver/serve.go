package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// Bounds of catch-up.
const (
	maxRequestBytes  = 256
	maxAskBatches    = 64      // in one request
	maxAnswerBytes   = 4 << 20 // of blocks in an answer, unless the first alone is larger
	maxAnswerBlocks  = 256
	MaxResponseBytes = maxAnswerBytes + consensus.MaxProposalBytes + consensus.MaxFinalityBytes // the longest answer of Serve
)

// blocksRequest asks for a block and its ancestors above a height, nearest first.
type blocksRequest struct {
	_     struct{} `cbor:",toarray"`
	Block consensus.BlockID
	Above consensus.Height
}

// rangeRequest asks for committed blocks from a height on.
type rangeRequest struct {
	_    struct{} `cbor:",toarray"`
	From consensus.Height
}

// batchesRequest asks for batches by digest.
type batchesRequest struct {
	_       struct{} `cbor:",toarray"`
	Batches []consensus.BatchID
}

// maxBatchesRequestBytes bounds an encoded batchesRequest.
const maxBatchesRequestBytes = maxAskBatches*34 + 16

// batchesAnswer is those that the node has, as many as fit.
type batchesAnswer struct {
	_       struct{} `cbor:",toarray"`
	Batches [][]byte
}

// answer is what a request for blocks gets: encoded blocks, and for a range the proof that the last is final. No blocks means
// that the node has none.
type answer struct {
	_        struct{} `cbor:",toarray"`
	Blocks   [][]byte
	Finality [][]byte         // none or one
	Base     consensus.Height // the lowest block that the node keeps, if a range was to begin below it; else 0
}

// errBusy is returned when too many requests are being answered.
var errBusy = errors.New("this node answers too many requests now: ask another, or ask again later")

// Serve answers a request of another node. It reads the tree and the store and waits for nobody; safe for concurrent
// use. An error means that the request is not well-formed, or that this node is busy.
func (d *Driver) Serve(ctx context.Context, from sign.PublicKey, kind Kind, req []byte) ([]byte, error) {
	if limit := kind.MaxBytes(); len(req) > limit {
		return nil, fmt.Errorf("request of %d bytes: at most %d", len(req), limit)
	}
	select {
	case d.serving <- struct{}{}:
		defer func() { <-d.serving }()
	default:
		return nil, errBusy
	}
	var a answer
	var err error
	switch kind {
	case KindBlocks:
		var r blocksRequest
		if err = canon.Unmarshal(req, &r); err == nil {
			a, err = d.serveBlocks(ctx, r)
		}
	case KindBatches:
		var r batchesRequest
		if err := canon.Unmarshal(req, &r); err != nil {
			return nil, err
		}
		return canon.Must(&batchesAnswer{Batches: d.serveBatches(r)}), nil
	case KindRange:
		var r rangeRequest
		if err = canon.Unmarshal(req, &r); err == nil {
			a, err = d.serveRange(ctx, r)
		}
	default:
		err = fmt.Errorf("unknown request %q", kind)
	}
	if errors.Is(err, ErrDamaged) {
		d.damage.Do(func() {
			d.cfg.Log.Error("a stored block is damaged; move the database with the blocks away, but not the log, and start again: the node fetches the chain from its peers", "log", d.cfg.Dir, "reason", err)
		})
	}
	if err != nil {
		return nil, err
	}
	return canon.Must(&a), nil
}

func (d *Driver) serveBlocks(ctx context.Context, r blocksRequest) (a answer, err error) {
	size := 0
	for id := r.Block; len(a.Blocks) < maxAnswerBlocks && ctx.Err() == nil; {
		var b *consensus.Block
		if n := d.tree.get(id); n != nil {
			b = n.block
		} else if h, err := d.cfg.Store.Height(id); err == nil {
			x, err := d.cfg.Store.Block(h)
			if err != nil {
				return a, fmt.Errorf("read block %d: %w", h, err)
			}
			b = x.Block
		} else if !errors.Is(err, ErrNoBlock) {
			return a, fmt.Errorf("find block %s: %w", id.Short(), err)
		}
		if b == nil || b.Header.Height <= r.Above || b.Header.Height == 0 {
			break
		}
		raw := b.Encode()
		if size += len(raw); size > maxAnswerBytes && len(a.Blocks) > 0 {
			break
		}
		a.Blocks = append(a.Blocks, raw)
		id = b.Header.Parent
	}
	return a, ctx.Err()
}

func (d *Driver) serveRange(ctx context.Context, r rangeRequest) (a answer, err error) {
	size := 0
	var proof *consensus.Finality
	for h := max(r.From, 1); len(a.Blocks) < maxAnswerBlocks && ctx.Err() == nil; h++ {
		x, err := d.cfg.Store.Block(h)
		if errors.Is(err, ErrNoBlock) {
			if base, _ := d.cfg.Store.Base(); len(a.Blocks) == 0 && h < base {
				a.Base = base
			}
			break
		}
		if err != nil {
			return a, fmt.Errorf("read block %d: %w", h, err)
		}
		raw := x.Block.Encode()
		if size += len(raw); size > maxAnswerBytes && len(a.Blocks) > 0 {
			break
		}
		a.Blocks, proof = append(a.Blocks, raw), x.Finality
		if x.Block.Header.Closes() {
			break // a proof is of one epoch
		}
	}
	if proof != nil {
		a.Finality = [][]byte{proof.Encode()}
	}
	return a, ctx.Err()
}

func (d *Driver) serveBatches(r batchesRequest) [][]byte {
	list, size := [][]byte{}, 0
	for _, id := range r.Batches {
		b := d.batches.get(id)
		if b == nil {
			continue
		}
		if size += b.size; size > maxAnswerBytes {
			break
		}
		list = append(list, b.encode())
	}
	return list
}

// decodeBatches reads the answer to a batchesRequest; its batches are still to be compared with their digests.
func decodeBatches(raw []byte) ([][]byte, error) {
	if len(raw) > MaxResponseBytes {
		return nil, fmt.Errorf("answer of %d bytes: at most %d", len(raw), MaxResponseBytes)
	}
	var a batchesAnswer
	if err := canon.Unmarshal(raw, &a); err != nil {
		return nil, err
	}
	if len(a.Batches) > maxAskBatches {
		return nil, fmt.Errorf("answer with %d batches: at most %d were asked for", len(a.Batches), maxAskBatches)
	}
	return a.Batches, nil
}

// blocksAnswer is an answer that was read.
type blocksAnswer struct {
	blocks []*consensus.Block
	proof  *consensus.Finality // nil: none
	base   consensus.Height    // see answer
}

// decodeAnswer reads an answer and its blocks.
func decodeAnswer(raw []byte) (out blocksAnswer, err error) {
	if len(raw) > MaxResponseBytes {
		return out, fmt.Errorf("answer of %d bytes: at most %d", len(raw), MaxResponseBytes)
	}
	var a answer
	if err := canon.Unmarshal(raw, &a); err != nil {
		return out, err
	}
	if len(a.Blocks) > maxAnswerBlocks || len(a.Finality) > 1 || len(a.Blocks) > 0 && a.Base > 0 {
		return out, fmt.Errorf("answer with %d blocks and %d proofs of a node that begins with block %d", len(a.Blocks), len(a.Finality), a.Base)
	}
	out.base = a.Base
	for _, raw := range a.Blocks {
		b, err := consensus.DecodeBlock(raw)
		if err != nil {
			return out, err
		}
		out.blocks = append(out.blocks, b)
	}
	if len(a.Finality) > 0 {
		out.proof, err = consensus.DecodeFinality(a.Finality[0])
	}
	return out, err
}
