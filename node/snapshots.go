package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/consensus/driver/statesync"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// snapshotProtocol is how nodes ask each other for snapshots.
const snapshotProtocol = "bpi/snapshot/1"

// snapshots makes snapshots of the state, prunes what lies before them, and puts fetched ones in place. It implements
// driver.Snapshots.
type snapshots struct {
	cfg    configs.Storage
	epochs *epochs
	ledger *ledger
	chain  *chainstore.Store
	folder *statesync.Folder
	fetch  *statesync.Fetcher
	log    *slog.Logger
	holds  holds
	// onInstall is told of the state that a snapshot brought. It must not block.
	onInstall func()

	history *merkle.Frontier // over the ids of all committed blocks; the driver's owner has it
	tasks   chan task        // capacity 1: who makes a snapshot skips those that come meanwhile
	wake    chan struct{}    // capacity 1: a block was committed

	made, skipped, pruned, installed atomic.Uint64
}

// task is a snapshot to be made. Its state is not executed on any more.
type task struct {
	block    *consensus.Block
	finality *consensus.Finality
	history  *merkle.Frontier
	head     *head
}

// openSnapshots opens the folder of snapshots and the chain store, and ends a restore that was interrupted. The ledger is
// opened after it.
func (n *Node) openSnapshots(ctx context.Context) error {
	app, err := appGenesis(n.genesis)
	if err != nil {
		return err
	}
	genesis, err := genesisBlock(n.genesis, app)
	if err != nil {
		return err
	}
	if n.chain, err = chainstore.Open(n.db); err != nil {
		return n.db.explain(err)
	}
	known, err := newEpochs(n.genesis, genesis, n.chain, n.cfg.Trust)
	if err != nil {
		return err
	}
	folder, err := statesync.OpenFolder(driver.SystemDisk(), filepath.Join(n.cfg.ChainDir(), "snapshots"), n.cfg.Storage.Snapshots, known.check, n.log.With("room", "snapshots"))
	if err != nil {
		return err
	}
	if n.chain, err = finishRestore(ctx, n.db, n.chain, folder); err != nil {
		return n.db.explain(err)
	}
	known.chain = n.chain
	n.snaps = &snapshots{
		cfg: n.cfg.Storage, epochs: known, chain: n.chain, folder: folder, log: n.log.With("room", "snapshots"),
		tasks: make(chan task, 1), wake: make(chan struct{}, 1),
	}
	return nil
}

// join gives the snapshots their peers: it serves those that are here, and fetches.
func (s *snapshots) join(host *p2p.Host) {
	server := statesync.NewServer(s.folder, s.epochs)
	limits := p2p.Limits{RequestBytes: statesync.MaxRequestBytes, ResponseBytes: statesync.MaxResponseBytes, PerPeer: 4, Total: 16, PerSecond: 100}
	host.Handle(snapshotProtocol, limits, func(ctx context.Context, _ sign.PublicKey, req []byte) ([]byte, error) {
		return server.Serve(ctx, req)
	})
	s.fetch = statesync.NewFetcher(statesync.FetchConfig{
		Folder: s.folder, Epochs: s.epochs, Network: snapshotPeers{host}, Log: s.log,
		Penalise: func(who sign.PublicKey, reason string) { host.Penalise(who, penaltyPoints, reason) },
	})
}

// snapshotPeers implements statesync.Network.
type snapshotPeers struct{ host *p2p.Host }

func (p snapshotPeers) Request(ctx context.Context, to sign.PublicKey, req []byte) ([]byte, error) {
	return p.host.Call(ctx, to, snapshotProtocol, req)
}

func (p snapshotPeers) Peers() (keys []sign.PublicKey) {
	for _, x := range p.host.Peers() {
		keys = append(keys, x.Key)
	}
	return keys
}

// begin reads where the chain stands. The driver has been made and does not run.
func (s *snapshots) begin() error {
	_, history, ok, err := s.chain.Head()
	if err != nil || !ok {
		return errors.Join(err, errors.New("the chain store is empty"))
	}
	s.history = history
	return nil
}

// committed is told by the driver's owner of every final block, after the ledger.
func (s *snapshots) committed(b *consensus.Block, f *consensus.Finality) {
	if n := s.cfg.SnapshotInterval; n > 0 && uint64(b.Header.Height)%n == 0 && !b.Header.Closes() {
		select {
		case s.tasks <- task{b, f, s.history.Clone(), s.ledger.head.Load()}:
		default: // catching up: the next will do
			s.skipped.Add(1)
		}
	}
	id := b.ID()
	s.history.Append(id[:])
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Fetch implements driver.Snapshots.
func (s *snapshots) Fetch(ctx context.Context, from consensus.Height) (*snapshot.Snapshot, int, error) {
	return s.fetch.Fetch(ctx, from)
}

// Install implements driver.Snapshots.
func (s *snapshots) Install(snap *snapshot.Snapshot) error {
	h, err := restore(context.Background(), s.ledger.db, s.chain, s.folder, snap)
	if err != nil {
		return err
	}
	s.ledger.moveTo(h)
	s.history = snap.History.Clone()
	s.installed.Add(1)
	if s.onInstall != nil {
		s.onInstall()
	}
	return nil
}

// run makes snapshots and prunes until ctx ends. Trouble with either is told, and tried again with the next block: the
// chain does not wait for it.
func (s *snapshots) run(ctx context.Context) error {
	told := ""
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case t := <-s.tasks:
			err = s.make(ctx, t)
		case <-s.wake:
			err = s.prune(ctx)
		}
		if err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			s.log.Warn("snapshots", "err", err)
		}
	}
}

// make makes one snapshot.
func (s *snapshots) make(ctx context.Context, t task) error {
	window, err := s.epochs.window(t.block.Header.Epoch)
	if err != nil {
		return err
	}
	recent, err := driver.Recent(s.chain, &t.block.Header, window)
	if err != nil {
		return err
	}
	outline, err := t.head.state.Outline(snapshot.PartBytes)
	if err != nil {
		return fmt.Errorf("make the snapshot of block %d: %w", t.block.Header.Height, err)
	}
	h := snapshot.Make(t.block, t.finality, t.history, recent, outline)
	snap, err := s.folder.Save(ctx, h, t.head.state.Leaves())
	if err != nil {
		return err
	}
	s.made.Add(1)
	s.log.Info("snapshot made", "height", uint64(snap.Height()), "chunks", snap.Chunks(), "bytes", snap.Bytes())
	return nil
}

// prune removes what is neither to be retained nor needed by those who begin with a snapshot, and what a snapshot has
// left over.
func (s *snapshots) prune(ctx context.Context) error {
	for more := true; more && ctx.Err() == nil; {
		var err error
		if more, err = s.pruneSome(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *snapshots) pruneSome(ctx context.Context) (more bool, err error) {
	s.holds.mu.Lock()
	defer s.holds.mu.Unlock()
	below, err := s.pruneBelow()
	if err != nil {
		return false, err
	}
	n, more, err := s.ledger.prune(ctx, s.chain, s.holds.lowest(below))
	s.pruned.Add(uint64(n))
	return more, err
}

// pruneBelow is the lowest height that must stay.
func (s *snapshots) pruneBelow() (uint64, error) {
	list := s.folder.List()
	if s.cfg.RetainBlocks == 0 || len(list) == 0 {
		return 0, nil
	}
	head := s.ledger.head.Load().header
	window, err := s.epochs.window(head.Epoch)
	if err != nil {
		return 0, err
	}
	retain := max(s.cfg.RetainBlocks, uint64(window)+1) // there are no more blocks than views
	if uint64(head.Height) <= retain {
		return 0, nil
	}
	return min(uint64(head.Height)-retain, uint64(list[0].Height())), nil
}
