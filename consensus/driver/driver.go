package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Driver runs a replica. Deliver, Serve, Submit and Stats are safe for concurrent use; the rest belongs to Run.
type Driver struct {
	cfg     Config
	chain   digest.Digest
	genesis *consensus.Block
	self    sign.PublicKey       // zero without a validator key
	term    atomic.Pointer[term] // the owner stores

	seen    *seen
	checks  *checker
	recent  *recent
	batches *batches
	gather  *gather
	fresh   chan struct{}   // one place: transactions wait for a batch
	wanted  chan *gathering // to be fetched
	inbox   *inbox
	foreign foreignLog
	hinted  atomic.Int64 // when another epoch's message last made this node look for it, Unix nanoseconds
	count   counters
	damage  sync.Once     // says that the store is damaged
	serving chan struct{} // one token for each request being answered

	lock    *folderLock
	wal     *wal // nil on a node that is no validator and never was one
	replica *consensus.Replica
	tree    *tree

	// What follows belongs to the owner.
	own       *consensus.Verifier // of the present term
	stores    []*consensus.Block  // not yet in the log
	save      *consensus.SafetyData
	later     *consensus.SafetyData // of a later epoch than the chain is in; see newReplica
	sends     []consensus.Outgoing
	commits   []*consensus.Commit
	pace      pace
	propose   *consensus.ProposeRequest
	waiting   map[consensus.BlockID][]offer // proposals by their missing parent
	waitCount int
	early     []offer // proposals whose time has not come
	outlined  *outlined
	proposed  time.Time // when this node made its last proposal
	blame     map[*consensus.Vote]sign.PublicKey
	sinceSync int // blocks put in the store since its last sync
	needs     chan need
	synced    chan fetched
	closed    bool
}

// Bounds of what the owner holds back.
const (
	maxWaiting  = 64
	maxEarly    = 16
	maxBlame    = 4096
	maxServing  = 8
	syncEvery   = 256 // blocks: the store is synced at least that often, so that the log stays short
	maxUnlogged = 1 << 20
)

// New opens the data folder and recovers: it commits again what the application has not kept, and executes again the
// uncommitted blocks of the log. The folder is this driver's until Run returns, or until Close if Run is never called.
func New(cfg Config) (*Driver, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	genesis, err := cfg.Genesis.Block(cfg.GenesisStateRoot)
	if err != nil {
		return nil, err
	}
	d := &Driver{
		cfg: cfg, chain: cfg.Genesis.ChainID(), genesis: genesis, seen: newSeen(seenPerGeneration),
		checks: newChecker(cfg.Check), recent: newRecent(), gather: &gather{}, fresh: make(chan struct{}, 1), wanted: make(chan *gathering, maxFetches),
		waiting: map[consensus.BlockID][]offer{},
		blame:   map[*consensus.Vote]sign.PublicKey{}, needs: make(chan need, 1), synced: make(chan fetched),
		serving: make(chan struct{}, maxServing),
	}
	d.batches = newBatches(d.recent)
	d.count.init()
	d.inbox = newInbox(func() { d.count.dropped.Add(1) })
	if !cfg.Key.IsZero() {
		d.self = cfg.Key.Public()
	}
	if d.lock, err = lockFolder(cfg.Dir); err != nil {
		return nil, err
	}
	if err := d.recover(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Close gives the data folder back. Run calls it; calling it again does nothing.
func (d *Driver) Close() {
	if d.closed {
		return
	}
	d.closed = true
	if d.wal != nil {
		d.wal.close()
	}
	d.lock.release()
}

// Run drives the replica until ctx ends (nil) or the node must stop: the log or the store cannot be written, the
// application fails, or an invariant is broken. Everything that it started has ended when it returns. Call it once.
func (d *Driver) Run(ctx context.Context) error {
	defer d.Close()
	ctx, cancel := context.WithCancel(ctx)
	s, err := newSyncer(d)
	if err != nil {
		cancel()
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.run(ctx) })
	wg.Go(func() { d.spread(ctx) })
	wg.Go(func() { d.fetcher(ctx) })
	err = d.loop(ctx)
	cancel()
	wg.Wait()
	if e := d.cfg.Store.Sync(); err == nil && e != nil {
		err = fmt.Errorf("chain store: %w", e)
	}
	return err
}

func (d *Driver) loop(ctx context.Context) error {
	out, err := d.replica.Start()
	if err != nil {
		return fmt.Errorf("start consensus: %w", err)
	}
	d.absorb(out)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if err := d.settle(); err != nil {
			return err
		}
		d.count.recovered.Store(true)
		timer.Reset(d.pace.wait(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case <-d.inbox.wake:
			for n := 0; n < 64; n++ { // then settle: promises made in a burst share one sync
				it, ok := d.inbox.take()
				if !ok {
					break
				}
				if err := d.handle(it); err != nil {
					return err
				}
				if d.propose != nil || len(d.commits) > 0 {
					d.inbox.poke()
					break
				}
				if n == 63 {
					d.inbox.poke()
				}
			}
		case <-d.cfg.Mempool.NotEmpty():
		case b := <-d.synced:
			err := d.ownVoice(b)
			if err == nil {
				err = d.takeBatch(b)
			}
			if err == nil {
				err = d.settle()
			}
			close(b.done)
			if err != nil {
				return err
			}
		case <-timer.C:
		}
		if err := d.tick(); err != nil {
			return err
		}
	}
}

// tick does what the time asks for.
func (d *Driver) tick() error {
	now := time.Now()
	if v, ok := d.pace.expired(now); ok {
		d.count.timeouts.Add(1)
		if err := d.step(consensus.TimerExpired{View: v}); err != nil {
			return err
		}
		d.repeatTxs()
		if d.pace.fails > 0 && d.pace.fails%2 == 0 {
			d.kick(need{}) // perhaps the others are elsewhere
		}
	}
	early := d.early
	d.early, d.pace.early = nil, time.Time{}
	for _, p := range early {
		if err := d.onProposal(p); err != nil {
			return err
		}
	}
	return nil
}

// settle brings the step's consequences out into the world: builds a block if it is time, makes promises durable, sends,
// and commits. It builds one block at most and asks to be called again if another is due: a validator that is a quorum
// by itself is asked for the next block as soon as it has made one, and must commit and listen in between.
func (d *Driver) settle() error {
	crowd := d.crowd()
	d.pace.load(d.load(crowd))
	d.pace.work(d.hasWork(), time.Now())
	if err := d.tryPropose(crowd); err != nil {
		return err
	}
	if err := d.flush(); err != nil {
		return err
	}
	if err := d.applyCommits(); err != nil {
		return err
	}
	has := d.hasWork()
	now := time.Now()
	d.pace.work(has, now)
	switch {
	case d.propose == nil:
	case d.pace.mayPropose(has, d.full(d.crowd()), now):
		d.inbox.poke()
	case has:
		d.pace.soon(d.pace.entered.Add(d.pace.gather))
	}
	return nil
}

// full reports whether enough transactions wait for a block of their own.
func (d *Driver) full(crowd int) bool { return crowd >= int(d.cfg.Genesis.MaxTxsPerBlock) }

// hasWork reports whether the next block should come at once.
func (d *Driver) hasWork() bool {
	if d.replica.HasWork() || d.cfg.Mempool.Len() > 0 || d.batches.foreign() > 0 {
		return true
	}
	tip := d.tip()
	n := d.tree.get(tip)
	return n != nil && n.block.Header.Trails() || d.cfg.App.HasWork(tip, d.nowMs())
}

// tip is the block that the next one will probably extend.
func (d *Driver) tip() consensus.BlockID {
	if d.propose != nil {
		return d.propose.Parent.ID()
	}
	if id := d.replica.Certificates().QC.Data.Block; d.tree.get(id) != nil {
		return id
	}
	return d.tree.headID()
}

func (d *Driver) nowMs() uint64 { return uint64(max(0, d.cfg.Now().UnixMilli())) }

// step feeds the replica. Refused input is dropped here; ErrUnknownParent is the caller's to see.
func (d *Driver) step(in consensus.Input) error {
	out, err := d.replica.Step(in)
	if err == nil || errors.Is(err, consensus.ErrRefused) || errors.Is(err, consensus.ErrUnknownParent) || errors.Is(err, consensus.ErrStale) {
		d.absorb(out)
	}
	switch {
	case err == nil || errors.Is(err, consensus.ErrUnknownParent) || errors.Is(err, consensus.ErrStale):
		return nil
	case errors.Is(err, consensus.ErrRefused):
		d.count.refused.Add(1)
		d.cfg.Log.Debug("consensus input refused", "reason", err)
		return nil
	}
	return fmt.Errorf("consensus stopped in view %d: %w", d.replica.View(), err)
}

// absorb collects what an output asks for; settle does it.
func (d *Driver) absorb(out consensus.Output) {
	d.stores = append(d.stores, out.Store...)
	if out.Save != nil {
		d.save = out.Save
	}
	d.sends = append(d.sends, out.Send...)
	if out.Commit != nil {
		d.commits = append(d.commits, out.Commit)
	}
	if e := out.Enter; e != nil {
		if e.Reason == consensus.EnterByQC && !d.proposed.IsZero() {
			d.count.roundTrip.observe(time.Since(d.proposed).Seconds())
		}
		d.propose, d.proposed = nil, time.Time{}
		clear(d.blame)
		d.count.view.Store(uint64(e.View))
		d.pace.enter(e, time.Now())
	}
	if out.Propose != nil {
		d.propose = out.Propose
	}
	for _, n := range out.Need {
		d.kick(need{id: n.Block})
	}
	d.accuse(out.Evidence)
	for _, v := range out.BadVotes {
		if from, ok := d.blame[v]; ok {
			d.cfg.Penalise(from, fmt.Sprintf("vote of view %d with a false signature", v.Data.View))
		}
	}
}

// accuse tells of evidence.
func (d *Driver) accuse(list []consensus.Evidence) {
	for _, e := range list {
		d.cfg.Log.Error("a validator broke the protocol", "kind", string(e.Kind), "validator", e.Key.Short(), "view", uint64(e.View))
		if d.cfg.OnEvidence != nil {
			d.cfg.OnEvidence(e)
		}
	}
}

// handle steps one verified message.
func (d *Driver) handle(it item) error {
	if err := d.ownVoice(it.msg); err != nil {
		return err
	}
	switch m := it.msg.(type) {
	case offer:
		return d.onProposal(m)
	case *gathering:
		return d.handleOutline(m)
	case heldVote:
		if len(d.blame) < maxBlame {
			d.blame[m.vote.Vote()] = m.from
		}
		return d.step(m.vote)
	case consensus.VerifiedTimeout:
		return d.step(m)
	case []consensus.Input:
		for _, in := range m {
			if err := d.step(in); err != nil {
				return err
			}
		}
	case announced:
		if m.height > d.tree.height()+rangeFrom {
			d.kick(need{ahead: true})
		}
		return d.step(m.qc)
	}
	return nil
}
