package model

import "testing"

// soup is the rules once more, as plainly as they can be written: everything that correct replicas have ever signed, with
// no order of views, no merging of states, and blocks that know all that is before them. It is the naive version that the
// checker is compared with.
type soup struct {
	votes    [correct][soupViews + 1]int8 // block voted for; none for no vote
	timeouts [correct][soupViews + 1]int8 // block whose certificate is named; none for no timeout
}

// soupViews and soupVariants bound the naive version. Three replicas vote for at most three blocks in a view.
const (
	soupViews    = 2
	soupVariants = 3
)

// soupBlocks are all blocks there can be; block 0 is genesis.
type soupBlock struct{ view, parent int8 }

func soupBlocks() []soupBlock {
	all := []soupBlock{{0, none}}
	for v := int8(1); v <= soupViews; v++ {
		for p, b := range all {
			if b.view < v {
				for range soupVariants {
					all = append(all, soupBlock{v, int8(p)})
				}
			}
		}
	}
	return all
}

func (s *soup) certified(b int8, all []soupBlock) bool {
	if b == 0 {
		return true
	}
	n := 0
	for i := range correct {
		if s.votes[i][all[b].view] == b {
			n++
		}
	}
	return n >= 2
}

// mayEnter reports whether certificates exist that lead into the view and know of none above high.
func (s *soup) mayEnter(view, high int8, all []soupBlock) bool {
	if all[high].view == view-1 {
		return true
	}
	n := 0
	for i := range correct {
		if b := s.timeouts[i][view-1]; b != none && all[b].view <= all[high].view {
			n++
		}
	}
	return n >= 2
}

// busy reports whether the replica has voted in or after one view, or timed out in or after another.
func (s *soup) busy(i int, votes, timeouts int8) bool {
	for v := int8(1); v <= soupViews; v++ {
		if v >= votes && s.votes[i][v] != none || v >= timeouts && s.timeouts[i][v] != none {
			return true
		}
	}
	return false
}

// next are all soups with one signature more.
func (s *soup) next(all []soupBlock) []soup {
	var out []soup
	for i := range correct {
		var lock int8
		for _, b := range s.votes[i] {
			if b != none {
				lock = max(lock, all[all[b].parent].view)
			}
		}
		for b := int8(0); int(b) < len(all); b++ {
			if v, p := all[b].view, all[b].parent; b != 0 && s.certified(p, all) && s.mayEnter(v, p, all) && !s.busy(i, v, v) {
				n := *s
				n.votes[i][v] = b
				out = append(out, n)
			}
			for v := all[b].view + 1; v <= soupViews; v++ {
				if s.certified(b, all) && all[b].view >= lock && s.mayEnter(v, b, all) && !s.busy(i, v+1, v) {
					n := *s
					n.timeouts[i][v] = b
					out = append(out, n)
				}
			}
		}
	}
	return out
}

// state is what the checker makes of a soup in which nothing more will be done in its views.
func (s *soup) state(all []soupBlock) State {
	out := initial()
	out.View = soupViews + 1
	var last [correct]Act
	for b := int8(1); int(b) < len(all); b++ {
		if s.certified(b, all) {
			out.Cert[all[b].view] = Block{Parent: all[all[b].parent].view}
		}
	}
	for i := range correct {
		last[i] = idle
		if b := s.timeouts[i][soupViews]; b != none {
			last[i].Timeout = all[b].view
		}
		for _, b := range s.votes[i] {
			if b != none {
				out.Lock[i] = max(out.Lock[i], all[all[b].parent].view)
			}
		}
	}
	acts := State{Acts: last}
	out.Low = acts.lowest(Rules{})
	out.sort(0)
	return out
}

func TestOrderOfActsLosesNothing(t *testing.T) {
	all := soupBlocks()
	var first soup
	for i := range correct {
		for v := range first.votes[i] {
			first.votes[i][v], first.timeouts[i][v] = none, none
		}
	}
	seen := map[soup]bool{first: true}
	queue := []soup{first}
	naive := make(map[State]bool)
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		naive[s.state(all)] = true
		for _, n := range s.next(all) {
			if !seen[n] {
				seen[n] = true
				queue = append(queue, n)
			}
		}
	}
	ordered := 0
	reach(t, soupViews, Rules{}, func(s State) {
		if s.View != soupViews+1 {
			return
		}
		ordered++
		if !naive[s] {
			t.Errorf("no order of acts leads to %+v", s)
		}
	})
	t.Logf("%d sets of signatures, %d states, %d by views in order", len(seen), len(naive), ordered)
	if ordered != len(naive) {
		t.Fatalf("views in order lead to %d of %d states", ordered, len(naive))
	}
}
