package driver_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/internal/trie"
)

// maker keeps the last snapshot that a node could make, at every tenth block.
type maker struct {
	t    testing.TB
	h    *hub
	root consensus.BlockID // the genesis block
	node *testNode

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
	m := &maker{t: t, h: h, root: genesis.ID(), node: n}
	m.history.Append(m.root[:])
	n.onCommit = m.committed
	return m
}

// verifier is that of an epoch.
func (m *maker) verifier(e consensus.Epoch) *consensus.Verifier {
	v, err := consensus.NewVerifier(m.h.genesis, m.root)
	if err == nil && e > 0 {
		var o *consensus.Handover
		if o, err = m.node.chain.Handover(e); err == nil {
			v, err = v.After(o)
		}
	}
	if err != nil {
		m.t.Errorf("epoch %d: %v", e, err)
	}
	return v
}

func (m *maker) committed(b *consensus.Block, f *consensus.Finality) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b.Header.Height%10 == 0 && !m.frozen && !b.Header.Closes() {
		v := m.verifier(b.Header.Epoch)
		m.node.app.mu.Lock()
		state := m.node.app.head
		m.node.app.mu.Unlock()
		recent, err := driver.Recent(m.node.chain, &b.Header, consensus.LeaderWindow(v.Set().Len()))
		if err != nil {
			m.t.Error(err)
		}
		o, err := state.Outline(snapshot.PartBytes)
		if err != nil {
			m.t.Error(err)
		}
		s, err := snapshot.Make(b, f, &m.history, recent, o).Check(v)
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
	for e := consensus.Epoch(1); e <= s.Block.Header.Epoch; e++ {
		o, err := k.m.node.chain.Handover(e)
		if err == nil {
			err = k.node.chain.PutHandover(o)
		}
		if err != nil {
			return err
		}
	}
	return k.node.chain.Restart(driver.Committed{Block: s.Block, Finality: s.Finality}, s.History, s.Recent)
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
			if more, err = n.chain.Prune(below, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestLateNodesJoinAPrunedChainBySnapshot starts a validator and a follower on a chain whose first blocks nobody has. The
// validator is then needed for the quorum, so it votes and leads like the others.
func TestLateNodesJoinAPrunedChainBySnapshot(t *testing.T) {
	inForms(t, lateNodesJoinAPrunedChainBySnapshot)
}

func lateNodesJoinAPrunedChainBySnapshot(t *testing.T, form func(*driver.Config)) {
	h := newHub(t, 4, 60_000)
	h.change = form
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

// TestSnapshotOfALaterEpochMakesAValidator lets two nodes with validator keys join by snapshot after the validators have
// changed twice: the one that was let in votes at once, the one that was removed follows.
func TestSnapshotOfALaterEpochMakesAValidator(t *testing.T) {
	eachScheme(t, func(t *testing.T, scheme consensus.Scheme) {
		inForms(t, func(t *testing.T, form func(*driver.Config)) { snapshotOfALaterEpochMakesAValidator(t, scheme, form) })
	})
}

func snapshotOfALaterEpochMakesAValidator(t *testing.T, scheme consensus.Scheme, form func(*driver.Config)) {
	h := newHubOf(t, scheme, 4, 60_000)
	h.change = form
	var first []*testNode
	for i := range 3 {
		first = append(first, h.newNode(i, t.TempDir()))
	}
	m := newMaker(t, h, first[0])
	for _, n := range first {
		n.start()
	}
	grow(t, first, "zero", 30)
	submit(t, first[0], "validators 0*2 1*2 2*2 3")
	eventually(t, "the first change", inEpoch(first, 1))
	submit(t, first[0], "validators 0*3 1*3 2*3 5")
	eventually(t, "the second change", inEpoch(first, 2))
	grow(t, first, "two", first[0].app.Height()+40)
	s, _ := m.freeze()
	if s.Block.Header.Epoch != 2 {
		t.Fatalf("the snapshot is of epoch %d", s.Block.Header.Epoch)
	}
	prune(t, first, s.Height())
	removed, let := h.newCandidate(3, t.TempDir()), h.newCandidate(5, t.TempDir())
	for _, n := range []*testNode{removed, let} {
		n.from, n.snapshots = 20, &taker{m, n}
		n.start()
	}
	late := []*testNode{removed, let}
	eventually(t, "the epoch on late nodes", inEpoch(late, 2))
	eventually(t, "the snapshot", func() bool { return let.d.Stats().Snapshots == 1 && removed.d.Stats().Snapshots == 1 })
	if removed.d.Validates() || !let.d.Validates() {
		t.Errorf("who was removed votes: %t; who was let in votes: %t", removed.d.Validates(), let.d.Validates())
	}
	all := append(append([]*testNode{}, first...), late...)
	for _, tx := range names("after", 12) {
		submit(t, removed, tx)
		eventually(t, tx, allHave(all, tx))
	}
	eventually(t, "votes of the one that was let in", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.said.voted[era{seedKey(5).Public(), 2}] > 0
	})
	stopAll(all)
}

// TestNodeWhoseNextBlockIsPrunedTakesASnapshot leaves a node behind by less than it would take a snapshot for.
func TestNodeWhoseNextBlockIsPrunedTakesASnapshot(t *testing.T) {
	inForms(t, nodeWhoseNextBlockIsPrunedTakesASnapshot)
}

func nodeWhoseNextBlockIsPrunedTakesASnapshot(t *testing.T, form func(*driver.Config)) {
	h := newHub(t, 4, 60_000)
	h.change = form
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

// said is a log that a test reads.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *said) has(words string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), words)
}

// TestNodeWhoseNextBlockNobodyHasSaysSo asks peers without snapshots for blocks that they have pruned, on a quiet network.
func TestNodeWhoseNextBlockNobodyHasSaysSo(t *testing.T) {
	h := newHub(t, 4, 60_000)
	var nodes []*testNode
	for i := range 3 {
		n := h.newNode(i, t.TempDir())
		n.start()
		nodes = append(nodes, n)
	}
	grow(t, nodes, "tx", 40)
	prune(t, nodes, 30)
	log := &said{}
	h.change = func(c *driver.Config) { c.Log = slog.New(slog.NewTextHandler(log, nil)) }
	late := h.newNode(10, t.TempDir())
	late.start()
	eventually(t, "a warning", func() bool { return log.has("not kept by any peer") })
	for _, want := range []string{"block=1 ", "kept_from=30", "retain_blocks = 0", "snapshot_interval"} {
		if !log.has(want) {
			t.Errorf("the warning does not say %s", want)
		}
	}
	if late.app.Height() != 0 {
		t.Errorf("at height %d, from blocks that nobody has", late.app.Height())
	}
	stopAll(append(nodes, late))
}

// TestLateNodeAsksOnAfterOneThatIsBehind lets a node that comes to a quiet network hear first of somebody who is behind as
// well: what he has is not the end.
func TestLateNodeAsksOnAfterOneThatIsBehind(t *testing.T) {
	h := newHub(t, 4, 60_000)
	h.faults = noisy(1, 0, 0)
	var nodes []*testNode
	for i := range 3 {
		n := h.newNode(i, t.TempDir())
		n.start()
		nodes = append(nodes, n)
	}
	behind := h.newNode(10, t.TempDir())
	behind.start()
	grow(t, append(nodes, behind), "early", 5)
	behind.stop()
	grow(t, nodes, "late", behind.app.Height()+20)
	late := h.newNode(11, t.TempDir())
	h.faults.request.Store(func(from, to sign.PublicKey, _ driver.Kind) bool {
		return from == late.node && (to == behind.node || late.app.Height() > 0)
	})
	again := h.newNode(10, behind.dir)
	again.app = behind.app
	again.start()
	late.start()
	eventually(t, "the head of the others", func() bool { return late.app.Height() >= nodes[0].app.Height() })
	if again.app.Height() >= nodes[0].app.Height() {
		t.Error("nobody was behind")
	}
	stopAll(append(nodes, again, late))
}
