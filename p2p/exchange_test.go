package p2p

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/ipfs/boxo/bitswap/message"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	blocks "github.com/ipfs/go-block-format"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/blob"
)

func testStore(t *testing.T, dir string) *blob.Store {
	t.Helper()
	s, err := blob.Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// random is n bytes that do not repeat, the same for the same seed.
func random(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// swapper is a host with a store and an exchange.
type swapper struct {
	*Host
	store *blob.Store
	x     *Exchange
}

func newSwapper(t *testing.T, has ...[]byte) *swapper { return newSwapperAs(t, nil, has...) }

func newSwapperAs(t *testing.T, change func(*Config), has ...[]byte) *swapper {
	t.Helper()
	s := testStore(t, t.TempDir())
	p := testHost(t, change)
	for _, b := range has {
		if _, err := s.Put(t.Context(), bytes.NewReader(b), uint64(len(b))); err != nil {
			t.Fatal(err)
		}
	}
	return &swapper{p, s, NewExchange(p, s)}
}

func (s *swapper) verify(t *testing.T, want []byte) {
	t.Helper()
	f, err := s.store.Open(t.Context(), digest.Of(want))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var have bytes.Buffer
	if _, err := have.ReadFrom(f); err != nil || !bytes.Equal(have.Bytes(), want) {
		t.Fatalf("%d bytes, not the %d that were fetched: %v", have.Len(), len(want), err)
	}
}

func TestFetchAsksOnAndNamesWhoWasTried(t *testing.T) {
	whole := random(1, 3<<20)
	d := digest.Of(whole)
	a, empty, liar, good := newSwapper(t), newSwapper(t), newSwapper(t, random(2, 3<<20)), newSwapper(t, whole)
	for _, o := range []*swapper{empty, liar} {
		connect(t, a.Host, o.Host)
	}
	other, _ := liar.store.Find(digest.Of(random(2, 3<<20)))
	liar.Handle(nameProto, Limits{}, func(context.Context, sign.PublicKey, []byte) ([]byte, error) { return encodeName(other), nil })
	err := a.x.Fetch(t.Context(), d, uint64(len(whole)), []sign.PublicKey{empty.Self(), liar.Self()})
	if !errors.Is(err, ErrNoProvider) || !strings.Contains(err.Error(), empty.ID().String()) || !strings.Contains(err.Error(), liar.ID().String()) {
		t.Fatalf("without a good provider: %v", err)
	}
	if a.gate.score(liar.ID()) < PenaltyMajor-1 || a.Stats().BlobsBad != 1 || a.store.Has(d) {
		t.Errorf("the liar's score is %.1f, stats %+v", a.gate.score(liar.ID()), a.Stats())
	}
	if err := a.x.Fetch(t.Context(), d, uint64(len(whole)), nil); !errors.Is(err, ErrNoProvider) {
		t.Errorf("no peers: %v", err)
	}
	connect(t, a.Host, good.Host)
	var wg sync.WaitGroup
	for range 4 { // they share one fetch
		wg.Go(func() {
			if err := a.x.Fetch(t.Context(), d, uint64(len(whole)), []sign.PublicKey{a.Self(), empty.Self(), liar.Self(), good.Self()}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	a.verify(t, whole)
	if n := good.Stats().BlobBytesOut; n < uint64(len(whole)) || n > uint64(len(whole))+1<<10 {
		t.Errorf("served %d bytes for one fetch of %d", n, len(whole))
	}
	if a.gate.score(good.ID()) != 0 {
		t.Error("the good provider was scored")
	}
}

func TestFetchTakesBlocksFromSeveralPeersAtOnce(t *testing.T) {
	whole := random(1, 48<<20)
	a := newSwapper(t)
	var from []sign.PublicKey
	var list []*swapper
	for range 3 {
		o := newSwapper(t, whole)
		connect(t, a.Host, o.Host)
		list, from = append(list, o), append(from, o.Self())
	}
	if err := a.x.Fetch(t.Context(), digest.Of(whole), uint64(len(whole)), from); err != nil {
		t.Fatal(err)
	}
	a.verify(t, whole)
	served := 0
	for _, o := range list {
		n := o.Stats().BlobBytesOut
		t.Logf("%s gave %d bytes", o.ID(), n)
		if n > 0 {
			served++
		}
	}
	if served < 2 {
		t.Errorf("%d of 3 peers gave something", served)
	}
	if in := a.Stats().BlobBytesIn; in > uint64(len(whole))*3/2 {
		t.Errorf("%d bytes came for a blob of %d", in, len(whole))
	}
}

func TestFetchGoesOnWhereItBrokeOff(t *testing.T) {
	whole := random(1, 40<<20)
	d := digest.Of(whole)
	first, second := newSwapper(t, whole), newSwapper(t, whole)
	dir := t.TempDir()
	store := testStore(t, dir)
	a := testHost(t, nil)
	connect(t, a, first.Host)
	x := NewExchange(a, store)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.Fetch(ctx, d, uint64(len(whole)), []sign.PublicKey{first.Self()}) }()
	root, _ := first.store.Find(d)
	eventually(t, "a part of the blob", func() bool {
		at, ok := x.Progress(root.CID)
		return ok && at.Bytes > 8<<20 && at.Total == uint64(len(whole)) || store.Has(d)
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("the fetch that was broken off: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	// The program starts again, and another peer has the rest.
	store = testStore(t, dir)
	b := testHost(t, nil)
	connect(t, b, second.Host)
	x = NewExchange(b, store)
	if err := x.Fetch(t.Context(), d, uint64(len(whole)), []sign.PublicKey{second.Self()}); err != nil {
		t.Fatal(err)
	}
	if n := second.Stats().BlobBytesOut; n > uint64(len(whole))-8<<20 {
		t.Errorf("the second provider gave %d bytes of %d", n, len(whole))
	}
	(&swapper{b, store, x}).verify(t, whole)
}

func TestFetchIsRefusedBeforeItBeginsWhenThereIsNoRoom(t *testing.T) {
	whole := random(1, 6<<20)
	store, err := blob.Open(t.TempDir(), 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if _, err := store.Put(t.Context(), bytes.NewReader(random(2, 4<<20)), 4<<20, "pin"); err != nil {
		t.Fatal(err)
	}
	p, b := testHost(t, nil), newSwapper(t, whole)
	a := &swapper{p, store, NewExchange(p, store)}
	connect(t, a.Host, b.Host)
	err = a.x.Fetch(t.Context(), digest.Of(whole), uint64(len(whole)), []sign.PublicKey{b.Self()})
	if !errors.Is(err, blob.ErrQuota) || a.Stats().BlobBytesIn != 0 || len(store.List()) != 1 {
		t.Errorf("%v; %d bytes came", err, a.Stats().BlobBytesIn)
	}
	if err := store.UnpinAll("pin"); err != nil {
		t.Fatal(err)
	}
	if err := a.x.Fetch(t.Context(), digest.Of(whole), uint64(len(whole)), []sign.PublicKey{b.Self()}); err != nil {
		t.Fatal(err)
	}
	a.verify(t, whole)
}

func TestFetchDAGBringsAFolderFromWhoeverIsConnected(t *testing.T) {
	a, b := newSwapper(t), newSwapper(t)
	var car bytes.Buffer
	src := newSwapper(t, random(1, 5<<20))
	r, _ := src.store.Find(digest.Of(random(1, 5<<20)))
	if err := src.store.Export(t.Context(), &car, r.CID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Import(t.Context(), &car); err != nil {
		t.Fatal(err)
	}
	connect(t, a.Host, b.Host)
	if err := a.x.FetchDAG(t.Context(), blob.Of(digest.Of([]byte("nowhere"))), 1<<20); !errors.Is(err, errNobody) {
		t.Errorf("what nobody has: %v", err)
	}
	if err := a.x.FetchDAG(t.Context(), r.CID, 1<<20); !errors.Is(err, ErrTooMuch) {
		t.Errorf("more than there is room for: %v", err)
	}
	if len(a.store.List()) != 0 {
		t.Errorf("what was refused is listed: %+v", a.store.List())
	}
	if err := a.x.FetchDAG(t.Context(), r.CID, 6<<20); err != nil {
		t.Fatal(err)
	}
	a.verify(t, random(1, 5<<20))
}

func TestPeerThatBeginsToServeIsAskedAgain(t *testing.T) {
	whole := random(1, 100)
	a, b := newSwapper(t), testHost(t, nil)
	connect(t, a.Host, b)
	root := blob.Of(digest.Of(whole))
	ended := make(chan error, 1)
	go func() { ended <- a.x.FetchDAG(t.Context(), root, 1000) }()
	eventually(t, "it is asked for", func() bool { return a.x.asked.has(root) })
	store := testStore(t, t.TempDir())
	if _, err := store.Put(t.Context(), bytes.NewReader(whole), 100); err != nil {
		t.Fatal(err)
	}
	NewExchange(b, store)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	a.verify(t, whole)
}

// giver answers every wish with bytes of its own.
type giver struct {
	net  bsnetwork.BitSwapNetwork
	give func(want blob.CID) []blocks.Block
}

func (g *giver) ReceiveMessage(ctx context.Context, from peer.ID, m message.BitSwapMessage) {
	out := message.New(false)
	for _, e := range m.Wantlist() {
		for _, b := range g.give(e.Cid) {
			out.AddBlock(b)
		}
	}
	if !out.Empty() {
		_ = g.net.SendMessage(ctx, from, out) // it may be kept out by now
	}
}

func (g *giver) ReceiveError(error)       {}
func (g *giver) PeerConnected(peer.ID)    {}
func (g *giver) PeerDisconnected(peer.ID) {}

func TestPeerThatServesWrongBlocksIsKeptOut(t *testing.T) {
	whole := random(1, 24<<20)
	a, good, bad := newSwapper(t), newSwapper(t, whole), testHost(t, nil)
	g := &giver{net: bsnet.NewFromIpfsHost(bad.h), give: func(want blob.CID) []blocks.Block {
		return []blocks.Block{blocks.NewBlock([]byte("not " + want.String()))}
	}}
	g.net.Start(g)
	t.Cleanup(g.net.Stop)
	connect(t, a.Host, bad)
	connect(t, a.Host, good.Host)
	if err := a.x.Fetch(t.Context(), digest.Of(whole), uint64(len(whole)), []sign.PublicKey{bad.Self(), good.Self()}); err != nil {
		t.Fatal(err)
	}
	a.verify(t, whole)
	for i := byte(2); !a.gate.banned(bad.ID()); i++ { // each fetch asks whoever is connected
		if i == 20 {
			t.Fatalf("its score is %.1f after %d wrong blocks", a.gate.score(bad.ID()), a.Stats().BlobsBad)
		}
		more := random(i, 100)
		if _, err := good.store.Put(t.Context(), bytes.NewReader(more), 100); err != nil {
			t.Fatal(err)
		}
		if err := a.x.Fetch(t.Context(), digest.Of(more), 100, []sign.PublicKey{good.Self()}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the connection ends", func() bool { return !a.isMember(bad.ID()) })
	if a.gate.score(good.ID()) != 0 {
		t.Error("the good provider was scored")
	}
}

func TestManyFetchesFromOneProviderWaitTheirTurn(t *testing.T) {
	var all [][]byte
	for i := range 3 * blobFetches {
		all = append(all, random(byte(i), 1000+i))
	}
	all = append(all, nil) // an empty blob has a block, too
	a, b := newSwapper(t), newSwapper(t, all...)
	connect(t, a.Host, b.Host)
	var wg sync.WaitGroup
	for _, w := range all {
		wg.Go(func() {
			if err := a.x.Fetch(t.Context(), digest.Of(w), uint64(len(w)), []sign.PublicKey{b.Self()}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, w := range all {
		a.verify(t, w)
	}
}

func TestAskedForgetsTheOldest(t *testing.T) {
	a := newAsked(2)
	c := func(i byte) blob.CID { return blob.Of(digest.Of([]byte{i})) }
	for _, i := range []byte{1, 1, 2} {
		a.note(c(i))
	}
	if !a.has(c(1)) || !a.has(c(2)) || a.has(c(3)) {
		t.Error("it forgot too soon")
	}
	a.note(c(3))
	if a.has(c(1)) || !a.has(c(3)) || len(a.have) != 2 {
		t.Errorf("it remembers %d", len(a.have))
	}
}

func FuzzDecodeName(f *testing.F) {
	r := blob.Root{CID: blob.Of(digest.Of(nil)), Bytes: 7}
	f.Add(encodeName(r))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeName(b)
		if err == nil && !bytes.Equal(encodeName(r), b) {
			t.Fatalf("%x does not survive a round trip", b)
		}
	})
}
