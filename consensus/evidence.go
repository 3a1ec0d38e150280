package consensus

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/internal/bls"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// EvidenceKind says which rule was broken.
type EvidenceKind string

// The kinds of evidence. They are part of what is replicated.
const (
	DoubleVote       EvidenceKind = "two votes in one view"
	DoubleProposal   EvidenceKind = "two proposals in one view"
	VoteAfterTimeout EvidenceKind = "a vote that its timeout denies"
)

// Evidence is two statements that one key signed in one view, of which no honest validator signs both. A vote and then a
// timeout of the same view is normal: such a timeout says that the view was voted in. Evidence proves itself.
type Evidence struct {
	_      struct{} `cbor:",toarray"`
	Kind   EvidenceKind
	Key    sign.PublicKey
	Epoch  Epoch
	View   View
	First  Signed // of DoubleVote: VoteData; of DoubleProposal: Header; of VoteAfterTimeout: VoteData
	Second Signed // likewise; of VoteAfterTimeout: TimeoutData
	// BLS signed the votes and timeouts of a chain of BLS12381, and Link says that it is Key's: see BLSKey. Both are zero
	// otherwise, and then not in the encoding. Proposals are signed by Key itself.
	BLS  bls.PublicKey
	Link sign.Signature
}

// The two encodings of Evidence: an array of six without a BLS key, and of eight with one.
type (
	plainEvidence struct {
		_      struct{} `cbor:",toarray"`
		Kind   EvidenceKind
		Key    sign.PublicKey
		Epoch  Epoch
		View   View
		First  Signed
		Second Signed
	}
	blsEvidence struct {
		_      struct{} `cbor:",toarray"`
		Kind   EvidenceKind
		Key    sign.PublicKey
		Epoch  Epoch
		View   View
		First  Signed
		Second Signed
		BLS    bls.PublicKey
		Link   sign.Signature
	}
)

// arrayOf6 is the first byte of an array of six.
const arrayOf6 = 0x86

// MarshalCBOR leaves a BLS key that is not there out.
func (e Evidence) MarshalCBOR() ([]byte, error) {
	if e.BLS == (bls.PublicKey{}) && e.Link == (sign.Signature{}) {
		return canon.Marshal(&plainEvidence{Kind: e.Kind, Key: e.Key, Epoch: e.Epoch, View: e.View, First: e.First, Second: e.Second})
	}
	return canon.Marshal((*blsEvidence)(&e))
}

// UnmarshalCBOR reads what MarshalCBOR wrote.
func (e *Evidence) UnmarshalCBOR(raw []byte) error {
	if len(raw) > 0 && raw[0] == arrayOf6 {
		var p plainEvidence
		err := canon.Unmarshal(raw, &p)
		*e = Evidence{Kind: p.Kind, Key: p.Key, Epoch: p.Epoch, View: p.View, First: p.First, Second: p.Second}
		return err
	}
	if err := canon.Unmarshal(raw, (*blsEvidence)(e)); err != nil {
		return err
	}
	if e.BLS == (bls.PublicKey{}) && e.Link == (sign.Signature{}) {
		return errors.New("evidence with a BLS key of zeros")
	}
	return nil
}

// Signed is what was signed, in canonical bytes without their domain tag, and the signature.
type Signed struct {
	_    struct{} `cbor:",toarray"`
	Data []byte
	Sig  Signature // of a Header Ed25519, of others of the chain's scheme
}

// MaxEvidenceBytes bounds an encoded Evidence.
const MaxEvidenceBytes = 4096

// Encode gives the canonical bytes.
func (e *Evidence) Encode() []byte { return canon.Must(e) }

// DecodeEvidence reads what Encode wrote and checks nothing but form and size.
func DecodeEvidence(raw []byte) (*Evidence, error) {
	var e Evidence
	return checked(&e, decode(raw, MaxEvidenceBytes, "evidence", &e))
}

// said is what one half of evidence says.
type said struct {
	chain digest.Digest
	epoch Epoch
	view  View
	msg   []byte // what the signature is over
}

func voteSaid(raw []byte) (said, error) {
	var d VoteData
	if err := canon.Unmarshal(raw, &d); err != nil {
		return said{}, errors.New("one half is no vote")
	}
	return said{d.ChainID, d.Epoch, d.View, d.SigningBytes()}, nil
}

func headerSaid(raw []byte, key sign.PublicKey) (said, error) {
	var h Header
	if err := canon.Unmarshal(raw, &h); err != nil {
		return said{}, errors.New("one half is no header")
	}
	if h.Proposer != key {
		return said{}, errors.New("one header is another proposer's")
	}
	return said{h.ChainID, h.Epoch, h.View, ProposalSigningBytes(h.ID())}, nil
}

func denialSaid(raw []byte) (said, error) {
	var d TimeoutData
	if err := canon.Unmarshal(raw, &d); err != nil {
		return said{}, errors.New("the second half is no timeout")
	}
	if d.LastVoted >= d.View {
		return said{}, errors.New("the timeout does not deny the vote")
	}
	return said{d.ChainID, d.Epoch, d.View, d.SigningBytes()}, nil
}

// Verify checks that the evidence holds: both statements are of this chain and of the epoch and view named, they contradict
// each other as the kind says, and the key signed both, or a BLS key that it owns to. Whether the key is a validator's is
// the caller's to know. The words of the error are this package's own and the same everywhere, so that they may be
// replicated.
func (e *Evidence) Verify(chain digest.Digest) error {
	var a, b said
	var err, err2 error
	switch e.Kind {
	case DoubleVote:
		a, err = voteSaid(e.First.Data)
		b, err2 = voteSaid(e.Second.Data)
	case DoubleProposal:
		a, err = headerSaid(e.First.Data, e.Key)
		b, err2 = headerSaid(e.Second.Data, e.Key)
	case VoteAfterTimeout:
		a, err = voteSaid(e.First.Data)
		b, err2 = denialSaid(e.Second.Data)
	default:
		return fmt.Errorf("evidence of unknown kind %.40q", string(e.Kind))
	}
	if err == nil {
		err = err2
	}
	if err != nil {
		return fmt.Errorf("evidence of %s: %w", e.Kind, err)
	}
	for _, s := range []said{a, b} {
		if s.chain != chain || s.epoch != e.Epoch || s.view != e.View {
			return fmt.Errorf("evidence of %s: a statement of another chain, epoch or view", e.Kind)
		}
	}
	if string(a.msg) == string(b.msg) {
		return fmt.Errorf("evidence of %s: both statements are the same", e.Kind)
	}
	if summed := e.BLS != (bls.PublicKey{}) || e.Link != (sign.Signature{}); summed {
		if e.Kind == DoubleProposal {
			return fmt.Errorf("evidence of %s: a bls key, which signs no proposals", e.Kind)
		}
		if !linked(e.Key, e.BLS, e.Link) {
			return fmt.Errorf("evidence of %s: the validator key does not own to the bls key", e.Kind)
		}
	}
	if !e.signed(a.msg, e.First.Sig) || !e.signed(b.msg, e.Second.Sig) {
		return fmt.Errorf("evidence of %s: a signature is not valid", e.Kind)
	}
	return nil
}

// signed reports whether sig is of the evidence's key for msg.
func (e *Evidence) signed(msg []byte, sig Signature) bool {
	c := claim{key: e.Key, msg: msg, sig: sig}
	if e.Link != (sign.Signature{}) {
		k, err := e.BLS.Decode()
		if err != nil {
			return false
		}
		c = claim{parts: []bls.Part{{Keys: []*bls.Key{k}, Msg: msg}}, sig: sig}
	}
	return valid([]claim{c}, []int{0})
}

// watchBack is for how many views after its own a message may still be evidence: the second half may come late.
const watchBack = 32

// watch remembers what each validator signed in the views around the current one, to find who contradicts himself. Its
// size is bounded by the window and the set: of one kind, one statement a validator and view.
type watch struct {
	set    *ValidatorSet
	known  *signatures
	byView map[View]map[int]*record
}

// record is what one validator signed in one view.
type record struct {
	vote     *Vote
	checked  bool // the vote's signature was found good
	proposal *Header
	propSig  sign.Signature
	timeout  *TimeoutData
	timeSig  Signature
	told     map[EvidenceKind]bool
}

func newWatch(v *Verifier) *watch {
	return &watch{set: v.set, known: v.known, byView: make(map[View]map[int]*record)}
}

// at is the record of a validator in a view, nil outside the window.
func (w *watch) at(view, current View, index int) *record {
	if view+watchBack < current || view > current+voteWindowAhead {
		return nil
	}
	m := w.byView[view]
	if m == nil {
		m = make(map[int]*record)
		w.byView[view] = m
	}
	if m[index] == nil {
		m[index] = &record{told: make(map[EvidenceKind]bool)}
	}
	return m[index]
}

// prune forgets the views before the window.
func (w *watch) prune(current View) {
	for v := range w.byView {
		if v+watchBack < current {
			delete(w.byView, v)
		}
	}
}

// Note looks whether a verified message contradicts an earlier one of the same validator, and remembers it. Step does it
// for what it is given; the shell does it for a proposal that cannot be stepped.
func (r *Replica) Note(in Input) []Evidence {
	if e, ok := epochOf(in); !ok || e != r.v.epoch {
		return nil
	}
	switch in := in.(type) {
	case VerifiedProposal:
		return r.watch.noteProposal(r.v.set, in.p, in.id, r.view)
	case CheckedVote:
		return r.watch.noteVote(in.v, in.index, r.view)
	case VerifiedTimeout:
		return r.watch.noteTimeout(in.t, in.index, r.view)
	}
	return nil
}

func (w *watch) noteProposal(set *ValidatorSet, p *Proposal, id BlockID, current View) []Evidence {
	h := &p.Block.Header
	index, ok := set.Index(h.Proposer)
	if !ok {
		return nil
	}
	rec := w.at(h.View, current, index)
	if rec == nil {
		return nil
	}
	if rec.proposal == nil {
		kept := *h
		rec.proposal, rec.propSig = &kept, p.Sig
		return nil
	}
	if rec.proposal.ID() == id {
		return nil
	}
	return rec.tell(Evidence{
		Kind: DoubleProposal, Key: h.Proposer, Epoch: h.Epoch, View: h.View,
		First: Signed{Data: canon.Must(rec.proposal), Sig: rec.propSig[:]}, Second: Signed{Data: canon.Must(h), Sig: p.Sig[:]},
	})
}

func (w *watch) noteVote(v *Vote, index int, current View) []Evidence {
	rec := w.at(v.Data.View, current, index)
	if rec == nil {
		return nil
	}
	switch {
	case rec.vote == nil || rec.vote.same(v):
		if rec.vote == nil {
			rec.vote = v
		}
		return w.denied(rec, index)
	case !w.valid(v):
		return nil
	case !rec.checked && !w.valid(rec.vote): // a forgery came first
		rec.vote, rec.checked = v, true
		return w.denied(rec, index)
	}
	rec.checked = true
	if rec.vote.Data == v.Data {
		return nil
	}
	return rec.tell(Evidence{
		Kind: DoubleVote, Key: v.Voter, BLS: w.set.list[index].BLS.Key, Link: w.set.list[index].BLS.Link,
		Epoch: v.Data.Epoch, View: v.Data.View,
		First: Signed{Data: canon.Must(&rec.vote.Data), Sig: rec.vote.Sig}, Second: Signed{Data: canon.Must(&v.Data), Sig: v.Sig},
	})
}

func (w *watch) noteTimeout(t *Timeout, index int, current View) []Evidence {
	rec := w.at(t.Data.View, current, index)
	if rec == nil || t.Data.LastVoted >= t.Data.View {
		return nil
	}
	if rec.timeout == nil {
		d := t.Data
		rec.timeout, rec.timeSig = &d, t.Sig
	}
	return w.denied(rec, index)
}

// denied finds a vote beside a timeout of the view which says that there was none.
func (w *watch) denied(rec *record, index int) []Evidence {
	if rec.vote == nil || rec.timeout == nil || rec.told[VoteAfterTimeout] {
		return nil
	}
	if !rec.checked && !w.valid(rec.vote) {
		rec.vote = nil
		return nil
	}
	rec.checked = true
	v := rec.vote
	return rec.tell(Evidence{
		Kind: VoteAfterTimeout, Key: v.Voter, BLS: w.set.list[index].BLS.Key, Link: w.set.list[index].BLS.Link,
		Epoch: v.Data.Epoch, View: v.Data.View,
		First: Signed{Data: canon.Must(&v.Data), Sig: v.Sig}, Second: Signed{Data: canon.Must(rec.timeout), Sig: rec.timeSig},
	})
}

// tell gives the evidence once.
func (rec *record) tell(e Evidence) []Evidence {
	if rec.told[e.Kind] {
		return nil
	}
	rec.told[e.Kind] = true
	return []Evidence{e}
}

func (w *watch) valid(v *Vote) bool {
	i, _ := w.set.Index(v.Voter)
	return w.known.check(w.set.claim(i, v.Data.SigningBytes(), v.Sig))
}
