package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// numbered is a duty of its own job.
func numbered(i int) Duty {
	d := duty(ActCommit)
	d.Job = digest.Of(fmt.Appendf(nil, "job %d", i))
	return d
}

// next is the next command, of which no other may be there.
func next[P enc.Payload](t *testing.T, m *machine) (p P) {
	t.Helper()
	synctest.Wait()
	if len(m.sent) != 1 {
		t.Fatalf("%d commands, want 1", len(m.sent))
	}
	got := <-m.sent
	p, ok := got.(P)
	if !ok {
		t.Fatalf("command %T %+v, want %T", got, got, p)
	}
	return p
}

func quiet(t *testing.T, m *machine) {
	t.Helper()
	synctest.Wait()
	if n := len(m.sent); n != 0 {
		t.Fatalf("%d commands, want none: %+v", n, <-m.sent)
	}
}

func TestNewRoundCommitsAgainWithoutExecutingAgain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		r, stop := start(t, dir, m)
		defer stop()
		r.Committed(chain{height: 1, duties: []Duty{duty(ActCommit)}})
		first := next[*enc.Commit](t, m)
		r.Committed(chain{height: 2, end: End{Known: true, Running: true}}) // between the rounds it is no duty
		quiet(t, m)
		again := duty(ActCommit)
		again.Round = 2
		r.Committed(chain{height: 3, duties: []Duty{again}})
		second := next[*enc.Commit](t, m)
		if second.Round != 2 || second.Hash == first.Hash {
			t.Errorf("the second round's commit is %+v", second)
		}
		again.Act = ActReveal
		r.Committed(chain{height: 4, duties: []Duty{again}})
		opens(t, second, next[*enc.Reveal](t, m))
		if n := m.runs.Load(); n != 1 {
			t.Errorf("%d runs", n)
		}
	})
}

func TestPeerWithoutResultDeclinesAndSaysWhy(t *testing.T) {
	lost := digest.Of([]byte("an input that is nowhere"))
	for reason, m := range map[string]*machine{
		enc.DeclineNoResult: {err: fmt.Errorf("cage: %w", &NoResult{Reason: enc.DeclineNoResult, Detail: "wall clock"})},
		enc.DeclinePolicy:   {err: &NoResult{Reason: enc.DeclinePolicy, Detail: "no such wall here"}},
		enc.DeclineEngine:   {err: &NoResult{Reason: enc.DeclineEngine, Detail: "not fetched"}},
		enc.DeclineTrouble:  {err: errors.New(string(bytes.Repeat([]byte("é"), 300)))},
		enc.DeclineInputs:   {missing: lost},
	} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			d := duty(ActCommit)
			d.Work.Inputs = []receipt.Input{{Path: "a", Digest: testChain, Bytes: 1}, {Path: "b", Digest: lost, Bytes: 1}}
			r, stop := start(t, dir, m)
			defer stop()
			r.Committed(chain{height: 1, duties: []Duty{d}})
			if c := next[*enc.Decline](t, m); c.Reason != reason || c.Detail == "" || c.Round != 1 || c.Job != testJob {
				t.Errorf("declined with %+v, want reason %s", c, reason)
			}
			r.Committed(chain{height: 2, duties: []Duty{d}})
			quiet(t, m)
			if st := r.Stats(); st.Started != 1 || st.Failed != 1 || st.Finished != 0 {
				t.Errorf("stats %+v", st)
			}
			r.Committed(chain{height: 3, end: End{Known: true, Running: true}})
			synctest.Wait()
			if !m.pinned(jobReason(testJob)) {
				t.Error("the inputs were released while the job may come back")
			}
			d.Round = 2 // the network asks this peer once more: it may have become better
			r.Committed(chain{height: 4, duties: []Duty{d}})
			if c := next[*enc.Decline](t, m); c.Round != 2 {
				t.Errorf("second decline %+v", c)
			}
			r.Committed(chain{height: 5, end: End{Known: true}})
			synctest.Wait()
			if m.pinned(jobReason(testJob)) {
				t.Error("the inputs of a job without outcome stay pinned")
			}
			if left := r.store.jobs(); len(left) != 0 {
				t.Errorf("left on disk: %v", left)
			}
		})
	}
}

func TestUnansweredCommandIsRepeatedThoughNoBlockComes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		r, stop := start(t, dir, m)
		defer stop()
		r.Committed(chain{height: 1, duties: []Duty{duty(ActCommit)}})
		first := next[*enc.Commit](t, m)
		time.Sleep(r.cfg.Resend - time.Millisecond)
		r.Committed(chain{height: 2, duties: []Duty{duty(ActCommit)}})
		quiet(t, m)
		time.Sleep(2 * r.cfg.Resend)
		synctest.Wait()
		if len(m.sent) == 0 {
			t.Fatal("the commit was not repeated")
		}
		if again := (<-m.sent).(*enc.Commit); again.Hash != first.Hash {
			t.Error("another commit")
		}
	})
}

func TestCommandThatWasNotTakenIsSentAgain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		m.refuse.Store(true)
		r, stop := start(t, dir, m)
		defer stop()
		r.Committed(chain{height: 1, duties: []Duty{duty(ActCommit)}})
		quiet(t, m)
		m.refuse.Store(false)
		r.Committed(chain{height: 2, duties: []Duty{duty(ActCommit)}})
		next[*enc.Commit](t, m)
	})
}

func TestLeasesAreRenewedInOneSortedCommand(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{hang: true}
		r, stop := start(t, dir, m)
		defer stop()
		var duties []Duty
		for i := range 8 { // some wait for a slot: their leases are kept as well
			d := numbered(i)
			d.Lease = 1000 + 10_000
			duties = append(duties, d)
		}
		far := numbered(8)
		r.Committed(chain{height: 1, duties: append(duties, far)})
		quiet(t, m)
		time.Sleep(r.cfg.Resend) // 3 s of a lease of 10 s
		quiet(t, m)
		time.Sleep(r.cfg.Resend) // no block came, but the leases run all the same
		synctest.Wait()
		p := next[*enc.RenewLeases](t, m)
		if len(p.Executions) != len(duties) {
			t.Fatalf("%d renewed, want %d", len(p.Executions), len(duties))
		}
		for i, ref := range p.Executions {
			if i > 0 && p.Executions[i-1].Job.Compare(ref.Job) >= 0 {
				t.Error("not sorted, each job once")
			}
			if ref.Job == far.Job {
				t.Error("a lease far from its end was renewed")
			}
		}
	})
}

func TestExecutionRepeatedForItsRevealRenewsNothing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{hang: true}
		r, stop := start(t, dir, m)
		defer stop()
		d := duty(ActReveal)
		d.Lease = 500 // over
		r.Committed(chain{height: 1, duties: []Duty{d}})
		synctest.Wait()
		r.Committed(chain{height: 2, duties: []Duty{d}})
		quiet(t, m)
		if m.runs.Load() != 1 {
			t.Errorf("%d runs", m.runs.Load())
		}
	})
}

func TestSlotsBoundExecutions(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{release: make(chan struct{})}
		r, stop := start(t, dir, m)
		defer stop()
		v := chain{height: 1}
		for i := range 5 {
			v.duties = append(v.duties, numbered(i))
		}
		r.Committed(v)
		synctest.Wait()
		if n := m.now.Load(); n != slots {
			t.Errorf("%d executions at once, want %d", n, slots)
		}
		for range v.duties {
			m.release <- struct{}{}
		}
		for range v.duties {
			<-m.sent
		}
		if m.most.Load() != slots || m.runs.Load() != 5 {
			t.Errorf("%d runs, %d at once", m.runs.Load(), m.most.Load())
		}
	})
}

func TestRunEndsWithExecutionsUnderWay(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) { // it fails if a goroutine is left
		m := &machine{hang: true}
		r, stop := start(t, dir, m)
		v := chain{height: 1}
		for i := range 5 {
			v.duties = append(v.duties, numbered(i))
		}
		r.Committed(v)
		synctest.Wait()
		stop()
		if m.runs.Load() != slots || m.stopped.Load() != slots {
			t.Errorf("%d runs, %d stopped", m.runs.Load(), m.stopped.Load())
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("left on disk: %v (%v)", entries, err)
		}
	})
}

func TestRunnerWithoutSlotsIsRefused(t *testing.T) {
	if _, err := New(Config{Dir: t.TempDir(), Blobs: &machine{}}); err == nil {
		t.Error("accepted")
	}
}
