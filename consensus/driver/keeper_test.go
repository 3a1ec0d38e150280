package driver_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/statesync"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/internal/trie"
)

// keepEvery is the distance of a keeper's snapshots.
const keepEvery = 8

// keeper is what a real node does with snapshots: it makes, keeps, gives and fetches them on the node's disk, installs them
// in its store, and prunes. The application, which forgets everything at a stop, finds its state in them again. It is the
// node's driver.Snapshots, statesync.Epochs and statesync.Network.
type keeper struct {
	n       *testNode
	root    *consensus.Block
	folder  *statesync.Folder
	server  *statesync.Server
	fetch   *statesync.Fetcher
	history *merkle.Frontier // of the committed blocks; the owner's
	made    atomic.Int64
	pruned  atomic.Int64
}

func newKeeper(n *testNode) *keeper {
	root, err := n.h.genesis.Block(genesisState)
	if err != nil {
		n.h.t.Fatal(err)
	}
	k := &keeper{n: n, root: root}
	n.keep, n.snapshots, n.from, n.onOpen, n.onCommit = k, k, keepEvery/2, k.open, k.committed
	return k
}

// open gives the application its state again, from what is kept.
func (k *keeper) open() {
	n := k.n
	log := slog.New(slog.DiscardHandler)
	var err error
	if k.folder, err = statesync.OpenFolder(n.disk, n.dir, 2, k.check, log); err != nil {
		return // a disk that fails now fails the driver, too
	}
	k.server = statesync.NewServer(k.folder, k)
	k.fetch = statesync.NewFetcher(statesync.FetchConfig{Folder: k.folder, Epochs: k, Network: k, Log: log, Penalise: func(node sign.PublicKey, reason string) {
		n.h.t.Errorf("%s blames %s: %s", n.node.Short(), node.Short(), reason)
	}})
	head, history, ok, err := n.chain.Head()
	if err != nil {
		n.h.t.Fatal(err)
	}
	if k.history = history; !ok {
		id := k.root.ID()
		k.history = &merkle.Frontier{}
		k.history.Append(id[:])
		return
	}
	base, _ := n.chain.Base()
	if base == 0 {
		return
	}
	var from *snapshot.Snapshot
	for _, s := range k.folder.List() {
		if s.Height() <= head.Block.Header.Height && s.Height()+1 >= base {
			from = s
		}
	}
	if from == nil {
		n.h.t.Errorf("%s has blocks %d to %d, and of %d snapshots none to begin there", n.node.Short(), base, head.Block.Header.Height, len(k.folder.List()))
		return
	}
	if err := k.load(from); err != nil {
		n.h.t.Errorf("%s: %v", n.node.Short(), err)
	}
}

// load makes a snapshot that is here the application's state.
func (k *keeper) load(s *snapshot.Snapshot) error {
	state, txs := new(trie.Map), []string{}
	for e, err := range k.folder.Entries(s) {
		if err != nil {
			return err
		}
		state.Set(e.Key, e.Value)
		txs = append(txs, string(e.Value))
	}
	if state.Root() != s.Block.Header.StateRoot {
		return errors.New("the snapshot gives another state")
	}
	a := k.n.app
	a.mu.Lock()
	defer a.mu.Unlock()
	a.head, a.height, a.txs = state, s.Height(), txs
	clear(a.kept)
	return nil
}

// committed makes a snapshot at every so many blocks, and prunes what is below the oldest. What fails is left, as a node
// does: the next block comes.
func (k *keeper) committed(b *consensus.Block, f *consensus.Finality) {
	id := b.ID()
	before := k.history.Clone()
	k.history.Append(id[:])
	if b.Header.Height%keepEvery != 0 || b.Header.Closes() || k.folder == nil {
		return
	}
	if k.n.chain.Sync() != nil { // this application has its state from snapshots alone: none may be ahead of the chain
		return
	}
	v, err := k.verifier(b.Header.Epoch)
	if err != nil {
		return
	}
	window := consensus.LeaderWindow(v.Set().Len())
	recent, err := driver.Recent(k.n.chain, &b.Header, window)
	if err != nil {
		return
	}
	a := k.n.app
	a.mu.Lock()
	state := a.head
	a.mu.Unlock()
	o, err := state.Outline(snapshot.PartBytes)
	if err != nil {
		k.n.h.t.Error(err)
		return
	}
	if _, err := k.folder.Save(context.Background(), snapshot.Make(b, f, before, recent, o), state.All()); err != nil {
		if errors.Is(err, snapshot.ErrInvalid) {
			k.n.h.t.Errorf("%s made a snapshot of block %d that is none: %v", k.n.node.Short(), b.Header.Height, err)
		}
		return
	}
	k.made.Add(1)
	below := k.folder.List()[0].Height()
	if keep := consensus.Height(window) + 1; b.Header.Height > keep {
		below = min(below, b.Header.Height-keep)
		for more := true; more && err == nil; {
			more, err = k.n.chain.Prune(below, nil)
		}
	}
	base, _ := k.n.chain.Base()
	k.pruned.Store(int64(base))
}

func (k *keeper) Fetch(ctx context.Context, from consensus.Height) (*snapshot.Snapshot, int, error) {
	return k.fetch.Fetch(ctx, from)
}

func (k *keeper) Install(s *snapshot.Snapshot) error {
	if err := k.load(s); err != nil {
		return err
	}
	k.history = s.History.Clone()
	return k.n.chain.Restart(driver.Committed{Block: s.Block, Finality: s.Finality}, s.History, s.Recent)
}

func (k *keeper) verifier(e consensus.Epoch) (*consensus.Verifier, error) {
	v, err := consensus.NewVerifier(k.n.h.genesis, k.root.ID())
	if err != nil || e == 0 {
		return v, err
	}
	h, err := k.n.chain.Handover(e)
	if err != nil {
		return nil, err
	}
	return v.After(h)
}

func (k *keeper) check(h *snapshot.Head) (*snapshot.Snapshot, error) {
	e, err := h.Epoch()
	if err != nil {
		return nil, err
	}
	v, err := k.verifier(e)
	if err != nil {
		return nil, errors.Join(statesync.ErrEpoch, err)
	}
	return h.Check(v)
}

func (k *keeper) Known() (e consensus.Epoch) {
	for {
		if _, err := k.n.chain.Handover(e + 1); err != nil {
			return e
		}
		e++
	}
}

func (k *keeper) Handover(e consensus.Epoch) (*consensus.Handover, error) {
	return k.n.chain.Handover(e)
}

func (k *keeper) Adopt(h *consensus.Handover) error {
	v, err := k.verifier(k.Known())
	if err != nil {
		return err
	}
	if _, err := h.Verify(k.n.h.genesis.ChainID(), v.Epoch(), v.Set()); err != nil {
		return errors.Join(snapshot.ErrInvalid, err)
	}
	return k.n.chain.PutHandover(h)
}

func (k *keeper) Request(ctx context.Context, to sign.PublicKey, req []byte) ([]byte, error) {
	other := k.n.h.find(to)
	if other == nil || other.keep == nil || other.keep.server == nil || k.n.dead.Load() {
		return nil, errors.New("no route")
	}
	return other.keep.server.Serve(ctx, req)
}

func (k *keeper) Peers() []sign.PublicKey { return k.n.Peers() }
