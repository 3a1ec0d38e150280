package driver_test

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/sign"
)

// network starts n validators.
func network(t testing.TB, n int, blockTimeMs uint64) (*hub, []*testNode) {
	h := newHub(t, n, blockTimeMs)
	var nodes []*testNode
	for i := range n {
		nodes = append(nodes, h.newNode(i, t.TempDir()))
	}
	for _, x := range nodes {
		x.start()
	}
	return h, nodes
}

func stopAll(nodes []*testNode) {
	for _, n := range nodes {
		n.stop()
	}
}

func submit(t testing.TB, n *testNode, tx string) {
	t.Helper()
	if err := n.d.Submit([]byte(tx)); err != nil {
		t.Fatal(err)
	}
}

func names(prefix string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s-%d", prefix, i))
	}
	return out
}

func allHave(nodes []*testNode, txs ...string) func() bool {
	return func() bool {
		for _, n := range nodes {
			if !n.has(txs...) {
				return false
			}
		}
		return true
	}
}

func TestValidatorsCommitWhatAnyOfThemIsGiven(t *testing.T) {
	_, nodes := network(t, 4, 60_000)
	txs := names("tx", 200)
	for i, tx := range txs {
		submit(t, nodes[i%4], tx)
	}
	eventually(t, "200 transactions on four nodes", allHave(nodes, txs...))
	stopAll(nodes)
	for _, n := range nodes {
		if len(n.app.txs) != len(txs) {
			t.Errorf("%d transactions committed, %d submitted", len(n.app.txs), len(txs))
		}
		s := n.d.Stats()
		if s.Txs != uint64(len(txs)) || s.Height == 0 || s.Refused != 0 {
			t.Errorf("stats: %+v", s)
		}
	}
}

func TestEitherPathAloneCarriesTheChain(t *testing.T) {
	for _, c := range []struct {
		name         string
		fast, gossip bool
	}{{"gossip only", false, true}, {"fast path only", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			h := newHub(t, 4, 60_000)
			h.noFast.Store(!c.fast)
			h.noGossip.Store(!c.gossip)
			var nodes []*testNode
			for i := range 4 {
				nodes = append(nodes, h.newNode(i, t.TempDir()))
				nodes[i].start()
			}
			txs := names("tx", 40)
			for i, tx := range txs {
				submit(t, nodes[i%4], tx)
			}
			eventually(t, "40 transactions", allHave(nodes, txs...))
			stopAll(nodes)
		})
	}
}

func TestOneOfFourMayBeDown(t *testing.T) {
	_, nodes := network(t, 4, 60_000)
	submit(t, nodes[0], "before")
	eventually(t, "the first transaction", allHave(nodes, "before"))
	nodes[2].stop()
	alive := []*testNode{nodes[0], nodes[1], nodes[3]}
	for i, tx := range names("during", 8) {
		submit(t, alive[i%3], tx)
		eventually(t, tx, allHave(alive, tx))
	}
	// It comes back with its folder, and has what it missed; its application had kept everything.
	again := nodes[0].h.newNode(2, nodes[2].dir)
	again.app = nodes[2].app
	again.start()
	nodes[2] = again
	submit(t, nodes[1], "after")
	eventually(t, "all on the one that was down", allHave(nodes, append(names("during", 8), "after")...))
	stopAll(nodes)
}

func TestAllStopAndComeBack(t *testing.T) {
	h, nodes := network(t, 4, 60_000)
	txs := names("one", 50)
	for i, tx := range txs {
		submit(t, nodes[i%4], tx)
	}
	eventually(t, "the first half", allHave(nodes, txs...))
	stopAll(nodes)
	for i, n := range nodes {
		again := h.newNode(i, n.dir)
		if i%2 == 0 { // the others' applications forgot everything: they are replayed from the store
			again.app = n.app
		}
		nodes[i] = again
		again.start()
	}
	more := names("two", 50)
	for i, tx := range more {
		submit(t, nodes[i%4], tx)
	}
	eventually(t, "both halves", allHave(nodes, append(txs, more...)...))
	stopAll(nodes)
}

// TestCrashAtAnyMomentNeverVotesTwice stops one node after another between a promise and its sending, restarts it from
// what its disk held at that moment and an empty store, and compares all votes that left (hub.leaving).
func TestCrashAtAnyMomentNeverVotesTwice(t *testing.T) {
	h, nodes := network(t, 4, 60_000)
	for round := range 16 {
		i := round % 4
		victim := h.newNode(i, nodes[i].dir)
		nodes[i].stop()
		victim.crashTo = t.TempDir()
		victim.countdown.Store(int64(1 + round*7%23))
		victim.app = nodes[i].app
		victim.start()
		stop := make(chan struct{})
		fed := make(chan struct{})
		go func() { // work, so that views go on
			defer close(fed)
			tick := time.NewTicker(3 * time.Millisecond)
			defer tick.Stop()
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				case <-tick.C:
					_ = nodes[(i+1)%4].d.Submit([]byte(fmt.Sprintf("r%d-%d", round, k)))
				}
			}
		}()
		select {
		case <-victim.crashed:
		case <-time.After(20 * time.Second):
			t.Fatalf("round %d: the node sent too little to crash", round)
		}
		if err := victim.end(); err != nil {
			t.Fatal(err)
		}
		close(stop)
		<-fed
		again := h.newNode(i, victim.crashTo)
		again.app = victim.app
		again.start()
		nodes[i] = again
		tx := fmt.Sprintf("after-%d", round)
		submit(t, nodes[(i+2)%4], tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	stopAll(nodes)
}

func TestLateFollowerCatchesUp(t *testing.T) {
	h, nodes := network(t, 4, 100)
	for k := range 30 {
		tx := fmt.Sprintf("tx-%d", k)
		submit(t, nodes[k%4], tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	follower := h.newNode(7, t.TempDir())
	follower.start()
	eventually(t, "the history on the follower", allHave([]*testNode{follower}, names("tx", 30)...))
	if s := follower.d.Stats(); s.Validator || s.Fetched == 0 {
		t.Errorf("stats of a follower: %+v", s)
	}
	submit(t, follower, "from the follower")
	all := append(append([]*testNode{}, nodes...), follower)
	eventually(t, "its own transaction everywhere", allHave(all, "from the follower"))
	// Cut off and back.
	h.mu.Lock()
	h.cut[follower.node] = true
	h.mu.Unlock()
	for k := range 20 {
		tx := fmt.Sprintf("more-%d", k)
		submit(t, nodes[k%4], tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	h.mu.Lock()
	h.cut[follower.node] = false
	h.mu.Unlock()
	eventually(t, "what it missed", allHave(all, names("more", 20)...))
	stopAll(all)
}

func TestLyingPeerIsReported(t *testing.T) {
	h, nodes := network(t, 4, 100)
	for k := range 10 {
		tx := fmt.Sprintf("tx-%d", k)
		submit(t, nodes[k%4], tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	h.mu.Lock()
	h.liar = nodes[1].node
	h.mu.Unlock()
	for i := 0; ; i++ {
		follower := h.newNode(10+i, t.TempDir())
		follower.start()
		eventually(t, "the history in spite of a liar", allHave([]*testNode{follower}, names("tx", 10)...))
		follower.stop()
		h.mu.Lock()
		reported, others := h.penalty[nodes[1].node], len(h.penalty)
		h.mu.Unlock()
		if others > min(reported, 1) {
			t.Fatalf("an honest node was reported: %d nodes", others)
		}
		if reported > 0 {
			break // followers ask in random order: one of them came to the liar first
		}
		if i == 50 {
			t.Fatal("the liar was never reported")
		}
	}
	stopAll(nodes)
}

func TestIdleChainKeepsItsPace(t *testing.T) {
	_, nodes := network(t, 4, 150)
	height := func() consensus.Height { return nodes[0].d.Stats().Height }
	eventually(t, "a first block", func() bool { return height() >= 1 })
	begin, from := time.Now(), height()
	eventually(t, "four more blocks", func() bool { return height() >= from+4 })
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("four idle blocks in %s: want one in 150 ms", took)
	}
	stopAll(nodes)
}

func TestApplicationsWorkIsDoneAtOnce(t *testing.T) {
	_, nodes := network(t, 4, 60_000)
	for _, n := range nodes {
		n.app.work.Store(true)
	}
	eventually(t, "blocks without a transaction", func() bool { return nodes[0].d.Stats().Height > 5 })
	for _, n := range nodes {
		n.app.work.Store(false)
	}
	stopAll(nodes)
}

// TestLoneValidatorCommitsWhileThereIsWork has one validator, which is asked for the next block as soon as it has made
// one: it must commit, take transactions in, and stop all the same.
func TestLoneValidatorCommitsWhileThereIsWork(t *testing.T) {
	_, nodes := network(t, 1, 60_000)
	nodes[0].app.work.Store(true)
	eventually(t, "blocks without a transaction", func() bool { return nodes[0].d.Stats().Height > 5 })
	submit(t, nodes[0], "meanwhile")
	eventually(t, "a transaction", allHave(nodes, "meanwhile"))
	stopAll(nodes)
}

func TestNodeThatComputesWronglyStops(t *testing.T) {
	_, nodes := network(t, 4, 60_000)
	submit(t, nodes[0], "before")
	eventually(t, "a block", allHave(nodes, "before"))
	nodes[3].app.lie.Store(true)
	for k := range 200 { // until the others certify a block without it
		tx := fmt.Sprintf("tx-%d", k)
		submit(t, nodes[k%3], tx)
		eventually(t, tx, allHave(nodes[:3], tx))
		if len(nodes[3].ended) > 0 {
			break
		}
	}
	if err := nodes[3].end(); err == nil || !strings.Contains(err.Error(), "another outcome") {
		t.Errorf("the node went on: %v", err)
	}
	stopAll(nodes[:3])
}

// TestNodeWithoutItsLogFallsSilent takes the data folder away: the next segment cannot be made.
func TestNodeWithoutItsLogFallsSilent(t *testing.T) {
	_, nodes := network(t, 4, 60_000)
	submit(t, nodes[0], "before")
	eventually(t, "a block", allHave(nodes, "before"))
	if err := os.RemoveAll(nodes[3].dir); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 20_000)
	for k := 0; len(nodes[3].ended) == 0; k++ {
		if k == 200 {
			t.Fatal("the node goes on without a log")
		}
		tx := fmt.Sprintf("tx-%d %s", k, big)
		submit(t, nodes[k%3], tx)
		eventually(t, "a transaction on the others", allHave(nodes[:3], tx))
	}
	if err := nodes[3].end(); err == nil || !strings.Contains(err.Error(), "stopped voting") {
		t.Errorf("run ended with: %v", err)
	}
	stopAll(nodes[:3])
}

// TestUnheardTransactionIsRepeated gives a node a transaction whose only announcement is lost.
func TestUnheardTransactionIsRepeated(t *testing.T) {
	h, nodes := network(t, 4, 60_000)
	follower := h.newNode(7, t.TempDir())
	follower.start()
	h.mu.Lock()
	h.cut[follower.node] = true
	h.mu.Unlock()
	submit(t, follower, "unheard")
	h.mu.Lock()
	h.cut[follower.node] = false
	h.mu.Unlock()
	eventually(t, "the transaction on all validators", allHave(nodes, "unheard"))
	stopAll(append(nodes, follower))
}

func TestForgedVoteOfAnotherIsRefusedAtOnce(t *testing.T) {
	h := newHub(t, 4, 60_000)
	d, err := driver.New(h.newNode(0, t.TempDir()).config())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	v := &consensus.Vote{Voter: seedKey(1).Public()}
	v.Data.ChainID, v.Data.View, v.Data.Block[0] = h.genesis.ChainID(), 1, 1
	stranger := seedKey(1002).Public()
	if got := d.Deliver(stranger, driver.Direct, driver.KindVote, v.Encode()); got != driver.Reject || h.penalty[stranger] != 1 {
		t.Errorf("forged vote: verdict %v, %d penalties", got, h.penalty[stranger])
	}
	v.Sig = seedKey(1).Sign(v.Data.SigningBytes())
	if got := d.Deliver(stranger, driver.Gossiped, driver.KindVote, v.Encode()); got != driver.Accept {
		t.Errorf("relayed vote: verdict %v", got)
	}
}

func TestForeignChainIsRefused(t *testing.T) {
	h := newHub(t, 4, 60_000)
	n := h.newNode(0, t.TempDir())
	d, err := driver.New(n.config())
	if err != nil {
		t.Fatal(err)
	}
	v := &consensus.Vote{Voter: seedKey(1).Public()}
	v.Data.View, v.Data.Block[0] = 1, 1
	from := seedKey(1001).Public()
	if got := d.Deliver(from, driver.Direct, driver.KindVote, v.Encode()); got != driver.Reject {
		t.Errorf("vote of another chain: %v", got)
	}
	if h.penalty[from] != 1 {
		t.Errorf("%d penalties", h.penalty[from])
	}
	if got := d.Deliver(from, driver.Gossiped, driver.KindTx, []byte("bad")); got != driver.Reject {
		t.Errorf("bad transaction: %v", got)
	}
	if got := d.Deliver(from, driver.Gossiped, driver.KindTx, []byte("good")); got != driver.Accept {
		t.Errorf("good transaction: %v", got)
	}
	if got := d.Deliver(from, driver.Gossiped, driver.KindTx, []byte("good")); got != driver.Ignore {
		t.Errorf("known transaction: %v", got)
	}
	d.Close()

	// The folder and the store are this chain's and this key's.
	other := newHub(t, 4, 50_000)
	other.stateful = h.stateful
	if _, err := driver.New(other.newNode(0, n.dir).config()); err == nil || !strings.Contains(err.Error(), "genesis") {
		t.Errorf("store of another chain: %v", err)
	}
	if _, err := driver.New(h.newNode(1, n.dir).config()); err == nil || !strings.Contains(err.Error(), "belongs to validator key") {
		t.Errorf("folder of another key: %v", err)
	}
	c := n.config()
	c.Key = seedKey(99)
	c.Dir = t.TempDir()
	if _, err := driver.New(c); err == nil || !strings.Contains(err.Error(), "not in the genesis") {
		t.Errorf("key that is no validator's: %v", err)
	}
}

func FuzzDeliver(f *testing.F) {
	h := newHub(f, 4, 60_000)
	n := h.newNode(0, f.TempDir())
	d, err := driver.New(n.config())
	if err != nil {
		f.Fatal(err)
	}
	defer d.Close()
	kinds := driver.MessageKinds()
	from := sign.PublicKey{1}
	v := &consensus.Vote{Voter: seedKey(1).Public()}
	v.Data.ChainID, v.Data.View, v.Data.Block[0] = h.genesis.ChainID(), 1, 1
	f.Add(uint8(2), v.Encode())
	f.Add(uint8(1), (&consensus.Proposal{}).Encode())
	f.Add(uint8(3), (&consensus.Timeout{}).Encode())
	f.Add(uint8(4), (&consensus.Certificates{}).Encode())
	f.Add(uint8(5), (&consensus.Finality{Headers: make([]consensus.Header, 1)}).Encode())
	f.Add(uint8(200), []byte{0x81, 0x58})
	f.Fuzz(func(t *testing.T, k uint8, msg []byte) {
		kind := driver.Kind("unknown")
		if int(k) < len(kinds) {
			kind = kinds[k]
		}
		for _, path := range []driver.Path{driver.Direct, driver.Gossiped} {
			first := d.Deliver(from, path, kind, msg)
			if kind != driver.KindTx && d.Deliver(from, path, kind, msg) != first {
				t.Fatal("another verdict on the same bytes")
			}
		}
		for _, r := range driver.RequestKinds() {
			_, _ = d.Serve(t.Context(), from, r, msg)
		}
	})
}

// BenchmarkCommit measures, for one transaction at a time, the time from Submit to the commit on the node that took it.
func BenchmarkCommit(b *testing.B) {
	_, nodes := network(b, 4, 60_000)
	submit(b, nodes[0], "warm")
	eventually(b, "warm", allHave(nodes, "warm"))
	var all []time.Duration
	for i := 0; b.Loop(); i++ {
		tx := fmt.Sprintf("tx-%d", i)
		from := nodes[i%4]
		height := from.d.Stats().Txs
		begin := time.Now()
		submit(b, from, tx)
		for from.d.Stats().Txs == height {
			<-from.told
		}
		all = append(all, time.Since(begin))
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	s := nodes[0].d.Stats()
	b.ReportMetric(float64(s.Syncs)/float64(s.Blocks), "syncs/block")
	stopAll(nodes)
}

// BenchmarkBlock measures the time of a block on four nodes that always have work: one block after another, empty.
func BenchmarkBlock(b *testing.B) {
	_, nodes := network(b, 4, 60_000)
	for _, n := range nodes {
		n.app.work.Store(true)
	}
	eventually(b, "a block", func() bool { return nodes[0].d.Stats().Height > 3 })
	b.ResetTimer()
	want := nodes[0].d.Stats().Height + consensus.Height(b.N)
	eventually(b, "the blocks", func() bool { return nodes[0].d.Stats().Height >= want })
	b.StopTimer()
	for _, n := range nodes {
		n.app.work.Store(false)
	}
	s := nodes[0].d.Stats()
	b.ReportMetric(float64(s.Syncs)/float64(s.Blocks), "syncs/block")
	stopAll(nodes)
}
