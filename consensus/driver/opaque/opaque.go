// Package opaque is the plainest application of the driver: signed transactions whose content means nothing, and a state
// that is the hash of all of them. Benches and tests of the driver load it; it keeps nothing on disk, so that after a
// restart the driver executes the chain again.
package opaque

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// A transaction is key 32 | signature 64 | nonce 8 | anything.
const (
	headBytes = 32 + 64
	MinBytes  = headBytes + 8 // the shortest transaction
)

// domain is in front of what is signed: nonce and all after it.
const domain = "opaque/tx/1\x00"

// Sign makes a transaction of size bytes, at least MinBytes. Equal arguments give equal bytes.
func Sign(key sign.PrivateKey, nonce uint64, size int) []byte {
	tx := make([]byte, max(size, MinBytes))
	binary.BigEndian.PutUint64(tx[headBytes:], nonce)
	pub := key.Public()
	copy(tx, pub[:])
	sig := key.Sign(append([]byte(domain), tx[headBytes:]...))
	copy(tx[32:], sig[:])
	return tx
}

// Signer is whose transaction it is; the zero key for bytes too short to be one.
func Signer(tx []byte) (k sign.PublicKey) {
	if len(tx) >= MinBytes {
		copy(k[:], tx)
	}
	return k
}

var (
	errShort     = errors.New("not a transaction: too short")
	errSignature = errors.New("the signature is not of these bytes by that key")
)

// Check is driver.Config.Check: form and signatures, in one batch if all are good.
func Check(txs [][]byte) []error {
	errs := make([]error, len(txs))
	var at []int
	for i, tx := range txs {
		if len(tx) < MinBytes {
			errs[i] = errShort
		} else {
			at = append(at, i)
		}
	}
	bisect(txs, at, errs)
	return errs
}

func bisect(txs [][]byte, at []int, errs []error) {
	if len(at) == 0 {
		return
	}
	b := sign.NewBatch()
	var msg []byte
	for _, i := range at {
		var sig sign.Signature
		copy(sig[:], txs[i][32:])
		msg = append(append(msg[:0], domain...), txs[i][headBytes:]...)
		if len(at) == 1 {
			if !sign.Verify(Signer(txs[i]), msg, sig) {
				errs[i] = errSignature
			}
			return
		}
		b.Add(Signer(txs[i]), msg, sig)
	}
	if !b.Verify() {
		bisect(txs, at[:len(at)/2], errs)
		bisect(txs, at[len(at)/2:], errs)
	}
}

// App implements driver.App. Signatures are the driver's to check: a block with a false one gets no votes.
type App struct {
	mu     sync.Mutex // guards what follows
	height consensus.Height
	head   digest.Digest
	kept   map[consensus.BlockID]digest.Digest
	txs    uint64
}

var _ driver.App = (*App)(nil)

// Genesis is the state root before the first block.
func Genesis() digest.Digest { return digest.Sum("opaque/state/1") }

// New is the application at genesis.
func New() *App { return &App{head: Genesis(), kept: map[consensus.BlockID]digest.Digest{}} }

// Execute implements driver.App.
func (a *App) Execute(at driver.BlockContext, txs [][]byte) (driver.Execution, error) {
	a.mu.Lock()
	state, ok := a.kept[at.Parent]
	if !ok && at.Height == a.height+1 {
		state, ok = a.head, true
	}
	a.mu.Unlock()
	if !ok {
		return driver.Execution{}, fmt.Errorf("execute block %d: its parent %s was not executed", at.Height, at.Parent.Short())
	}
	if len(txs) > 0 {
		state = digest.Sum("opaque/state/1", append([][]byte{state[:]}, txs...)...)
	}
	return driver.Execution{StateRoot: state, EventRoot: merkle.Root(nil), Handle: state}, nil
}

// Keep implements driver.App.
func (a *App) Keep(id consensus.BlockID, handle any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept[id] = handle.(digest.Digest)
}

// Commit implements driver.App.
func (a *App) Commit(b *consensus.Block, _ *consensus.Finality) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := b.ID()
	state, ok := a.kept[id]
	if !ok || b.Header.Height != a.height+1 {
		return fmt.Errorf("commit block %d on %d: executed: %t", b.Header.Height, a.height, ok)
	}
	delete(a.kept, id)
	a.height, a.head = b.Header.Height, state
	a.txs += uint64(len(b.Txs))
	return nil
}

// Drop implements driver.App.
func (a *App) Drop(id consensus.BlockID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.kept, id)
}

// HasWork implements driver.App: there is none but transactions.
func (a *App) HasWork(consensus.BlockID, uint64) bool { return false }

// Height implements driver.App.
func (a *App) Height() consensus.Height {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.height
}

// Txs is how many transactions were committed.
func (a *App) Txs() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.txs
}
