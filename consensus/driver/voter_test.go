package driver_test

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/internal/trie"
)

// notForged is a check that refuses what says that it is forged, and counts what it sees.
func notForged(seen *atomic.Int64) func([][]byte) []error {
	return func(txs [][]byte) []error {
		seen.Add(int64(len(txs)))
		errs := make([]error, len(txs))
		for i, tx := range txs {
			if bytes.HasPrefix(tx, []byte("forged")) {
				errs[i] = errors.New("the signature is not of these bytes by that key")
			}
		}
		return errs
	}
}

// lone is one running validator of four, and the block of view 1 that each of the others would propose.
type lone struct {
	h  *hub
	n  *testNode
	at int // its index; it does not lead view 1
}

func newLone(t *testing.T, check func([][]byte) []error) *lone {
	h := newHub(t, 4, 60_000)
	h.hostile.Store(true)
	h.change = func(c *driver.Config) { c.Check = check }
	l := &lone{h: h}
	for leader := firstLeader(t, h); seedKey(l.at).Public() == leader; {
		l.at++
	}
	l.n = h.newNode(l.at, t.TempDir())
	l.n.start()
	return l
}

// firstLeader leads view 1.
func firstLeader(t *testing.T, h *hub) sign.PublicKey {
	t.Helper()
	root, err := h.genesis.Block(genesisState)
	if err != nil {
		t.Fatal(err)
	}
	v, err := consensus.NewVerifier(h.genesis, root.ID())
	if err != nil {
		t.Fatal(err)
	}
	r, err := consensus.New(consensus.Config{Verifier: v}, consensus.Recovery{Safety: consensus.FreshSafety(root), Root: root, RootQC: consensus.GenesisQC(root)})
	if err != nil {
		t.Fatal(err)
	}
	return r.Leader(1)
}

// offer delivers a block of view 1 with these transactions by every other validator, of whom one leads it, and gives the
// verdicts and the ids.
func (l *lone) offer(t *testing.T, txs ...string) (verdicts []driver.Verdict, ids []consensus.BlockID) {
	t.Helper()
	root, err := l.h.genesis.Block(genesisState)
	if err != nil {
		t.Fatal(err)
	}
	v, err := consensus.NewVerifier(l.h.genesis, root.ID())
	if err != nil {
		t.Fatal(err)
	}
	history := &merkle.Frontier{}
	id := root.ID()
	history.Append(id[:])
	b := consensus.Block{Justify: consensus.GenesisQC(root), Txs: [][]byte{}}
	for _, tx := range txs {
		b.Txs = append(b.Txs, []byte(tx))
	}
	state := after(new(trie.Map), b.Txs).Root()
	for i := range 4 {
		if i == l.at {
			continue
		}
		q := consensus.ProposeRequest{View: 1, Parent: root, Justify: b.Justify}
		b.Header = q.Header(v, seedKey(i).Public())
		b.Header.TimestampMs, b.Header.TxRoot, b.Header.EventRoot = 2, merkle.Root(b.Txs), merkle.Root(b.Txs)
		b.Header.StateRoot, b.Header.HistoryRoot = state, history.Root()
		p := consensus.Proposal{Block: b, LastTC: []consensus.TC{}, Sig: seedKey(i).Sign(consensus.ProposalSigningBytes(b.ID()))}
		verdicts = append(verdicts, l.n.d.Deliver(seedKey(1000+i).Public(), driver.Direct, driver.KindProposal, p.Encode()))
		ids = append(ids, b.ID())
	}
	return verdicts, ids
}

// vote waits for the vote of view 1.
func (l *lone) vote(t *testing.T) (block consensus.BlockID) {
	t.Helper()
	eventually(t, "a vote in view 1", func() bool {
		l.h.mu.Lock()
		defer l.h.mu.Unlock()
		v, ok := l.h.said.votes[spot{era: era{who: l.n.key.Public()}, view: 1}]
		block = v.Block
		return ok
	})
	return block
}

// settled waits until the owner has dealt with what was delivered before.
func (l *lone) settled(t *testing.T, refused uint64) {
	eventually(t, "the verdict of the owner", func() bool { return l.n.d.Stats().Refused >= refused })
}

func in(id consensus.BlockID, ids []consensus.BlockID) bool {
	for _, x := range ids {
		if x == id {
			return true
		}
	}
	return false
}

// TestBlockThatRepeatsATransactionGetsNoVote offers one, and then a block of the same view that does not.
func TestBlockThatRepeatsATransactionGetsNoVote(t *testing.T) {
	l := newLone(t, nil)
	l.offer(t, "a", "b", "a")
	l.settled(t, 3)
	_, good := l.offer(t, "a", "b")
	if got := l.vote(t); !in(got, good) {
		t.Error("voted for a block that holds a transaction twice")
	}
	l.n.stop()
}

func TestBlockWithAnUnsoundTransactionGetsNoVote(t *testing.T) {
	var seen atomic.Int64
	l := newLone(t, notForged(&seen))
	verdicts, _ := l.offer(t, "a", "forged b")
	for _, v := range verdicts {
		if v != driver.Reject {
			t.Errorf("verdict %v", v)
		}
	}
	_, good := l.offer(t, "a", "b")
	if got := l.vote(t); !in(got, good) {
		t.Error("voted for a block with a transaction that is not sound")
	}
	l.n.stop()
}

func TestBatchWithAnUnsoundTransactionIsRefused(t *testing.T) {
	var seen atomic.Int64
	l := newLone(t, notForged(&seen))
	d, from := l.n.d, seedKey(1002).Public()
	penalties := func() int {
		l.h.mu.Lock()
		defer l.h.mu.Unlock()
		return l.h.penalty[from]
	}
	bad := (&consensus.Batch{Txs: [][]byte{[]byte("a"), []byte("forged b")}}).Encode()
	for range 2 {
		if v := d.Deliver(from, driver.Direct, driver.KindBatch, bad); v != driver.Reject {
			t.Errorf("verdict %v", v)
		}
	}
	if s := d.Stats(); s.BatchesLive != 0 || penalties() != 1 {
		t.Errorf("%d batches held, %d penalties", s.BatchesLive, penalties())
	}
	if v := d.Deliver(from, driver.Gossiped, driver.KindBatch, []byte{0x80}); v != driver.Reject {
		t.Errorf("verdict %v on nonsense", v)
	}
	if v := d.Deliver(from, driver.Direct, driver.KindBatch, make([]byte, consensus.MaxBatchBytes+1)); v != driver.Reject {
		t.Errorf("verdict %v on too much", v)
	}
	if err := d.Submit([]byte("forged")); err == nil {
		t.Error("a client's forged transaction was taken")
	}
	errs := d.SubmitAll([][]byte{[]byte("x"), []byte("forged"), []byte("y"), []byte("forged too"), []byte("x")})
	for i, bad := range []bool{false, true, false, true, true} {
		if (errs[i] != nil) != bad {
			t.Errorf("transaction %d of five: %v", i, errs[i])
		}
	}
	l.n.stop()
}

// TestTransactionIsCheckedOnce lets the same transactions come by every way that there is.
func TestTransactionIsCheckedOnce(t *testing.T) {
	var seen atomic.Int64
	l := newLone(t, notForged(&seen))
	d, from := l.n.d, seedKey(1002).Public()
	a, b := []byte("a"), []byte("b")
	for salt := range uint64(3) {
		batch := consensus.Batch{Salt: salt, Txs: [][]byte{a, b}}
		d.Deliver(from, driver.Direct, driver.KindBatch, batch.Encode())
		d.Deliver(from, driver.Gossiped, driver.KindBatch, batch.Encode())
	}
	d.Deliver(from, driver.Gossiped, driver.KindTx, a)
	_ = d.Submit(b)
	l.offer(t, "a", "b")
	l.vote(t)
	if n := seen.Load(); n != 2 {
		t.Errorf("two transactions were checked %d times", n)
	}
	l.n.stop()
}

func TestForeignBatchesAreBounded(t *testing.T) {
	l := newLone(t, nil)
	d, from := l.n.d, seedKey(1002).Public()
	tx := make([]byte, consensus.MaxTxBytes)
	ignored := false
	for i := range 200 {
		tx[0], tx[1] = byte(i), byte(i>>8)
		raw := (&consensus.Batch{Txs: [][]byte{tx}}).Encode()
		switch d.Deliver(from, driver.Direct, driver.KindBatch, raw) {
		case driver.Ignore:
			ignored = true
		case driver.Reject:
			t.Fatal("refused")
		}
	}
	s := d.Stats()
	if !ignored || s.BatchesDropped == 0 || s.BatchBytes > 8<<20 {
		t.Errorf("a flood of one node: %d bytes held, %d dropped", s.BatchBytes, s.BatchesDropped)
	}
	if v := d.Deliver(seedKey(1003).Public(), driver.Direct, driver.KindBatch, (&consensus.Batch{Salt: 9, Txs: [][]byte{{1}}}).Encode()); v != driver.Accept {
		t.Errorf("another node's batch: %v", v)
	}
	l.n.stop()
}

// TestSlowLeaderCostsNoMoreThanItsViews has one validator whose proposals come a second late.
func TestSlowLeaderCostsNoMoreThanItsViews(t *testing.T) {
	slow := seedKey(1001).Public()
	h := newHub(t, 4, 60_000)
	h.faults = &faults{late: func(p packet) time.Duration {
		if p.from == slow && p.kind == driver.KindProposal {
			return time.Second
		}
		return 0
	}}
	var nodes []*testNode
	for i := range 4 {
		nodes = append(nodes, h.newNode(i, t.TempDir()))
		nodes[i].start()
	}
	for i, tx := range names("tx", 12) {
		submit(t, nodes[i%4], tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	if n := sum(nodes, func(s driver.Stats) uint64 { return s.Timeouts }); n == 0 {
		t.Error("no view of the slow leader timed out")
	}
	stopAll(nodes)
}

// TestSilentLeaderIsPassedOver has one validator whose proposals nobody hears. Once the window is over, blocks come
// without it; only where it is tried again does a view fail. It runs in a bubble: no view of another fails for want of a
// processor, so that the number is exact.
func TestSilentLeaderIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := seedKey(1001).Public()
		h := newHub(t, 4, 60_000)
		h.faults = &faults{drop: func(_ *testNode, p packet) bool { return p.from == silent && p.kind == driver.KindProposal }}
		h.change = func(c *driver.Config) { c.BaseTimeout = 100 * time.Millisecond }
		var nodes []*testNode
		for i := range 4 {
			nodes = append(nodes, h.newNode(i, t.TempDir()))
			nodes[i].start()
		}
		view := func() consensus.View { return nodes[0].d.Stats().View }
		for _, n := range nodes {
			n.app.work.Store(true)
		}
		window := consensus.LeaderWindow(4)
		eventually(t, "the window", func() bool { return view() > 2*window })
		from, failed := view(), nodes[0].d.Stats().Timeouts
		eventually(t, "four rounds of the probe", func() bool { return view() > from+4*32 })
		// Of 32 views, one is given to it to try again; without the rule it would be eight.
		if n, views := nodes[0].d.Stats().Timeouts-failed, view()-from; n == 0 || n > uint64(views)/32+1 {
			t.Errorf("%d views failed in %d", n, views)
		}
		for _, n := range nodes {
			n.app.work.Store(false)
		}
		stopAll(nodes)
	})
}
