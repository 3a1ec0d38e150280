package chainstore

import (
	"context"
	"errors"
	"testing"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/merkle"
)

// FuzzStore opens a store whose head and block have any content, sealed or not.
func FuzzStore(f *testing.F) {
	b := &consensus.Block{Txs: [][]byte{[]byte("tx")}}
	b.Header.TxRoot = merkle.Root(b.Txs)
	proof := &consensus.Finality{Headers: []consensus.Header{b.Header}}
	var past merkle.Frontier
	id := b.ID()
	past.Append(id[:])
	f.Add(canon.Must(&headRecord{History: past.Encode()}), canon.Must(&record{Block: b.Encode(), Finality: proof.Encode()}), true)
	f.Add(canon.Must(&headRecord{History: past.Encode()}), canon.Must(&record{Block: b.Encode(), Finality: proof.Encode()}), false) // as version 1 wrote them
	f.Add([]byte{}, []byte{1, 2, 3}, false)
	f.Fuzz(func(t *testing.T, head, block []byte, sealed bool) {
		ctx, ds := context.Background(), datastore.NewMapDatastore()
		for k, v := range map[datastore.Key][]byte{headKey: head, heightKey(0): block} {
			if sealed {
				v = seal(k, v)
			}
			if err := ds.Put(ctx, k, v); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(ds)
		if err != nil {
			var other *consensus.VersionError
			if !sealed && !errors.Is(err, driver.ErrDamaged) && !errors.As(err, &other) {
				t.Fatalf("not sealed, and not found damaged: %v", err)
			}
			return
		}
		got, past, ok, err := s.Head()
		if err != nil || !ok || past == nil {
			t.Fatalf("an open store has no head: %t, %v", ok, err)
		}
		if again := canon.Must(&record{Block: got.Block.Encode(), Finality: got.Finality.Encode()}); sealed && string(again) != string(block) {
			t.Fatal("another spelling was accepted")
		}
	})
}
