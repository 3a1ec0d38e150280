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

// node is a shell around a replica: what a driver does, without goroutines. Its disk survives crashes.
type node struct {
	w      *world
	id     int
	key    sign.PrivateKey
	honest bool // its key is no twin's

	// disk
	safety    []byte
	blocks    map[consensus.BlockID]*consensus.Block // stored, uncommitted
	committed []*consensus.Block                     // by height; genesis first
	proof     *consensus.Finality                    // of the last committed, nil for genesis

	// memory; replica is nil while down
	replica *consensus.Replica
	life    int // counts restarts, so that what an earlier life began is dropped
	orphans map[consensus.BlockID]consensus.VerifiedProposal
	fetched map[consensus.BlockID]consensus.VerifiedBlock
}

func newNode(w *world, id int, key sign.PrivateKey, honest bool) *node {
	s := consensus.FreshSafety(w.root)
	return &node{
		w: w, id: id, key: key, honest: honest, safety: s.Encode(),
		blocks: make(map[consensus.BlockID]*consensus.Block), committed: []*consensus.Block{w.root},
	}
}

func (n *node) height() consensus.Height { return consensus.Height(len(n.committed) - 1) }

// boot starts the node from its disk.
func (n *node) boot() error {
	s, err := consensus.DecodeSafety(n.safety)
	if err != nil {
		return err
	}
	rec := consensus.Recovery{Safety: *s, Root: n.committed[len(n.committed)-1], RootQC: consensus.GenesisQC(n.w.root)}
	if n.proof != nil {
		rec.RootQC = n.proof.QC
	}
	for _, b := range n.committed[:len(n.committed)-1] {
		rec.Recent = append(rec.Recent, b.Header)
	}
	for _, b := range n.blocks {
		rec.Blocks = append(rec.Blocks, b)
	}
	sort.Slice(rec.Blocks, func(i, j int) bool { return rec.Blocks[i].ID().Compare(rec.Blocks[j].ID()) < 0 })
	n.orphans = make(map[consensus.BlockID]consensus.VerifiedProposal)
	n.fetched = make(map[consensus.BlockID]consensus.VerifiedBlock)
	n.life++
	if n.replica, err = consensus.New(consensus.Config{Key: n.key, Verifier: n.w.verifier}, rec); err != nil {
		return err
	}
	out, err := n.replica.Start()
	if err != nil {
		return err
	}
	return n.obey(out)
}

func (n *node) crash() {
	n.replica = nil
	n.w.report.Crashes++
	n.w.after(1+n.w.rng.Uint64N(n.w.cfg.DownMs), n.boot)
}

// step feeds the replica and does what it says. A refusal is no failure of the run: twins and delays bring them about.
func (n *node) step(in consensus.Input) error {
	if n.replica == nil {
		return nil
	}
	out, err := n.replica.Step(in)
	if err != nil && !errors.Is(err, consensus.ErrRefused) && !errors.Is(err, consensus.ErrUnknownParent) {
		return fmt.Errorf("%w: node %d: %w", ErrViolation, n.id, err)
	}
	return n.obey(out)
}

// obey does what an Output says, in its order, and crashes at the two places where that hurts most.
func (n *node) obey(out consensus.Output) error {
	w := n.w
	w.report.Evidence += len(out.Evidence)
	for _, e := range out.Evidence {
		if i, ok := w.verifier.Set().Index(e.Key); !ok || i >= w.cfg.Twins {
			return fmt.Errorf("%w: evidence of %s against honest validator %d in view %d", ErrViolation, e.Kind, i, e.View)
		}
	}
	if len(out.BadVotes) > 0 {
		return fmt.Errorf("%w: an honest vote was found bad", ErrViolation)
	}
	risky := out.Save != nil && w.bad() && w.rng.Float64() < w.cfg.Crash
	if risky && w.rng.IntN(2) == 0 {
		n.crash()
		return nil
	}
	for _, b := range out.Store {
		n.blocks[b.ID()] = b
	}
	if out.Save != nil {
		n.safety = out.Save.Encode()
		if len(n.safety) > consensus.MaxSafetyBytes {
			return fmt.Errorf("%w: safety data of %d bytes", ErrViolation, len(n.safety))
		}
	}
	if risky && w.rng.IntN(2) == 0 {
		n.crash()
		return nil
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
	if risky {
		n.crash()
		return nil
	}
	if out.Enter != nil {
		w.report.Views = max(w.report.Views, out.Enter.View)
		n.arm(out.Enter.View, w.timeout(out.Enter.Timeouts))
	}
	if q := out.Propose; q != nil {
		life := n.life
		w.after(1, func() error {
			if n.life != life {
				return nil
			}
			return n.step(consensus.OwnBlock{Block: n.build(q)})
		})
	}
	for _, need := range out.Need {
		n.fetch(need.Block)
	}
	return n.adopt()
}

func (w *world) timeout(failed uint64) uint64 {
	return w.cfg.TimeoutMs << min(failed, 3)
}

func (n *node) arm(v consensus.View, d uint64) {
	life := n.life
	n.w.after(d, func() error {
		if n.life != life || n.replica == nil || n.replica.View() != v {
			return nil
		}
		n.arm(v, d)
		return n.step(consensus.TimerExpired{View: v})
	})
}

// build makes the block that was asked for; executing it is hashing it.
func (n *node) build(q *consensus.ProposeRequest) *consensus.Block {
	txs := [][]byte{}
	for range n.w.rng.IntN(3) {
		txs = append(txs, fmt.Appendf(nil, "tx %d", n.w.rng.Uint64()))
	}
	h := q.Header(n.w.verifier, n.key.Public())
	h.TimestampMs = max(q.Parent.Header.TimestampMs+1, n.w.now)
	h.TxRoot = merkle.Root(txs)
	h.EventRoot = merkle.Root(nil)
	h.StateRoot = execute(q.Parent, txs)
	return &consensus.Block{Header: h, Justify: q.Justify, Txs: txs}
}

func execute(parent *consensus.Block, txs [][]byte) digest.Digest {
	return digest.Sum("sim/state", append([][]byte{parent.Header.StateRoot[:]}, txs...)...)
}

// send checks that an honest key never signs two different things where one is allowed, and hands the message to the
// network.
func (n *node) send(o consensus.Outgoing) error {
	w := n.w
	raw := consensus.EncodeMessage(o.Message)
	w.report.Digest = digest.Sum("sim/sent", w.report.Digest[:], []byte{byte(n.id)}, raw)
	var view consensus.View
	content := digest.Of(raw)
	switch m := o.Message.(type) {
	case *consensus.Vote:
		view = m.Data.View
	case *consensus.Timeout:
		view = m.Data.View
	case *consensus.Proposal:
		view, content = m.Block.Header.View, m.Block.ID()
	}
	if view != 0 && n.honest {
		p := promise{n.key.Public(), consensus.KindOf(o.Message), view}
		if had, ok := w.signed[p]; ok && had != content {
			return fmt.Errorf("%w: validator %d signed two messages of kind %d in view %d", ErrViolation, n.id, p.kind, view)
		}
		w.signed[p] = content
	}
	for _, to := range w.nodes {
		if to == n || !o.To.IsZero() && o.To != to.key.Public() {
			continue
		}
		w.deliver(n, to, func() error { return to.receive(o.Message) })
	}
	return nil
}

// receive verifies and steps a message. Everything on this network is honestly made, so a refusal by the Verifier is a
// fault of the code.
func (n *node) receive(m consensus.Message) error {
	v := n.w.verifier
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
		return fmt.Errorf("%w: an honest message was refused: %w", ErrViolation, err)
	}
	for _, i := range in {
		if err := n.step(i); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) propose(p consensus.VerifiedProposal) error {
	err := n.replica.Check(p)
	switch {
	case err == nil:
		if p.Block().Header.StateRoot != execute(n.replica.Block(p.Block().Header.Parent), p.Block().Txs) {
			return fmt.Errorf("%w: wrong state root", ErrViolation)
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
	case errors.Is(err, consensus.ErrRefused) && n.w.cfg.Twins == 0 && !errors.Is(err, consensus.ErrStale):
		return fmt.Errorf("%w: an honest proposal was refused: %w", ErrViolation, err)
	}
	return nil
}

// adopt steps what waited for a parent that is here now. Outputs of a step come back here, so it does one at a time.
func (n *node) adopt() error {
	if n.replica == nil {
		return nil
	}
	var ids []consensus.BlockID
	for id := range n.orphans {
		ids = append(ids, id)
	}
	for id := range n.fetched {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i].Compare(ids[j]) < 0 })
	for _, id := range ids {
		if b, ok := n.fetched[id]; ok && !errors.Is(n.replica.Check(b), consensus.ErrUnknownParent) {
			delete(n.fetched, id)
			return n.step(b)
		}
		if p, ok := n.orphans[id]; ok && !errors.Is(n.replica.Check(p), consensus.ErrUnknownParent) {
			delete(n.orphans, id)
			return n.step(p)
		}
	}
	return nil
}
