package statesync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/consensus/snapshot/snapshottest"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/internal/trie"
)

var quiet = slog.New(slog.DiscardHandler)

// stateOf has n entries, some of them large.
func stateOf(n int) *trie.Map {
	m := new(trie.Map)
	for i := range n {
		k := digest.Sum("key", []byte(fmt.Sprint(i)))
		m.Set(append([]byte("jobs/"), k[:]...), bytes.Repeat([]byte{byte(i)}, 100+i%7*9000))
	}
	m.Root()
	return m
}

// world is a chain, a state, and nodes that have snapshots of it.
type world struct {
	t     *testing.T
	chain *snapshottest.Chain
	state *trie.Map

	mu    sync.Mutex // guards what follows
	nodes map[sign.PublicKey]func(ctx context.Context, req []byte) ([]byte, error)
	blame map[sign.PublicKey]int
	asked map[sign.PublicKey]int // chunks
}

func newWorld(t *testing.T, entries int) *world {
	w := &world{t: t, chain: snapshottest.New(4), state: stateOf(entries),
		nodes: map[sign.PublicKey]func(context.Context, []byte) ([]byte, error){}, blame: map[sign.PublicKey]int{}, asked: map[sign.PublicKey]int{}}
	w.chain.Extend(42, w.state.Root())
	return w
}

func (w *world) check(h *snapshot.Head) (*snapshot.Snapshot, error) { return h.Check(w.chain.Verifier) }

func (w *world) folder(dir string, d driver.Disk) (*Folder, error) {
	return OpenFolder(d, dir, 2, w.check, quiet)
}

// oneEpoch is a chain whose validators never changed.
type oneEpoch struct{}

func (oneEpoch) Known() consensus.Epoch { return 0 }

func (oneEpoch) Handover(consensus.Epoch) (*consensus.Handover, error) { return nil, ErrEpoch }

func (oneEpoch) Adopt(*consensus.Handover) error { return snapshot.ErrInvalid }

func (w *world) open(dir string) *Folder {
	w.t.Helper()
	f, err := w.folder(dir, driver.SystemDisk())
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func key(i int) sign.PublicKey {
	s := digest.Sum("node", []byte{byte(i)})
	return sign.FromSeed(s[:]).Public()
}

// node adds a node with snapshots at these heights; wrap, if given, stands between it and those who ask.
func (w *world) node(i int, wrap func(next func(context.Context, []byte) ([]byte, error)) func(context.Context, []byte) ([]byte, error), heights ...int) sign.PublicKey {
	w.t.Helper()
	f := w.open(w.t.TempDir())
	for _, h := range heights {
		if _, err := f.Save(w.t.Context(), w.chain.Head(h, w.state), w.state.All()); err != nil {
			w.t.Fatal(err)
		}
	}
	serve := NewServer(f, oneEpoch{}).Serve
	if wrap != nil {
		serve = wrap(serve)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[key(i)] = serve
	return key(i)
}

// Request implements Network.
func (w *world) Request(ctx context.Context, to sign.PublicKey, req []byte) ([]byte, error) {
	var r request
	if err := canon.Unmarshal(req, &r); err != nil {
		return nil, err
	}
	w.mu.Lock()
	serve := w.nodes[to]
	if r.What == askChunk {
		w.asked[to]++
	}
	w.mu.Unlock()
	return serve(ctx, req)
}

// Peers implements Network.
func (w *world) Peers() (list []sign.PublicKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range w.nodes {
		list = append(list, k)
	}
	return list
}

func (w *world) fetcher(f *Folder) *Fetcher {
	return NewFetcher(FetchConfig{Folder: f, Epochs: oneEpoch{}, Network: w, Log: quiet, Wait: 300 * time.Millisecond, Penalise: w.penalise})
}

func (w *world) penalise(n sign.PublicKey, _ string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blame[n]++
}

// same checks that a folder gives the whole state of a snapshot.
func (w *world) same(f *Folder, s *snapshot.Snapshot) {
	w.t.Helper()
	m := new(trie.Map)
	for e, err := range f.Entries(s) {
		if err != nil {
			w.t.Fatal(err)
		}
		m.Set(e.Key, e.Value)
	}
	if m.Root() != w.state.Root() {
		w.t.Fatalf("the snapshot of block %d gives another state", s.Height())
	}
}

func TestFetchTakesTheHighestFromAllWhoHaveIt(t *testing.T) {
	w := newWorld(t, 200)
	slow := func(next func(context.Context, []byte) ([]byte, error)) func(context.Context, []byte) ([]byte, error) {
		turn := make(chan struct{}, 1)
		return func(ctx context.Context, req []byte) ([]byte, error) {
			turn <- struct{}{}
			defer func() { <-turn }()
			return next(ctx, req)
		}
	}
	a, b := w.node(1, slow, 20, 40), w.node(2, slow, 40)
	w.node(3, nil, 20)
	f := w.open(t.TempDir())
	s, asked, err := w.fetcher(f).Fetch(t.Context(), 10)
	if err != nil || s.Height() != 40 || asked != 3 {
		t.Fatalf("asked %d: %v", asked, err)
	}
	w.same(f, s)
	if s.Chunks() < 5 || w.asked[a] == 0 || w.asked[b] == 0 || w.asked[a]+w.asked[b] != s.Chunks() || w.asked[key(3)] != 0 {
		t.Errorf("%d chunks: asked %v", s.Chunks(), w.asked)
	}
	if _, _, err := w.fetcher(f).Fetch(t.Context(), 41); !errors.Is(err, ErrNone) {
		t.Errorf("nobody has block 41: %v", err)
	}
	again := w.open(f.dir)
	if l := again.List(); len(l) != 1 || l[0].ID() != s.ID() {
		t.Fatalf("after a restart %d snapshots are here", len(l))
	}
	w.same(again, again.List()[0])
}

// TestLiarsAreScoredAndLeft puts nodes that lie in every way among honest ones: the state comes, and only they are blamed.
func TestLiarsAreScoredAndLeft(t *testing.T) {
	type serve = func(context.Context, []byte) ([]byte, error)
	on := func(what uint8, lie func(r request, raw []byte) []byte) func(serve) serve {
		return func(next serve) serve {
			return func(ctx context.Context, req []byte) ([]byte, error) {
				var r request
				if err := canon.Unmarshal(req, &r); err != nil {
					return nil, err
				}
				raw, err := next(ctx, req)
				if err == nil && r.What == what {
					raw = lie(r, bytes.Clone(raw))
				}
				return raw, err
			}
		}
	}
	w := newWorld(t, 200)
	honest := w.node(0, nil, 40)
	w.node(1, func(serve) serve {
		return func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no") }
	}, 40)
	silent := w.node(2, func(next serve) serve {
		return func(ctx context.Context, req []byte) ([]byte, error) {
			var r request
			if err := canon.Unmarshal(req, &r); err != nil || r.What == askOffers {
				return next(ctx, req)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}, 40)
	liars := []sign.PublicKey{
		w.node(3, on(askChunk, func(_ request, raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw }), 40),
		w.node(4, on(askChunk, func(request, []byte) []byte { return make([]byte, snapshot.MaxChunkBytes+1) }), 40),
		w.node(5, on(askOffers, func(request, []byte) []byte { return []byte("offers") }), 40),
		w.node(6, func(next serve) serve { // invents the best of all snapshots
			return on(askHead, func(request, []byte) []byte { return w.chain.Head(40, w.state).Encode() })(func(ctx context.Context, req []byte) ([]byte, error) {
				var r request
				if err := canon.Unmarshal(req, &r); err != nil {
					return nil, err
				}
				if r.What == askOffers {
					return canon.Must([]offer{{Height: 1 << 60, ID: digest.Of([]byte("x"))}}), nil
				}
				return []byte{}, nil
			})
		}, 40),
		w.node(7, on(askOffers, func(request, []byte) []byte { return canon.Must(make([]offer, maxOffers+1)) }), 40),
	}
	left := map[sign.PublicKey]bool{}
	for round := 0; len(left) < len(liars); round++ {
		if round == 100 {
			t.Fatalf("%d of %d liars were found", len(left), len(liars))
		}
		f := w.open(t.TempDir())
		s, _, err := w.fetcher(f).Fetch(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		w.same(f, s)
		for _, l := range liars {
			if w.blame[l] > 0 {
				left[l] = true
			}
		}
		w.node(2, nil, 40) // the silent one costs time once
	}
	for who, n := range w.blame {
		if !left[who] {
			t.Errorf("%s is honest and was blamed %d times", who.Short(), n)
		}
	}
	if w.blame[honest]+w.blame[silent] > 0 {
		t.Error("who is slow or honest was blamed")
	}
	f := w.fetcher(w.open(t.TempDir()))
	f.shun(liars[0], errors.New("test"))
	before := w.asked[liars[0]]
	if _, _, err := f.Fetch(t.Context(), 10); err != nil || w.asked[liars[0]] != before {
		t.Errorf("who was left is asked for chunks again: %v", err)
	}
}

// TestFalseSizesBlameTheirAuthorAlone: an outline whose sizes are false is under the root, and no honest chunk fits it.
func TestFalseSizesBlameTheirAuthorAlone(t *testing.T) {
	w := newWorld(t, 200)
	honest := w.node(1, nil, 40)
	h := w.chain.Head(40, w.state)
	h.State.Parts[0].Bytes += 5
	s, err := w.check(h)
	if err != nil {
		t.Fatal(err)
	}
	liar := w.node(2, func(next func(context.Context, []byte) ([]byte, error)) func(context.Context, []byte) ([]byte, error) {
		return func(ctx context.Context, req []byte) ([]byte, error) {
			var r request
			if err := canon.Unmarshal(req, &r); err != nil {
				return nil, err
			}
			switch r.What {
			case askOffers:
				return canon.Must([]offer{{Height: 40, ID: s.ID()}}), nil
			case askHead:
				return h.Encode(), nil
			}
			for i, raw := range s.Split(w.state.All()) {
				if i == int(r.Index) {
					return raw, nil
				}
			}
			return nil, ErrNoSnapshot
		}
	})
	for range 5 {
		f := w.open(t.TempDir())
		got, _, err := w.fetcher(f).Fetch(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		w.same(f, got)
	}
	if w.blame[honest] > 0 {
		t.Error("the honest node was blamed")
	}
	if w.asked[liar] > 0 && w.blame[liar] == 0 {
		t.Error("the liar was not blamed")
	}
}

// TestFetchGoesOnWhereItWas interrupts a fetch after every chunk, and damages what is there.
func TestFetchGoesOnWhereItWas(t *testing.T) {
	w := newWorld(t, 200)
	var ctx context.Context
	var cancel context.CancelFunc
	left := 1
	w.node(1, func(next func(context.Context, []byte) ([]byte, error)) func(context.Context, []byte) ([]byte, error) {
		return func(c context.Context, req []byte) ([]byte, error) {
			var r request
			if err := canon.Unmarshal(req, &r); err != nil {
				return nil, err
			}
			if r.What == askChunk {
				if left == 0 {
					cancel()
					return nil, errors.New("gone")
				}
				left--
			}
			return next(c, req)
		}
	}, 40)
	dir := t.TempDir()
	for round := 0; ; round++ {
		if round > 100 {
			t.Fatal("the fetch does not get on")
		}
		f := w.open(dir)
		ctx, cancel = context.WithCancel(t.Context())
		left = 1
		fetcher := w.fetcher(f)
		s, _, err := fetcher.Fetch(ctx, 10)
		cancel()
		if err == nil {
			if round+1 < s.Chunks() || fetcher.Stats().Resumed == 0 {
				t.Errorf("%d rounds for %d chunks, %d were here before", round+1, s.Chunks(), fetcher.Stats().Resumed)
			}
			w.same(f, s)
			break
		}
		if round == 2 {
			parts, err := filepath.Glob(filepath.Join(dir, "*."+whoGot+".chunk-*"))
			if err != nil || len(parts) < 2 {
				t.Fatalf("%d chunks are kept after %d rounds: %v", len(parts), round+1, err)
			}
			if err := os.WriteFile(parts[0], []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(parts[1], 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	if w.blame[key(1)] > 0 {
		t.Error("damage on the own disk was laid to a peer")
	}
}

// dying is a disk that ends, in the middle of a write, after so many operations.
type dying struct {
	driver.Disk
	left int
}

var errDead = errors.New("the machine is dead")

func (d *dying) gone() bool { d.left--; return d.left < 0 }

func (d *dying) Create(path string) (driver.File, error) {
	if d.gone() {
		return nil, errDead
	}
	f, err := d.Disk.Create(path)
	return &dyingFile{f, d}, err
}

func (d *dying) Remove(path string) error {
	if d.gone() {
		return errDead
	}
	return d.Disk.Remove(path)
}

type dyingFile struct {
	driver.File
	d *dying
}

func (f *dyingFile) WriteAt(b []byte, off int64) (int, error) {
	if f.d.left == 0 { // torn
		_, _ = f.File.WriteAt(b[:len(b)/3], off)
	}
	if f.d.gone() {
		return 0, errDead
	}
	return f.File.WriteAt(b, off)
}

func (f *dyingFile) Sync() error {
	if f.d.gone() {
		return errDead
	}
	return f.File.Sync()
}

// TestKilledAtEveryWrite ends the machine at each write of making and of fetching a snapshot: after the restart every
// snapshot that is there is whole, and the work comes to its end.
func TestKilledAtEveryWrite(t *testing.T) {
	w := newWorld(t, 40)
	w.node(1, nil, 40)
	work := func(f *Folder) error {
		if _, err := f.Save(t.Context(), w.chain.Head(20, w.state), w.state.All()); err != nil {
			return err
		}
		if _, err := f.Save(t.Context(), w.chain.Head(30, w.state), w.state.All()); err != nil {
			return err
		}
		_, _, err := w.fetcher(f).Fetch(t.Context(), 35)
		return err
	}
	for n := 0; ; n++ {
		if n > 500 {
			t.Fatal("the work never ends")
		}
		dir := t.TempDir()
		d := &dying{driver.SystemDisk(), n}
		f, err := w.folder(dir, d)
		if err == nil {
			err = work(f)
		}
		if err == nil {
			if n < 12 {
				t.Fatalf("the work took %d writes", n)
			}
			break
		}
		if !errors.Is(err, errDead) {
			t.Fatalf("killed at write %d: %v", n, err)
		}
		f = w.open(dir)
		for _, s := range f.List() {
			w.same(f, s)
		}
		if err := work(f); err != nil {
			t.Fatalf("after a kill at write %d: %v", n, err)
		}
		l := f.List()
		if len(l) != 2 || l[0].Height() != 30 || l[1].Height() != 40 {
			t.Fatalf("after a kill at write %d: %d snapshots", n, len(l))
		}
		for _, s := range l {
			w.same(f, s)
		}
		sets, err := f.sets()
		if err != nil || len(sets) != 2 {
			t.Fatalf("after a kill at write %d: files of %d snapshots, %v", n, len(sets), err)
		}
	}
}

func TestDamagedSnapshotIsNotServed(t *testing.T) {
	w := newWorld(t, 200)
	f := w.open(t.TempDir())
	s, err := f.Save(t.Context(), w.chain.Head(40, w.state), w.state.All())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.path(set{40, s.ID(), whoMade}, chunkFile(1)), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := f.Chunk(40, s.ID(), 1); !errors.Is(err, ErrNoSnapshot) {
			t.Errorf("a damaged chunk: %v", err)
		}
	}
	if left, err := os.ReadDir(f.dir); len(f.List()) != 0 || err != nil || len(left) != 0 {
		t.Errorf("the damaged snapshot is still here: %d files, %v", len(left), err)
	}
}

func TestServeRefusesWhatIsNoRequest(t *testing.T) {
	w := newWorld(t, 10)
	f := w.open(t.TempDir())
	if _, err := f.Save(t.Context(), w.chain.Head(40, w.state), w.state.All()); err != nil {
		t.Fatal(err)
	}
	s := NewServer(f, oneEpoch{})
	id := f.List()[0].ID()
	for name, req := range map[string][]byte{
		"nothing": {}, "too long": make([]byte, MaxRequestBytes+1), "unknown": canon.Must(&request{What: 9}),
		"no such chunk": canon.Must(&request{What: askChunk, Height: 40, ID: id, Index: 1 << 31}),
		"another id":    canon.Must(&request{What: askHead, Height: 40}),
	} {
		if _, err := s.Serve(t.Context(), req); err == nil {
			t.Errorf("%s was answered", name)
		}
	}
}

func FuzzServe(f *testing.F) {
	f.Add(canon.Must(&request{What: askOffers}), canon.Must([]offer{{Height: 3}}))
	f.Fuzz(func(t *testing.T, req, offers []byte) {
		folder := &Folder{check: func(*snapshot.Head) (*snapshot.Snapshot, error) { return nil, errors.New("none") }, log: quiet}
		raw, err := NewServer(folder, oneEpoch{}).Serve(t.Context(), req)
		if err == nil && len(raw) > MaxResponseBytes {
			t.Fatal("an answer over the bound")
		}
		if list, err := decodeOffers(offers); err == nil && len(list) > maxOffers {
			t.Fatal("offers over the bound")
		}
		if list, err := decodeHandovers(offers); err == nil && len(list) > maxHandovers {
			t.Fatal("handovers over the bound")
		}
	})
}
