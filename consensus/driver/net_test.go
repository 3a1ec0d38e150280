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

	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/internal/sign"
)

// packet is a message on its way.
type packet struct {
	from sign.PublicKey
	path driver.Path
	kind driver.Kind
	msg  []byte
}

// outline is what a block named that left a node as one.
type outline struct {
	by    sign.PublicKey
	names []consensus.BatchRef
}

// hub is the network: every node is linked with every other.
type hub struct {
	t        testing.TB
	genesis  *consensus.Genesis
	noFast   atomic.Bool
	noGossip atomic.Bool
	echo     atomic.Bool          // everybody hears his own words too, as gossip
	hostile  atomic.Bool          // refusals are no failure of the test
	faults   *faults              // nil: none
	change   func(*driver.Config) // nil: nothing

	mu       sync.Mutex // guards what follows
	nodes    map[sign.PublicKey]*testNode
	said     *record
	sets     map[consensus.Epoch]*consensus.ValidatorSet
	blocks   map[consensus.Height]consensus.BlockID
	namer    sign.PublicKey                // the node that the last outline left
	outlined map[consensus.BlockID]outline // blocks that left as outlines
	penalty  map[sign.PublicKey]int
	cut      map[sign.PublicKey]bool // cannot be reached
	liar     sign.PublicKey          // answers requests with lies
	stateful map[sign.PublicKey]datastore.Batching
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
	bulk   chan packet // batches, whose checks take time
	cancel context.CancelFunc
	ended  chan error
	done   chan struct{} // closed before ended receives
	told   chan struct{} // one place: receives after a commit
	chain  *chainstore.Store

	onOpen    func()                                      // when chain is open, before the driver is made; nil: nothing
	onCommit  func(*consensus.Block, *consensus.Finality) // nil: nothing
	keep      *keeper                                     // nil: no snapshots on its disk
	snapshots driver.Snapshots                            // nil: none are taken
	from      consensus.Height                            // driver.Config.SnapshotFrom

	disk    driver.Disk        // nil: the operating system's
	store   datastore.Batching // nil: the hub's for this node
	segment int64

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

// member is the validator with key i.
func member(scheme consensus.Scheme, i int, weight uint64) consensus.Validator {
	v := consensus.Validator{Key: seedKey(i).Public(), Weight: weight, Peer: seedKey(1000 + i).Public()}
	if scheme == consensus.BLS12381 {
		v.BLS = consensus.ProveBLS(seedKey(i))
	}
	return v
}

// eachScheme runs a test under every signature scheme.
func eachScheme(t *testing.T, test func(*testing.T, consensus.Scheme)) {
	for _, s := range consensus.Schemes() {
		t.Run(s.String(), func(t *testing.T) { test(t, s) })
	}
}

func newHub(t testing.TB, n int, blockTimeMs uint64) *hub {
	return newHubOf(t, consensus.Ed25519, n, blockTimeMs)
}

func newHubOf(t testing.TB, scheme consensus.Scheme, n int, blockTimeMs uint64) *hub {
	g := &consensus.Genesis{Version: consensus.ProtocolVersion, Scheme: scheme, Name: "test", TimestampMs: 1, BlockTimeMs: blockTimeMs, MaxTxsPerBlock: 1000, MaxTimestampAhead: 500}
	for i := range n {
		g.Validators = append(g.Validators, member(scheme, i, 1))
	}
	return &hub{
		t: t, genesis: g, nodes: map[sign.PublicKey]*testNode{}, said: newRecord(), sets: map[consensus.Epoch]*consensus.ValidatorSet{},
		blocks: map[consensus.Height]consensus.BlockID{}, outlined: map[consensus.BlockID]outline{}, penalty: map[sign.PublicKey]int{}, cut: map[sign.PublicKey]bool{},
		stateful: map[sign.PublicKey]datastore.Batching{},
	}
}

// sign is node i's signature of a vote or timeout.
func (h *hub) sign(i int, msg []byte) consensus.Signature {
	return consensus.NewSigner(h.genesis.Scheme, seedKey(i)).Sign(msg)
}

// newNode makes node i: the first ones are the validators, others follow.
func (h *hub) newNode(i int, dir string) *testNode {
	n := &testNode{h: h, node: seedKey(1000 + i).Public(), dir: dir, segment: 256 << 10, app: newApp(h.genesis.Scheme), in: make(chan packet, 8192), bulk: make(chan packet, 8192), crashed: make(chan struct{}), ended: make(chan error, 1), done: make(chan struct{}), told: make(chan struct{}, 1)}
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
	n.pool = newTestPool()
	n.h.mu.Lock()
	ds := n.store
	if ds == nil {
		ds = n.h.stateful[n.node]
	}
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
	n.chain = store
	if n.onOpen != nil {
		n.onOpen()
	}
	c := driver.Config{
		Snapshots: n.snapshots, SnapshotFrom: n.from,
		Dir: n.dir, Key: n.key, Genesis: n.h.genesis, GenesisStateRoot: genesisState,
		App: n.app, Network: n, Mempool: n.pool, Store: store, SegmentBytes: n.segment, Disk: n.disk,
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
	if n.h.change != nil {
		n.h.change(&c)
	}
	return c
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
	n.run(d)
}

func (n *testNode) run(d *driver.Driver) {
	n.d = d
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.h.mu.Lock()
	n.h.nodes[n.node] = n
	n.h.mu.Unlock()
	var wg sync.WaitGroup
	for _, queue := range []chan packet{n.in, n.bulk} {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case p := <-queue:
					if v := d.Deliver(p.from, p.path, p.kind, p.msg); v == driver.Reject && !n.h.hostile.Load() {
						n.h.t.Errorf("%s refused %s from %s", n.node.Short(), p.kind, p.from.Short())
					}
				}
			}
		})
	}
	go func() {
		err := d.Run(ctx)
		close(n.done)
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
		o := consensus.Handover{Finality: *f, Next: nextIn(h.genesis.Scheme, b.Txs)}
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
	if n.h.echo.Load() {
		select {
		case n.in <- packet{seedKey(1077).Public(), driver.Gossiped, kind, msg}:
		default:
		}
	}
	if kind == driver.KindOutline {
		o, err := consensus.DecodeOutline(msg)
		if err != nil {
			n.h.t.Error(err)
			return false
		}
		n.h.mu.Lock()
		n.h.outlined[o.Header.ID()], n.h.namer = outline{n.node, o.Batches}, n.node
		n.h.mu.Unlock()
	}
	n.h.mu.Lock()
	defer n.h.mu.Unlock()
	if fault := n.h.said.take(kind, msg); fault != "" {
		n.h.t.Error(fault)
	}
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
	return n.h.carry(other, packet{n.node, driver.Direct, kind, msg})
}

// carry puts a message into a node's queue, or loses or delays it.
func (h *hub) carry(to *testNode, p packet) bool {
	queue := to.in
	if p.kind == driver.KindBatch {
		queue = to.bulk
	}
	put := func() bool {
		select {
		case queue <- p:
			return true
		default:
			return false
		}
	}
	if h.faults == nil {
		return put()
	}
	return h.faults.carry(to, p, put)
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
		n.h.carry(other, packet{n.node, driver.Gossiped, kind, msg})
	}
	return nil
}

func (n *testNode) Request(ctx context.Context, to sign.PublicKey, kind driver.Kind, req []byte) ([]byte, error) {
	other := n.h.find(to)
	if other == nil || n.isCut() || n.dead.Load() {
		return nil, errors.New("no route")
	}
	if f := n.h.faults; f != nil && !f.answers(n.node, to, kind) {
		return nil, errors.New("no answer")
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
