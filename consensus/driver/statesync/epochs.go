package statesync

import (
	"context"
	"errors"
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// Epochs knows the validators of every epoch so far. It is safe for concurrent use.
type Epochs interface {
	// Known is the last epoch whose validators are known.
	Known() consensus.Epoch
	// Handover is the one that began an epoch, from 1 to Known.
	Handover(e consensus.Epoch) (*consensus.Handover, error)
	// Adopt verifies the handover to the epoch after Known and keeps it. An error that wraps snapshot.ErrInvalid is the
	// giver's fault.
	Adopt(h *consensus.Handover) error
}

// ErrEpoch is wrapped by a CheckFunc when the validators of the block's epoch are not known.
var ErrEpoch = errors.New("the validators of the epoch are not known")

// Bounds of an answer to askHandovers.
const (
	maxHandovers      = 256
	maxHandoversBytes = 4 << 20 // unless the first alone is larger
)

// handovers are those from an epoch on, as far as they fit.
func (s *Server) handovers(from consensus.Epoch) ([]byte, error) {
	out, size := [][]byte{}, 0
	known := s.epochs.Known()
	for e := max(from, 1); e <= known && len(out) < maxHandovers; e++ {
		h, err := s.epochs.Handover(e)
		if err != nil {
			return nil, err
		}
		raw := h.Encode()
		if size += len(raw); size > maxHandoversBytes && len(out) > 0 {
			break
		}
		out = append(out, raw)
	}
	return canon.Must(out), nil
}

// decodeHandovers reads the answer to askHandovers.
func decodeHandovers(raw []byte) ([]*consensus.Handover, error) {
	if len(raw) > maxHandoversBytes+consensus.MaxHandoverBytes {
		return nil, fmt.Errorf("%w: handovers of %d bytes", snapshot.ErrInvalid, len(raw))
	}
	var list [][]byte
	if err := canon.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", snapshot.ErrInvalid, err)
	}
	if len(list) > maxHandovers {
		return nil, fmt.Errorf("%w: %d handovers: at most %d", snapshot.ErrInvalid, len(list), maxHandovers)
	}
	out := make([]*consensus.Handover, len(list))
	for i, raw := range list {
		h, err := consensus.DecodeHandover(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", snapshot.ErrInvalid, err)
		}
		out[i] = h
	}
	return out, nil
}

// reach learns the validators up to an epoch from a node that claims to be there. Each handover is verified by the ones
// before, so a node that claims too much brings at most what is true.
func (f *Fetcher) reach(ctx context.Context, p sign.PublicKey, epoch consensus.Epoch) error {
	for ctx.Err() == nil {
		known := f.cfg.Epochs.Known()
		if known >= epoch {
			return nil
		}
		raw, err := f.request(ctx, p, request{What: askHandovers, Epoch: known + 1})
		if err != nil {
			return err
		}
		list, err := decodeHandovers(raw)
		if err != nil {
			return err
		}
		for _, h := range list {
			if err := f.cfg.Epochs.Adopt(h); err != nil {
				return err
			}
		}
		if len(list) == 0 {
			return fmt.Errorf("epoch %d: %w: the node gives no handover after epoch %d", epoch, ErrEpoch, known)
		}
	}
	return ctx.Err()
}
