package p2p

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"

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

func TestFetchGoesOnToTheNextProviderAndNamesThem(t *testing.T) {
	a, empty, liar, good := testHost(t, nil), testHost(t, nil), testHost(t, nil), testHost(t, nil)
	for _, p := range []*Host{empty, liar, good} {
		connect(t, a, p)
	}
	whole := bytes.Repeat([]byte("metanode"), 100_000)
	d := digest.Of(whole)
	NewExchange(empty, testStore(t, t.TempDir()), nil)
	goodStore := testStore(t, t.TempDir())
	if _, err := goodStore.PutBytes(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	NewExchange(good, goodStore, nil)

	// The liar's file was changed behind its store's back.
	dir := t.TempDir()
	liarStore := testStore(t, dir)
	if _, err := liarStore.PutBytes(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	path, _ := liarStore.Path(d)
	bad := bytes.Clone(whole)
	bad[5] ^= 1
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, bad, 0o600)); err != nil {
		t.Fatal(err)
	}
	NewExchange(liar, liarStore, nil)

	store := testStore(t, t.TempDir())
	x := NewExchange(a, store, nil)
	err := x.Fetch(t.Context(), d, uint64(len(whole)), []sign.PublicKey{empty.Self(), liar.Self()})
	if !errors.Is(err, ErrNoProvider) || !strings.Contains(err.Error(), empty.ID().String()) || !strings.Contains(err.Error(), liar.ID().String()) {
		t.Fatalf("without a good provider: %v", err)
	}
	if a.gate.score(liar.ID()) < PenaltyMajor-1 || a.Stats().BlobsBad != 1 || store.Has(d) {
		t.Errorf("the liar's score is %.1f, stats %+v", a.gate.score(liar.ID()), a.Stats())
	}
	if err := x.Fetch(t.Context(), d, uint64(len(whole)), nil); !errors.Is(err, ErrNoProvider) {
		t.Errorf("no peers: %v", err)
	}
	var wg sync.WaitGroup
	for range 4 { // they share one fetch
		wg.Go(func() {
			if err := x.Fetch(t.Context(), d, uint64(len(whole)), []sign.PublicKey{a.Self(), empty.Self(), liar.Self(), good.Self()}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := store.Verify(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if n := good.Stats().BlobBytesOut; n != uint64(len(whole)) {
		t.Errorf("served %d bytes for one fetch of %d", n, len(whole))
	}
	if a.gate.score(good.ID()) != 0 {
		t.Error("the good provider was scored")
	}
}

func TestFetchResumesWhereTheLastProviderBrokeOff(t *testing.T) {
	a, broken, good := testHost(t, nil), testHost(t, nil), testHost(t, nil)
	connect(t, a, broken)
	connect(t, a, good)
	whole := bytes.Repeat([]byte("0123456789"), 50_000)
	d := digest.Of(whole)
	broken.h.SetStreamHandler(broken.proto(blobProto), func(s network.Stream) {
		var req [blobRequestSize]byte
		_, _ = io.ReadFull(s, req[:])
		head := [blobHeaderSize]byte{0, 0, 0, 0, 0, 0, byte(len(whole) >> 16), byte(len(whole) >> 8 & 0xff), byte(len(whole) & 0xff)}
		_, _ = s.Write(append(head[:], whole[:200_000]...))
		_ = s.Close()
	})
	gs := testStore(t, t.TempDir())
	if _, err := gs.PutBytes(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	NewExchange(good, gs, nil)
	store := testStore(t, t.TempDir())
	x := NewExchange(a, store, nil)
	if err := x.Fetch(t.Context(), d, uint64(len(whole)), []sign.PublicKey{broken.Self(), good.Self()}); err != nil {
		t.Fatal(err)
	}
	if n := good.Stats().BlobBytesOut; n != uint64(len(whole)-200_000) {
		t.Errorf("the second provider gave %d bytes", n)
	}
	if err := store.Verify(t.Context(), d); err != nil {
		t.Error(err)
	}
}

func TestWithheldBlobLooksAbsentUntilThePolicyAllows(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	connect(t, a, b)
	bs := testStore(t, t.TempDir())
	d, err := bs.PutBytes(t.Context(), []byte("result"))
	if err != nil {
		t.Fatal(err)
	}
	empty, err := bs.PutBytes(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	sealed := false
	NewExchange(b, bs, func(_ digest.Digest, from sign.PublicKey) bool {
		mu.Lock()
		defer mu.Unlock()
		return sealed && from == a.Self()
	})
	dir := t.TempDir()
	x := NewExchange(a, testStore(t, dir), nil)
	if err := x.Fetch(t.Context(), d, 6, []sign.PublicKey{b.Self()}); !errors.Is(err, ErrNoProvider) || !strings.Contains(err.Error(), "does not have it") {
		t.Fatalf("before the seal: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "blobs", "partial")); len(left) != 0 {
		t.Error("an empty partial file was left")
	}
	mu.Lock()
	sealed = true
	mu.Unlock()
	for d, n := range map[digest.Digest]uint64{d: 6, empty: 0} {
		if err := x.Fetch(t.Context(), d, n, []sign.PublicKey{b.Self()}); err != nil {
			t.Fatalf("after the seal: %v", err)
		}
	}
}

func TestManyFetchesFromOneProviderWaitTheirTurn(t *testing.T) {
	a, b := testHost(t, nil), testHost(t, nil)
	connect(t, a, b)
	bs := testStore(t, t.TempDir())
	var want []digest.Digest
	for i := range 3 * blobServesPeer {
		d, err := bs.PutBytes(t.Context(), bytes.Repeat([]byte{byte(i)}, 1000))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, d)
	}
	y := NewExchange(b, bs, nil)
	for range blobServesPeer { // every place is taken: the first answers say busy
		if !y.begin(a.ID()) {
			t.Fatal("no place")
		}
	}
	x := NewExchange(a, testStore(t, t.TempDir()), nil)
	var wg sync.WaitGroup
	for _, d := range want {
		wg.Go(func() {
			if err := x.Fetch(t.Context(), d, 1000, []sign.PublicKey{b.Self()}); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "a busy answer", func() bool { return b.Stats().Busy > 0 })
	for range blobServesPeer {
		y.finish(a.ID())
	}
	wg.Wait()
}
