package enc

import (
	"fmt"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// CheckCommand is what the mempool asks of a command: chain, expiry against agreed or local time, form and bounds of
// the payload, and, last because it costs most, the signature. Apply asks it again. A command that passed remembers
// that its signature is good, so it must not be changed afterwards.
func CheckCommand(cmd *Command, chainID digest.Digest, nowMs uint64) error {
	if _, err := checkUnsigned(cmd, chainID, nowMs); err != nil {
		return err
	}
	return cmd.verify()
}

func checkUnsigned(cmd *Command, chainID digest.Digest, nowMs uint64) (Payload, error) {
	b := &cmd.Body
	if b.ChainID != chainID {
		return nil, fmt.Errorf("command for chain %s: this is chain %s; sign it for the network that it is sent to", b.ChainID.Short(), chainID.Short())
	}
	if b.ExpiresMs <= nowMs {
		return nil, fmt.Errorf("command expired %d ms ago: sign it again; if that does not help, set this machine's clock", nowMs-b.ExpiresMs)
	}
	if b.ExpiresMs-nowMs > MaxExpiryMs {
		return nil, fmt.Errorf("command expires %d ms ahead: at most %d; if it was meant to be less, set this machine's clock", b.ExpiresMs-nowMs, MaxExpiryMs)
	}
	return b.DecodePayload()
}

// Verify checks the signature alone. A command that passed remembers it, so it must not be changed afterwards.
func (c *Command) Verify() error { return c.verify() }

func (c *Command) verify() error {
	if c.verified {
		return nil
	}
	if !sign.Verify(c.Signer, c.Body.SigningBytes(), c.Sig) {
		return fmt.Errorf("command of %s: the signature is not of these bytes by that key", c.Signer.Short())
	}
	c.verified = true
	return nil
}

// VerifyCommands checks the signatures of many commands at half the price of one by one, so that Apply need not; the
// verdicts are the same. Commands with a bad signature are left to Apply, which refuses them. nil entries are skipped.
func VerifyCommands(cmds []*Command) {
	var todo []*Command
	for _, c := range cmds {
		if c != nil && !c.verified {
			todo = append(todo, c)
		}
	}
	verifyAll(todo)
}

func verifyAll(cmds []*Command) {
	if len(cmds) == 0 {
		return
	}
	if len(cmds) == 1 {
		_ = cmds[0].verify() // a bad one stays unverified, and Apply says so
		return
	}
	b := sign.NewBatch()
	for _, c := range cmds {
		b.Add(c.Signer, c.Body.SigningBytes(), c.Sig)
	}
	if b.Verify() {
		for _, c := range cmds {
			c.verified = true
		}
		return
	}
	half := len(cmds) / 2
	verifyAll(cmds[:half])
	verifyAll(cmds[half:])
}
