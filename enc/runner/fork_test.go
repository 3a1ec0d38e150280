package runner

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/metanode/metanode/enc"
)

func TestTentativeAssignmentIsBegunButNotRevealed(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		r, stop := start(t, dir, m)
		defer stop()
		r.Committed(chain{height: 1})
		r.Tentative(chain{height: 2, duties: []Duty{duty(ActCommit)}})
		synctest.Wait()
		if m.runs.Load() != 1 {
			t.Fatalf("%d runs after a tentative assignment", m.runs.Load())
		}
		next[*enc.Commit](t, m)
		r.Tentative(chain{height: 3, duties: []Duty{duty(ActReveal)}})
		synctest.Wait()
		quiet(t, m) // what may be undone opens nothing
		r.Committed(chain{height: 3, duties: []Duty{duty(ActReveal)}})
		synctest.Wait()
		next[*enc.Reveal](t, m)
		if m.runs.Load() != 1 {
			t.Errorf("%d runs", m.runs.Load())
		}
	})
}

func TestTentativeAssignmentThatCameToNothingStops(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{hang: true}
		r, stop := start(t, dir, m)
		defer stop()
		r.Committed(chain{height: 1})
		r.Tentative(chain{height: 3, duties: []Duty{duty(ActCommit)}})
		synctest.Wait()
		r.Committed(chain{height: 2}) // older: it cannot tell
		synctest.Wait()
		if m.runs.Load() != 1 || m.stopped.Load() != 0 {
			t.Fatalf("%d runs, %d stopped by an older block", m.runs.Load(), m.stopped.Load())
		}
		r.Committed(chain{height: 3}) // another block of that height became final
		synctest.Wait()
		if m.stopped.Load() != 1 || len(m.sent) != 0 {
			t.Errorf("%d stopped, %d commands", m.stopped.Load(), len(m.sent))
		}
		if left := r.store.jobs(); len(left) != 0 {
			t.Errorf("left on disk: %v", left)
		}
	})
}

// TestAbandonedBlockRevealsNothingAndTheRivalFinishes executes and commits to a job for a block that then loses, also
// with descendants of it; the block that becomes final assigns the same job later, or never.
func TestAbandonedBlockRevealsNothingAndTheRivalFinishes(t *testing.T) {
	for name, cheap := range map[string]time.Duration{"on disk": -1, "in memory": time.Hour} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m := &machine{}
				r, stop := startCheap(t, dir, m, cheap)
				defer stop()
				r.Committed(chain{height: 1})
				r.Tentative(chain{height: 2, duties: []Duty{duty(ActCommit)}})
				lost := next[*enc.Commit](t, m)
				r.Tentative(chain{height: 3, duties: []Duty{duty(ActReveal)}}) // the abandoned block's child would reveal
				quiet(t, m)
				r.Committed(chain{height: 2}) // the rival, which does not have the job
				quiet(t, m)
				if left := r.store.jobs(); len(left) != 0 || m.pinned(jobReason(testJob)) || len(r.inputs) != 0 {
					t.Fatalf("the abandoned block left %v; inputs of %d jobs", left, len(r.inputs))
				}
				r.Committed(chain{height: 3}) // as high as the abandoned child, which is forgotten now
				quiet(t, m)

				r.Committed(chain{height: 4, duties: []Duty{duty(ActCommit)}})
				quiet(t, m) // the same commit went out a moment ago, and may be on its way
				time.Sleep(4 * time.Second)
				again := next[*enc.Commit](t, m)
				if again.Hash != lost.Hash {
					t.Error("one job, round and peer, and two commits: whoever sees both learns that they differ")
				}
				r.Committed(chain{height: 5, duties: []Duty{duty(ActReveal)}})
				opens(t, again, next[*enc.Reveal](t, m))
				r.Committed(chain{height: 6, end: End{Known: true, Agreed: true, KeepMs: 1 << 40}})
				if ref := <-m.adopted; ref.Bytes != 3 {
					t.Errorf("published %+v", ref)
				}
				synctest.Wait()
				if left := r.store.jobs(); len(left) != 0 || len(r.ahead) != 0 || len(r.failed) != 0 {
					t.Errorf("left: %v, %d begun ahead, %d failed", left, len(r.ahead), len(r.failed))
				}
			})
		})
	}
}

// TestTentativeFailureDeclinesOnlyOnceFinal fails an execution of a block that may yet be abandoned.
func TestTentativeFailureDeclinesOnlyOnceFinal(t *testing.T) {
	for name, final := range map[string]bool{"final": true, "abandoned": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m := &machine{err: &NoResult{Reason: enc.DeclineNoResult, Detail: "out of memory"}}
				r, stop := start(t, dir, m)
				defer stop()
				r.Committed(chain{height: 1})
				r.Tentative(chain{height: 2, duties: []Duty{duty(ActCommit)}})
				quiet(t, m)
				if m.runs.Load() != 1 {
					t.Fatalf("%d runs", m.runs.Load())
				}
				if final {
					r.Committed(chain{height: 2, duties: []Duty{duty(ActCommit)}})
					if d := next[*enc.Decline](t, m); d.Reason != enc.DeclineNoResult || m.runs.Load() != 1 {
						t.Errorf("declined %+v after %d runs", d, m.runs.Load())
					}
					return
				}
				r.Committed(chain{height: 2})
				quiet(t, m)
				if len(r.failed)+len(r.ahead) != 0 {
					t.Errorf("the abandoned block is remembered: %d failed, %d ahead", len(r.failed), len(r.ahead))
				}
				r.Committed(chain{height: 3, duties: []Duty{duty(ActCommit)}}) // placed anew: a new attempt is owed
				next[*enc.Decline](t, m)
				if m.runs.Load() != 2 {
					t.Errorf("%d runs, want another for the new placement", m.runs.Load())
				}
			})
		})
	}
}
