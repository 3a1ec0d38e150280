package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/snapshot"
)

// Snapshots is how a node that is far behind goes on from a state that it did not compute; statesync.Fetcher and the
// application together are one.
type Snapshots interface {
	// Fetch brings the highest snapshot of a block at least from that other nodes have, checked, whole and durable. asked
	// is how many nodes answered what they have. The syncer calls it.
	Fetch(ctx context.Context, from consensus.Height) (s *snapshot.Snapshot, asked int, err error)
	// Install makes the App's state and the Store's chain those of a fetched snapshot, both or, after a crash, neither or
	// both at the next start; the Store has the handovers that lead to its epoch. It is durable after the Store's next Sync.
	// The owner calls it. An error stops the driver.
	Install(s *snapshot.Snapshot) error
}

// When nodes are asked for snapshots.
const (
	snapshotEvery = 10 * time.Second       // between questions for offers
	snapshotFirst = 250 * time.Millisecond // after the start, while nobody has answered
	snapshotTries = 80                     // of those
)

// joining is what the syncer knows of snapshots.
type joining struct {
	asked  bool      // somebody has said what it has
	tries  int       // how often nobody has
	next   time.Time // when to ask again, at the earliest
	pruned bool      // nobody who was asked keeps the block after the head
}

// lonely reports whether to look for peers again soon: which way a node joins is decided with the first that answers.
func (j *joining) lonely(d *Driver) bool {
	return d.cfg.Snapshots != nil && !j.asked && j.tries < snapshotTries
}

// joinPruned looks for any snapshot ahead, at once if this is news.
func (s *syncer) joinPruned(ctx context.Context, gone *prunedError) {
	j := &s.joining
	news := !j.pruned
	if news {
		j.pruned, j.next = true, time.Time{}
	}
	s.join(ctx)
	if news && j.pruned && ctx.Err() == nil {
		s.d.cfg.Log.Warn("the next block is not kept by any peer that was asked, and none gives a snapshot: this node stays behind until one does",
			"block", uint64(gone.next), "kept_from", uint64(gone.base), "next", "connect to a peer that keeps all blocks (retain_blocks = 0) or makes snapshots (snapshot_interval)")
	}
}

// join looks for a snapshot far enough ahead and goes on from it.
func (s *syncer) join(ctx context.Context) {
	d, j := s.d, &s.joining
	if d.cfg.Snapshots == nil || time.Now().Before(j.next) {
		return
	}
	started, was := time.Now(), d.tree.height()
	from := was + d.cfg.SnapshotFrom
	if j.pruned {
		from = was + 1
	}
	snap, asked, err := d.cfg.Snapshots.Fetch(ctx, from)
	j.next = time.Now().Add(snapshotEvery)
	if asked > 0 {
		j.asked = true
	} else if j.tries++; j.lonely(d) {
		j.next = time.Now()
	}
	if err != nil {
		d.cfg.Log.Debug("no snapshot", "from", uint64(from), "reason", err)
		return
	}
	if !s.hand(ctx, fetched{snap: snap}) || d.tree.height() < snap.Height() {
		return
	}
	j.pruned = false
	d.cfg.Log.Info("joined by snapshot", "height", uint64(snap.Height()), "block", snap.Block.ID().Short(), "from", uint64(was),
		"chunks", snap.Chunks(), "bytes", snap.Bytes(), "ms", time.Since(started).Milliseconds())
}

// takeSnapshot makes a fetched snapshot this node's state, and begins consensus anew above it. What was signed before
// is remembered: the safety data are those of the replica that goes. The chain is durable before anything is promised on
// it, as with a new epoch.
//
// The rule that a transaction is executed once (once.go) is checked from here on with the blocks that this node has: those
// before the snapshot are known to the application alone, and to the other validators.
func (d *Driver) takeSnapshot(s *snapshot.Snapshot) error {
	if s.Height() <= d.tree.height() {
		return nil
	}
	if err := d.cfg.Snapshots.Install(s); err != nil {
		return fmt.Errorf("go on from the snapshot of block %d: %w", s.Height(), err)
	}
	if err := d.cfg.Store.Sync(); err != nil {
		return fmt.Errorf("chain store: %w", err)
	}
	d.sinceSync = 0
	head, history, err := d.openChain()
	if err != nil {
		return err
	}
	if err := d.replayApp(head.Block); err != nil {
		return err
	}
	safety := d.later // see newReplica: the newest that this node has saved
	if safety == nil {
		last := d.replica.Safety()
		safety = &last
	}
	was := d.term.Load()
	if err := d.openTerm(&head.Block.Header); err != nil {
		return err
	}
	rec, err := d.recovery(head)
	if err != nil {
		return err
	}
	d.tree.reset(head.Block, history)
	d.leave()
	if err := d.recall(head.Block.Header.Height); err != nil {
		return err
	}
	// Which of the transactions that wait are in the blocks between, this node will not learn. Batches that a block still
	// names are fetched again; clients' transactions go their way again, and the application knows those that it has.
	d.cfg.Mempool.Return(d.batches.clear())
	d.cfg.Mempool.Expire(head.Block.Header.TimestampMs)
	if err := d.newReplica(safety, rec); err != nil {
		return fmt.Errorf("go on from the snapshot of block %d: %w", s.Height(), err)
	}
	if err := d.ownPast(head); err != nil {
		return err
	}
	if d.wal != nil {
		if err := d.wal.release(head.Block.Header.Height); err != nil {
			return err
		}
	}
	d.count.height.Store(uint64(head.Block.Header.Height))
	d.count.snapshots.Add(1)
	out, err := d.replica.Start()
	if err != nil {
		return fmt.Errorf("go on from the snapshot of block %d: %w", s.Height(), err)
	}
	d.absorb(out)
	d.inbox.poke()
	if t := d.term.Load(); t.epoch != was.epoch && d.cfg.OnEpoch != nil {
		d.cfg.OnEpoch(t.epoch, t.set)
	}
	return nil
}

// recovery is what a replica of the present epoch begins with above head, without uncommitted blocks.
func (d *Driver) recovery(head Committed) (consensus.Recovery, error) {
	rec := consensus.Recovery{Root: head.Block, RootQC: head.Finality.QC}
	if head.Block.Header.Closes() {
		rec.RootQC = consensus.RootQC(head.Block)
	}
	all, err := Recent(d.cfg.Store, &head.Block.Header, consensus.LeaderWindow(d.own.Set().Len()))
	for _, h := range all {
		if h.Epoch == d.own.Epoch() {
			rec.Recent = append(rec.Recent, h)
		}
	}
	return rec, err
}

// Recent are the headers before head, in height order, that the leader rule of a window looks at, and one further: as a
// snapshot has them. Where blocks were pruned they may be fewer.
func Recent(store Store, head *consensus.Header, window consensus.View) ([]consensus.Header, error) {
	out := []consensus.Header{}
	base, kept := store.Base()
	next := head
	for next.Height > 1 && (next == head || !snapshot.Complete(head, next, window)) {
		h := next.Height - 1
		if h >= base {
			x, err := store.Block(h)
			if errors.Is(err, ErrNoBlock) {
				break // pruned meanwhile
			}
			if err != nil {
				return nil, fmt.Errorf("chain store: %w", err)
			}
			next = &x.Block.Header
		} else {
			at := slices.IndexFunc(kept, func(k consensus.Header) bool { return k.Height == h })
			if at < 0 {
				break
			}
			next = &kept[at]
		}
		out = append(out, *next)
	}
	slices.Reverse(out)
	return out, nil
}
