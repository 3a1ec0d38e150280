package enc

import (
	"bytes"
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// ProposeValidators asks for another validator set from the next epoch on. Whoever sends it approves it: the whole set is
// under each signature, so nobody approves what he has not seen. A validator stands behind one proposal at a time, and
// sending another takes its approval from the first. When a quorum of the weight stands behind one, this block closes
// the epoch.
type ProposeValidators struct {
	_     struct{}        `cbor:",toarray"`
	Epoch consensus.Epoch // the present one; what was approved for another is void
	Next  []consensus.Validator
}

// ID names the proposal: everyone who approves it sends the same.
func (p *ProposeValidators) ID() digest.Digest { return digest.Sum("enc/validators/1", canon.Must(p)) }

func (p *ProposeValidators) check() error {
	// What proves the keys is dear to check, and checked once the sender is known to be a validator.
	if _, err := consensus.StoredValidatorSet(p.Next); err != nil {
		return err
	}
	peers := make(map[sign.PublicKey]bool, len(p.Next))
	for i, v := range p.Next {
		if v.Peer.IsZero() || peers[v.Peer] {
			return fmt.Errorf("validator %d: node key %s: want one for each validator, each once", i, v.Peer.Short())
		}
		peers[v.Peer] = true
		if err := checkText("name", v.Name, 64); err != nil {
			return fmt.Errorf("validator %d: %w", i, err)
		}
	}
	return nil
}

// reign is the validator set in force, under keyValidators.
type reign struct {
	_          struct{} `cbor:",toarray"`
	Epoch      consensus.Epoch
	Validators []consensus.Validator
}

// Proposal is an open proposal for another set.
type Proposal struct {
	ID        digest.Digest
	Next      []consensus.Validator
	Approvals []sign.PublicKey // validators who stand behind it, sorted
	Weight    uint64           // theirs
}

// Validators are the epoch and the set in force: of the block after this state, unless NextValidators says that it closes.
func (s *State) Validators() (consensus.Epoch, []consensus.Validator) {
	r, ok := read[reign](s, key(keyValidators))
	if !ok {
		return 0, nil
	}
	return r.Epoch, r.Validators
}

// NextValidators are the validators that follow if the block of this state closes the epoch, and else nil.
func (s *State) NextValidators() []consensus.Validator {
	next, ok := read[[]consensus.Validator](s, key(keyNextSet))
	if !ok {
		return nil
	}
	return *next
}

// Proposals lists the open proposals by id.
func (s *State) Proposals() []Proposal {
	_, list := s.Validators()
	weight := make(map[sign.PublicKey]uint64, len(list))
	for _, v := range list {
		weight[v.Key] = v.Weight
	}
	var out []Proposal
	at := map[digest.Digest]int{}
	for k := range s.m.Prefix(key(keyProposals)) {
		p, ok := read[ProposeValidators](s, k)
		if !ok {
			continue
		}
		id := digest.Digest(k[len(keyProposals):])
		at[id] = len(out)
		out = append(out, Proposal{ID: id, Next: p.Next})
	}
	for k, v := range s.m.Prefix(key(keyApprovals)) {
		who := sign.PublicKey(k[len(keyApprovals):])
		if i, ok := at[digest.Digest(v)]; ok {
			out[i].Approvals = append(out[i].Approvals, who)
			out[i].Weight += weight[who]
		}
	}
	return out
}

// succeed begins the epoch after a closing block.
func (s *State) succeed() {
	if !s.has(key(keyNextSet)) {
		return
	}
	var r reign
	var next []consensus.Validator
	if !s.get(key(keyValidators), &r) || !s.get(key(keyNextSet), &next) {
		return
	}
	s.put(key(keyValidators), &reign{Epoch: r.Epoch + 1, Validators: next})
	s.del(key(keyNextSet))
}

// ruling is the set in force, decoded. An error is corrupt state, and recorded.
func (s *State) ruling() (*reign, *consensus.ValidatorSet, bool) {
	var r reign
	if !s.get(key(keyValidators), &r) {
		return nil, nil, false
	}
	set, err := consensus.StoredValidatorSet(r.Validators)
	if err != nil {
		s.corrupt(key(keyValidators), err)
		return nil, nil, false
	}
	return &r, set, true
}

func (s *State) propose(who sign.PublicKey, p *ProposeValidators, seen []byte) error {
	r, set, ok := s.ruling()
	if !ok {
		return refusal("the chain has no validators on record")
	}
	if _, in := set.Index(who); !in {
		return refusal(fmt.Sprintf("key %s is no validator of epoch %d", who, r.Epoch))
	}
	if p.Epoch != r.Epoch {
		return refusal(fmt.Sprintf("the proposal is for epoch %d to end, the chain is in epoch %d: make it again", p.Epoch, r.Epoch))
	}
	if s.has(key(keyNextSet)) {
		return refusal(fmt.Sprintf("epoch %d has just been closed: make the proposal again in the next", r.Epoch))
	}
	next, err := consensus.NewValidatorSet(p.Next)
	if err == nil {
		err = next.Follows(set)
	}
	if err != nil {
		return err
	}
	if next.Digest() == set.Digest() {
		return refusal("the proposal changes nothing")
	}
	for _, v := range p.Next {
		if s.has(key(keyEvidence, v.Key[:])) {
			return refusal(fmt.Sprintf("validator key %s has signed what contradicts itself and cannot come back: give that validator a new key", v.Key))
		}
	}
	s.mark(seen)
	id := p.ID()
	s.approve(who, id, p)
	var weight uint64
	for k, v := range s.m.Prefix(key(keyApprovals)) {
		if i, in := set.Index(sign.PublicKey(k[len(keyApprovals):])); in && bytes.Equal(v, id[:]) {
			weight += set.At(i).Weight
		}
	}
	reason := fmt.Sprintf("weight %d of %d stands behind it", weight, set.Total())
	if !set.IsQuorum(weight) {
		s.emit(EventProposed, who, id, "approved", reason, p)
		return nil
	}
	s.closeEpoch(p.Next)
	s.emit(EventValidators, who, id, "changed", reason, p)
	return nil
}

// approve puts who behind a proposal, and forgets the one before if nobody is left behind it.
func (s *State) approve(who sign.PublicKey, id digest.Digest, p *ProposeValidators) {
	k := key(keyApprovals, who[:])
	old, had := s.m.Get(k)
	s.m.Set(k, id[:])
	s.put(key(keyProposals, id[:]), p)
	if !had || bytes.Equal(old, id[:]) {
		return
	}
	for _, v := range s.m.Prefix(key(keyApprovals)) {
		if bytes.Equal(v, old) {
			return
		}
	}
	s.del(key(keyProposals, old))
}

// closeEpoch makes this block the last of the present validators. What was proposed is void.
func (s *State) closeEpoch(next []consensus.Validator) {
	s.put(key(keyNextSet), next)
	for _, prefix := range []string{keyApprovals, keyProposals} {
		for _, e := range s.keysUnder(key(prefix), consensus.MaxValidators) {
			s.del(e.key)
		}
	}
}
