package driver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
)

// TestLostChainComesBackFromPeers takes a validator's blocks and state away and leaves its log: it fetches the chain, and
// keeps its promises.
func TestLostChainComesBackFromPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startAll(t)
		l.feed(l.nodes, nil)
		height, voted := l.nodes[2].d.Stats().Height, l.lastVote(l.nodes[2])
		l.nodes[2].stop()
		l.disks[2].Stop(driver.Tears()[0])
		n := l.again(2)
		n.store = newFaultStore(l.disks[2])
		if err := n.begin(l.disks[2]); err != nil {
			t.Fatal(err)
		}
		l.commit("after", 2, l.nodes)
		l.where(n, height, voted)
		stopAll(l.nodes)
	})
}

// TestDamagedStoreIsRefused spoils each entry of a chain store: what a node starts from is refused with the next step,
// whatever else is refused when it is asked for, and nothing is ever given out that is not what was put in.
func TestDamagedStoreIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := startAll(t)
		l.feed(l.nodes, nil)
		stopAll(l.nodes)
		sound := map[datastore.Key][]byte{}
		for _, batch := range l.nodes[0].store.(*faultStore).done {
			for _, p := range batch {
				sound[p.key] = p.value
			}
		}
		whole, err := chainstore.Open(filled(t, sound))
		if err != nil {
			t.Fatal(err)
		}
		head, _, _, err := whole.Head()
		if err != nil || head.Block.Header.Height < 4 {
			t.Fatalf("a chain that ends at %d: %v", head.Block.Header.Height, err)
		}
		atStart, later := 0, 0
		for key, value := range sound {
			for i := 0; i < len(value); i += 1 + len(value)/60 {
				bad := bytes.Clone(value)
				bad[i] ^= 1 << (i % 8)
				ds := filled(t, sound)
				if err := ds.Put(context.Background(), key, bad); err != nil {
					t.Fatal(err)
				}
				store, err := chainstore.Open(ds)
				if err == nil {
					later += compare(t, whole, store, head.Block.Header.Height)
				} else if !errors.Is(err, driver.ErrDamaged) {
					t.Fatalf("%s, byte %d of %d: %v", key, i, len(value), err)
				} else {
					atStart++
				}
			}
		}
		if atStart < 60 || later < 300 {
			t.Errorf("%d were refused at the start and %d later", atStart, later)
		}

		// A driver whose application has forgotten everything reads every block.
		name := datastore.NewKey(fmt.Sprintf("/chain/height/%016x", 2))
		bad := bytes.Clone(sound[name])
		bad[len(bad)/2]++
		n := l.again(0)
		if err := n.store.Put(context.Background(), name, bad); err != nil {
			t.Fatal(err)
		}
		err = n.begin(l.disks[0])
		for _, w := range []string{"block 2", "damaged", "not the log in " + n.dir, "fetches the chain"} {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("no %q in: %v", w, err)
			}
		}
	})
}

func filled(t *testing.T, entries map[datastore.Key][]byte) datastore.Batching {
	t.Helper()
	ds := dssync.MutexWrap(datastore.NewMapDatastore())
	for k, v := range entries {
		if err := ds.Put(context.Background(), k, v); err != nil {
			t.Fatal(err)
		}
	}
	return ds
}

// compare reads everything from a spoiled store: what it gives out is what the whole one has, or it is refused. It gives
// the number of refusals.
func compare(t *testing.T, whole, spoiled *chainstore.Store, top consensus.Height) (refused int) {
	t.Helper()
	for h := range top + 1 {
		want, err := whole.Block(h)
		if err != nil {
			t.Fatal(err)
		}
		got, err := spoiled.Block(h)
		switch {
		case errors.Is(err, driver.ErrDamaged):
			refused++
		case err != nil:
			t.Fatalf("block %d: %v", h, err)
		case !bytes.Equal(got.Block.Encode(), want.Block.Encode()) || !bytes.Equal(got.Finality.Encode(), want.Finality.Encode()):
			t.Fatalf("block %d is another one", h)
		}
		at, err := spoiled.Height(want.Block.ID())
		switch {
		case errors.Is(err, driver.ErrDamaged):
			refused++
		case err != nil || at != h:
			t.Fatalf("block %d is found at %d: %v", h, at, err)
		}
	}
	return refused
}
