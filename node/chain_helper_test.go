package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand"
	"slices"
	"testing"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/consensus/driver/statesync"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
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
