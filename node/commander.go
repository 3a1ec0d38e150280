package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/mempool"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// nodeCommandMs is how long a node's own commands may wait to be ordered. Short: the runner sends what is still needed
// again.
const nodeCommandMs = 60_000

// commander signs commands and hands them to the network.
type commander struct {
	chain  digest.Digest
	key    sign.PrivateKey
	ledger *ledger
	driver *driver.Driver
}

// Command implements runner.Commander: it signs with the node key.
func (c *commander) Command(_ context.Context, kind enc.Kind, payload []byte) error {
	tx, _, err := c.sign(c.key, kind, payload, nodeCommandMs)
	if err != nil {
		return err
	}
	if err := c.driver.Submit(tx); err != nil && !errors.Is(err, mempool.ErrDuplicate) {
		return err
	}
	return nil
}

// sign makes a transaction that expires lifeMs of agreed time from now.
func (c *commander) sign(key sign.PrivateKey, kind enc.Kind, payload []byte, lifeMs uint64) ([]byte, enc.CommandID, error) {
	body := enc.CommandBody{
		ChainID: c.chain, ExpiresMs: c.ledger.nowMs() + lifeMs, Kind: kind, Payload: payload,
	}
	if _, err := rand.Read(body.Nonce[:]); err != nil {
		return nil, enc.CommandID{}, fmt.Errorf("draw a nonce: %w", err)
	}
	cmd := body.Sign(key)
	return cmd.Encode(), cmd.ID(), nil
}

// preferred reports whether a command has the lane that clients cannot fill: of executors, and of validators in matters
// of the validator set.
func preferred(s *enc.State, cmd *enc.Command) bool {
	switch cmd.Body.Kind {
	case enc.KindProposeValidators, enc.KindReportEvidence:
		if s.IsValidator(cmd.Signer) {
			return true
		}
	}
	_, isNode := s.Node(cmd.Signer)
	return isNode
}

// checkTx is the mempool's check: form, signature, chain and expiry.
func checkTx(chain digest.Digest, l *ledger) func(tx []byte) (mempool.Info, error) {
	return func(tx []byte) (mempool.Info, error) {
		cmd, err := enc.DecodeCommand(tx)
		if err != nil {
			return mempool.Info{}, err
		}
		if err := enc.CheckCommand(cmd, chain, l.nowMs()); err != nil {
			return mempool.Info{}, err
		}
		l.checked.put(tx, cmd)
		return mempool.Info{Client: cmd.Signer, ExpiresMs: cmd.Body.ExpiresMs, Priority: preferred(l.head.Load().state, cmd)}, nil
	}
}
