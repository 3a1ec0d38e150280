package sim

import (
	"errors"
	"fmt"
	"sort"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// maxOrphans bounds the proposals that wait for their parents.
const maxOrphans = 64

// play is what the nodes of one run share.
type play struct {
	*cast
	stage    stage
	nodes    []*node
	referee  *referee
	trace    *trace
	schedule func(consensus.View) int // consensus.Config.Schedule
	paceMs   uint64                   // how long a leader takes to build a block
	timerMs  uint64                   // of a view after none failed; 0: the stage makes timers run out

	crashes  int
	evidence int
	heldBack int            // proposals kept because their time was too far ahead of a clock
	views    consensus.View // highest entered
	reached  consensus.Epoch
}

// stage is the world around the nodes: the timed network of Run, or the rounds of a Twins scenario.
type stage interface {
	// carry hands something of a view over to another node: later, twice, or never.
	carry(from, to *node, view consensus.View, do func() error)
	// after calls do when n's clock has gone on by ms.
	after(n *node, ms uint64, do func() error)
	// clock is n's clock in milliseconds.
	clock(n *node) uint64
	// fate says whether n crashes at the save that it is about to make, and where. Such a node is down until the stage
	// boots it.
	fate(n *node) fate
	// sources are the nodes that n asks for a block.
	sources(n *node) []*node
}

// fate is where a crash strikes: the places where it hurts most.
type fate int

const (
	lives            fate = iota
	diesBeforeSave        // nothing of the step is remembered or said
	diesBeforeSend        // remembered, not said
	diesAfterSending      // remembered and said
)

// node is a shell around a replica: what a driver does, without goroutines. Its disk survives crashes.
type node struct {
	*play
	id  int
	key sign.PrivateKey

	// disk
	safety consensus.SafetyData
	blocks map[consensus.BlockID]*consensus.Block // stored, uncommitted
	final  []*consensus.Block                     // committed, by height; genesis first
	proof  *consensus.Finality                    // of the last committed, nil for genesis

	handovers map[consensus.Height]*consensus.Finality // the proofs of the closing blocks

	// memory; replica is nil while down
	replica *consensus.Replica
	life    int // counts restarts, so that what an earlier life began is dropped
	orphans map[consensus.BlockID]consensus.VerifiedProposal
	fetched map[consensus.BlockID]consensus.VerifiedBlock
	highQC  consensus.View // of the highest certificate of this life that the referee has seen here
	lost    bool           // has heard of a later epoch, and asked
	expired int            // timers that ran out in this life
}

func (p *play) join(key sign.PrivateKey) *node {
	n := &node{
		play: p, id: len(p.nodes), key: key, safety: consensus.FreshSafety(p.root),
		blocks: make(map[consensus.BlockID]*consensus.Block), final: []*consensus.Block{p.root},
		handovers: make(map[consensus.Height]*consensus.Finality),
	}
	p.nodes = append(p.nodes, n)
	return n
}

func (n *node) height() consensus.Height { return consensus.Height(len(n.final) - 1) }

// boot starts the node from its disk.
func (n *node) boot() error {
	s, err := consensus.DecodeSafety(n.safety.Encode())
	if err != nil {
		return violation("node %d cannot read its safety data: %w", n.id, err)
	}
	rec := consensus.Recovery{Safety: *s, Root: n.head(), RootQC: consensus.RootQC(n.head())}
	if n.proof != nil && !n.head().Header.Closes() {
		rec.RootQC = n.proof.QC
	}
	switch {
	case s.Epoch > n.epoch():
		return violation("node %d has signed in epoch %d and is in %d", n.id, s.Epoch, n.epoch())
	case s.Epoch < n.epoch(): // it has signed nothing in this one
		rec.Safety = consensus.FreshSafety(n.rootOfEpoch())
	}
	for _, b := range n.final[:len(n.final)-1] {
		rec.Recent = append(rec.Recent, b.Header)
	}
	for _, b := range n.blocks {
		rec.Blocks = append(rec.Blocks, b)
	}
	sort.Slice(rec.Blocks, func(i, j int) bool { return rec.Blocks[i].ID().Compare(rec.Blocks[j].ID()) < 0 })
	n.orphans = make(map[consensus.BlockID]consensus.VerifiedProposal)
	n.fetched = make(map[consensus.BlockID]consensus.VerifiedBlock)
	n.life++
	n.highQC, n.lost, n.expired = 0, false, 0
	n.trace.note(traceBoot, n.id, uint64(n.life), digest.Digest{})
	n.replica, err = consensus.New(consensus.Config{Key: n.key, Verifier: n.verifier(), Schedule: n.schedule}, rec)
	if err != nil {
		return err
	}
	out, err := n.replica.Start()
	if err != nil {
		return violation("node %d does not start from what it kept: %w", n.id, err)
	}
	return n.obey(out)
}

// step feeds the replica and does what it says. A refusal is no failure of the run: twins and delays bring them about.
func (n *node) step(in consensus.Input) error {
	if n.replica == nil {
		return nil
	}
	out, err := n.replica.Step(in)
	if err != nil && !errors.Is(err, consensus.ErrRefused) && !errors.Is(err, consensus.ErrUnknownParent) {
		return violation("node %d: %w", n.id, err)
	}
	return n.obey(out)
}

// expire tells the replica that its timer has run out.
func (n *node) expire() error {
	if n.replica == nil {
		return nil
	}
	n.lost = false
	n.askAround()
	v := n.replica.View()
	n.trace.note(traceTimer, n.id, uint64(v), digest.Digest{})
	return n.step(consensus.TimerExpired{View: v})
}

// obey does what an Output says, in its order, unless the node dies on the way.
func (n *node) obey(out consensus.Output) error {
	n.evidence += len(out.Evidence)
	for _, e := range out.Evidence {
		if err := n.referee.accused(e); err != nil {
			return err
		}
	}
	if len(out.BadVotes) > 0 {
		return violation("an honest vote was found bad")
	}
	end := lives
	if out.Save != nil {
		end = n.stage.fate(n)
	}
	if end == diesBeforeSave {
		return n.die()
	}
	for _, b := range out.Store {
		n.blocks[b.ID()] = b
	}
	if out.Save != nil {
		n.safety = *out.Save
	}
	if end == diesBeforeSend {
		return n.die()
	}
	for _, o := range out.Send {
		if err := n.send(o); err != nil {
			return err
		}
	}
	if out.Commit != nil {
		if err := n.commit(out.Commit); err != nil {
			return err
		}
	}
	if end == diesAfterSending {
		return n.die()
	}
	if n.replica.Closed() {
		return n.succeed()
	}
	if qc := &n.replica.Certificates().QC; qc.Data.View > n.highQC {
		n.highQC = qc.Data.View
		if err := n.referee.certificate(qc); err != nil {
			return err
		}
	}
	if out.Enter != nil {
		n.views = max(n.views, out.Enter.View)
		n.trace.note(traceEnter, n.id, uint64(out.Enter.View), digest.Digest{})
		if n.timerMs > 0 {
			n.arm(out.Enter.View, n.timerMs<<min(out.Enter.Timeouts, 3))
		}
	}
	if q := out.Propose; q != nil {
		life := n.life
		n.stage.after(n, n.paceMs, func() error {
			if n.life != life {
				return nil
			}
			return n.step(consensus.OwnBlock{Block: n.build(q)})
		})
	}
	for _, need := range out.Need {
		n.fetch(need)
	}
	return n.adopt()
}

func (n *node) arm(v consensus.View, ms uint64) {
	life := n.life
	n.stage.after(n, ms, func() error {
		if n.life != life || n.replica == nil || n.replica.View() != v {
			return nil
		}
		n.arm(v, ms)
		return n.expire()
	})
}

func (n *node) die() error {
	n.replica = nil
	n.crashes++
	n.trace.note(traceCrash, n.id, uint64(n.life), digest.Digest{})
	return nil
}

// build makes the block that was asked for; executing it is hashing it. Twins, and a node in its next life, build others.
func (n *node) build(q *consensus.ProposeRequest) *consensus.Block {
	txs := [][]byte{}
	for i := range (n.id + int(q.View)) % 3 {
		txs = append(txs, fmt.Appendf(nil, "transaction %d of view %d by node %d in life %d", i, q.View, n.id, n.life))
	}
	if q.Closing(n.verifier()) {
		h := q.Trailing(n.verifier(), n.key.Public())
		h.TimestampMs = max(q.Parent.Header.TimestampMs+1, n.stage.clock(n))
		return &consensus.Block{Header: h, Justify: q.Justify, Txs: [][]byte{}}
	}
	h := q.Header(n.verifier(), n.key.Public())
	h.TimestampMs = max(q.Parent.Header.TimestampMs+1, n.stage.clock(n))
	h.TxRoot = merkle.Root(txs)
	h.EventRoot = digest.Sum("sim/built", []byte(fmt.Sprint(n.id, n.life)))
	h.StateRoot = execute(q.Parent, txs)
	if next, err := n.follows(h.Height, h.Epoch); err == nil { // else no set, which propose finds
		h.NextVals = next
	}
	return &consensus.Block{Header: h, Justify: q.Justify, Txs: txs}
}

func execute(parent *consensus.Block, txs [][]byte) digest.Digest {
	return digest.Sum("sim/state", append([][]byte{parent.Header.StateRoot[:]}, txs...)...)
}

// send shows a message to the referee and hands it to the network.
func (n *node) send(o consensus.Outgoing) error {
	content := digest.Of(consensus.EncodeMessage(o.Message))
	n.trace.note(traceSend, n.id, uint64(consensus.KindOf(o.Message)), content)
	if err := n.referee.sent(n.key.Public(), o.Message, content); err != nil {
		return err
	}
	view := n.replica.View()
	switch m := o.Message.(type) {
	case *consensus.Vote:
		view = m.Data.View
	case *consensus.Timeout:
		view = m.Data.View
	case *consensus.Proposal:
		view = m.Block.Header.View
	}
	for _, to := range n.nodes {
		if to == n || !o.To.IsZero() && o.To != to.key.Public() {
			continue
		}
		n.stage.carry(n, to, view, func() error {
			n.trace.note(traceReceive, to.id, uint64(n.id), content)
			return to.receive(o.Message)
		})
	}
	return nil
}

// receive verifies and steps a message. Everything on this network is honestly made, so a refusal by the Verifier is a
// fault of the code.
func (n *node) receive(m consensus.Message) error {
	if e := epochOf(m); e != n.epoch() {
		n.elsewhere(e)
		return nil
	}
	v := n.verifier()
	var in []consensus.Input
	var err error
	switch m := m.(type) {
	case *consensus.Vote:
		var x consensus.CheckedVote
		x, err = v.Vote(m)
		in = []consensus.Input{x}
	case *consensus.Timeout:
		var x consensus.VerifiedTimeout
		x, err = v.Timeout(m)
		in = []consensus.Input{x}
	case *consensus.Certificates:
		in, err = v.Certificates(m)
	case *consensus.Proposal:
		var x consensus.VerifiedProposal
		x, err = v.Proposal(m)
		if err == nil {
			return n.propose(x)
		}
	}
	if err != nil {
		return violation("an honest message was refused: %w", err)
	}
	for _, i := range in {
		if err := n.step(i); err != nil {
			return err
		}
	}
	return nil
}

// propose takes a proposal as a driver does. One that is too far ahead of this node's clock waits.
func (n *node) propose(p consensus.VerifiedProposal) error {
	if n.replica == nil || p.Block().Header.Epoch != n.epoch() {
		return nil
	}
	limit := n.stage.clock(n) + n.genesis.MaxTimestampAhead
	if t := p.Block().Header.TimestampMs; t > limit {
		n.heldBack++
		life := n.life
		n.stage.after(n, t-limit, func() error {
			if n.life != life {
				return nil
			}
			return n.propose(p)
		})
		return nil
	}
	err := n.replica.Check(p)
	switch {
	case err == nil:
		h := &p.Block().Header
		if h.Trails() {
			return n.step(p)
		}
		if h.StateRoot != execute(n.replica.Block(h.Parent), p.Block().Txs) {
			return violation("wrong state root")
		}
		if next, err := n.follows(h.Height, h.Epoch); err != nil || h.NextVals != next {
			return violation("wrong next validators at height %d: %v", h.Height, err)
		}
		return n.step(p)
	case errors.Is(err, consensus.ErrUnknownParent):
		if len(n.orphans) < maxOrphans {
			n.orphans[p.ID()] = p
		}
		for _, c := range p.Certificates() {
			if err := n.step(c); err != nil {
				return err
			}
		}
	case errors.Is(err, consensus.ErrRefused) && n.referee.twins == 0:
		return violation("an honest proposal was refused: %w", err)
	}
	return nil
}
