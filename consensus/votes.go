package consensus

import "sort"

// Votes are kept for views from voteWindowBack before the current one (a certificate may still form after a timeout) to
// voteWindowAhead after it (the replica may be slow); one for each validator in each view.
const (
	voteWindowBack  = 2
	voteWindowAhead = 32
)

// ballot is one validator's vote in a view.
type ballot struct {
	vote  *Vote
	valid bool // signature checked
}

// votes collects the votes of the views around the current one.
type votes struct {
	set    *ValidatorSet
	known  *signatures
	byView map[View]map[int]*ballot
}

func newVotes(v *Verifier) *votes {
	return &votes{set: v.set, known: v.known, byView: make(map[View]map[int]*ballot)}
}

// add takes a vote and returns the certificate that it completes, or nil. Signatures are checked when a quorum may have
// formed, all together, and when a second vote contests the place of a first: so a forged vote cannot keep the real one
// out, and costs one check.
func (vs *votes) add(cv CheckedVote, valid bool, out *Output) *QC {
	view := cv.v.Data.View
	m := vs.byView[view]
	if m == nil {
		m = make(map[int]*ballot)
		vs.byView[view] = m
	}
	if b := m[cv.index]; b != nil {
		if b.vote.same(cv.v) {
			return nil
		}
		if !valid && !vs.valid(cv.v) {
			out.BadVotes = append(out.BadVotes, cv.v)
			return nil
		}
		valid = true
		if b.valid || vs.valid(b.vote) {
			b.valid = true
			return nil
		}
		out.BadVotes = append(out.BadVotes, b.vote)
	}
	m[cv.index] = &ballot{cv.v, valid}
	return vs.certify(m, cv.v.Data, out)
}

func (vs *votes) valid(v *Vote) bool {
	i, _ := vs.set.Index(v.Voter)
	return vs.known.check(vs.set.claim(i, v.Data.SigningBytes(), v.Sig))
}

// certify makes the certificate for data if the votes for it weigh a quorum, after checking the signatures: first that of
// the certificate, which is one check under every scheme, and only if that fails each vote's.
func (vs *votes) certify(m map[int]*ballot, data VoteData, out *Output) *QC {
	at, weight := vs.tally(m, data)
	if !vs.set.IsQuorum(weight) {
		return nil
	}
	msg := data.SigningBytes()
	if qc := vs.seal(m, data, at); qc != nil && vs.known.check(vs.set.scheme.rules().claims(vs.set, at, always(msg), qc.Sigs)...) {
		return qc
	}
	var claims []claim
	var whose []int
	for _, i := range at {
		if b := m[i]; !b.valid {
			claims = append(claims, vs.set.claim(i, msg, b.vote.Sig))
			whose = append(whose, i)
		}
	}
	for _, k := range vs.known.bad(claims, false) {
		out.BadVotes = append(out.BadVotes, m[whose[k]].vote)
		delete(m, whose[k])
	}
	for _, i := range whose {
		if b := m[i]; b != nil {
			b.valid = true
		}
	}
	if at, weight = vs.tally(m, data); !vs.set.IsQuorum(weight) {
		return nil
	}
	qc := vs.seal(m, data, at)
	if qc != nil {
		vs.known.learnSum(vs.set, at, always(msg), qc.Sigs)
	}
	return qc
}

// seal makes the certificate of the votes at the given places, or nil if they do not add up to one.
func (vs *votes) seal(m map[int]*ballot, data VoteData, at []int) *QC {
	sigs := make([]Signature, len(at))
	for k, i := range at {
		sigs[k] = m[i].vote.Sig
	}
	qc, err := NewQC(vs.set, data, at, sigs)
	if err != nil {
		return nil
	}
	return qc
}

// tally is who voted for data, in set order, and their weight.
func (vs *votes) tally(m map[int]*ballot, data VoteData) ([]int, uint64) {
	var at []int
	var weight uint64
	for i, b := range m {
		if b.vote.Data == data {
			at = append(at, i)
			weight += vs.set.list[i].Weight
		}
	}
	sort.Ints(at)
	return at, weight
}

// prune forgets the votes of views that are of no more use: up to the highest certificate's, and before the window.
func (vs *votes) prune(high, current View) {
	for v := range vs.byView {
		if v <= high || v+voteWindowBack < current {
			delete(vs.byView, v)
		}
	}
}
