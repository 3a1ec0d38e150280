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

// answer is what either request gets: encoded blocks, and for a range the proof that the last is final. No blocks means
// that the node has none.
type answer struct {
	_        struct{} `cbor:",toarray"`
	Blocks   [][]byte
	Finality [][]byte // none or one
}

// errBusy is returned when too many requests are being answered.
var errBusy = errors.New("this node answers too many requests now: ask another, or ask again later")

// Serve answers a request of another node. It reads the tree and the store and waits for nobody; safe for concurrent
// use. An error means that the request is not well-formed, or that this node is busy.
func (d *Driver) Serve(ctx context.Context, from sign.PublicKey, kind Kind, req []byte) ([]byte, error) {
	if len(req) > maxRequestBytes {
		return nil, fmt.Errorf("request of %d bytes: at most %d", len(req), maxRequestBytes)
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
	case KindRange:
		var r rangeRequest
		if err = canon.Unmarshal(req, &r); err == nil {
			a, err = d.serveRange(ctx, r)
		}
	default:
		err = fmt.Errorf("unknown request %q", kind)
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

// decodeAnswer reads an answer and its blocks.
func decodeAnswer(raw []byte) ([]*consensus.Block, *consensus.Finality, error) {
	if len(raw) > MaxResponseBytes {
		return nil, nil, fmt.Errorf("answer of %d bytes: at most %d", len(raw), MaxResponseBytes)
	}
	var a answer
	if err := canon.Unmarshal(raw, &a); err != nil {
		return nil, nil, err
	}
	if len(a.Blocks) > maxAnswerBlocks || len(a.Finality) > 1 {
		return nil, nil, fmt.Errorf("answer with %d blocks and %d proofs", len(a.Blocks), len(a.Finality))
	}
	blocks := make([]*consensus.Block, len(a.Blocks))
	for i, raw := range a.Blocks {
		b, err := consensus.DecodeBlock(raw)
		if err != nil {
			return nil, nil, err
		}
		blocks[i] = b
	}
	if len(a.Finality) == 0 {
		return blocks, nil, nil
	}
	f, err := consensus.DecodeFinality(a.Finality[0])
	return blocks, f, err
}
