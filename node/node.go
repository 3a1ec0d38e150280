package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-datastore"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/consensus/mempool"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/enc/runner"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/p2p/blob"
)

// Options are what a node is given besides its configuration.
type Options struct {
	Version string       // of the program, for people
	Logger  *slog.Logger // nil discards
	Name    string       // for people; "" takes the validator's name in genesis
}

// Node is one peer: everything that runs in one process. Make it with New and run it once with Run.
type Node struct {
	cfg     configs.Config
	opts    Options
	log     *slog.Logger
	started time.Time

	genesis  *consensus.Genesis
	executes bool // admitted by genesis and wanted by the role
	keys     keys

	lock     *folderLock
	db       *database
	ledger   *ledger
	chain    *chainstore.Store
	snaps    *snapshots
	pool     *mempool.Pool
	host     *p2p.Host
	mesh     *mesh
	driver   *driver.Driver
	store    *blob.Store
	blobs    *blobs
	cage     *native.Engine
	walls    []native.Wall
	missing  string // why nothing is executed here; "" if it is
	desk     *enc.Desk
	runner   *runner.Runner
	command  *commander
	outbox   *outbox
	register *registrar
	services *services
	sql      *sqlService
	registry *prometheus.Registry
	servers  []*server
	bounds   []*api.Listener // of those that listen on TCP

	evidence chan consensus.Evidence // to be reported

	driftMs atomic.Int64
	ready   chan struct{}
	once    sync.Once
}

// keys are the private keys of a node; a zero key means that the node does not have that role.
type keys struct{ node, validator sign.PrivateKey }

// New builds a node from its configuration and the files that it names, and takes the data folder for this process.
// It listens, but does nothing else before Run. Close it if Run is not called.
func New(cfg configs.Config, opts Options) (_ *Node, err error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{cfg: cfg, opts: opts, log: opts.Logger, started: time.Now(), ready: make(chan struct{}), evidence: make(chan consensus.Evidence, maxEvidence), registry: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			n.Close()
		}
	}()
	if n.lock, err = lockFolder(cfg.ChainDir()); err != nil {
		return nil, err
	}
	if n.genesis, _, err = configs.ReadGenesis(cfg.Genesis); err != nil {
		return nil, err
	}
	if cfg.Network != "" && n.genesis.Name != cfg.Network {
		return nil, fmt.Errorf("the configuration wants network %q, but %s begins network %q; correct network, or get the right genesis file", cfg.Network, cfg.Genesis, n.genesis.Name)
	}
	if err := n.loadKeys(); err != nil {
		return nil, err
	}
	if err := n.openStorage(); err != nil {
		return nil, err
	}
	if err := n.openMesh(); err != nil {
		return nil, err
	}
	if err := n.openExecution(); err != nil {
		return nil, err
	}
	if err := n.openServers(); err != nil {
		return nil, err
	}
	return n, n.registerMetrics()
}

// openStorage opens the database, the ledger, the outbox and the blob store.
func (n *Node) openStorage() error {
	ctx := context.Background()
	var err error
	if n.db, err = openDatabase(filepath.Join(n.cfg.ChainDir(), "chain")); err != nil {
		return err
	}
	if err = n.openSnapshots(ctx); err != nil {
		return err
	}
	if n.ledger, _, err = openLedger(ctx, n.db, n.genesis); err != nil {
		return n.db.explain(err)
	}
	n.snaps.ledger = n.ledger
	if n.outbox, err = openOutbox(ctx, n.db); err != nil {
		return n.db.explain(err)
	}
	if n.store, err = blob.Open(filepath.Join(n.cfg.ChainDir(), "blobs"), n.cfg.Storage.BlobQuotaBytes); err != nil {
		return err
	}
	return n.loadEngines(ctx)
}

// openMesh makes the host, the mempool and the consensus driver, and joins them.
func (n *Node) openMesh() error {
	cfg := n.cfg.P2P
	pc, err := n.meshConfig()
	if err != nil {
		return err
	}
	if n.host, err = p2p.New(pc); err != nil {
		return err
	}
	n.blobs = &blobs{
		self: n.keys.node.Public(), store: n.store, exchange: p2p.NewExchange(n.host, n.store), host: n.host, ledger: n.ledger,
	}
	// What the chain names is found by its holders; what a person pinned here, by these records.
	n.blobs.exchange.Provide(func() []blob.CID { return n.store.Pinned(userPin, p2p.MaxProvided) })
	chainID := n.genesis.ChainID()
	if n.pool, err = mempool.New(mempool.Config{Check: checkTx(chainID, n.ledger)}); err != nil {
		return err
	}
	n.mesh = newMesh(n.host)
	if err := n.openServices(); err != nil {
		return err
	}
	n.snaps.join(n.host)
	n.driver, err = driver.New(driver.Config{
		Dir: filepath.Join(n.cfg.ChainDir(), "consensus"), Key: n.keys.validator, Genesis: n.genesis,
		GenesisStateRoot: n.ledger.genesisRoot, App: n.ledger, Network: n.mesh, Mempool: n.pool, Store: n.chain,
		Check: n.ledger.checked.check(chainID), NoFastPath: !cfg.FastPath, OnCommit: n.committed, OnEpoch: n.follow, OnEvidence: n.accused, Load: n.ledger.Load,
		Snapshots: n.snaps,
		Penalise:  func(who sign.PublicKey, reason string) { n.host.Penalise(who, penaltyPoints, reason) },
		Log:       n.log.With("room", "consensus"),
	})
	if err != nil {
		return err
	}
	if err := n.snaps.begin(); err != nil {
		return err
	}
	n.snaps.onInstall = n.moved
	n.serveReceipts()
	epoch, set := n.driver.Epoch()
	n.follow(epoch, set)
	if n.cfg.Role == configs.RoleValidator && !n.driver.Validates() {
		n.log.Warn("role = \"validator\", and this node's validator key is not in the set: it follows until the validators let it in",
			"key", n.keys.validator.Public().String(), "epoch", uint64(epoch), "next", "bpi chain validators propose")
	}
	n.command = &commander{chain: chainID, key: n.keys.node, ledger: n.ledger, driver: n.driver}
	return nil
}

// openExecution probes the walls, and makes the cage, the runner and what registers them on the chain.
func (n *Node) openExecution() error {
	var err error
	allow := n.cfg.Cage.AllowMissingWalls
	if n.cage, err = native.New(native.Config{Dir: filepath.Join(n.cfg.ChainDir(), "cage"), AllowMissing: allow}); err != nil {
		return err
	}
	n.walls = n.cage.Probe()
	if err := n.cage.Ready(); err != nil {
		n.missing = err.Error()
		n.log.Warn("this node executes nothing", "why", n.missing, "next", "bpi doctor shows the walls; allow_missing_walls names those to do without")
	}
	x := &executor{blobs: n.blobs, ledger: n.ledger}
	if n.missing == "" {
		x.engine = n.cage
	}
	n.sql = newSQLService(x, filepath.Join(n.cfg.ChainDir(), "tmp"))
	n.runner, err = runner.New(runner.Config{
		ChainID: n.genesis.ChainID(), Key: n.keys.node, Dir: filepath.Join(n.cfg.ChainDir(), "executions"),
		Slots: n.cfg.Cage.SlotCount(), Executor: x, Blobs: n.blobs, Command: n.command, Logger: n.log.With("room", "runner"),
	})
	if err != nil {
		return err
	}
	n.desk = enc.NewDesk(n.keys.node.Public())
	n.ledger.onTentative = func(h *head) { n.runner.Tentative(view{desk: n.desk, head: h}) }
	n.register = newRegistrar(n)
	return nil
}

// committed is told by the driver of every final block.
func (n *Node) committed(b *consensus.Block, f *consensus.Finality) {
	n.snaps.committed(b, f)
	n.moved()
}

// moved tells the runner of the newest final state.
func (n *Node) moved() {
	n.runner.Committed(view{desk: n.desk, head: n.ledger.head.Load()})
}

// Run runs the node until ctx ends or a part of it fails for good, and returns when everything has stopped.
func (n *Node) Run(ctx context.Context) error {
	defer n.Close()
	if err := n.mesh.start(n.driver); err != nil {
		return err
	}
	n.runner.Committed(view{desk: n.desk, head: n.ledger.head.Load()})

	// Parts end in reverse order of start: each has its own context, cancelled when the one started after it has ended.
	parts := []struct {
		name string
		run  func(context.Context) error
	}{
		{"database", n.db.watch},
		{"mesh", n.host.Run},
		{"consensus", n.driver.Run},
		{"snapshots", n.snaps.run},
		{"runner", n.runner.Run},
		{"registration", n.register.run},
		{"services", n.services.run},
		{"outbox", n.resend},
		{"evidence", n.report},
		{"clock", n.watchClock},
		{"API", n.serve},
	}
	type ended struct {
		at  int
		err error
	}
	done := make(chan ended, len(parts))
	cancels := make([]context.CancelFunc, len(parts))
	for i, p := range parts {
		pctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		cancels[i] = cancel
		go func() { done <- ended{i, p.run(pctx)} }()
	}
	var first error
	finished := make([]bool, len(parts))
	note := func(e ended) {
		finished[e.at] = true
		if e.err != nil && !errors.Is(e.err, context.Canceled) && first == nil {
			first = fmt.Errorf("%s: %w", parts[e.at].name, e.err)
		}
	}
	select {
	case <-ctx.Done():
	case e := <-done:
		note(e)
		if first == nil {
			first = fmt.Errorf("%s ended without being asked to", parts[e.at].name)
		}
	}
	if first != nil {
		n.log.Error("stopping", "err", first)
	} else {
		n.log.Info("stopping")
	}
	for i := len(parts) - 1; i >= 0; i-- {
		cancels[i]()
		for !finished[i] {
			note(<-done)
		}
	}
	return first
}

// Close releases what New took. Run calls it.
func (n *Node) Close() error {
	var errs []error
	n.once.Do(func() {
		for _, s := range n.servers {
			errs = append(errs, s.listener.Close())
		}
		if n.cage != nil {
			errs = append(errs, n.cage.Close())
		}
		if n.driver != nil {
			n.driver.Close()
		}
		if n.host != nil {
			errs = append(errs, n.host.Close())
		}
		if n.store != nil {
			errs = append(errs, n.store.Close())
		}
		if n.db != nil {
			errs = append(errs, n.db.Sync(context.Background(), datastore.NewKey("/")), n.db.Close())
		}
		if n.lock != nil {
			n.lock.release()
		}
	})
	return errors.Join(errs...)
}

// Ready is closed when the node has joined its network and does its work.
func (n *Node) Ready() <-chan struct{} { return n.ready }
