package driver_test

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
)

// inEpoch reports whether all nodes are in an epoch.
func inEpoch(nodes []*testNode, e consensus.Epoch) func() bool {
	return func() bool {
		for _, n := range nodes {
			if have, _ := n.d.Epoch(); have != e {
				return false
			}
		}
		return true
	}
}

// validate checks which nodes vote.
func validate(t *testing.T, nodes []*testNode, who ...int) {
	t.Helper()
	want := map[int]bool{}
	for _, i := range who {
		want[i] = true
	}
	for i, n := range nodes {
		if s := n.d.Stats(); s.Validator != want[i] || n.d.Validates() != want[i] {
			t.Errorf("node %d votes: %t, want %t", i, s.Validator, want[i])
		}
	}
}

// candidates starts four validators and n further nodes with validator keys.
func candidates(t *testing.T, scheme consensus.Scheme, n int) (*hub, []*testNode) {
	h, nodes := networkOf(t, scheme, 4, 60_000)
	for i := range n {
		x := h.newCandidate(4+i, t.TempDir())
		x.start()
		nodes = append(nodes, x)
	}
	return h, nodes
}

func TestAllValidatorsChangeAtOnce(t *testing.T) { eachScheme(t, testAllValidatorsChangeAtOnce) }

func testAllValidatorsChangeAtOnce(t *testing.T, scheme consensus.Scheme) {
	h, nodes := candidates(t, scheme, 4)
	submit(t, nodes[0], "before")
	eventually(t, "a transaction everywhere", allHave(nodes, "before"))
	submit(t, nodes[1], "validators 4 5 6 7*2")
	eventually(t, "the next epoch everywhere", inEpoch(nodes, 1))
	validate(t, nodes, 4, 5, 6, 7)
	for i, tx := range names("after", 12) {
		submit(t, nodes[i%8], tx) // those that were removed take transactions in, and follow
	}
	eventually(t, "what came after everywhere", allHave(nodes, names("after", 12)...))
	for _, n := range nodes[:4] {
		n.stop() // the chain needs them no more
	}
	submit(t, nodes[5], "alone")
	eventually(t, "a transaction of the new ones alone", allHave(nodes[4:], "alone"))
	// Who comes late follows through the change.
	late := h.newNode(9, t.TempDir())
	late.start()
	eventually(t, "the whole history on a late follower", allHave([]*testNode{late}, "before", "alone"))
	stopAll(append(nodes[4:], late))
}

func TestValidatorsChangeOneByOneUnderWork(t *testing.T) {
	eachScheme(t, testValidatorsChangeOneByOneUnderWork)
}

func testValidatorsChangeOneByOneUnderWork(t *testing.T, scheme consensus.Scheme) {
	_, nodes := candidates(t, scheme, 4)
	sets := []string{"4 1 2 3", "4 5 2 3", "4 5 6 3", "4 5 6 7"}
	var all []string
	for i, set := range sets {
		txs := names(fmt.Sprint("work-", i), 8)
		all = append(all, txs...)
		for k, tx := range txs {
			submit(t, nodes[k], tx)
			if k == 3 {
				submit(t, nodes[(i+2)%8], "validators "+set)
			}
		}
		eventually(t, "the next epoch everywhere", inEpoch(nodes, consensus.Epoch(i+1)))
	}
	eventually(t, "all transactions everywhere", allHave(nodes, all...))
	validate(t, nodes, 4, 5, 6, 7)
	stopAll(nodes)
	for i, n := range nodes {
		if len(n.app.txs) != len(all)+len(sets) {
			t.Errorf("node %d has %d transactions, want %d", i, len(n.app.txs), len(all)+len(sets))
		}
	}
}

// A validator that is away while it is removed comes back as a follower; one that is away while it stays comes back as
// what it was; both from their own folders, and both restarted once more.
func TestWhoWasAwayDuringTheChangeFindsTheEpoch(t *testing.T) {
	eachScheme(t, testWhoWasAwayDuringTheChangeFindsTheEpoch)
}

func testWhoWasAwayDuringTheChangeFindsTheEpoch(t *testing.T, scheme consensus.Scheme) {
	h, nodes := candidates(t, scheme, 1)
	submit(t, nodes[0], "before")
	eventually(t, "a transaction everywhere", allHave(nodes, "before"))
	nodes[3].stop()
	submit(t, nodes[0], "validators 0 1 2 4")
	eventually(t, "the next epoch", inEpoch([]*testNode{nodes[0], nodes[1], nodes[2], nodes[4]}, 1))
	nodes[2].stop()
	submit(t, nodes[0], "validators 0 1 2 4*2") // 0, 1 and 4 are a quorum of four
	eventually(t, "one more epoch", inEpoch([]*testNode{nodes[0], nodes[1], nodes[4]}, 2))
	for range 2 {
		for _, i := range []int{2, 3} {
			again := h.newCandidate(i, nodes[i].dir)
			again.app = nodes[i].app
			again.start()
			nodes[i] = again
		}
		eventually(t, "the epoch on all", inEpoch(nodes, 2))
		validate(t, nodes, 0, 1, 2, 4)
		nodes[2].stop()
		nodes[3].stop()
	}
	submit(t, nodes[0], "after")
	eventually(t, "the chain going on", allHave([]*testNode{nodes[0], nodes[1], nodes[4]}, "after"))
	stopAll([]*testNode{nodes[0], nodes[1], nodes[4]})
}

// TestCrashesDuringAChange stops a validator between promise and sending at many moments around a change of the set, and
// compares all votes that left.
func TestCrashesDuringAChange(t *testing.T) {
	h, nodes := network(t, 4, 60_000)
	for round := range 12 {
		i := round % 4
		victim := h.newNode(i, nodes[i].dir)
		nodes[i].stop()
		victim.crashTo = t.TempDir()
		victim.countdown.Store(int64(1 + round))
		victim.app = nodes[i].app
		victim.start()
		nodes[i] = victim
		// The weights go up and down, so that each set is another.
		submit(t, nodes[(i+1)%4], fmt.Sprintf("validators 0*%d 1*%d 2*%d 3*%d", 10+round, 10+round, 10+round, 10+round))
		tx := fmt.Sprintf("after-%d", round)
		submit(t, nodes[(i+2)%4], tx)
		for k := 0; !victim.dead.Load(); k++ { // work, until it has sent enough to crash
			more := fmt.Sprintf("more-%d-%d", round, k)
			submit(t, nodes[(i+1)%4], more)
			eventually(t, "a block or the crash", func() bool { return victim.dead.Load() || nodes[(i+1)%4].has(more) })
		}
		<-victim.crashed
		if err := victim.end(); err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		delete(h.stateful, victim.node) // the victim went on to write it after that moment
		h.mu.Unlock()
		again := h.newNode(i, victim.crashTo)
		again.start()
		nodes[i] = again
		eventually(t, "the change on all", func() bool { return inEpoch(nodes, consensus.Epoch(round+1))() && allHave(nodes, tx)() })
	}
	stopAll(nodes)
}

// TestRestoredStoreMakesNobodyVoteAgain gives a validator a copy of its chain store from before a change, beside its log
// from after it: it has signed in the old epoch and does not know what any more.
func TestRestoredStoreMakesNobodyVoteAgain(t *testing.T) {
	h, nodes := network(t, 4, 60_000)
	submit(t, nodes[0], "before")
	eventually(t, "a transaction everywhere", allHave(nodes, "before"))
	old := copyStore(t, h, nodes[3])
	submit(t, nodes[0], "validators 0 1 2 3*2")
	eventually(t, "the next epoch everywhere", inEpoch(nodes, 1))
	submit(t, nodes[0], "after")
	eventually(t, "a transaction of the epoch", allHave(nodes, "after"))
	nodes[3].stop()
	h.mu.Lock()
	h.stateful[nodes[3].node] = old
	h.cut[nodes[3].node] = true
	h.mu.Unlock()
	again := h.newNode(3, nodes[3].dir)
	again.start() // with an empty application, which is replayed
	if again.d.Validates() {
		t.Error("it votes in an epoch that it does not remember")
	}
	h.mu.Lock()
	h.cut[nodes[3].node] = false
	h.mu.Unlock()
	nodes[3] = again
	eventually(t, "the present epoch", inEpoch(nodes, 1))
	eventually(t, "all transactions", allHave(nodes, "before", "after"))
	validate(t, nodes, 0, 1, 2, 3)
	stopAll(nodes)
}

// copyStore copies what a node's chain store holds now.
func copyStore(t *testing.T, h *hub, n *testNode) datastore.Batching {
	t.Helper()
	h.mu.Lock()
	from := h.stateful[n.node]
	h.mu.Unlock()
	to := dssync.MutexWrap(datastore.NewMapDatastore())
	res, err := from.Query(context.Background(), query.Query{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := res.Rest()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if err := to.Put(context.Background(), datastore.NewKey(e.Key), e.Value); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// Messages of another epoch are nobody's fault, and may be of use later: they are not held against the sender, and not
// remembered.
func TestMessagesOfAnotherEpochAreIgnored(t *testing.T) {
	h := newHub(t, 4, 60_000)
	n := h.newNode(0, t.TempDir())
	d, err := driver.New(n.config())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	v := &consensus.Vote{Voter: seedKey(1).Public()}
	v.Data = consensus.VoteData{ChainID: h.genesis.ChainID(), Epoch: 3, View: 1, Block: genesisState}
	from := seedKey(1001).Public()
	for range 2 {
		if got := d.Deliver(from, driver.Direct, driver.KindVote, v.Encode()); got != driver.Ignore {
			t.Errorf("vote of a later epoch: %v", got)
		}
	}
	if p := maps.Clone(h.penalty); len(p) != 0 || d.Stats().Duplicates != 0 {
		t.Errorf("penalties %v, %d taken for duplicates", p, d.Stats().Duplicates)
	}
}
