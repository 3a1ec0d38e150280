package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// commandExpiry is how long a command made here may wait to be ordered, in agreed time.
const commandExpiry = 10 * time.Minute

// signCommand makes a command of payload for the chain, whose agreed time is nowMs.
func signCommand(key sign.PrivateKey, chain digest.Digest, nowMs uint64, kind enc.Kind, payload any) (enc.Command, error) {
	raw, err := canon.Marshal(payload)
	if err != nil {
		return enc.Command{}, err
	}
	body := enc.CommandBody{ChainID: chain, ExpiresMs: agreedNow(nowMs) + uint64(commandExpiry.Milliseconds()), Kind: kind, Payload: raw}
	if _, err := rand.Read(body.Nonce[:]); err != nil {
		return enc.Command{}, fmt.Errorf("draw a nonce: %w", err)
	}
	c := body.Sign(key)
	if n := len(c.Encode()); n > enc.MaxCommandBytes {
		return enc.Command{}, fmt.Errorf("command of %d bytes: over the chain's limit of %d; use fewer files or a shorter query", n, enc.MaxCommandBytes)
	}
	return c, nil
}

// agreedNow estimates agreed time from the head's: an idle chain's head may be seconds old, and a clock that is off
// must not make an expiry that the chain refuses.
func agreedNow(headMs uint64) uint64 {
	own := uint64(time.Now().UnixMilli())
	const believed = 10 * 60 * 1000
	if own > headMs && own-headMs < believed {
		return own
	}
	return headMs
}

// order submits a command and waits until it is in a block. A refusal by the chain is an error with its reason.
func (c *conn) order(ctx context.Context, cmd enc.Command) (api.CommandStatus, error) {
	a, err := c.SubmitCommand(ctx, cmd.Encode())
	if err != nil {
		return api.CommandStatus{}, err
	}
	return c.ordered(ctx, a.ID)
}

// accept sends a command and returns once it is ordered, or, on a network that orders nothing now, on the peer's disk,
// from where it is sent until it is ordered or expires (queued).
func (c *conn) accept(ctx context.Context, cmd enc.Command) (queued bool, err error) {
	a, err := c.SubmitCommand(ctx, cmd.Encode())
	if err != nil || a.State == api.CommandQueued {
		return err == nil, err
	}
	_, err = c.ordered(ctx, a.ID)
	return false, err
}

// ordered waits until an accepted command is ordered, and reports the chain's refusal as an error.
func (c *conn) ordered(ctx context.Context, id digest.Digest) (api.CommandStatus, error) {
	s, err := c.WaitCommand(ctx, id)
	if err != nil {
		if ctx.Err() != nil {
			return s, fail(exitTimeout, "command %s is not ordered yet: %w; the peer keeps sending it until it expires", id.Short(), err)
		}
		return s, err
	}
	if s.State == api.CommandExpired {
		return s, fail(exitTimeout, "command %s expired before it was ordered; the network may lack a quorum, see: bpi chain status", id.Short())
	}
	for _, ev := range s.Events {
		if ev.Decision == "refused" {
			return s, fmt.Errorf("the chain refused the command: %s", ev.Reason)
		}
	}
	return s, nil
}

// chainNow asks for the chain's id and agreed time.
func (c *conn) chainNow(ctx context.Context) (digest.Digest, uint64, error) {
	s, err := c.ChainStatus(ctx)
	if err != nil {
		return digest.Digest{}, 0, err
	}
	if s.Chain.ID.IsZero() {
		return digest.Digest{}, 0, errors.New("the peer names no chain")
	}
	return s.Chain.ID, s.Head.TimeMs, nil
}
