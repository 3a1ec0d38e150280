package driver

import (
	"errors"
	"fmt"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// term is an epoch as this node sees it. It is immutable; the owner replaces it.
type term struct {
	epoch    consensus.Epoch
	set      *consensus.ValidatorSet
	handover *consensus.Handover               // that began it; nil for the first
	peerOf   map[sign.PublicKey]sign.PublicKey // validator key to node key
	others   []sign.PublicKey                  // node keys of the other validators, in set order
	member   bool                              // this node's key is in the set
	verifier *consensus.Verifier               // the replica's as well
}

// hintEvery bounds how often strangers' word of a later epoch makes this node look for it.
const hintEvery = 200 * time.Millisecond

// otherEpoch says that a message is of another epoch than this node's: nobody's fault.
type otherEpoch struct{ theirs, ours consensus.Epoch }

func (e *otherEpoch) Error() string {
	return fmt.Sprintf("message of epoch %d, this node is in epoch %d", e.theirs, e.ours)
}

// Epoch is the epoch of the block after the last committed one, and its validators. Safe for concurrent use.
func (d *Driver) Epoch() (consensus.Epoch, *consensus.ValidatorSet) {
	t := d.term.Load()
	return t.epoch, t.set
}

// Validates reports whether this node votes in the present epoch. Safe for concurrent use.
func (d *Driver) Validates() bool { return d.count.validates.Load() }

// verifierOf makes a verifier of the epoch that h begins; nil begins the first.
func (d *Driver) verifierOf(h *consensus.Handover) (*consensus.Verifier, error) {
	v, err := consensus.NewVerifier(d.cfg.Genesis, d.genesis.ID())
	if err != nil || h == nil {
		return v, err
	}
	return v.After(h)
}

// setTerm makes everything but the replica ready for the epoch that h begins.
func (d *Driver) setTerm(h *consensus.Handover) error {
	own, err := d.verifierOf(h)
	if err != nil {
		return fmt.Errorf("begin an epoch: %w", err)
	}
	t := &term{epoch: own.Epoch(), set: own.Set(), handover: h, peerOf: map[sign.PublicKey]sign.PublicKey{}, verifier: own}
	for _, v := range t.set.All() {
		t.peerOf[v.Key] = v.Peer
		if v.Key != d.self {
			t.others = append(t.others, v.Peer)
		}
	}
	_, t.member = t.set.Index(d.self)
	if t.member && d.wal == nil { // it has never signed: there is nothing to read
		if _, _, err := d.openLog(); err != nil {
			return fmt.Errorf("begin an epoch: %w", err)
		}
	}
	d.own = own
	d.count.validates.Store(t.member && (d.later == nil || d.later.Epoch <= t.epoch))
	d.term.Store(t)
	d.count.epoch.Store(uint64(t.epoch))
	return nil
}

// openTerm finds the epoch that the chain was in.
func (d *Driver) openTerm(head *consensus.Header) error {
	epoch := head.NextEpoch()
	if epoch == 0 {
		return d.setTerm(nil)
	}
	h, err := d.cfg.Store.Handover(epoch)
	if err != nil {
		return fmt.Errorf("chain store: handover to epoch %d: %w", epoch, err)
	}
	return d.setTerm(h)
}

// root is the block that the present epoch begins after; only its header is filled in.
func (t *term) root(genesis *consensus.Block) *consensus.Block {
	if t.handover == nil {
		return genesis
	}
	return &consensus.Block{Header: *t.handover.Header()}
}

// newReplica makes the replica of the present epoch. safety is the newest that this node has saved, of whatever epoch. Of
// an earlier one it is of no more use: this node has signed nothing in the present one. Of a later one, it means that the
// chain store was restored from an older copy: this node has signed here already and no longer knows what, so it says
// nothing until the chain is in that epoch again.
func (d *Driver) newReplica(safety *consensus.SafetyData, rec consensus.Recovery) error {
	t := d.term.Load()
	key, member := d.cfg.Key, t.member
	d.later = nil
	rec.Safety = consensus.FreshSafety(t.root(d.genesis))
	switch {
	case safety == nil || safety.Epoch < t.epoch:
	case safety.Epoch == t.epoch:
		rec.Safety = *safety
	default:
		d.later = safety
		if member {
			d.cfg.Log.Error("this node has signed in a later epoch than its chain is in: it is silent until it has caught up", "epoch", uint64(t.epoch), "signed", uint64(safety.Epoch))
		}
		key, member = sign.PrivateKey{}, false
	}
	d.count.validates.Store(member)
	var err error
	d.replica, err = consensus.New(consensus.Config{Key: key, Verifier: d.own}, rec)
	return err
}

// leave drops what was under way for a replica that goes. What it has promised is durable, and sent.
func (d *Driver) leave() {
	d.gather.prune(func(*gathering) bool { return true })
	clear(d.waiting)
	clear(d.blame)
	d.waitCount, d.early, d.propose, d.stores = 0, nil, nil, nil
	d.outlined, d.proposed = nil, time.Time{}
}

// nextEpoch leaves the epoch that x has closed. x is made durable before anything is promised in the next one: a chain
// that came back from a crash in the old epoch would have this node sign there a second time.
func (d *Driver) nextEpoch(x Committed) error {
	if err := d.cfg.Store.Sync(); err != nil {
		return fmt.Errorf("chain store: %w", err)
	}
	d.sinceSync = 0
	was := d.count.validates.Load()
	if err := d.setTerm(&consensus.Handover{Finality: *x.Finality, Next: x.Next}); err != nil {
		return err
	}
	d.tree.clear()
	d.leave()
	if err := d.newReplica(d.later, consensus.Recovery{Root: x.Block, RootQC: consensus.RootQC(x.Block)}); err != nil {
		return fmt.Errorf("begin an epoch: %w", err)
	}
	out, err := d.replica.Start()
	if err != nil {
		return fmt.Errorf("begin an epoch: %w", err)
	}
	d.absorb(out)
	d.inbox.poke()
	t := d.term.Load()
	log := d.cfg.Log.With("epoch", uint64(t.epoch), "validators", t.set.Len())
	log.Info("the validators have changed", "closed by block", uint64(x.Block.Header.Height))
	switch is := d.count.validates.Load(); {
	case was && !is:
		log.Warn("this node's validator key is not in the set any more: it goes on as a follower")
	case !was && is:
		log.Info("this node's validator key is in the set now: it validates from here on")
	}
	if d.cfg.OnEpoch != nil {
		d.cfg.OnEpoch(t.epoch, t.set)
	}
	return nil
}

// inEpoch runs check with the term's verifier if it is of epoch e, and else tells that it is not.
func (d *Driver) inEpoch(e consensus.Epoch, check func(*consensus.Verifier) error) error {
	t := d.term.Load()
	if e != t.epoch {
		return &otherEpoch{e, t.epoch}
	}
	return check(t.verifier)
}

// elsewhere takes the hint of a message from another epoch. It is not verified, and cannot be: who is behind has to
// fetch the handover first.
func (d *Driver) elsewhere(o *otherEpoch) Verdict {
	if o.theirs > o.ours {
		now := time.Now().UnixNano()
		if last := d.hinted.Load(); now-last > int64(hintEvery) && d.hinted.CompareAndSwap(last, now) {
			select {
			case d.needs <- need{ahead: true}:
			default: // what this node asked for itself comes first
			}
		}
	}
	return Ignore
}

// closing reports whether blocks on parent must trail.
func (d *Driver) closing(parent *consensus.Header) bool {
	return parent.Epoch == d.own.Epoch() && parent.NextVals != parent.Validators
}

// checkTrailing judges a block of a closing epoch, which is not executed: it says that nothing happens.
func checkTrailing(h, parent *consensus.Header, txs int) error {
	if !h.Trails() || txs != 0 || h.StateRoot != parent.StateRoot || h.NextVals != parent.NextVals {
		return fmt.Errorf("%w: block %d of view %d: the epoch is closing, and the block is not empty", errOutcome, h.Height, h.View)
	}
	return nil
}

// trailing is the block that answers a request while the epoch closes.
func (d *Driver) trailing(req *consensus.ProposeRequest, parent *executed) *consensus.Block {
	h := req.Trailing(d.own, d.self)
	h.TimestampMs = max(req.Parent.Header.TimestampMs+1, d.nowMs())
	h.HistoryRoot = parent.history.Root()
	return &consensus.Block{Header: h, Justify: req.Justify, Txs: [][]byte{}}
}

// nextOf is what a header must name after an execution: the digest of the set that it leads to.
func nextOf(x *Execution, current digest.Digest) (digest.Digest, error) {
	if x.Next == nil {
		return current, nil
	}
	set, err := consensus.NewValidatorSet(x.Next)
	switch {
	case err != nil:
		return current, fmt.Errorf("the application's next validators: %w", err)
	case set.Digest() == current:
		return current, errors.New("the application's next validators are the present ones")
	case x.EventRoot == merkle.Root(nil):
		return current, errors.New("the application changes the validators without an event")
	}
	return set.Digest(), nil
}
