package driver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// rangeFrom is how many blocks behind a node fetches by height rather than by id.
const rangeFrom = 8

// need says what to fetch: a block by id, or, with the zero id, whatever is committed above the head.
type need struct {
	id    consensus.BlockID
	ahead bool // somebody is known to be far ahead
}

// kick asks the syncer to work. A newer need replaces one that it has not taken up, but for what is known of others.
func (d *Driver) kick(n need) {
	for {
		select {
		case d.needs <- n:
			return
		default:
		}
		select {
		case old := <-d.needs:
			n.ahead = n.ahead || old.ahead
		default:
		}
	}
}

// fetched is what the syncer brought: a chain proved final, blocks found by id, parents first, or a snapshot.
type fetched struct {
	snap   *snapshot.Snapshot
	chain  *consensus.VerifiedChain
	blocks []consensus.VerifiedBlock
	done   chan struct{} // closed by the owner
}

// takeBatch executes and steps fetched blocks. A certified block whose outcome differs here means that this node's
// state is not the network's: it must stop.
func (d *Driver) takeBatch(b fetched) error {
	if b.snap != nil {
		return d.takeSnapshot(b.snap)
	}
	if b.chain != nil {
		if b.chain.Blocks()[0].Header.Epoch != d.own.Epoch() {
			return nil // the epoch has ended meanwhile
		}
		for _, blk := range b.chain.Blocks() {
			if blk.Header.Height <= d.tree.height() {
				continue
			}
			if err := d.execute(blk, blk.ID(), idsOf(blk.Txs), nil); err != nil {
				if errors.Is(err, consensus.ErrUnknownParent) {
					return nil // the head has moved meanwhile
				}
				return err
			}
			d.count.fetched.Add(1)
		}
		if err := d.step(*b.chain); err != nil {
			return err
		}
		if err := d.settle(); err != nil {
			return err
		}
		return d.wakeChildren(d.tree.headID())
	}
	for _, v := range b.blocks {
		if d.tree.get(v.ID()) != nil {
			continue
		}
		switch err := d.replica.Check(v); {
		case errors.Is(err, consensus.ErrStale):
			continue
		case errors.Is(err, consensus.ErrUnknownParent), errors.Is(err, consensus.ErrRefused):
			return d.step(v) // for its certificate
		case err != nil:
			return err
		}
		if err := d.execute(v.Block(), v.ID(), idsOf(v.Block().Txs), nil); err != nil {
			return err
		}
		d.count.fetched.Add(1)
		if err := d.stepBlock(v, v.ID()); err != nil {
			return err
		}
		if err := d.settle(); err != nil {
			return err
		}
	}
	return nil
}

// syncer asks other nodes for blocks. It runs beside the owner and hands over what it has verified.
type syncer struct {
	d        *Driver
	verifier *consensus.Verifier
	joining  joining
}

func newSyncer(d *Driver) (*syncer, error) {
	s := &syncer{d: d}
	return s, s.follow()
}

// follow makes the verifier that of the present epoch.
func (s *syncer) follow() error {
	t := s.d.term.Load()
	if s.verifier != nil && s.verifier.Epoch() == t.epoch {
		return nil
	}
	v, err := s.d.verifierOf(t.handover)
	if err == nil {
		s.verifier = v
	}
	return err
}

// lie is an answer that does not verify: a lie, unless the epoch has ended while it came.
func (s *syncer) lie(err error) error {
	if s.verifier.Epoch() != s.d.term.Load().epoch {
		return fmt.Errorf("the epoch has ended meanwhile: %w", err)
	}
	return &lieError{err}
}

// run works off needs, and asks for what is new after a start, until those who answer have no more, whatever the log has
// brought back by then, and when nothing has come for a while: on a node that gossip does not reach.
func (s *syncer) run(ctx context.Context) {
	quiet := max(2*s.d.idle(), time.Second)
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	last, alone, pause := s.d.tree.height(), true, 100*time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-s.d.needs:
			s.satisfy(ctx, n) // whoever answers may know that block alone: what is final is yet to be asked for
		case <-timer.C:
			if h := s.d.tree.height(); h == last || alone {
				answered, more := s.satisfy(ctx, need{})
				alone = alone && (!answered || more)
			}
		}
		last = s.d.tree.height()
		switch {
		case s.joining.lonely(s.d):
			timer.Reset(snapshotFirst)
		case alone: // nobody is there yet, or whoever was asked may have been behind as well
			pause = min(2*pause, quiet)
			timer.Reset(pause)
		default:
			timer.Reset(quiet)
		}
	}
}

// satisfy asks one node after another until the need is met. It reports whether anybody answered, and whether it was met.
func (s *syncer) satisfy(ctx context.Context, n need) (answered, met bool) {
	if !s.joining.asked || n.ahead {
		s.join(ctx)
	}
	var gone *prunedError
	peers := s.d.cfg.Network.Peers()
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	for i, p := range peers {
		if ctx.Err() != nil || i == 8 {
			return answered, false
		}
		met, err := s.ask(ctx, p, n)
		answered = answered || err == nil || errors.As(err, &gone)
		var lie *lieError
		switch {
		case errors.As(err, &lie):
			s.d.cfg.Log.Warn("a node answered with what no honest node has", "node", p.Short(), "reason", lie.err)
			s.d.cfg.Penalise(p, lie.err.Error())
		case err != nil:
			s.d.cfg.Log.Debug("catch-up", "node", p.Short(), "reason", err)
		case met:
			s.joining.pruned = false
			return true, true
		}
	}
	if gone != nil { // there is more, and nobody who was asked has what comes next
		s.joinPruned(ctx, gone)
	}
	if !n.id.IsZero() && s.d.tree.get(n.id) == nil && len(peers) > 0 {
		// Nobody had it; a certified block is with two thirds of the validators, so it was a bad moment.
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
			select {
			case s.d.needs <- n:
			default: // something newer is wanted
			}
		}
	}
	return answered, false
}

// lieError is an answer that is provably not what was asked for.
type lieError struct{ err error }

func (e *lieError) Error() string { return e.err.Error() }

// prunedError says that a node does not keep the block that comes next here any more.
type prunedError struct{ next, base consensus.Height }

func (e *prunedError) Error() string {
	return fmt.Sprintf("block %d is not kept there: that node has blocks from %d on", e.next, e.base)
}

// ask tries one node. It reports whether the need is met.
func (s *syncer) ask(ctx context.Context, p sign.PublicKey, n need) (bool, error) {
	if n.id.IsZero() {
		return s.askRange(ctx, p)
	}
	if !n.ahead {
		linked, err := s.askBlocks(ctx, p, n.id)
		if err != nil || linked {
			return linked, err
		}
	}
	if _, err := s.askRange(ctx, p); err != nil {
		return false, err
	}
	return s.askBlocks(ctx, p, n.id)
}

// askRange follows p's committed chain to its end. It reports whether p had anything.
func (s *syncer) askRange(ctx context.Context, p sign.PublicKey) (bool, error) {
	found := false
	for ctx.Err() == nil {
		if err := s.follow(); err != nil {
			return found, err
		}
		from := s.d.tree.height() + 1
		a, err := s.request(ctx, p, KindRange, canon.Must(&rangeRequest{From: from}))
		if err == nil && a.base > from && !found {
			err = &prunedError{from, a.base}
		}
		blocks, proof := a.blocks, a.proof
		if err != nil || len(blocks) == 0 {
			return found, err
		}
		if proof == nil || blocks[0].Header.Height != from {
			return found, &lieError{fmt.Errorf("asked for blocks from %d: got them from %d, with proof: %t", from, blocks[0].Header.Height, proof != nil)}
		}
		chain, err := s.verifier.Chain(blocks, proof)
		if err != nil {
			return found, s.lie(err)
		}
		for _, b := range blocks { // on all cores, so that execution finds it done; what is not sound, execution refuses
			_, _, _ = s.d.checks.run(b.Txs, false)
		}
		if !s.hand(ctx, fetched{chain: &chain}) {
			return found, ctx.Err()
		}
		if s.d.tree.height() < from {
			return found, fmt.Errorf("blocks from %d do not link", from)
		}
		found = true
		if len(blocks) == maxAnswerBlocks { // a long way yet
			s.join(ctx)
		}
	}
	return found, ctx.Err()
}

// askBlocks asks p for a block and its ancestors down to the head. It reports whether they link to our tree.
func (s *syncer) askBlocks(ctx context.Context, p sign.PublicKey, id consensus.BlockID) (bool, error) {
	if err := s.follow(); err != nil {
		return false, err
	}
	var list []consensus.VerifiedBlock // nearest first
	want := id
	for round := 0; round < 4 && ctx.Err() == nil; round++ {
		head := s.d.tree.height()
		if s.d.tree.get(want) != nil {
			break
		}
		a, err := s.request(ctx, p, KindBlocks, canon.Must(&blocksRequest{Block: want, Above: head}))
		if err != nil {
			return false, err
		}
		if len(a.blocks) == 0 {
			return false, nil
		}
		for _, b := range a.blocks {
			v, err := s.verifier.Block(b, want)
			if err != nil {
				return false, s.lie(err)
			}
			list = append(list, v)
			want = b.Header.Parent
		}
		if list[len(list)-1].Block().Header.Height <= head+1 {
			break
		}
	}
	if len(list) > 0 && s.d.tree.get(list[len(list)-1].Block().Header.Parent) == nil {
		return false, nil // far behind, or on a branch that we do not have
	}
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	for _, b := range list {
		_, _, _ = s.d.checks.run(b.Block().Txs, false)
	}
	return len(list) == 0 || s.hand(ctx, fetched{blocks: list}), nil
}

func (s *syncer) request(ctx context.Context, p sign.PublicKey, kind Kind, req []byte) (a blocksAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.d.cfg.RequestWait)
	defer cancel()
	raw, err := s.d.cfg.Network.Request(ctx, p, kind, req)
	if err != nil {
		return a, err
	}
	if a, err = decodeAnswer(raw); err != nil {
		return a, &lieError{err}
	}
	return a, nil
}

// hand gives what was fetched to the owner and waits until it is dealt with.
func (s *syncer) hand(ctx context.Context, b fetched) bool {
	b.done = make(chan struct{})
	select {
	case <-ctx.Done():
		return false
	case s.d.synced <- b:
	}
	select {
	case <-ctx.Done():
		return false
	case <-b.done:
		return true
	}
}

func (d *Driver) idle() time.Duration {
	return time.Duration(d.cfg.Genesis.BlockTimeMs) * time.Millisecond
}
