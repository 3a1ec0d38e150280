package model

import "fmt"

// MaxViews bounds the views of any exploration.
const MaxViews = 8

// correct is how many replicas keep the rules; with the fourth validator, two of them are a quorum.
const correct = 3

// none stands where there is no view.
const none int8 = -1

// Rules says which rules the replicas keep. The zero value is the protocol; each field drops a rule, which the checker
// must notice.
type Rules struct {
	TwoVotes         bool // a replica may vote for two blocks in a view
	VoteAfterTimeout bool // a vote may follow the timeout of its view
	ExtendAny        bool // a block may extend a certificate older than one that the timeouts before it know
	SkipFreely       bool // a view may be entered without a certificate of the view before
	NoLock           bool // a timeout may name a certificate older than one voted on
	CommitGaps       bool // a certified block commits its parent of whatever view
	PoolVotes        bool // votes of a view make a certificate whichever blocks they are for
	ThinTimeouts     bool // one timeout of a correct replica makes a timeout certificate

	// Remember is no broken rule: a replica never names a certificate older than one it has named before, as
	// consensus.Replica does. Safety does not need it.
	Remember bool
}

// Block is a block of some view: of the certified block of an earlier view (0: genesis) and one of several made of it.
type Block struct{ Parent, Variant int8 }

var noBlock = Block{none, 0}

// Act is what a replica does in a view, in the order of the fields.
type Act struct {
	Vote    Block // noBlock for none
	Second  Block // with Rules.TwoVotes
	Timeout int8  // view of the certificate that the timeout names, none for no timeout
}

// idle is to do nothing in a view.
var idle = Act{noBlock, noBlock, none}

func (a Act) String() string {
	s := ""
	for _, b := range [2]Block{a.Vote, a.Second} {
		if b != noBlock {
			s += fmt.Sprintf(" votes for block %c on the certificate of view %d", 'a'+rune(b.Variant), b.Parent)
		}
	}
	if a.Timeout != none {
		s += fmt.Sprintf(" times out with the certificate of view %d", a.Timeout)
	}
	return s
}

// State is what can be known when replicas 0 to Turn-1 have acted in View.
type State struct {
	View int8
	Turn int8
	Acts [correct]Act // in View

	Cert [MaxViews + 1]Block // the certified block of each view before View; genesis is of view 0
	Low  int8                // the lowest certificate that a timeout certificate of View-1 may know; none if there is none
	Lock [correct]int8       // view of the highest certificate under a vote
	High [correct]int8       // with Rules.Remember: of the highest certificate used at all
	Row  [MaxViews + 1]Act   // what replica 0 did in the views before View, if it is observed
}

// initial is the state before view 1.
func initial() State {
	s := State{View: 1, Low: none}
	for v := range s.Cert {
		s.Cert[v] = noBlock
		s.Row[v] = idle
	}
	s.Cert[0] = Block{}
	s.Acts = [correct]Act{idle, idle, idle}
	return s
}

// certified reports whether view v below View has a certified block.
func (s *State) certified(v int8) bool { return s.Cert[v] != noBlock }

// mayVote is the voting rule for a block of View on the certificate of view parent: that is the view before, or a timeout
// certificate of the view before knows none above it.
func (s *State) mayVote(r Rules, parent int8) bool {
	if parent >= s.View || !s.certified(parent) {
		return false
	}
	if parent == s.View-1 || r.SkipFreely {
		return true
	}
	return s.Low != none && (s.Low <= parent || r.ExtendAny)
}

// mayTimeout is the timeout rule for replica i that has voted for vote in View: it names a certificate, not below its
// lock, that has led it into View, or that is at least what a timeout certificate that led it there knows.
func (s *State) mayTimeout(r Rules, i int8, vote Block, high int8) bool {
	if high >= s.View || !s.certified(high) {
		return false
	}
	if s.View > 1 && high != s.View-1 && (s.Low == none || high < s.Low) {
		return false
	}
	bound := s.Lock[i]
	if r.Remember {
		bound = s.High[i]
	}
	if vote != noBlock && !r.VoteAfterTimeout {
		bound = max(bound, vote.Parent)
	}
	return high >= bound || r.NoLock
}

// acts lists all that the replica whose turn it is may do.
func (s *State) acts(r Rules) []Act {
	votes := [][2]Block{{noBlock, noBlock}}
	for p := range s.View {
		if !s.mayVote(r, p) {
			continue
		}
		fresh := s.freshVariant(p)
		for v := int8(0); v <= fresh; v++ {
			votes = append(votes, [2]Block{{p, v}, noBlock})
		}
	}
	if r.TwoVotes {
		for _, a := range votes[1:] {
			for _, b := range votes[1:] {
				if a[0] != b[0] {
					votes = append(votes, [2]Block{a[0], b[0]})
				}
			}
			votes = append(votes, [2]Block{a[0], {a[0].Parent, a[0].Variant + 1}})
		}
	}
	var out []Act
	for _, v := range votes {
		out = append(out, Act{v[0], v[1], none})
		for q := range s.View {
			if s.mayTimeout(r, s.Turn, v[0], q) {
				out = append(out, Act{v[0], v[1], q})
			}
		}
	}
	return out
}

// freshVariant is the first variant on the parent that nobody has voted for in View: names of variants mean nothing, so a
// replica votes for one that has votes or for this one.
func (s *State) freshVariant(parent int8) int8 {
	fresh := int8(0)
	for _, a := range s.Acts[:s.Turn] {
		for _, b := range [2]Block{a.Vote, a.Second} {
			if b != noBlock && b.Parent == parent {
				fresh = max(fresh, b.Variant+1)
			}
		}
	}
	return fresh
}

// do is the state after the replica whose turn it is has acted, with the fault that this shows, if any.
func (s State) do(r Rules, a Act, observe bool) (State, error) {
	i := s.Turn
	s.Acts[i] = a
	s.Turn++
	for _, b := range [2]Block{a.Vote, a.Second} {
		if b != noBlock {
			s.Lock[i] = max(s.Lock[i], b.Parent)
		}
	}
	if r.Remember {
		s.High[i] = max(s.High[i], s.Lock[i], a.Timeout)
	}
	if s.Turn < correct {
		return s, nil
	}
	return s.close(r, observe)
}

// close ends View: it counts the votes and the timeouts, and checks what they certify.
func (s State) close(r Rules, observe bool) (State, error) {
	v := s.View
	certified, err := s.count(r)
	if err != nil {
		return s, err
	}
	s.Low = s.lowest(r)
	if observe {
		s.Row[v] = s.Acts[0]
		s.sort(1)
	} else {
		certified.Variant = 0
		s.sort(0)
	}
	s.Cert[v] = certified
	s.View, s.Turn = v+1, 0
	s.Acts = [correct]Act{idle, idle, idle}
	return s, s.check(r)
}

// count is the block that View certifies.
func (s *State) count(r Rules) (Block, error) {
	var votes [2 * correct]Block // each vote
	n := 0
	for _, a := range s.Acts {
		for _, b := range [2]Block{a.Vote, a.Second} {
			if b != noBlock {
				votes[n] = b
				n++
			}
		}
	}
	certified := noBlock
	for i, b := range votes[:n] {
		k := n // votes that count for b
		if !r.PoolVotes {
			k = 1
			for _, c := range votes[:i] {
				if c == b {
					k++
				}
			}
		}
		if k < correct-1 || b == certified {
			continue
		}
		if certified != noBlock {
			return noBlock, fmt.Errorf("view %d certifies 2 blocks", s.View)
		}
		certified = b
	}
	return certified, nil
}

// lowest is the lowest certificate that a timeout certificate of View may know. It is made of two correct timeouts and one
// of the fourth validator's, which names whatever it likes, so of the two lowest the higher counts.
func (s *State) lowest(r Rules) int8 {
	first, second := none, none // the lowest, and the lowest but one
	for _, a := range s.Acts {
		q := a.Timeout
		switch {
		case q == none:
		case first == none || q < first:
			first, second = q, first
		case second == none || q < second:
			second = q
		}
	}
	if r.ThinTimeouts {
		return first
	}
	return second
}

// sort puts replicas from first on, which are alike, in the order of their locks.
func (s *State) sort(first int) {
	less := func(i, j int) bool {
		return s.Lock[i] < s.Lock[j] || s.Lock[i] == s.Lock[j] && s.High[i] < s.High[j]
	}
	for i := first + 1; i < correct; i++ {
		for j := i; j > first && less(j, j-1); j-- {
			s.Lock[j], s.Lock[j-1] = s.Lock[j-1], s.Lock[j]
			s.High[j], s.High[j-1] = s.High[j-1], s.High[j]
		}
	}
}

// check is what must hold between views: what is certified after a committed block descends from it.
func (s *State) check(r Rules) error {
	for v := int8(2); v < s.View; v++ {
		b := s.Cert[v]
		if b == noBlock || b.Parent == 0 || b.Parent != v-1 && !r.CommitGaps {
			continue
		}
		for w := b.Parent + 1; w < s.View; w++ {
			if s.certified(w) && !s.descends(w, b.Parent) {
				return fmt.Errorf("the certificate of view %d commits the block of view %d, and view %d certifies a block that does not descend from it", v, b.Parent, w)
			}
		}
	}
	return nil
}

// descends reports whether the certified block of view v has that of view of above it, or is it.
func (s *State) descends(v, of int8) bool {
	for v > of {
		v = s.Cert[v].Parent
	}
	return v == of
}
