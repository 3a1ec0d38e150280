package node

import (
	"bytes"
	"testing"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

const testTimeMs = 1_700_000_000_000

// testKey is the chain's only validator, executor and operator.
var testKey = sign.FromSeed(bytes.Repeat([]byte{1}, 32))

// testGenesis is a chain of one validator that admits one executor.
func testGenesis(t testing.TB) *consensus.Genesis {
	t.Helper()
	key := testKey.Public()
	app := enc.Genesis{
		OpenClients: true, Clients: []sign.PublicKey{}, SQLEngine: digest.Of([]byte("engine")), SQLBytes: 6,
		Nodes: []enc.GenesisNode{{Node: key, Operator: key}},
		Params: enc.Params{LeaseMs: 10_000, CommitWindowMs: 30_000, RevealWindowMs: 15_000, MaxRounds: 4, QueueMs: 600_000,
			ResultTTLMs: 3600_000, ClientPerMinute: 6000, ClientOpenJobs: 1000, HoldersDefault: 1},
	}
	g := &consensus.Genesis{
		Version: consensus.ProtocolVersion, Name: "test", TimestampMs: testTimeMs, BlockTimeMs: 1000, MaxTxsPerBlock: 100,
		MaxTimestampAhead: 500, App: canon.Must(&app),
		Validators: []consensus.Validator{{Key: key, Weight: 1, Peer: key, Name: "one"}},
	}
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	return g
}

// openTestLedger opens the ledger of testGenesis in dir until the returned function closes it.
func openTestLedger(t testing.TB, dir string) (*ledger, *consensus.Block, func()) {
	t.Helper()
	db, err := openDatabase(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, genesis, err := openLedger(t.Context(), db, testGenesis(t))
	if err != nil {
		t.Fatal(err)
	}
	return l, genesis, func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func newTestLedger(t testing.TB, dir string) *ledger {
	l, _, closeDB := openTestLedger(t, dir)
	t.Cleanup(closeDB)
	return l
}

// block executes transactions on a parent, keeps the execution, and gives the block.
func block(t testing.TB, l *ledger, parent *consensus.Block, afterMs uint64, txs ...[]byte) *consensus.Block {
	t.Helper()
	at := driver.BlockContext{Height: parent.Header.Height + 1, TimestampMs: parent.Header.TimestampMs + afterMs, Parent: parent.ID()}
	x, err := l.Execute(at, txs)
	if err != nil {
		t.Fatal(err)
	}
	b := *parent
	b.Header.Height, b.Header.TimestampMs, b.Header.Parent = at.Height, at.TimestampMs, at.Parent
	b.Header.StateRoot, b.Header.EventRoot, b.Txs = x.StateRoot, x.EventRoot, txs
	l.Keep(b.ID(), x.Handle)
	return &b
}

// registration is a command that the chain of testGenesis accepts and that changes its state.
func registration(t testing.TB, l *ledger, nonce byte) []byte {
	t.Helper()
	body := enc.CommandBody{
		ChainID: l.chain, ExpiresMs: testTimeMs + 60_000, Nonce: [16]byte{nonce}, Kind: enc.KindRegisterNode,
		Payload: canon.Must(&enc.RegisterNode{
			Operator: testKey.Public(), Engines: []digest.Digest{digest.Of([]byte("engine"))}, Policies: []digest.Digest{},
			CPUClass: "x86-64-v2", Slots: 2, Memory: 1 << 30, Labels: []string{},
		}),
	}
	c := body.Sign(testKey)
	return c.Encode()
}

// TestLedgerForksAndComesBack commits one of two rival blocks and opens the database again.
func TestLedgerForksAndComesBack(t *testing.T) {
	dir := t.TempDir()
	l, genesis, closeDB := openTestLedger(t, dir)
	a := block(t, l, genesis, 10, registration(t, l, 1))
	b := block(t, l, genesis, 20, []byte("no command"))
	if a.Header.EventRoot == b.Header.EventRoot {
		t.Fatal("a registration and garbage left the same events")
	}
	child := block(t, l, a, 10)
	if err := l.Commit(child, nil); err == nil {
		t.Fatal("a block was committed before its parent")
	}
	_, changed := l.watch()
	if err := l.Commit(a, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("watchers were not told of the commit")
	}
	if err := l.Commit(a, nil); err != nil {
		t.Errorf("a commit repeated after a restart: %v", err)
	}
	l.Drop(b.ID())
	if _, err := l.Execute(driver.BlockContext{Height: 2, TimestampMs: testTimeMs + 50, Parent: b.ID()}, nil); err == nil {
		t.Error("a block was executed on a parent that lost")
	}
	l.Drop(a.ID()) // the tip stays whatever is dropped
	again := block(t, l, a, 10)
	if again.ID() != child.ID() {
		t.Error("the same block executed again has another id")
	}
	events, err := l.events(t.Context(), 1)
	if err != nil || len(events) == 0 {
		t.Fatalf("events of block 1: %d, %v", len(events), err)
	}
	root := l.head.Load().state.Root()
	closeDB()

	l, _, closeDB = openTestLedger(t, dir)
	defer closeDB()
	if l.Height() != 1 || l.head.Load().id != a.ID() || l.head.Load().state.Root() != root {
		t.Fatalf("after the restart the head is %d with root %s; want 1 with %s", l.Height(), l.head.Load().state.Root().Short(), root.Short())
	}
	if got := block(t, l, a, 10); got.ID() != child.ID() {
		t.Error("the state read from the disk executes a block to another id")
	}
	kept, err := l.events(t.Context(), 1)
	if err != nil || len(kept) != len(events) {
		t.Errorf("after the restart block 1 has %d events, %v; want %d", len(kept), err, len(events))
	}
}

// TestLedgerFindsDamage refuses a state that is not the head's.
func TestLedgerFindsDamage(t *testing.T) {
	dir := t.TempDir()
	l, genesis, closeDB := openTestLedger(t, dir)
	if err := l.Commit(block(t, l, genesis, 10, registration(t, l, 1)), nil); err != nil {
		t.Fatal(err)
	}
	closeDB()
	db, err := openDatabase(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found, err := db.Query(t.Context(), query.Query{Prefix: leavesPrefix, KeysOnly: true, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	leaf, ok := found.NextSync()
	found.Close()
	if !ok {
		t.Fatal("the database holds no state")
	}
	if err := db.Delete(t.Context(), datastore.RawKey(leaf.Key)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openLedger(t.Context(), db, testGenesis(t)); err == nil {
		t.Error("a state that lacks a leaf was taken for the head's")
	}
}

// TestLedgerOfAnotherChain refuses a folder that belongs to another genesis.
func TestLedgerOfAnotherChain(t *testing.T) {
	dir := t.TempDir()
	_, _, closeDB := openTestLedger(t, dir)
	closeDB()
	db, err := openDatabase(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other := testGenesis(t)
	other.Name = "other"
	if _, _, err := openLedger(t.Context(), db, other); err == nil {
		t.Error("the folder of one chain was opened with the genesis of another")
	}
}
