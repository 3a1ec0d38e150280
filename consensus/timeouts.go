package consensus

import "sort"

// timeouts collects the timeouts of the current view: one for each validator. Those of other views never enter, because
// the certificates that a timeout carries lead into its view first.
type timeouts struct {
	set    *ValidatorSet
	known  *signatures
	from   map[int]*Timeout
	weight uint64
}

func newTimeouts(v *Verifier) *timeouts {
	return &timeouts{set: v.set, known: v.known, from: make(map[int]*Timeout)}
}

func (ts *timeouts) reset() {
	clear(ts.from)
	ts.weight = 0
}

// add takes a timeout of the current view and reports whether it is the validator's first.
func (ts *timeouts) add(t VerifiedTimeout) bool {
	if ts.from[t.index] != nil {
		return false
	}
	ts.from[t.index] = t.t
	ts.weight += ts.set.list[t.index].Weight
	return true
}

// honest reports whether at least one of the senders must be honest: a third of the weight or more.
func (ts *timeouts) honest() bool { return 3*ts.weight >= ts.set.total }

// certificate is the TC of the view, or nil while the timeouts are no quorum.
func (ts *timeouts) certificate() *TC {
	if !ts.set.IsQuorum(ts.weight) {
		return nil
	}
	at := make([]int, 0, len(ts.from))
	for i := range ts.from {
		at = append(at, i)
	}
	sort.Ints(at)
	list := make([]*Timeout, len(at))
	for k, i := range at {
		list[k] = ts.from[i]
	}
	tc, err := newTC(ts.set, at, list)
	if err != nil {
		return nil // nobody honest timed out
	}
	ts.known.learnSum(ts.set, at, tc.signed, []Signature{tc.Entries[0].Sig})
	return tc
}
