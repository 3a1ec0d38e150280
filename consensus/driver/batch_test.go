package driver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/sign"
)

// naming is a network whose leaders name every batch, however small.
func naming(t testing.TB, n int, f *faults) (*hub, []*testNode) {
	h := newHub(t, n, 60_000)
	h.faults = f
	h.change = func(c *driver.Config) { c.InlineBytes = -1 }
	var nodes []*testNode
	for i := range n {
		nodes = append(nodes, h.newNode(i, t.TempDir()))
		nodes[i].start()
	}
	return h, nodes
}

// once checks that a node's application has each of these transactions once, and no others.
func (n *testNode) once(txs ...string) {
	n.h.t.Helper()
	n.app.mu.Lock()
	defer n.app.mu.Unlock()
	count := map[string]int{}
	for _, tx := range n.app.txs {
		count[tx]++
	}
	for _, tx := range txs {
		if count[tx] != 1 {
			n.h.t.Errorf("%s executed %.40q %d times", n.node.Short(), tx, count[tx])
		}
		delete(count, tx)
	}
	if len(count) > 0 {
		n.h.t.Errorf("%s executed %d transactions that nobody submitted", n.node.Short(), len(count))
	}
}

func sum(nodes []*testNode, f func(driver.Stats) uint64) (n uint64) {
	for _, x := range nodes {
		n += f(x.d.Stats())
	}
	return n
}

func TestBlocksNameBatches(t *testing.T) {
	_, nodes := naming(t, 4, nil)
	txs := names("tx", 300)
	for i, tx := range txs {
		submit(t, nodes[i%4], tx)
	}
	eventually(t, "all transactions", allHave(nodes, txs...))
	stopAll(nodes)
	for _, n := range nodes {
		n.once(txs...)
	}
	if sum(nodes, func(s driver.Stats) uint64 { return s.Outlines }) == 0 {
		t.Error("no block named a batch")
	}
	for _, n := range nodes {
		if s := n.d.Stats(); s.Batches == 0 || s.BatchesTaken == 0 || s.BatchesLive != 0 || s.BatchBytes != 0 || s.Crowd != 0 {
			t.Errorf("after all was committed: %+v", s)
		}
	}
}

func TestOneTransactionGivenToAllIsExecutedOnce(t *testing.T) {
	_, nodes := naming(t, 4, nil)
	txs := names("tx", 60)
	for _, tx := range txs {
		for _, n := range nodes {
			_ = n.d.Submit([]byte(tx)) // one of them may be quicker
		}
	}
	eventually(t, "all transactions", allHave(nodes, txs...))
	// What is late of them is of no use any more.
	eventually(t, "no batch left", func() bool { return sum(nodes, func(s driver.Stats) uint64 { return uint64(s.BatchesLive) }) == 0 })
	stopAll(nodes)
	for _, n := range nodes {
		n.once(txs...)
	}
}

// TestNamedBatchesNeedOnePathOnly is TestEitherPathAloneCarriesTheChain with every transaction in a batch.
func TestNamedBatchesNeedOnePathOnly(t *testing.T) {
	for _, gossip := range []bool{true, false} {
		t.Run(fmt.Sprintf("gossip=%t", gossip), func(t *testing.T) {
			h, nodes := naming(t, 4, nil)
			h.noFast.Store(gossip)
			h.noGossip.Store(!gossip)
			txs := names("tx", 40)
			for i, tx := range txs {
				submit(t, nodes[i%4], tx)
			}
			eventually(t, "40 transactions", allHave(nodes, txs...))
			stopAll(nodes)
		})
	}
}

// deafNetwork keeps all batches from the last of four validators, without whose vote there is no quorum: another's votes
// are lost.
func deafNetwork(t *testing.T) (*hub, []*testNode) {
	deaf, mute := seedKey(1003).Public(), seedKey(1002).Public()
	return naming(t, 4, &faults{drop: func(to *testNode, p packet) bool {
		return p.kind == driver.KindBatch && to.node == deaf || p.kind == driver.KindVote && p.from == mute
	}})
}

// feed submits transactions until some were fetched by the deaf one, and checks that all are committed.
func feed(t *testing.T, nodes []*testNode) {
	var txs []string
	for i := 0; i < 10 || nodes[3].d.Stats().BatchesFetched == 0; i++ {
		if i == 60 {
			t.Fatal("nothing was fetched")
		}
		tx := fmt.Sprintf("tx-%d", i)
		txs = append(txs, tx)
		submit(t, nodes[i%3], tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	stopAll(nodes)
	for _, n := range nodes {
		n.once(txs...)
	}
}

func TestMissingBatchIsFetched(t *testing.T) {
	_, nodes := deafNetwork(t)
	feed(t, nodes)
}

// TestBatchIsFetchedFromWhoHasVoted has proposers that do not answer the one who lacks what they name.
func TestBatchIsFetchedFromWhoHasVoted(t *testing.T) {
	h, nodes := deafNetwork(t)
	h.faults.request.Store(func(from, to sign.PublicKey, kind driver.Kind) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return kind != driver.KindBatches || to != h.namer
	})
	feed(t, nodes)
}

// TestProposerThatWithholdsABatchIsNotVotedFor has a validator that names batches which it neither sends nor gives. Its
// views pass, and the others' transactions are committed.
func TestProposerThatWithholdsABatchIsNotVotedFor(t *testing.T) {
	bad := seedKey(1001).Public()
	var mu sync.Mutex // guards withheld
	withheld := map[consensus.BatchID]bool{}
	f := &faults{drop: func(_ *testNode, p packet) bool {
		if p.from != bad || p.kind != driver.KindBatch {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		withheld[consensus.BatchIDOf(p.msg)] = true
		return true
	}}
	f.request.Store(func(from, to sign.PublicKey, kind driver.Kind) bool { return to != bad })
	h, nodes := naming(t, 4, f)
	badKey := seedKey(1).Public()
	others := []*testNode{nodes[0], nodes[2], nodes[3]}
	for i := 0; ; i++ {
		submit(t, nodes[1], fmt.Sprintf("withheld-%d", i))
		tx := fmt.Sprintf("tx-%d", i)
		submit(t, others[i%3], tx)
		eventually(t, tx, allHave(nodes, tx))
		if nodes[1].d.Stats().Outlines > 0 && sum(others, func(s driver.Stats) uint64 { return s.Timeouts }) >= 3 {
			break
		}
		if i == 200 {
			t.Fatal("the leader that withholds batches held nobody up")
		}
	}
	stopAll(nodes)
	// Where it named what it withheld, it voted for itself, alone.
	lacking := func(id consensus.BlockID) bool {
		o := h.outlined[id]
		return o.by == bad && slices.ContainsFunc(o.names, func(r consensus.BatchRef) bool { return withheld[r.Batch] })
	}
	alone := 0
	h.mu.Lock()
	defer h.mu.Unlock()
	for at, own := range h.said.votes {
		if at.who != badKey {
			continue
		}
		for _, n := range others {
			if v, ok := h.said.votes[spot{era{n.key.Public(), at.epoch}, at.view}]; ok && v.Block == own.Block && lacking(own.Block) {
				t.Errorf("%s voted in view %d for a block without its batches", n.node.Short(), own.View)
			}
		}
		if lacking(own.Block) {
			alone++
		}
	}
	if alone == 0 {
		t.Error("it named nothing that it withheld, so this test shows nothing")
	}
}

// TestLateFollowerGetsNamedBlocks has one that only follows, and that no batch was ever sent to.
func TestLateFollowerGetsNamedBlocks(t *testing.T) {
	h, nodes := naming(t, 4, nil)
	for k, tx := range names("early", 20) {
		submit(t, nodes[k%4], tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	follower := h.newNode(7, t.TempDir())
	follower.start()
	all := append(append([]*testNode{}, nodes...), follower)
	for k, tx := range names("late", 20) {
		submit(t, all[k%5], tx)
		eventually(t, tx, allHave(all, tx))
	}
	stopAll(all)
	follower.once(append(names("early", 20), names("late", 20)...)...)
}

// TestNoisyNetworkExecutesEverythingOnce loses and delays messages of every kind while nodes stop and come back.
func TestNoisyNetworkExecutesEverythingOnce(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			f := noisy(seed, 0.05, 4*time.Millisecond)
			h, nodes := naming(t, 4, f)
			var txs []string
			for round := range 4 {
				down := (int(seed) + round) % 4
				nodes[down].stop()
				for k := range 60 {
					tx := fmt.Sprintf("r%d-%d %s", round, k, strings.Repeat("x", k*40))
					submit(t, nodes[(down+1+k%3)%4], tx)
					txs = append(txs, tx)
				}
				again := h.newNode(down, nodes[down].dir)
				again.app = nodes[down].app
				again.start()
				nodes[down] = again
			}
			f.calm()
			for _, n := range nodes { // stopped ones have lost what was only in their memory
				for _, tx := range txs {
					_ = n.d.Submit([]byte(tx))
				}
			}
			eventually(t, "all transactions", allHave(nodes, txs...))
			stopAll(nodes)
			for _, n := range nodes {
				n.once(txs...)
			}
		})
	}
}

// stoppedStore takes nothing in once its node is dead: its owner goes on until somebody ends it.
type stoppedStore struct {
	datastore.Batching
	dead *atomic.Bool
}

func (s stoppedStore) Batch(ctx context.Context) (datastore.Batch, error) {
	if s.dead.Load() {
		return nil, errors.New("the node is dead")
	}
	return s.Batching.Batch(ctx)
}

// TestVotedBlockIsWholeOnTheDisk stops a validator in the moments in which something leaves it, and starts it alone from
// what its disk held then: whatever it voted for is there with all transactions of all batches.
func TestVotedBlockIsWholeOnTheDisk(t *testing.T) {
	h, nodes := naming(t, 4, nil)
	for round := range 8 {
		nodes[3].stop()
		victim := h.newNode(3, nodes[3].dir)
		victim.app = nodes[3].app
		victim.crashTo = t.TempDir()
		victim.countdown.Store(int64(2 + 3*round))
		h.mu.Lock()
		victim.store = stoppedStore{h.stateful[victim.node], &victim.dead}
		h.mu.Unlock()
		victim.start()
		for k := 0; ; k++ {
			submit(t, nodes[k%3], fmt.Sprintf("r%d-%d", round, k))
			select {
			case <-victim.crashed:
			case <-time.After(2 * time.Millisecond):
				continue
			}
			break
		}
		_ = victim.end() // its store may have ended it
		again := h.newNode(3, victim.crashTo)
		again.app = victim.app
		h.mu.Lock()
		var last consensus.VoteData
		for at, v := range h.said.votes {
			if at.who == again.key.Public() && v.View > last.View {
				last = v
			}
		}
		h.mu.Unlock()
		alone, err := driver.New(again.config())
		if err != nil {
			t.Fatal(err)
		}
		if last.View > 0 && !holds(t, alone, last.Block) {
			t.Errorf("round %d: the block that was voted for in view %d is not on the disk", round, last.View)
		}
		alone.Close()
		again.start()
		nodes[3] = again
		tx := fmt.Sprintf("after-%d", round)
		submit(t, nodes[0], tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	stopAll(nodes)
}

// TestBatchesOutliveAChangeOfAllValidators submits on both sides of the change, through old and new validators.
func TestBatchesOutliveAChangeOfAllValidators(t *testing.T) {
	h, nodes := naming(t, 4, nil)
	for i := 4; i < 8; i++ {
		x := h.newCandidate(i, t.TempDir())
		x.start()
		nodes = append(nodes, x)
	}
	var all []string
	for round, set := range []string{"4 1 6 3", "4 5 6 7"} {
		txs := names(fmt.Sprint("round-", round), 40)
		for i, tx := range txs {
			if i == 20 {
				submit(t, nodes[1], "validators "+set)
				all = append(all, "validators "+set)
			}
			submit(t, nodes[i%8], tx)
		}
		all = append(all, txs...)
		eventually(t, "the next epoch everywhere", inEpoch(nodes, consensus.Epoch(round+1)))
	}
	eventually(t, "all transactions", allHave(nodes, all...))
	for i, tx := range names("after", 8) {
		submit(t, nodes[i%8], tx)
		all = append(all, tx)
	}
	eventually(t, "what came after", allHave(nodes, all...))
	stopAll(nodes)
	for _, n := range nodes {
		n.once(all...)
	}
}
