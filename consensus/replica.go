package consensus

import (
	"errors"
	"fmt"
	"sort"

	"github.com/metanode/metanode/internal/sign"
)

// ErrUnknownParent is wrapped when a block comes before its parent: fetch the parent, then try again.
var ErrUnknownParent = errors.New("parent is not in the tree")

// ErrStale is wrapped by Check for a block that is of no more use. Nobody is to blame.
var ErrStale = errors.New("block comes too late")

// ErrBroken is wrapped when an invariant of the protocol is violated: the node must stop.
var ErrBroken = errors.New("consensus invariant broken")

// Config is what a replica is born with.
type Config struct {
	Key      sign.PrivateKey // validator key; the zero key, or one that is not in the set, only follows
	Verifier *Verifier       // used from within Step and Check only
	// Schedule, if not nil, names the leader of a view by its place in the set instead of the chain's rule. No node of a
	// chain sets it: it is for exploring orders of leaders that the rule seldom gives, since safety must depend on none.
	Schedule func(View) int
}

// Recovery is what the shell kept.
type Recovery struct {
	Safety SafetyData // FreshSafety for a first start in the epoch
	Root   *Block     // last committed block; the epoch's root (see RootQC) for a first start in it
	RootQC QC         // a certificate of the epoch that commits Root or a descendant; RootQC for the epoch's root
	Recent []Header   // headers of the epoch's blocks before Root, in height order: the last LeaderWindow views, as far as they reach
	Blocks []*Block   // Output.Store above Root, in any order, executed again
}

// Replica is one validator's (or follower's) state machine. It is deterministic: the same Recovery and inputs give the
// same outputs. Not for concurrent use; one goroutine owns it.
type Replica struct {
	key    sign.PrivateKey // of proposals
	signer Signer          // of votes and timeouts
	self   sign.PublicKey
	index  int // in the set; -1 for a follower
	v      *Verifier

	safety  SafetyData // what is to be remembered; HighQC and HighTC may be newer than what was saved
	promise bool       // safety changed in this Step in a way that must be durable before sending

	tree     *tree
	leaders  *leaders
	votes    *votes
	timeouts *timeouts

	watch *watch

	view     View
	closed   bool                 // the root closes the epoch
	request  *ProposeRequest      // asked of the shell in this view and not answered
	toCommit *QC                  // highest certificate whose CommitRef is not yet the root or before it
	asked    map[BlockID]struct{} // needed in this view already
	answered map[int]struct{}     // validators behind that were answered in this view, since the last timer
	start    []QC                 // certificates of the recovery, for Start
	out      Output
}

// New makes a replica from what the shell kept. Blocks whose parents are missing are left out; they are fetched when
// they matter. The error means that the recovery is not of this chain or contradicts itself.
func New(cfg Config, rec Recovery) (*Replica, error) {
	v := cfg.Verifier
	if rec.Root == nil || rec.Root.Header.ChainID != v.chain || rec.Safety.HighQC.Data.ChainID != v.chain {
		return nil, fmt.Errorf("start consensus: what was kept is not of chain %s", v.chain.Short())
	}
	if e := rec.Root.Header.NextEpoch(); e != v.epoch {
		return nil, fmt.Errorf("start consensus: block %d is followed by epoch %d, not %d", rec.Root.Header.Height, e, v.epoch)
	}
	if rec.Safety.Epoch != v.epoch {
		return nil, fmt.Errorf("start consensus: safety data of epoch %d, not %d", rec.Safety.Epoch, v.epoch)
	}
	r := &Replica{
		key: cfg.Key, index: -1, v: v,
		safety: rec.Safety, tree: newTree(rec.Root),
		leaders: newLeaders(v.chain, v.epoch, v.set), votes: newVotes(v), timeouts: newTimeouts(v),
		watch: newWatch(v), asked: make(map[BlockID]struct{}), answered: make(map[int]struct{}),
	}
	r.leaders.base = v.rootView
	if !cfg.Key.IsZero() {
		r.self = cfg.Key.Public()
		r.signer = NewSigner(v.set.scheme, cfg.Key)
		if i, ok := v.set.Index(r.self); ok {
			if v.set.scheme == BLS12381 && v.set.list[i].BLS.Key != r.signer.bls.Public() {
				return nil, fmt.Errorf("start consensus: epoch %d has bls key %s for validator key %s, whose own is %s: have the validators propose this one again, from its own card",
					v.epoch, v.set.list[i].BLS.Key.Short(), r.self.Short(), r.signer.bls.Public().Short())
			}
			r.index = i
		}
	}
	r.leaders.schedule = cfg.Schedule
	for i := range rec.Recent {
		r.leaders.committed(&rec.Recent[i])
	}
	r.leaders.committed(&rec.Root.Header)
	r.start = append(r.start, rec.Safety.HighQC, rec.RootQC)
	blocks := append([]*Block(nil), rec.Blocks...)
	sort.SliceStable(blocks, func(i, j int) bool { return blocks[i].Header.Height < blocks[j].Header.Height })
	for _, b := range blocks {
		if b.Header.Epoch == v.epoch && r.tree.get(b.ID()) == nil && r.tree.get(b.Header.Parent) != nil {
			r.tree.insert(b, b.ID())
			r.start = append(r.start, b.Justify)
		}
	}
	return r, nil
}

// Start is the first output: it enters the view after the highest certificate kept, and sends again the proposal, vote
// or timeout that was made in that view. Call it once, before Step.
func (r *Replica) Start() (Output, error) {
	for i := range r.start {
		if err := r.onQC(&r.start[i]); err != nil {
			return Output{}, err
		}
	}
	r.start = nil
	if len(r.safety.HighTC) == 1 {
		if err := r.onTC(&r.safety.HighTC[0]); err != nil {
			return Output{}, err
		}
	}
	if r.out.Enter != nil {
		r.out.Enter.Reason = EnterByStart
	}
	if r.closed { // the epoch ended before the restart: what was signed in it is of no more use
		return r.finish(), nil
	}
	err := r.resend()
	return r.finish(), err
}

// Step feeds one input to the replica. The shell makes out.Save durable before it sends out.Send. After an error that
// wraps ErrRefused or ErrUnknownParent the replica is as before but for certificates that came with the input, and
// the output still counts; after any other error it must not be used again. What is of another epoch, and everything
// after the epoch's end, is dropped without an error.
func (r *Replica) Step(in Input) (Output, error) {
	if e, ok := epochOf(in); r.closed || ok && e != r.v.epoch {
		return Output{}, nil
	}
	r.out.Evidence = append(r.out.Evidence, r.Note(in)...)
	var err error
	switch in := in.(type) {
	case VerifiedProposal:
		err = r.onProposal(in)
	case VerifiedBlock:
		err = r.onBlock(in)
	case VerifiedChain:
		err = r.onChain(in)
	case CheckedVote:
		err = r.onVote(in, false)
	case VerifiedTimeout:
		err = r.onTimeout(in)
	case VerifiedQC:
		err = r.onQC(in.qc)
	case VerifiedTC:
		err = r.onTC(in.tc)
	case OwnBlock:
		err = r.onOwnBlock(in.Block)
	case TimerExpired:
		err = r.onTimer(in.View)
	default:
		err = refuse("input of type %T", in)
	}
	return r.finish(), err
}

func (r *Replica) finish() Output {
	out := r.out
	r.out = Output{}
	if r.closed {
		out.Enter, out.Propose, out.Need = nil, nil, nil
	}
	if r.promise {
		s := r.safety
		out.Save, r.promise = &s, false
	}
	return out
}

// View is the current view.
func (r *Replica) View() View { return r.view }

// Root is the last committed block.
func (r *Replica) Root() *Block { return r.tree.root.block }

// Has reports whether the block is in the tree: the root or a descendant of it.
func (r *Replica) Has(id BlockID) bool { return r.tree.get(id) != nil }

// Block is a block of the tree, or nil.
func (r *Replica) Block(id BlockID) *Block {
	if n := r.tree.get(id); n != nil {
		return n.block
	}
	return nil
}

// HasWork reports whether an uncommitted block of the tree carries transactions: views must follow each other at once.
func (r *Replica) HasWork() bool { return r.tree.hasTxs() }

// Certificates are the highest QC and, if it is newer, TC: what a peer that is behind needs to enter this view.
func (r *Replica) Certificates() *Certificates {
	c := &Certificates{QC: r.safety.HighQC, TC: []TC{}}
	if r.safety.highTC() > r.safety.HighQC.Data.View {
		c.TC = r.safety.HighTC
	}
	return c
}

// Leader is who leads view v if it extends the highest certified block this replica knows: for people and for sending
// ahead, not for judging a proposal.
func (r *Replica) Leader(v View) sign.PublicKey {
	if n := r.tree.get(r.safety.HighQC.Data.Block); n != nil {
		return r.leaders.key(r.leaders.at(v, n))
	}
	return r.leaders.key(r.leaders.nominal(v))
}

// Safety is a copy of the safety data, for people.
func (r *Replica) Safety() SafetyData { return r.safety }
