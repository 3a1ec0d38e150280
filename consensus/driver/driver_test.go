package driver_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/consensus"
)

// network starts n validators.
func network(t testing.TB, n int, blockTimeMs uint64) (*hub, []*testNode) {
	return networkOf(t, consensus.Ed25519, n, blockTimeMs)
}

func networkOf(t testing.TB, scheme consensus.Scheme, n int, blockTimeMs uint64) (*hub, []*testNode) {
	h := newHubOf(t, scheme, n, blockTimeMs)
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
	eachScheme(t, testValidatorsCommitWhatAnyOfThemIsGiven)
}

func testValidatorsCommitWhatAnyOfThemIsGiven(t *testing.T, scheme consensus.Scheme) {
	_, nodes := networkOf(t, scheme, 4, 60_000)
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
	eachScheme(t, testEitherPathAloneCarriesTheChain)
}

func testEitherPathAloneCarriesTheChain(t *testing.T, scheme consensus.Scheme) {
	for _, c := range []struct {
		name         string
		fast, gossip bool
	}{{"gossip only", false, true}, {"fast path only", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			h := newHubOf(t, scheme, 4, 60_000)
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

func TestOneOfFourMayBeDown(t *testing.T) { eachScheme(t, testOneOfFourMayBeDown) }

func testOneOfFourMayBeDown(t *testing.T, scheme consensus.Scheme) {
	_, nodes := networkOf(t, scheme, 4, 60_000)
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

func TestAllStopAndComeBack(t *testing.T) { eachScheme(t, testAllStopAndComeBack) }

func testAllStopAndComeBack(t *testing.T, scheme consensus.Scheme) {
	h, nodes := networkOf(t, scheme, 4, 60_000)
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
	eachScheme(t, testCrashAtAnyMomentNeverVotesTwice)
}

func testCrashAtAnyMomentNeverVotesTwice(t *testing.T, scheme consensus.Scheme) {
	h, nodes := networkOf(t, scheme, 4, 60_000)
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
		// Not with the store that the victim went on to write after that moment: its own log is older, and it would refuse.
		h.mu.Lock()
		delete(h.stateful, victim.node)
		h.mu.Unlock()
		again := h.newNode(i, victim.crashTo)
		again.start()
		nodes[i] = again
		tx := fmt.Sprintf("after-%d", round)
		submit(t, nodes[(i+2)%4], tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	stopAll(nodes)
}

func TestLateFollowerCatchesUp(t *testing.T) { eachScheme(t, testLateFollowerCatchesUp) }

func testLateFollowerCatchesUp(t *testing.T, scheme consensus.Scheme) {
	h, nodes := networkOf(t, scheme, 4, 100)
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
