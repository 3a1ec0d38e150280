package model

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/metanode/metanode/consensus"
)

// conformViews is to what view histories are followed in an ordinary test run; offers are made in the view after it too.
// BPI_MODEL_REPLAY sets another.
const conformViews = 2

// TestReplicaFollowsTheModel takes every state in which replica 0 is to act, rebuilds a consensus.Replica with the same
// history, and compares what the two do with everything that can be offered next. Histories and offers that are the same
// to the replica are tried once.
func TestReplicaFollowsTheModel(t *testing.T) {
	c := &conformity{lab: newLab(t), t: t, tried: make(map[string]bool)}
	res, err := Explore(number(t, "BPI_MODEL_REPLAY", conformViews), Rules{Remember: true}, func(s *State) error {
		c.visit(s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("4 validators, one of them arbitrary, %v; %d different offers to a replica, %d of which the model allows", res, c.offers, c.allowed/2)
	if c.allowed < 200 || c.offers < c.allowed/2+100 {
		t.Fatal("too little was tried")
	}
}

type conformity struct {
	*lab
	t       *testing.T
	tried   map[string]bool // history and offer
	offers  int
	allowed int // counted for the replica that stopped too

	history []deed  // of the state being visited
	told    string  // and its name
	known   []*fork // certificates that the history has shown
	actor   *puppet // with this history, to be restarted; nil until needed
}

// deed is an act of replica 0 as the code sees it.
type deed struct {
	view    int8
	vote    *fork // nil for none
	voted   bool
	timeout *fork // the certificate named
	timed   bool
}

// visit makes every offer to a replica in state s that was not made before.
func (c *conformity) visit(s *State) {
	c.history, c.told, c.known, c.actor = nil, "", nil, nil
	for v := int8(1); v < s.View; v++ {
		a := s.Row[v]
		if a == idle {
			continue
		}
		d := deed{view: v}
		if a.Vote != noBlock {
			d.vote, d.voted = &fork{v, a.Vote, s.certifiedFork(a.Vote.Parent)}, true
			c.known = append(c.known, d.vote.under)
			c.told += "v" + d.vote.name()
		}
		if a.Timeout != none {
			d.timeout, d.timed = s.certifiedFork(a.Timeout), true
			c.known = append(c.known, d.timeout)
			c.told += fmt.Sprintf("t%d%s", v, d.timeout.name())
		}
		c.history = append(c.history, d)
	}
	for p := range s.View {
		if s.certified(p) {
			c.tryOn(s, s.certifiedFork(p))
		}
	}
}

// tryOn makes the offers of view s.View that use the certificate on.
func (c *conformity) tryOn(s *State, on *fork) {
	v, p := s.View, on.viewOf()
	f := &fork{v, Block{p, 0}, on}
	mayVote := s.mayVote(Rules{}, p)
	// Without a timeout certificate.
	c.try("propose"+f.name(), func(a *puppet) { c.proposed(a, f, p == v-1, c.proposal(f)) })
	c.try("expire"+f.name(), func(a *puppet) { c.timer(a, s, on) })
	if v > 2 && p != v-1 { // one of a view that is not the one before
		c.try("propose old"+f.name(), func(a *puppet) { c.proposed(a, f, false, c.proposal(f, c.tc(v-2, on))) })
	}
	if p != v-1 {
		m := c.timeout(v, on)
		if _, err := c.verifier.Timeout(m); err == nil {
			c.fail("a timeout of view %d with the certificate of view %d is taken, which the model forbids without what led its sender there", v, p)
		}
	}
	if s.Low == none || p == v-1 {
		return
	}
	for h := s.Low; h < v-1; h++ {
		if !s.certified(h) {
			continue
		}
		tc := c.tc(v-1, s.certifiedFork(h))
		if h <= p && !mayVote {
			c.t.Fatalf("the model contradicts itself at view %d on %d with a timeout certificate that knows %d", v, p, h)
		}
		name := f.name() + s.certifiedFork(h).name()
		c.try("propose"+name, func(a *puppet) { c.proposed(a, f, h <= p, c.proposal(f, tc)) })
		c.try("expire"+name, func(a *puppet) { c.timer(a, s, on, tc) })
		// In the view already, it still wants the certificate that leads there from the block's, with the proposal.
		c.try("enter, propose alone"+name, func(a *puppet) {
			a.show(tc)
			c.proposed(a, f, false, c.proposal(f))
		})
		if v > 2 {
			c.try("enter, propose old"+name, func(a *puppet) {
				a.show(tc)
				c.proposed(a, f, false, c.proposal(f, c.tc(v-2, on)))
			})
		}
	}
}

// try makes an offer to a replica with the history that never stopped, and to one that restarted after it.
func (c *conformity) try(name string, offer func(*puppet)) {
	key := c.told + "|" + name
	if c.tried[key] {
		return
	}
	c.tried[key] = true
	c.offers++
	offer(c.replay())
	if c.actor == nil {
		c.actor = c.replay()
	}
	offer(c.actor.restarted())
}

// replay makes a replica with the history, comparing on the way.
func (c *conformity) replay() *puppet {
	a := c.puppet()
	var lock, root int8
	var known []*fork
	for _, d := range c.history {
		if d.voted {
			known = append(known, d.vote.under)
			lock = max(lock, d.vote.Parent)
			c.expectVote(d.vote, a.offer(c.proposal(d.vote, c.enter(d.view, d.vote.under)...)))
		}
		if d.timed {
			known = append(known, d.timeout)
			c.expectTimeout(d.view, d.timeout, a.expire(d.view, c.qc(d.timeout), c.enter(d.view, d.timeout)...))
		}
		root = committed(known)
		c.expectState(a, lock, root)
	}
	return a
}

// enter is the timeout certificate that leads into the view from the certificate of an earlier one, if it takes one.
func (c *conformity) enter(view int8, from *fork) []consensus.TC {
	if from.viewOf() == view-1 {
		return nil
	}
	return []consensus.TC{c.tc(view-1, from)}
}

// proposed offers a proposal that the model allows the replica to vote for, or not, and then what must not follow.
func (c *conformity) proposed(a *puppet, f *fork, may bool, m *consensus.Proposal) {
	sent := a.offer(m)
	if !may {
		c.expectNothing(f, sent)
		return
	}
	c.allowed++
	c.expectVote(f, sent)
	known := append(append([]*fork(nil), c.known...), f.under)
	c.expectState(a, max(c.lock(), f.Parent), committed(known))
	tc := m.LastTC
	again := &fork{f.view, Block{f.Parent, 1}, f.under}
	for _, x := range []*puppet{a.restarted(), a} {
		c.expectNothing(again, x.offer(c.proposal(again, tc...)))
		c.expectNothing(f, x.offer(m))
		c.expectTimeout(f.view, highest(known), x.expire(f.view, c.qc(f.under), tc...))
		c.expectState(x, max(c.lock(), f.Parent), committed(known))
		c.expectNothing(again, x.offer(c.proposal(again, tc...)))
	}
}

// timer lets the timer of the state's view run out at a replica that is shown the certificate on and those given.
func (c *conformity) timer(a *puppet, s *State, on *fork, tc ...consensus.TC) {
	sent := a.expire(s.View, c.qc(on), tc...)
	known := append(append([]*fork(nil), c.known...), on)
	if len(tc) == 1 {
		known = append(known, s.certifiedFork(int8(tc[0].HighQC.Data.View)))
	}
	if on.viewOf() != s.View-1 && len(tc) == 0 {
		if len(sent) != 0 {
			c.fail("view %d was given up without having been entered", s.View)
		}
		return
	}
	high := highest(known)
	if !s.mayTimeout(Rules{Remember: true}, 0, noBlock, high.viewOf()) {
		c.fail("the model forbids a timeout of view %d with the certificate of view %d", s.View, high.viewOf())
	}
	c.allowed++
	c.expectTimeout(s.View, high, sent)
	c.expectState(a, c.lock(), committed(known))
	f := &fork{s.View, Block{high.viewOf(), 0}, high}
	m := c.proposal(f, c.enter(s.View, high)...)
	for _, x := range []*puppet{a.restarted(), a} {
		c.expectNothing(f, x.offer(m))
		again := x.expire(s.View, c.qc(on), tc...)
		if len(again) != 1 || !bytes.Equal(again[0].Encode(), sent[0].Encode()) {
			c.fail("the second timeout of view %d differs from the first", s.View)
		}
	}
}

// lock is the view that the history locks.
func (c *conformity) lock() int8 {
	var l int8
	for _, d := range c.history {
		if d.voted {
			l = max(l, d.vote.Parent)
		}
	}
	return l
}

// highest is the certificate of the highest view.
func highest(known []*fork) *fork {
	var h *fork
	for _, f := range known {
		if f.viewOf() > h.viewOf() {
			h = f
		}
	}
	return h
}

// committed is the view of the highest block that the known certificates, and those before them, commit.
func committed(known []*fork) int8 {
	var root int8
	for _, f := range known {
		for ; f != nil; f = f.under {
			if f.Parent == f.view-1 {
				root = max(root, f.Parent)
			}
		}
	}
	return root
}

func (c *conformity) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("after %q: %s", c.told, fmt.Sprintf(format, args...))
}

func (c *conformity) expectVote(f *fork, sent []consensus.Message) {
	c.t.Helper()
	for _, m := range sent {
		if v, ok := m.(*consensus.Vote); ok && v.Data.Block == c.block(f).ID() && len(sent) == 1 {
			want := c.qc(f)
			if v.Data != want.Data {
				c.fail("the vote for %s commits %s, the model %s", f.name(), v.Data.CommitRef.Short(), want.Data.CommitRef.Short())
			}
			return
		}
	}
	c.fail("no vote for %s, which the model allows", f.name())
}

func (c *conformity) expectNothing(f *fork, sent []consensus.Message) {
	c.t.Helper()
	for _, m := range sent {
		if v, ok := m.(*consensus.Vote); ok {
			c.fail("a vote in view %d for %s, which the model forbids", v.Data.View, f.name())
		}
	}
}

func (c *conformity) expectTimeout(view int8, high *fork, sent []consensus.Message) {
	c.t.Helper()
	for _, m := range sent {
		if t, ok := m.(*consensus.Timeout); ok && len(sent) == 1 && t.Data.View == consensus.View(view) {
			if t.HighQC.Data.Block != c.block(high).ID() || t.Data.HighQC != consensus.View(high.viewOf()) {
				c.fail("the timeout of view %d names the certificate of view %d, the model that of view %d", view, t.Data.HighQC, high.viewOf())
			}
			if _, err := c.verifier.Timeout(t); err != nil {
				c.fail("the timeout of view %d: %v", view, err)
			}
			return
		}
	}
	c.fail("no timeout of view %d with the certificate of %s, which the model allows", view, high.name())
}

// expectState compares the lock and the last committed block.
func (c *conformity) expectState(a *puppet, lock, root int8) {
	c.t.Helper()
	if s := a.r.Safety(); s.Locked != consensus.View(lock) {
		c.fail("the replica has locked view %d, the model view %d", s.Locked, lock)
	}
	if v := a.r.Root().Header.View; v != consensus.View(root) {
		c.fail("the replica has committed up to view %d, the model up to view %d", v, root)
	}
}
