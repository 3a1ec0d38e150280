package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-datastore"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/receipt"
)

// ledger is ENC behind consensus: it executes blocks on forks of the state, keeps the forks of blocks that are not
// decided, and makes what a committed block changed durable. It implements driver.App.
type ledger struct {
	chain       digest.Digest
	genesisRoot digest.Digest // of the state at height 0
	db          datastore.Batching
	checked     checkedCommands

	mu    sync.Mutex
	forks map[consensus.BlockID]*executed
	tip   consensus.BlockID

	head   atomic.Pointer[head]
	base   atomic.Uint64 // see baseKey
	active atomic.Int64  // jobs of head that are not ended, at most maxActive: more make no difference to the pace
	// onTentative is shown the state after each block that is executed and not final, with the height and time of its
	// header only. It must not block. Set before the driver runs; nil: nobody.
	onTentative func(*head)

	watchMu sync.Mutex
	changed chan struct{} // closed and replaced at every commit
}

// head is the newest committed block and the state after it. It is immutable.
type head struct {
	id     consensus.BlockID
	header consensus.Header
	state  *enc.State // never executed on
}

// executed is a block's execution that may still be thrown away.
type executed struct {
	parent consensus.BlockID
	height consensus.Height
	timeMs uint64
	state  *enc.State
	events [][]byte
	spans  []span
}

// span says which of a block's events a transaction caused.
type span struct {
	command  digest.Digest
	from, to uint32
}

// openLedger loads the state that was last made durable, or makes the one of genesis.
func openLedger(ctx context.Context, db datastore.Batching, g *consensus.Genesis) (*ledger, *consensus.Block, error) {
	l := &ledger{chain: g.ChainID(), db: db, forks: map[consensus.BlockID]*executed{}, changed: make(chan struct{})}
	app, err := appGenesis(g)
	if err != nil {
		return nil, nil, err
	}
	first, err := enc.NewState(l.chain, app, g.Validators)
	if err != nil {
		return nil, nil, err
	}
	l.genesisRoot = first.Root()
	genesis, err := g.Block(l.genesisRoot)
	if err != nil {
		return nil, nil, err
	}
	if err := l.loadBase(ctx); err != nil {
		return nil, nil, err
	}
	h, err := l.load(ctx)
	if errors.Is(err, datastore.ErrNotFound) {
		h = &head{id: genesis.ID(), header: genesis.Header, state: first}
		err = l.persist(ctx, h, first, nil, nil)
	}
	if err != nil {
		return nil, nil, err
	}
	if h.header.ChainID != l.chain {
		return nil, nil, fmt.Errorf("the data folder belongs to chain %s, the genesis document to %s; use the matching one", h.header.ChainID.Short(), l.chain.Short())
	}
	l.head.Store(h)
	l.forks[h.id] = &executed{state: h.state}
	l.tip = h.id
	return l, genesis, nil
}

// appGenesis reads ENC's part of a genesis document.
func appGenesis(g *consensus.Genesis) (enc.Genesis, error) {
	var app enc.Genesis
	if err := canon.Unmarshal(g.App, &app); err != nil {
		return app, fmt.Errorf("read the application part of genesis: %w", err)
	}
	return app, nil
}

// genesisBlock is the block that a genesis document begins with.
func genesisBlock(g *consensus.Genesis, app enc.Genesis) (*consensus.Block, error) {
	first, err := enc.NewState(g.ChainID(), app, g.Validators)
	if err != nil {
		return nil, err
	}
	return g.Block(first.Root())
}

// moveTo makes a state that came by snapshot, and is durable, the newest one. Forks of others are forgotten.
func (l *ledger) moveTo(h *head) {
	l.mu.Lock()
	clear(l.forks)
	l.forks[h.id] = &executed{state: h.state}
	l.tip = h.id
	l.mu.Unlock()
	l.base.Store(uint64(h.header.Height) + 1)
	l.show(h)
}

// show makes a head what readers see.
func (l *ledger) show(h *head) {
	l.head.Store(h)
	l.active.Store(int64(h.state.Active(maxActive)))
	l.watchMu.Lock()
	close(l.changed)
	l.changed = make(chan struct{})
	l.watchMu.Unlock()
}

// Height is the last height whose effects are durable.
func (l *ledger) Height() consensus.Height { return l.head.Load().header.Height }

// Execute runs transactions on the state after their block's parent.
func (l *ledger) Execute(at driver.BlockContext, txs [][]byte) (driver.Execution, error) {
	l.mu.Lock()
	parent, ok := l.forks[at.Parent]
	l.mu.Unlock()
	if !ok {
		return driver.Execution{}, fmt.Errorf("execute block %d: the state after its parent %s is not at hand", at.Height, at.Parent.Short())
	}
	ctx := enc.BlockContext{Height: uint64(at.Height), TimestampMs: at.TimestampMs, Parent: at.Parent}
	e := &executed{parent: at.Parent, height: at.Height, timeMs: at.TimestampMs, state: parent.state.Fork()}
	events, err := e.state.Begin(ctx)
	if err != nil {
		return driver.Execution{}, fmt.Errorf("begin block %d: %w", at.Height, err)
	}
	e.add(events)
	for _, tx := range txs {
		from := uint32(len(e.events))
		id, events, err := l.apply(e.state, ctx, tx)
		if err != nil {
			return driver.Execution{}, fmt.Errorf("execute block %d: %w", at.Height, err)
		}
		e.add(events)
		e.spans = append(e.spans, span{id, from, uint32(len(e.events))})
	}
	return driver.Execution{StateRoot: e.state.Root(), EventRoot: merkle.Root(e.events), Handle: e, Next: e.state.NextValidators()}, nil
}

// apply executes one transaction and names it: by its command id, or by its bytes if it is no command.
func (l *ledger) apply(s *enc.State, at enc.BlockContext, tx []byte) (digest.Digest, []receipt.Event, error) {
	cmd, err := l.checked.command(tx)
	if err != nil {
		events, err := s.ApplyTx(at, tx)
		return digest.Of(tx), events, err
	}
	events, err := s.Apply(at, cmd)
	return cmd.ID(), events, err
}

func (e *executed) add(events []receipt.Event) {
	for i := range events {
		e.events = append(e.events, events[i].Encode())
	}
}

// Keep remembers an execution under its block's id.
func (l *ledger) Keep(id consensus.BlockID, handle any) {
	e := handle.(*executed)
	l.mu.Lock()
	l.forks[id] = e
	l.mu.Unlock()
	if l.onTentative != nil {
		l.onTentative(&head{id: id, header: consensus.Header{Height: e.height, TimestampMs: e.timeMs}, state: e.state})
	}
}

// Drop forgets a block that lost.
func (l *ledger) Drop(id consensus.BlockID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id != l.tip {
		delete(l.forks, id)
	}
}

// HasWork reports whether the chain should go on at once although no transaction waits: the state wants another block,
// or something happened in a block that is not final yet, and only further blocks make it so.
func (l *ledger) HasWork(id consensus.BlockID, nowMs uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.forks[id]
	if e == nil {
		return false
	}
	if e.state.HasWork(nowMs) {
		return true
	}
	for at := id; at != l.tip && e != nil; e = l.forks[at] {
		if len(e.events) > 0 {
			return true
		}
		at = e.parent
	}
	return false
}

// Commit makes the effects of the next block durable, in the order and by the journal of the store (the chain store in
// the same database is written before), and shows them to readers.
func (l *ledger) Commit(b *consensus.Block, _ *consensus.Finality) error {
	id := b.ID()
	old := l.head.Load()
	if b.Header.Height <= old.header.Height {
		return nil // before a restart
	}
	l.mu.Lock()
	e := l.forks[id]
	l.mu.Unlock()
	if e == nil || b.Header.Height != old.header.Height+1 {
		return fmt.Errorf("commit block %d (%s) on %d: it was not executed here", b.Header.Height, id.Short(), old.header.Height)
	}
	h := &head{id: id, header: b.Header, state: e.state}
	if err := l.persist(context.Background(), h, e.state, e.events, e.spans); err != nil {
		return err
	}
	// Children fork from this state; a later Changes of theirs begins here.
	l.mu.Lock()
	delete(l.forks, l.tip)
	l.tip = id
	l.mu.Unlock()
	l.show(h)
	return nil
}

// maxActive bounds what Load counts.
const maxActive = 32

// Load is how many jobs will bring commands soon, for the pace of blocks.
func (l *ledger) Load() int { return int(l.active.Load()) }

// nowMs is what agreed time would be if a block were made now: this machine's clock, but never below the last block's.
func (l *ledger) nowMs() uint64 {
	return max(uint64(time.Now().UnixMilli()), l.head.Load().header.TimestampMs)
}

// watch gives the newest head and a channel that closes when there is a newer one.
func (l *ledger) watch() (*head, <-chan struct{}) {
	l.watchMu.Lock()
	defer l.watchMu.Unlock()
	return l.head.Load(), l.changed
}
