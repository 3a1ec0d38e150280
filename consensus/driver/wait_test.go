package driver_test

import (
	"testing"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// holds reports whether a driver can give a block, whole.
func holds(t testing.TB, d *driver.Driver, id consensus.BlockID) bool {
	t.Helper()
	req := canon.Must(&struct {
		_     struct{} `cbor:",toarray"`
		Block consensus.BlockID
		Above consensus.Height
	}{Block: id})
	raw, err := d.Serve(t.Context(), sign.PublicKey{}, driver.KindBlocks, req)
	if err != nil {
		t.Fatal(err)
	}
	var a struct {
		_        struct{} `cbor:",toarray"`
		Blocks   [][]byte
		Finality [][]byte
		Base     consensus.Height
	}
	if err := canon.Unmarshal(raw, &a); err != nil {
		t.Fatal(err)
	}
	if len(a.Blocks) == 0 {
		return false
	}
	b, err := consensus.DecodeBlock(a.Blocks[0])
	return err == nil && b.ID() == id
}

// eventually waits for a condition that the running nodes will bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

func (n *testNode) has(txs ...string) bool {
	n.app.mu.Lock()
	defer n.app.mu.Unlock()
	count := map[string]int{}
	for _, tx := range n.app.txs {
		count[tx]++
	}
	for _, tx := range txs {
		if count[tx] == 0 {
			return false
		}
	}
	return true
}
