package node

import (
	"fmt"
	"sync"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

// maxChecks bounds the commands that checkedCommands remembers: more than one answer of catch-up holds.
const maxChecks = 32_000

// checkedCommands remembers the commands whose signatures were verified for the driver, by all bytes of the transaction, so
// that executing a block verifies none of them again: a command that passed once remembers that itself. What is not
// here is decoded and verified by Apply. Safe for concurrent use; the commands are not changed.
type checkedCommands struct {
	mu    sync.Mutex
	byTx  map[digest.Digest]*enc.Command
	order []digest.Digest // oldest first
}

func (c *checkedCommands) put(tx []byte, cmd *enc.Command) {
	id := digest.Of(tx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byTx == nil {
		c.byTx = map[digest.Digest]*enc.Command{}
	}
	if _, ok := c.byTx[id]; ok {
		return
	}
	c.byTx[id] = cmd
	if c.order = append(c.order, id); len(c.order) > maxChecks {
		delete(c.byTx, c.order[0])
		c.order = c.order[1:]
	}
}

// check judges transactions for the driver: commands of this chain, in form, signed by whom they say. What it finds sound
// is not decoded or verified again. Neither the state nor any clock has a say.
func (c *checkedCommands) check(chain digest.Digest) func(txs [][]byte) []error {
	return func(txs [][]byte) []error {
		errs := make([]error, len(txs))
		cmds := make([]*enc.Command, len(txs))
		for i, tx := range txs {
			cmd, err := enc.DecodeCommand(tx)
			if err == nil && cmd.Body.ChainID != chain {
				err = fmt.Errorf("command for chain %s: this is chain %s; sign it for the network that it is sent to", cmd.Body.ChainID.Short(), chain.Short())
			}
			if errs[i] = err; err == nil {
				cmds[i] = cmd
			}
		}
		enc.VerifyCommands(cmds)
		for i, cmd := range cmds {
			if cmd == nil {
				continue
			}
			if errs[i] = cmd.Verify(); errs[i] == nil {
				c.put(txs[i], cmd)
			}
		}
		return errs
	}
}

// command decodes a transaction, or gives the command that was checked before.
func (c *checkedCommands) command(tx []byte) (*enc.Command, error) {
	c.mu.Lock()
	cmd := c.byTx[digest.Of(tx)]
	c.mu.Unlock()
	if cmd != nil {
		return cmd, nil
	}
	return enc.DecodeCommand(tx)
}
