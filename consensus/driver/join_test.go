package driver_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/trie"
)

// maker keeps the last snapshot that a node could make, at every tenth block.
type maker struct {
	t    testing.TB
	node *testNode
	v    *consensus.Verifier

	mu      sync.Mutex // guards what follows
	history merkle.Frontier
	snap    *snapshot.Snapshot
	state   *trie.Map
	frozen  bool
}

func newMaker(t testing.TB, h *hub, n *testNode) *maker {
	genesis, err := h.genesis.Block(genesisState)
	if err != nil {
		t.Fatal(err)
	}
	m := &maker{t: t, node: n}
	if m.v, err = consensus.NewVerifier(h.genesis, genesis.ID()); err != nil {
		t.Fatal(err)
	}
	id := genesis.ID()
	m.history.Append(id[:])
	n.onCommit = m.committed
	return m
}

func (m *maker) committed(b *consensus.Block, f *consensus.Finality) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b.Header.Height%10 == 0 && !m.frozen {
		m.node.app.mu.Lock()
		state := m.node.app.head
		m.node.app.mu.Unlock()
		recent, err := driver.Recent(m.node.store, &b.Header, consensus.LeaderWindow(m.v.Set().Len()))
		if err != nil {
			m.t.Error(err)
		}
		o, err := state.Outline(snapshot.PartBytes)
		if err != nil {
			m.t.Error(err)
		}
		s, err := snapshot.Make(b, f, &m.history, recent, o).Check(m.v)
		if err != nil {
			m.t.Errorf("snapshot of block %d: %v", b.Header.Height, err)
		} else {
			m.snap, m.state = s, state
		}
	}
	id := b.ID()
	m.history.Append(id[:])
}

func (m *maker) freeze() (*snapshot.Snapshot, *trie.Map) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.frozen = true
	return m.snap, m.state
}

// taker gives a node the snapshots of a maker.
type taker struct {
	m    *maker
	node *testNode
}

func (k *taker) Fetch(_ context.Context, from consensus.Height) (*snapshot.Snapshot, int, error) {
	k.m.mu.Lock()
	defer k.m.mu.Unlock()
	if k.m.snap == nil || k.m.snap.Height() < from {
		return nil, 1, errors.New("none")
	}
	return k.m.snap, 1, nil
}

func (k *taker) Install(s *snapshot.Snapshot) error {
	a := k.node.app
	a.mu.Lock()
	defer a.mu.Unlock()
	k.m.mu.Lock()
	a.head = k.m.state
	k.m.mu.Unlock()
	a.height, a.txs = s.Height(), nil
	clear(a.kept)
	for _, v := range a.head.All() {
		a.txs = append(a.txs, string(v))
	}
	return k.node.store.Restart(driver.Committed{Block: s.Block, Finality: s.Finality}, s.History, s.Recent)
}

// grow makes blocks until a node is at a height.
func grow(t testing.TB, nodes []*testNode, prefix string, to consensus.Height) (txs []string) {
	for i := 0; nodes[0].app.Height() < to; i++ {
		tx := fmt.Sprintf("%s-%d", prefix, i)
		submit(t, nodes[i%len(nodes)], tx)
		eventually(t, tx, allHave(nodes, tx))
		txs = append(txs, tx)
	}
	return txs
}

func prune(t testing.TB, nodes []*testNode, below consensus.Height) {
	for _, n := range nodes {
		for more := true; more; {
			var err error
			if more, err = n.store.Prune(below, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestLateNodesJoinAPrunedChainBySnapshot starts a validator and a follower on a chain whose first blocks nobody has. The
// validator is then needed for the quorum, so it votes and leads like the others.
func TestLateNodesJoinAPrunedChainBySnapshot(t *testing.T) {
	h := newHub(t, 4, 60_000)
	var nodes []*testNode
	for i := range 3 {
		nodes = append(nodes, h.newNode(i, t.TempDir()))
	}
	m := newMaker(t, h, nodes[0])
	for _, n := range nodes {
		n.start()
	}
	before := grow(t, nodes, "before", 90)
	s, _ := m.freeze()
	after := grow(t, nodes, "after", s.Height()+30)
	prune(t, nodes, s.Height())
	var late []*testNode
	for _, i := range []int{3, 10} {
		n := h.newNode(i, t.TempDir())
		n.from, n.snapshots = 20, &taker{m, n}
		n.start()
		late = append(late, n)
	}
	eventually(t, "the whole state on late nodes", allHave(late, append(before, after...)...))
	for _, n := range late {
		if st := n.d.Stats(); st.Snapshots != 1 || st.Fetched > 60 {
			t.Errorf("joined with %d snapshots and %d blocks: %+v", st.Snapshots, st.Fetched, st)
		}
	}
	nodes[2].stop()
	alive := []*testNode{nodes[0], nodes[1], late[0]}
	for _, tx := range names("without", 12) {
		submit(t, late[1], tx)
		eventually(t, tx, allHave(append(alive, late[1]), tx))
	}
	if late[0].d.Stats().Proposed == 0 {
		t.Error("the late validator never led")
	}
	// Both come back from what they have, and so does the one that was away: it gets blocks, not a snapshot.
	for i, n := range late {
		n.stop()
		again := h.newNode([]int{3, 10}[i], n.dir)
		again.app, again.snapshots = n.app, &taker{m, again}
		again.start()
		late[i] = again
	}
	more := []*testNode{nodes[0], nodes[1], late[0], late[1]}
	for _, tx := range names("again", 5) {
		submit(t, late[1], tx)
		eventually(t, tx, allHave(more, tx))
	}
	stopAll(more)
}

// TestNodeWhoseNextBlockIsPrunedTakesASnapshot leaves a node behind by less than it would take a snapshot for.
func TestNodeWhoseNextBlockIsPrunedTakesASnapshot(t *testing.T) {
	h := newHub(t, 4, 60_000)
	var nodes []*testNode
	for i := range 4 {
		nodes = append(nodes, h.newNode(i, t.TempDir()))
	}
	m := newMaker(t, h, nodes[0])
	for _, n := range nodes {
		n.start()
	}
	grow(t, nodes, "all", 10)
	nodes[3].stop()
	was := nodes[3].app.Height()
	grow(t, nodes[:3], "three", was+40)
	s, _ := m.freeze()
	prune(t, nodes[:3], s.Height())
	back := h.newNode(3, nodes[3].dir)
	back.app, back.snapshots = nodes[3].app, &taker{m, back}
	back.start()
	nodes[3] = back
	grow(t, nodes[:3], "more", nodes[0].app.Height()+10) // it hears of blocks that it cannot have
	eventually(t, "back by snapshot", func() bool { return back.app.Height() >= nodes[0].app.Height() })
	if back.d.Stats().Snapshots != 1 {
		t.Errorf("%+v", back.d.Stats())
	}
	last := names("last", 6)
	for _, tx := range last {
		submit(t, back, tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	stopAll(nodes)
}
