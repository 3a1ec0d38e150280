package driver_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

func (badTx) Error() string { return "bad transaction" }

func (badTx) Invalid() bool { return true }

// packet is a message on its way.
type packet struct {
	from sign.PublicKey
	path driver.Path
	kind driver.Kind
	msg  []byte
}

// hub is the network: every node is linked with every other.
type hub struct {
	t        testing.TB
	genesis  *consensus.Genesis
	noFast   atomic.Bool
	noGossip atomic.Bool

	mu       sync.Mutex // guards what follows
	nodes    map[sign.PublicKey]*testNode
	votes    map[sign.PublicKey]map[place]consensus.VoteData
	sets     map[consensus.Epoch]*consensus.ValidatorSet
	blocks   map[consensus.Height]consensus.BlockID
	penalty  map[sign.PublicKey]int
	cut      map[sign.PublicKey]bool // cannot be reached
	liar     sign.PublicKey          // answers requests with lies
	stateful map[sign.PublicKey]datastore.Batching
}

// place is where a validator votes once.
type place struct {
	epoch consensus.Epoch
	view  consensus.View
}

// testNode is one incarnation of a node; it is its own driver.Network.
type testNode struct {
	h      *hub
	key    sign.PrivateKey // zero for a follower
	node   sign.PublicKey
	dir    string
	app    *chainApp
	pool   *testPool
	d      *driver.Driver
	in     chan packet
	cancel context.CancelFunc
	ended  chan error
	told   chan struct{} // one place: receives after a commit
	store  *chainstore.Store

	onCommit  func(*consensus.Block, *consensus.Finality) // nil: nothing
	snapshots driver.Snapshots                            // nil: none are taken
	from      consensus.Height                            // driver.Config.SnapshotFrom

	// Crash injection: when countdown reaches zero in a send, the folder is copied to crashTo and nothing leaves any more.
	countdown atomic.Int64
	crashTo   string
	crashed   chan struct{}
	dead      atomic.Bool
}

func seedKey(n int) sign.PrivateKey {
	s := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("test key"), uint64(n)))
	return sign.FromSeed(s[:])
}

func newHub(t testing.TB, n int, blockTimeMs uint64) *hub {
	g := &consensus.Genesis{Version: consensus.ProtocolVersion, Name: "test", TimestampMs: 1, BlockTimeMs: blockTimeMs, MaxTxsPerBlock: 1000, MaxTimestampAhead: 500}
	for i := range n {
		g.Validators = append(g.Validators, consensus.Validator{Key: seedKey(i).Public(), Weight: 1, Peer: seedKey(1000 + i).Public()})
	}
	return &hub{
		t: t, genesis: g, nodes: map[sign.PublicKey]*testNode{}, votes: map[sign.PublicKey]map[place]consensus.VoteData{},
		sets:   map[consensus.Epoch]*consensus.ValidatorSet{},
		blocks: map[consensus.Height]consensus.BlockID{}, penalty: map[sign.PublicKey]int{}, cut: map[sign.PublicKey]bool{},
		stateful: map[sign.PublicKey]datastore.Batching{},
	}
}

// newNode makes node i: the first ones are the validators, others follow.
func (h *hub) newNode(i int, dir string) *testNode {
	n := &testNode{h: h, node: seedKey(1000 + i).Public(), dir: dir, app: newApp(), in: make(chan packet, 8192), crashed: make(chan struct{}), ended: make(chan error, 1), told: make(chan struct{}, 1)}
	if i < len(h.genesis.Validators) {
		n.key = seedKey(i)
	}
	return n
}

// newCandidate makes node i with a validator key, whether it is in the set or not.
func (h *hub) newCandidate(i int, dir string) *testNode {
	n := h.newNode(i, dir)
	n.key = seedKey(i)
	return n
}

func (n *testNode) config() driver.Config {
	t := n.h.t
	n.pool = &testPool{waits: map[digest.Digest]bool{}, old: map[digest.Digest]bool{}, wake: make(chan struct{}, 1)}
	n.h.mu.Lock()
	ds := n.h.stateful[n.node]
	if ds == nil {
		ds = dssync.MutexWrap(datastore.NewMapDatastore())
		n.h.stateful[n.node] = ds
	}
	n.h.mu.Unlock()
	store, err := chainstore.Open(ds)
	if err != nil {
		t.Fatal(err)
	}
	level := slog.LevelError + 4 // some tests provoke errors
	if os.Getenv("BPI_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	n.store = store
	return driver.Config{
		Snapshots: n.snapshots, SnapshotFrom: n.from,
		Dir: n.dir, Key: n.key, Genesis: n.h.genesis, GenesisStateRoot: genesisState,
		App: n.app, Network: n, Mempool: n.pool, Store: store, SegmentBytes: 256 << 10,
		OnCommit: func(b *consensus.Block, f *consensus.Finality) {
			n.h.committed(b, f)
			if n.onCommit != nil {
				n.onCommit(b, f)
			}
			select {
			case n.told <- struct{}{}:
			default:
			}
		},
		Penalise: func(node sign.PublicKey, reason string) {
			n.h.mu.Lock()
			defer n.h.mu.Unlock()
			n.h.penalty[node]++
		},
		Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: level})).With("node", n.node.Short()[:4]),
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	os.Stderr.Write(p)
	return len(p), nil
}

// start runs the node until stop.
func (n *testNode) start() {
	n.h.t.Helper()
	d, err := driver.New(n.config())
	if err != nil {
		n.h.t.Fatal(err)
	}
	n.d = d
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.h.mu.Lock()
	n.h.nodes[n.node] = n
	n.h.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case p := <-n.in:
				if v := d.Deliver(p.from, p.path, p.kind, p.msg); v == driver.Reject {
					n.h.t.Errorf("%s refused %s from %s", n.node.Short(), p.kind, p.from.Short())
				}
			}
		}
	})
	go func() {
		err := d.Run(ctx)
		cancel()
		wg.Wait()
		n.ended <- err
	}()
}

// stop ends the node and waits.
func (n *testNode) stop() {
	n.h.t.Helper()
	if err := n.end(); err != nil {
		n.h.t.Errorf("node %s: %v", n.node.Short(), err)
	}
}

func (n *testNode) end() error {
	n.h.mu.Lock()
	if n.h.nodes[n.node] == n {
		delete(n.h.nodes, n.node)
	}
	n.h.mu.Unlock()
	n.cancel()
	return <-n.ended
}

// committed checks agreement.
func (h *hub) committed(b *consensus.Block, f *consensus.Finality) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	set := h.sets[b.Header.Epoch]
	if set == nil && b.Header.Epoch == 0 {
		if set, err = consensus.NewValidatorSet(h.genesis.Validators); err == nil {
			h.sets[0] = set
		}
	}
	if err == nil {
		err = f.Verify(h.genesis.ChainID(), set)
	}
	if err == nil && b.Header.Closes() {
		o := consensus.Handover{Finality: *f, Next: nextIn(b.Txs)}
		h.sets[b.Header.Epoch+1], err = o.Verify(h.genesis.ChainID(), b.Header.Epoch, set)
	}
	if err != nil {
		h.t.Errorf("block %d: %v", b.Header.Height, err)
	}
	if id, ok := h.blocks[b.Header.Height]; ok && id != b.ID() {
		h.t.Errorf("two blocks at height %d: %s, %s", b.Header.Height, id.Short(), b.ID().Short())
	}
	h.blocks[b.Header.Height] = b.ID()
}

// leaving is called for each message that leaves; false means that it does not.
func (n *testNode) leaving(kind driver.Kind, msg []byte) bool {
	if n.dead.Load() {
		return false
	}
	if n.crashTo != "" && n.countdown.Add(-1) == 0 {
		n.dead.Store(true)
		names, err := os.ReadDir(n.dir)
		for _, e := range names {
			var raw []byte
			if raw, err = os.ReadFile(filepath.Join(n.dir, e.Name())); errors.Is(err, os.ErrNotExist) {
				err = nil
				continue
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(n.crashTo, e.Name()), raw, 0o600)
			}
			if err != nil {
				break
			}
		}
		if err != nil {
			n.h.t.Error(err)
		}
		close(n.crashed)
		return false
	}
	if kind != driver.KindVote {
		return true
	}
	v, err := consensus.DecodeVote(msg)
	if err != nil {
		n.h.t.Error(err)
		return false
	}
	n.h.mu.Lock()
	defer n.h.mu.Unlock()
	m := n.h.votes[v.Voter]
	if m == nil {
		m = map[place]consensus.VoteData{}
		n.h.votes[v.Voter] = m
	}
	at := place{v.Data.Epoch, v.Data.View}
	if w, ok := m[at]; ok && w != v.Data {
		n.h.t.Errorf("%s voted twice in view %d of epoch %d", v.Voter.Short(), at.view, at.epoch)
	}
	m[at] = v.Data
	return true
}

func (h *hub) find(node sign.PublicKey) *testNode {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cut[node] {
		return nil
	}
	return h.nodes[node]
}

func (n *testNode) isCut() bool {
	n.h.mu.Lock()
	defer n.h.mu.Unlock()
	return n.h.cut[n.node]
}

func (n *testNode) Send(to sign.PublicKey, kind driver.Kind, msg []byte) bool {
	if !n.leaving(kind, msg) || n.h.noFast.Load() || n.isCut() {
		return false
	}
	other := n.h.find(to)
	if other == nil {
		return false
	}
	select {
	case other.in <- packet{n.node, driver.Direct, kind, msg}:
		return true
	default:
		return false
	}
}

func (n *testNode) Gossip(kind driver.Kind, msg []byte) error {
	if !n.leaving(kind, msg) || n.h.noGossip.Load() || n.isCut() {
		return errors.New("no gossip")
	}
	n.h.mu.Lock()
	all := maps.Clone(n.h.nodes)
	for c := range n.h.cut {
		delete(all, c)
	}
	n.h.mu.Unlock()
	for key, other := range all {
		if key == n.node {
			continue
		}
		select {
		case other.in <- packet{n.node, driver.Gossiped, kind, msg}:
		default:
		}
	}
	return nil
}

func (n *testNode) Request(ctx context.Context, to sign.PublicKey, kind driver.Kind, req []byte) ([]byte, error) {
	other := n.h.find(to)
	if other == nil || n.isCut() || n.dead.Load() {
		return nil, errors.New("no route")
	}
	n.h.mu.Lock()
	lies := n.h.liar == to
	n.h.mu.Unlock()
	raw, err := other.d.Serve(ctx, n.node, kind, req)
	if lies && err == nil && len(raw) > 200 {
		raw = bytes.Clone(raw)
		raw[len(raw)-100] ^= 1
	}
	return raw, err
}

func (n *testNode) Peers() []sign.PublicKey {
	n.h.mu.Lock()
	defer n.h.mu.Unlock()
	var out []sign.PublicKey
	for k := range n.h.nodes {
		if k != n.node {
			out = append(out, k)
		}
	}
	return out
}

// eventually waits for a condition that the running nodes will bring about.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

func (n *testNode) has(txs ...string) bool {
	n.app.mu.Lock()
	defer n.app.mu.Unlock()
	count := map[string]int{}
	for _, tx := range n.app.txs {
		count[tx]++
	}
	for _, tx := range txs {
		if count[tx] == 0 {
			return false
		}
	}
	return true
}
