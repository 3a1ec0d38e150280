package node

import (
	"sync"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

// maxChecks bounds the commands that checkedCommands remembers.
const maxChecks = 20_000

// checkedCommands remembers the commands whose signature the mempool has verified, by all bytes of the transaction, so
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
