package chainstore_test

import (
	"errors"
	"testing"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/internal/merkle"
)

// TestChainOfAnotherVersionIsRefusedAndNotCalledDamaged opens a store as the first release left it, without checksums, and
// one of this form whose blocks are of another version. A first store that the disk has spoiled is damaged, as this one's.
func TestChainOfAnotherVersionIsRefusedAndNotCalledDamaged(t *testing.T) {
	put := func(version uint32) *datastore.MapDatastore {
		ds := datastore.NewMapDatastore()
		s, err := chainstore.Open(ds)
		if err != nil {
			t.Fatal(err)
		}
		b := block(nil, 1)
		b.Block.Header.Version = version
		b.Block.Header.TxRoot = merkle.Root(b.Block.Txs)
		if err := s.Put([]driver.Committed{b}); err != nil {
			t.Fatal(err)
		}
		return ds
	}
	first := put(1)
	all, err := first.Query(t.Context(), query.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for e := range all.Next() { // without the checksum that ends each entry
		if err := first.Put(t.Context(), datastore.RawKey(e.Key), e.Value[:len(e.Value)-4]); err != nil {
			t.Fatal(err)
		}
	}
	for name, ds := range map[string]*datastore.MapDatastore{"without checksums": first, "with them": put(1)} {
		_, err := chainstore.Open(ds)
		var other *consensus.VersionError
		if !errors.As(err, &other) || other.Version != 1 || errors.Is(err, driver.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	head := datastore.NewKey("/chain/head")
	raw, err := first.Get(t.Context(), head)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Put(t.Context(), head, raw[:len(raw)-1]); err != nil {
		t.Fatal(err)
	}
	if _, err := chainstore.Open(first); !errors.Is(err, driver.ErrDamaged) {
		t.Errorf("spoiled: %v", err)
	}
}
