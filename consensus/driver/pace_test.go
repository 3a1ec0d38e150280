package driver

import (
	"testing"
	"time"

	"github.com/metanode/metanode/consensus"
)

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	p := pace{base: 250 * ms, most: 8 * time.Second, idle: 5 * time.Second, poll: 50 * ms}
	t0 := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return t0.Add(d) }
	p.enter(&consensus.EnterView{View: 1, Reason: consensus.EnterByStart}, t0)

	// Idle: the leader waits for the interval, the others for a timeout more.
	if p.mayPropose(false, false, at(4999*ms)) || !p.mayPropose(false, false, at(5000*ms)) || !p.mayPropose(true, false, t0) {
		t.Error("an idle leader proposes at the wrong time")
	}
	if _, ok := p.expired(at(5249 * ms)); ok {
		t.Error("an idle view timed out before its time")
	}
	if w := p.wait(at(1000 * ms)); w != 50*ms {
		t.Errorf("idle: looks for work after %s", w)
	}

	// Work: the short timer, from when it became known.
	p.work(true, at(1000*ms))
	p.work(true, at(1200*ms))
	if _, ok := p.expired(at(1249 * ms)); ok || p.wait(at(1200*ms)) != 50*ms {
		t.Error("a busy view timed out before its time")
	}
	if v, ok := p.expired(at(1250 * ms)); !ok || v != 1 {
		t.Error("a busy view did not time out")
	}
	// Stuck: again and again, ever later, up to the bound.
	now, last := at(1250*ms), time.Duration(0)
	for range 20 {
		d := p.wait(now)
		if d < last || d > 8*time.Second {
			t.Fatalf("back-off from %s to %s", last, d)
		}
		last, now = d, now.Add(d)
		if _, ok := p.expired(now); !ok {
			t.Fatal("timeouts are not repeated")
		}
	}
	if last != 8*time.Second {
		t.Errorf("back-off ends at %s", last)
	}

	// Success: from the base again; what stuck views took does not count as typical.
	p.enter(&consensus.EnterView{View: 2, Reason: consensus.EnterByQC}, now)
	if d := p.timeout(); d != 250*ms {
		t.Errorf("after a success: %s", d)
	}
	// A slow network raises the base.
	for v := consensus.View(3); v < 60; v++ {
		p.work(true, now)
		now = now.Add(200 * ms)
		p.enter(&consensus.EnterView{View: v, Reason: consensus.EnterByQC}, now)
	}
	if d := p.timeout(); d < 550*ms || d > 600*ms {
		t.Errorf("with views of 200 ms: %s", d)
	}
}

// TestPaceGathers checks that blocks wait for company under load only, never when full, and never long.
func TestPaceGathers(t *testing.T) {
	p := pace{base: 250 * time.Millisecond, most: 8 * time.Second, idle: 5 * time.Second, poll: 50 * time.Millisecond}
	t0 := time.Unix(1_000_000, 0)
	p.enter(&consensus.EnterView{View: 1, Reason: consensus.EnterByQC}, t0)
	for _, c := range []struct {
		load int
		wait time.Duration
	}{{0, 0}, {1, 0}, {2, 2 * time.Millisecond}, {16, 30 * time.Millisecond}, {1000, maxGather}} {
		p.load(c.load)
		if due := t0.Add(c.wait); !p.mayPropose(true, false, due) || (c.wait > 0 && p.mayPropose(true, false, due.Add(-1))) {
			t.Errorf("with %d things going on the block is not due after exactly %v", c.load, c.wait)
		}
		if !p.mayPropose(true, true, t0) {
			t.Errorf("with %d things going on a full block waits", c.load)
		}
		if p.mayPropose(false, false, t0.Add(c.wait)) {
			t.Errorf("with %d things going on an empty block is due after %v", c.load, c.wait)
		}
	}
}
