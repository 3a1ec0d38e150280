package node

import (
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/receipt"
)

// TestRestoredStateIsTheStateAndGoesOnLikeIt restores snapshots of a chain at random places into other databases, fresh and
// used, and executes the rest of the chain there: every root must be the chain's.
func TestRestoredStateIsTheStateAndGoesOnLikeIt(t *testing.T) {
	for seed := range int64(6) {
		r := rand.New(rand.NewSource(seed))
		s := newSolo(t, newMemory())
		s.drive(r, 30)
		folder := s.folder(t.TempDir())
		snap := s.save(folder)
		at := int(snap.Height())
		s.drive(r, 30)

		for _, used := range []int{0, 12} {
			db := newMemory()
			other := newSolo(t, db)
			for _, b := range s.blocks[1 : used+1] { // some blocks executed before
				other.follow(b, s.finality(b))
			}
			h, err := restore(t.Context(), db, other.chain, folder, snap)
			if err != nil {
				t.Fatal(err)
			}
			other.ledger.moveTo(h)
			if h.state.Root() != s.blocks[at].Header.StateRoot {
				t.Fatalf("seed %d: another root", seed)
			}
			for _, b := range s.blocks[at+1 : len(s.blocks)-1] {
				other.follow(b, s.finality(b))
			}
			if other.ledger.head.Load().state.Root() != s.ledger.head.Load().state.Root() {
				t.Fatalf("seed %d: another root at the end", seed)
			}
			again, _, err := openLedger(t.Context(), db, s.genesis)
			if err != nil {
				t.Fatal(err)
			}
			if again.Height() != other.ledger.Height() || again.base.Load() != uint64(at)+1 {
				t.Errorf("seed %d: opened again at %d with base %d", seed, again.Height(), again.base.Load())
			}
		}
	}
}

// TestRestoreKilledAtEveryWrite ends the machine at each write of a restore: the next start has the state of before or
// that of the snapshot, whole, and goes on from there.
func TestRestoreKilledAtEveryWrite(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	s := newSolo(t, newMemory())
	s.drive(r, 20)
	folder := s.folder(t.TempDir())
	snap := s.save(folder)
	s.drive(r, 5)
	start := newMemory()
	before := newSolo(t, start)
	for _, b := range s.blocks[1:8] {
		before.follow(b, s.finality(b))
	}
	for n := 0; ; n++ {
		db := start.copied()
		chain, err := chainstore.Open(db)
		if err != nil {
			t.Fatal(err)
		}
		db.left = n
		_, err = restore(t.Context(), db, chain, folder, snap)
		if err == nil {
			if n < 6 {
				t.Fatalf("the restore took %d writes", n)
			}
			return
		}
		if !errors.Is(err, errDead) {
			t.Fatalf("killed at write %d: %v", n, err)
		}
		// And again while it is made good: at each of those writes too.
		for m := 0; ; m++ {
			if m > 50 {
				t.Fatalf("killed at write %d: it is never made good", n)
			}
			back := db.copied()
			back.left = m
			if _, err := finishRestore(t.Context(), back, opened(t, back), folder); errors.Is(err, errDead) {
				back.left = 1 << 30
				if _, err = finishRestore(t.Context(), back, opened(t, back), folder); err != nil {
					t.Fatalf("killed at writes %d and %d: %v", n, m, err)
				}
				s.goesOn(back, snap)
				continue
			} else if err != nil {
				t.Fatalf("killed at write %d: %v", n, err)
			}
			back.left = 1 << 30
			s.goesOn(back, snap)
			break
		}
	}
}

func opened(t testing.TB, db datastore.Batching) *chainstore.Store {
	t.Helper()
	chain, err := chainstore.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// goesOn checks that a database is that of block 7 or of the snapshot, and that the chain goes on from there.
func (s *solo) goesOn(db *memory, snap *snapshot.Snapshot) {
	s.t.Helper()
	chain, err := chainstore.Open(db)
	if err != nil {
		s.t.Fatal(err)
	}
	l, _, err := openLedger(s.t.Context(), db, s.genesis)
	if err != nil {
		s.t.Fatal(err)
	}
	h, _, _, err := chain.Head()
	if err != nil || l.Height() != h.Block.Header.Height || l.Height() != 7 && l.Height() != snap.Height() {
		s.t.Fatalf("state at %d, chain at %d: %v", l.Height(), h.Block.Header.Height, err)
	}
	other := &solo{t: s.t, genesis: s.genesis, ledger: l, chain: chain}
	for _, b := range s.blocks[l.Height()+1 : len(s.blocks)-1] {
		other.follow(b, s.finality(b))
	}
	if l.head.Load().state.Root() != s.ledger.head.Load().state.Root() {
		s.t.Fatal("another state at the end")
	}
}

// TestRestoreWithoutItsSnapshotBeginsAnew loses the folder between the crash and the next start.
func TestRestoreWithoutItsSnapshotBeginsAnew(t *testing.T) {
	s := newSolo(t, newMemory())
	s.drive(rand.New(rand.NewSource(1)), 20)
	snap := s.save(s.folder(t.TempDir()))
	db := newMemory()
	newSolo(t, db)
	id := snap.Block.ID()
	for n := 0; ; n++ {
		back := db.copied()
		if err := back.Put(t.Context(), restoreKey, id[:]); err != nil {
			t.Fatal(err)
		}
		back.left = n
		_, err := finishRestore(t.Context(), back, opened(t, back), s.folder(t.TempDir()))
		back.left = 1 << 30
		if errors.Is(err, errDead) {
			_, err = finishRestore(t.Context(), back, opened(t, back), s.folder(t.TempDir()))
			if err != nil {
				t.Fatal(err)
			}
		} else if err != nil {
			t.Fatal(err)
		} else if n > 30 {
			break
		}
		l, _, err := openLedger(t.Context(), back, s.genesis)
		if err != nil || l.Height() != 0 {
			t.Fatalf("killed at write %d: %v", n, err)
		}
	}
}

// TestSnapshotIsMadeBesideTheChain executes blocks while snapshots of earlier ones are made: the chain waits for nothing, and
// the snapshots are of the states that they say.
func TestSnapshotIsMadeBesideTheChain(t *testing.T) {
	db, err := openDatabase(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := newSolo(t, db)
	r := rand.New(rand.NewSource(7))
	folder := s.folder(t.TempDir())
	maker := s.maker(folder)
	for range 4 {
		s.drive(r, 25)
		made, job := make(chan error, 1), s.task()
		go func() { made <- maker.make(t.Context(), job) }()
		s.drive(r, 25)
		if err := <-made; err != nil {
			t.Fatal(err)
		}
		list := folder.List()
		h, err := readSnapshot(folder, list[len(list)-1])
		if err != nil || h.id != job.head.id {
			t.Fatalf("snapshot of block %d: %v", job.head.header.Height, err)
		}
	}
	if n := len(folder.List()); n != 2 {
		t.Errorf("%d snapshots are kept, want 2", n)
	}
}

// TestTrustFileBoundsSnapshots takes no snapshot of before the checkpoint, or of another block in its place.
func TestTrustFileBoundsSnapshots(t *testing.T) {
	s := newSolo(t, newMemory())
	s.drive(rand.New(rand.NewSource(6)), 30)
	snap := s.save(s.folder(t.TempDir()))
	set, err := consensus.NewValidatorSet(s.genesis.Validators)
	if err != nil {
		t.Fatal(err)
	}
	check := func(edit func(*receipt.TrustFile)) (*epochs, error) {
		f := receipt.NewTrustFile(s.genesis, &snap.Block.Header, set)
		edit(f)
		raw, err := f.Encode()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "trust.json")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return newEpochs(s.genesis, s.blocks[0], s.chain, path)
	}
	for name, c := range map[string]struct {
		edit func(*receipt.TrustFile)
		ok   bool
	}{
		"at the checkpoint":     {func(*receipt.TrustFile) {}, true},
		"above it":              {func(f *receipt.TrustFile) { f.Checkpoint.Height-- }, true},
		"below it":              {func(f *receipt.TrustFile) { f.Checkpoint.Height++ }, false},
		"another block than it": {func(f *receipt.TrustFile) { f.Checkpoint.Block[0] ^= 1 }, false},
	} {
		f, err := check(c.edit)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.check(snap.Head()); (err == nil) != c.ok || err != nil && !errors.Is(err, snapshot.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := check(func(f *receipt.TrustFile) { f.Chain.ID[0] ^= 1 }); err == nil {
		t.Error("the trust file of another chain was taken")
	}
	if _, err := check(func(f *receipt.TrustFile) { f.Validators[0].Weight++ }); err == nil {
		t.Error("a trust file with other validators of the first epoch was taken")
	}
	if _, err := newEpochs(s.genesis, s.blocks[0], s.chain, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a trust file that is not there was taken")
	}
}
