package p2p

import (
	"bytes"
	"context"
	"testing"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunker "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	unixio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/host"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/p2p/blob"
)

// stock is what a client of Bitswap and UnixFS is that knows nothing of this project.
func stock(t *testing.T, h host.Host) ipld.DAGService {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	swap := bitswap.New(ctx, bsnet.NewFromIpfsHost(h), nil, store)
	t.Cleanup(func() {
		_ = swap.Close()
		cancel()
	})
	return merkledag.NewDAGService(blockservice.New(store, swap))
}

func TestStockClientFetchesFromUs(t *testing.T) {
	whole := random(1, 5<<20)
	us, them := newSwapper(t, whole), testHost(t, nil)
	dag := stock(t, them.h)
	connect(t, them, us.Host)
	stockReads(t, dag, us, whole)
}

// stockReads fetches a file from a peer of ours by its CID.
func stockReads(t *testing.T, dag ipld.DAGService, us *swapper, whole []byte) {
	t.Helper()
	root, _ := us.store.Find(digest.Of(whole))
	top, err := dag.Get(t.Context(), root.CID)
	if err != nil {
		t.Fatal(err)
	}
	r, err := unixio.NewDagReader(t.Context(), top, dag)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var have bytes.Buffer
	if _, err := have.ReadFrom(r); err != nil || !bytes.Equal(have.Bytes(), whole) {
		t.Errorf("%d bytes came, %v", have.Len(), err)
	}
}

// stockAdds cuts a file as older clients do: CIDv0, 256 KiB, leaves with a header.
func stockAdds(t *testing.T, dag ipld.DAGService, whole []byte) blob.CID {
	t.Helper()
	h, err := (&helpers.DagBuilderParams{Maxlinks: 4, CidBuilder: merkledag.V0CidPrefix(), Dagserv: dag}).New(chunker.NewSizeSplitter(bytes.NewReader(whole), 256<<10))
	if err != nil {
		t.Fatal(err)
	}
	top, err := balanced.Layout(h)
	if err != nil {
		t.Fatal(err)
	}
	if top.Cid().Version() != 0 {
		t.Fatalf("its CID is %s", top.Cid())
	}
	return top.Cid()
}

func TestWeFetchWhatAStockClientMade(t *testing.T) {
	whole := random(1, 3<<20+5)
	us, them := newSwapper(t), testHost(t, nil)
	dag := stock(t, them.h)
	connect(t, us.Host, them)
	if err := us.x.FetchDAG(t.Context(), stockAdds(t, dag, whole), 10<<20); err != nil {
		t.Fatal(err)
	}
	us.verify(t, whole)
}
