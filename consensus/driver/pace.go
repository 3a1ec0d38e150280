package driver

import (
	"time"

	"github.com/metanode/metanode/consensus"
)

// pace is the arithmetic of the timers: when the view's timer runs out, and when an idle leader proposes. It holds no
// timer of its own; the owner asks how long to wait.
type pace struct {
	base, most time.Duration // first timeout after a success, and the longest
	idle       time.Duration // between blocks without work
	gather     time.Duration // for which the next block with work waits for company; see Config.Load
	poll       time.Duration // between questions for work while idle

	view     consensus.View
	entered  time.Time
	fails    uint64    // views in a row without a certificate
	deadline time.Time // of the view
	busy     bool      // work is known, or a proposal of this view has come: the deadline is the short one
	since    time.Time // when busy became true
	ranOut   bool      // the timer of this view has
	typical  time.Duration
	early    time.Time // when a held proposal is to be looked at; zero for none
}

// enter begins a view.
func (p *pace) enter(e *consensus.EnterView, now time.Time) {
	if p.busy && !p.ranOut && e.Reason == consensus.EnterByQC {
		// Follow what a busy view takes: a network slower than the base must not fail each view before its time.
		took := now.Sub(p.since)
		p.typical += (took - p.typical) / 8
	}
	p.view, p.entered, p.fails, p.busy = e.View, now, e.Timeouts, false
	p.ranOut = false
	p.deadline = now.Add(p.idle + p.timeout())
}

// timeout is the patience with a busy view: the base, or three times what views take lately if that is more, half as
// much again for each failed view.
func (p *pace) timeout() time.Duration {
	t := min(p.most, max(p.base, 3*p.typical))
	for i := uint64(0); i < p.fails && t < p.most; i++ {
		t += t / 2
	}
	return min(t, p.most)
}

// work notes whether there is work. The short timer runs from when it became known.
func (p *pace) work(has bool, now time.Time) {
	if has && !p.busy {
		p.busy, p.since = true, now
		if t := now.Add(p.timeout()); t.Before(p.deadline) {
			p.deadline = t
		}
	}
}

// expired reports a timer that has run out, and winds it up again: while the network is stuck, timeouts are repeated.
func (p *pace) expired(now time.Time) (consensus.View, bool) {
	if now.Before(p.deadline) {
		return 0, false
	}
	p.fails++
	p.ranOut = true
	if !p.busy {
		p.busy, p.since = true, now
	}
	p.deadline = now.Add(p.timeout())
	return p.view, true
}

// soon asks for a look at a time.
func (p *pace) soon(at time.Time) {
	if p.early.IsZero() || at.Before(p.early) {
		p.early = at
	}
}

// load sets how long a block with work waits for company: not at all while one thing or none is going on, and then
// longer the more is, since each will bring transactions soon. Blocks cost every validator signatures, messages and a
// sync, whatever is in them; like a group commit, this trades a little latency, under load only, for throughput.
func (p *pace) load(n int) { p.gather = min(maxGather, time.Duration(max(0, n-1))*gatherEach) }

// Bounds of what a block waits for company, far below the shortest view timeout.
const (
	gatherEach = 2 * time.Millisecond
	maxGather  = 50 * time.Millisecond
)

// mayPropose reports whether the leader's block is due: with work at once, or when company had its time to come (but a
// full block waits for none); without, after the idle interval.
func (p *pace) mayPropose(has, full bool, now time.Time) bool {
	return (has && (full || !now.Before(p.entered.Add(p.gather)))) || !now.Before(p.entered.Add(p.idle))
}

// wait is the time until the owner must look again.
func (p *pace) wait(now time.Time) time.Duration {
	w := p.deadline.Sub(now)
	if !p.busy {
		w = min(w, p.poll, max(0, p.entered.Add(p.idle).Sub(now)))
		if !now.Before(p.entered.Add(p.idle)) {
			w = min(p.poll, p.deadline.Sub(now))
		}
	}
	if !p.early.IsZero() {
		w = min(w, p.early.Sub(now))
	}
	return max(w, time.Millisecond)
}
