package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/consensus/driver/statesync"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/p2p/blob"
	"github.com/metanode/metanode/receipt"
)

// memory is a database whose batches are atomic, as Pebble's are, and which dies after so many writes: a batch is one.
type memory struct {
	m    map[datastore.Key][]byte
	left int // writes; negative: dead
}

var errDead = errors.New("the machine is dead")

func newMemory() *memory { return &memory{m: map[datastore.Key][]byte{}, left: 1 << 30} }

// copied is the disk as another process finds it.
func (d *memory) copied() *memory { return &memory{m: maps.Clone(d.m), left: 1 << 30} }

func (d *memory) write(f func()) error {
	if d.left--; d.left < 0 {
		return errDead
	}
	f()
	return nil
}

func (d *memory) Get(_ context.Context, k datastore.Key) ([]byte, error) {
	if v, ok := d.m[k]; ok {
		return v, nil
	}
	return nil, datastore.ErrNotFound
}

func (d *memory) Has(_ context.Context, k datastore.Key) (bool, error) {
	_, ok := d.m[k]
	return ok, nil
}

func (d *memory) GetSize(_ context.Context, k datastore.Key) (int, error) { return len(d.m[k]), nil }

func (d *memory) Query(_ context.Context, q query.Query) (query.Results, error) {
	var list []query.Entry
	for k, v := range d.m {
		list = append(list, query.Entry{Key: k.String(), Value: v, Size: len(v)})
	}
	return query.NaiveQueryApply(q, query.ResultsWithEntries(q, list)), nil
}

func (d *memory) Put(_ context.Context, k datastore.Key, v []byte) error {
	return d.write(func() { d.m[k] = slices.Clone(v) })
}

func (d *memory) Delete(_ context.Context, k datastore.Key) error {
	return d.write(func() { delete(d.m, k) })
}

func (d *memory) Sync(context.Context, datastore.Key) error { return d.write(func() {}) }

func (d *memory) Close() error { return nil }

func (d *memory) Batch(context.Context) (datastore.Batch, error) { return &memoryBatch{d: d}, nil }

type memoryBatch struct {
	d   *memory
	ops []func()
}

func (b *memoryBatch) Put(_ context.Context, k datastore.Key, v []byte) error {
	v = slices.Clone(v)
	b.ops = append(b.ops, func() { b.d.m[k] = v })
	return nil
}

func (b *memoryBatch) Delete(_ context.Context, k datastore.Key) error {
	b.ops = append(b.ops, func() { delete(b.d.m, k) })
	return nil
}

func (b *memoryBatch) Commit(context.Context) error {
	return b.d.write(func() {
		for _, op := range b.ops {
			op()
		}
	})
}

// solo is the chain of testGenesis made by hand: its validator is a quorum by itself.
type solo struct {
	t       testing.TB
	genesis *consensus.Genesis
	ledger  *ledger
	chain   *chainstore.Store
	known   *epochs
	blocks  []*consensus.Block
	qc      consensus.QC
	history merkle.Frontier // of the blocks before the last
	nonce   int
}

func newSolo(t testing.TB, db datastore.Batching) *solo {
	t.Helper()
	s := &solo{t: t, genesis: testGenesis(t)}
	var err error
	var genesis *consensus.Block
	if s.ledger, genesis, err = openLedger(t.Context(), db, s.genesis); err != nil {
		t.Fatal(err)
	}
	if s.chain, err = chainstore.Open(db); err != nil {
		t.Fatal(err)
	}
	if s.known, err = newEpochs(s.genesis, genesis, s.chain, ""); err != nil {
		t.Fatal(err)
	}
	s.qc = consensus.GenesisQC(genesis)
	s.blocks = []*consensus.Block{genesis}
	s.put(genesis, &consensus.Finality{Headers: []consensus.Header{genesis.Header}, QC: s.qc})
	return s
}

func (s *solo) put(b *consensus.Block, f *consensus.Finality) {
	s.t.Helper()
	if err := s.chain.Put([]driver.Committed{{Block: b, Finality: f}}); err != nil {
		s.t.Fatal(err)
	}
}

// add makes a block of transactions, and commits its parent, which it certifies.
func (s *solo) add(txs ...[]byte) *consensus.Block {
	s.t.Helper()
	parent := s.blocks[len(s.blocks)-1]
	id := parent.ID()
	s.history.Append(id[:])
	h := consensus.Header{
		Version: consensus.ProtocolVersion, ChainID: parent.Header.ChainID, Parent: id, Height: parent.Header.Height + 1,
		View: parent.Header.View + 1, Proposer: testKey.Public(), TimestampMs: parent.Header.TimestampMs + 40,
		TxRoot: merkle.Root(txs), Validators: parent.Header.Validators, NextVals: parent.Header.NextVals,
		HistoryRoot: s.history.Root(), HistoryCount: s.history.Count(),
	}
	x, err := s.ledger.Execute(driver.BlockContext{Height: h.Height, TimestampMs: h.TimestampMs, Parent: id}, txs)
	if err != nil {
		s.t.Fatal(err)
	}
	h.StateRoot, h.EventRoot = x.StateRoot, x.EventRoot
	if txs == nil {
		txs = [][]byte{}
	}
	b := &consensus.Block{Header: h, Justify: s.qc, Txs: txs}
	s.ledger.Keep(b.ID(), x.Handle)
	d := consensus.VoteData{ChainID: h.ChainID, View: h.View, Block: b.ID(), CommitRef: id}
	s.qc = consensus.QC{Data: d, Signers: []byte{1}}
	s.qc.Sigs = append(s.qc.Sigs, consensus.NewSigner(consensus.Ed25519, testKey).Sign(d.SigningBytes()))
	s.blocks = append(s.blocks, b)
	if parent.Header.Height > 0 {
		f := &consensus.Finality{Headers: []consensus.Header{parent.Header}, QC: s.qc}
		s.put(parent, f)
		if err := s.ledger.Commit(parent, f); err != nil {
			s.t.Fatal(err)
		}
	}
	return b
}

// task is the snapshot of the last committed block, to be made.
func (s *solo) task() task {
	s.t.Helper()
	h := s.ledger.head.Load()
	c, err := s.chain.Block(h.header.Height)
	if err != nil {
		s.t.Fatal(err)
	}
	var history merkle.Frontier
	for _, b := range s.blocks[:h.header.Height] {
		id := b.ID()
		history.Append(id[:])
	}
	return task{c.Block, c.Finality, &history, h}
}

func (s *solo) maker(folder *statesync.Folder) *snapshots {
	return &snapshots{epochs: s.known, ledger: s.ledger, chain: s.chain, folder: folder, log: slog.New(slog.DiscardHandler)}
}

// save makes a snapshot of the last committed block.
func (s *solo) save(folder *statesync.Folder) *snapshot.Snapshot {
	s.t.Helper()
	if err := s.maker(folder).make(s.t.Context(), s.task()); err != nil {
		s.t.Fatal(err)
	}
	list := folder.List()
	return list[len(list)-1]
}

func (s *solo) folder(dir string) *statesync.Folder {
	s.t.Helper()
	f, err := statesync.OpenFolder(driver.SystemDisk(), dir, 2, s.known.check, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

// signed is a command of testKey, who plays every part.
func (s *solo) signed(kind enc.Kind, payload any) []byte {
	s.nonce++
	body := enc.CommandBody{
		ChainID: s.ledger.chain, ExpiresMs: testTimeMs + 60_000, Nonce: [16]byte{1, byte(s.nonce >> 8), byte(s.nonce)}, Kind: kind, Payload: canon.Must(payload),
	}
	c := body.Sign(testKey)
	return c.Encode()
}

var testPolicy = digest.Of([]byte("policy"))

// drive adds blocks with registrations, jobs, what their executor says of them, and garbage.
func (s *solo) drive(r *rand.Rand, blocks int) {
	key := testKey.Public()
	for range blocks {
		txs := [][]byte{}
		state := s.ledger.head.Load().state
		if n, ok := state.Node(key); !ok || !n.Registered || r.Intn(20) == 0 {
			txs = append(txs, s.signed(enc.KindRegisterNode, &enc.RegisterNode{
				Operator: key, Engines: []digest.Digest{digest.Of([]byte("engine"))}, Policies: []digest.Digest{testPolicy},
				CPUClass: "x86-64-v2", Slots: uint32(20 + r.Intn(5)), Memory: 1 << 30, Labels: []string{},
			}))
		}
		if r.Intn(3) == 0 {
			txs = append(txs, s.signed(enc.KindSubmitJob, &enc.SubmitJob{Work: receipt.Work{
				Kind: enc.KindSQL, Engine: digest.Of([]byte("engine")), Policy: testPolicy, CPUClass: "x86-64-v2", Stdin: fmt.Appendf(nil, "SELECT %d", s.nonce),
				Limits: receipt.Limits{MemoryBytes: 1 << 20, OutputBytes: 1 << 20, Files: 10, Processes: 2, CPUMs: 1000, WallMs: 5000},
			}, R: 1, Q: 1}))
		}
		if r.Intn(4) == 0 {
			txs = append(txs, fmt.Appendf(nil, "garbage %d", r.Intn(1000)))
		}
		for _, a := range enc.NewDesk(key).Assignments(state) {
			out := []byte(a.Job.Short())
			o := receipt.Outcome{Outputs: []receipt.Output{
				{Name: receipt.Stderr, Digest: digest.Of(nil)}, {Name: receipt.Stdout, Digest: digest.Of(out), Bytes: uint64(len(out))},
			}}
			w, _ := state.Work(a.Job)
			keyed := receipt.KeyedOutput(a.Job, a.Round, map[string][]byte{receipt.Stderr: {}, receipt.Stdout: out})
			st := receipt.NewStatement(s.ledger.chain, a.Job, a.Round, w, &o, keyed)
			switch {
			case a.Observed == enc.ObservedCommitted && a.Status == enc.StatusRevealing:
				txs = append(txs, s.signed(enc.KindReveal, &enc.Reveal{
					Job: a.Job, Round: a.Round, Outcome: o, Keyed: keyed, Salt: [32]byte{9}, Sig: testKey.Sign(st.SigningBytes()),
				}))
			case a.Observed != enc.ObservedCommitted:
				txs = append(txs, s.signed(enc.KindCommit, &enc.Commit{
					Job: a.Job, Round: a.Round, Hash: enc.CommitHash(a.Job, a.Round, key, st.Digest(), [32]byte{9}),
				}))
			}
		}
		s.add(txs...)
	}
}

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

// finality of a committed block.
func (s *solo) finality(b *consensus.Block) *consensus.Finality {
	s.t.Helper()
	c, err := s.chain.Block(b.Header.Height)
	if err != nil {
		s.t.Fatal(err)
	}
	return c.Finality
}

// follow executes and commits a block of another.
func (s *solo) follow(b *consensus.Block, f *consensus.Finality) {
	s.t.Helper()
	x, err := s.ledger.Execute(driver.BlockContext{Height: b.Header.Height, TimestampMs: b.Header.TimestampMs, Parent: b.Header.Parent}, b.Txs)
	if err != nil {
		s.t.Fatal(err)
	}
	if x.StateRoot != b.Header.StateRoot || x.EventRoot != b.Header.EventRoot {
		s.t.Fatalf("block %d has another outcome here", b.Header.Height)
	}
	s.ledger.Keep(b.ID(), x.Handle)
	s.put(b, f)
	if err := s.ledger.Commit(b, f); err != nil {
		s.t.Fatal(err)
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

// TestPruneKilledAtEveryWrite ends the machine at each write of pruning: blocks, events and archive agree ever after.
func TestPruneKilledAtEveryWrite(t *testing.T) {
	start := newMemory()
	s := newSolo(t, start)
	s.drive(rand.New(rand.NewSource(2)), 150)
	head := uint64(s.ledger.Height())
	const below = 140
	for n := 0; ; n++ {
		db := start.copied()
		db.left = n
		done := func() error {
			l, _, err := openLedger(t.Context(), db, s.genesis)
			if err != nil {
				return err
			}
			chain, err := chainstore.Open(db)
			if err != nil {
				return err
			}
			for more := true; more; {
				if _, more, err = l.prune(t.Context(), chain, below); err != nil {
					return err
				}
			}
			return nil
		}
		err := done()
		if err != nil && !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		db.left = 1 << 30
		l, _, openErr := openLedger(t.Context(), db, s.genesis)
		if openErr != nil {
			t.Fatal(openErr)
		}
		chain, openErr := chainstore.Open(db)
		if openErr != nil {
			t.Fatal(openErr)
		}
		base := l.base.Load()
		for h := uint64(1); h <= head; h++ {
			_, blockErr := chain.Block(consensus.Height(h))
			events, eventsErr := l.events(t.Context(), h)
			if eventsErr != nil || (blockErr == nil) != (h >= base) || h < base && len(events) > 0 {
				t.Fatalf("killed at write %d: base %d, block %d: %v, %d events, %v", n, base, h, blockErr, len(events), eventsErr)
			}
			if want, _ := s.ledger.events(t.Context(), h); h >= base && len(want) != len(events) {
				t.Fatalf("block %d has lost events", h)
			}
		}
		if err == nil {
			if base != below || n < 2 {
				t.Fatalf("base %d after %d writes", base, n)
			}
			return
		}
		if err := done(); err != nil || l.loadBase(t.Context()) != nil || l.base.Load() != below {
			t.Fatalf("killed at write %d: then %v, base %d", n, err, l.base.Load())
		}
	}
}

func TestPruneBelowKeepsWhatNewPeersNeed(t *testing.T) {
	s := newSolo(t, newMemory())
	s.drive(rand.New(rand.NewSource(3)), 120)
	folder := s.folder(t.TempDir())
	p := s.maker(folder)
	p.cfg = configs.Storage{RetainBlocks: 64}
	below := func() uint64 {
		t.Helper()
		h, err := p.pruneBelow()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if got := below(); got != 0 {
		t.Errorf("without a snapshot: %d", got)
	}
	s.save(folder)
	s.drive(rand.New(rand.NewSource(4)), 20)
	if got, want := below(), uint64(s.ledger.Height())-64; got != want {
		t.Errorf("below %d, want %d", got, want)
	}
	s.drive(rand.New(rand.NewSource(4)), 100)
	if got := below(); got != uint64(folder.List()[0].Height()) {
		t.Errorf("below %d, the oldest snapshot is of %d", got, folder.List()[0].Height())
	}
	p.cfg.RetainBlocks = 1 // the leader rule of one validator looks 16 views back
	s.save(folder)
	s.save(folder)
	if got, most := below(), uint64(s.ledger.Height())-16; got >= most {
		t.Errorf("below %d, and the leader rule looks at blocks from %d on", got, most)
	}
	p.cfg.RetainBlocks = 0
	if got := below(); got != 0 {
		t.Errorf("though all is to be kept: %d", got)
	}
}

// TestReceiptsOfPrunedBlocksVerify prunes everything that a receipt was made from, and makes it again from the archive.
func TestReceiptsOfPrunedBlocksVerify(t *testing.T) {
	db := newMemory()
	s := newSolo(t, db)
	s.drive(rand.New(rand.NewSource(5)), 200)
	set, err := consensus.NewValidatorSet(s.genesis.Validators)
	if err != nil {
		t.Fatal(err)
	}
	trust := receipt.NewTrustFile(s.genesis, &s.blocks[0].Header, set)
	store, err := blob.Open(t.TempDir(), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	n := &Node{ledger: s.ledger, genesis: s.genesis, chain: s.chain, store: store}
	receipts := func() map[digest.Digest]string {
		all := map[digest.Digest]string{}
		found, err := db.Query(t.Context(), query.Query{Prefix: sealPrefix, KeysOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		for e := range found.Next() {
			job, err := digest.Parse(e.Key[len(sealPrefix)+1:])
			if err != nil {
				t.Fatal(err)
			}
			out := job.Short()
			if err := store.PutExpect(t.Context(), strings.NewReader(out), digest.Of([]byte(out)), uint64(len(out))); err != nil {
				t.Fatal(err)
			}
			at, _ := s.ledger.seal(t.Context(), job)
			r, err := n.receiptAt(t.Context(), job, at, 0)
			if err != nil {
				t.Fatalf("receipt of a job sealed in block %d: %v", at.Height, err)
			}
			if rep := receipt.Verify(r, trust, nil); !rep.Valid() {
				t.Fatalf("receipt of a job sealed in block %d: %+v", at.Height, rep.Steps)
			}
			raw, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			all[job] = string(raw)
		}
		return all
	}
	before := receipts()
	if len(before) < 10 {
		t.Fatalf("%d jobs were sealed", len(before))
	}
	for more := true; more; {
		if _, more, err = s.ledger.prune(t.Context(), s.chain, 190); err != nil {
			t.Fatal(err)
		}
	}
	if s.ledger.base.Load() != 190 {
		t.Fatalf("base %d", s.ledger.base.Load())
	}
	after := receipts()
	if !maps.Equal(before, after) {
		t.Errorf("%d receipts before, %d after, and not the same", len(before), len(after))
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
