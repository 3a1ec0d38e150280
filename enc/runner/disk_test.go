package runner

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

func TestOutputsOfOtherEndsAreDropped(t *testing.T) {
	for name, end := range map[string]End{
		"dissenting": {Known: true, KeepMs: 1 << 40},
		"cancelled":  {Known: true},
		"forgotten":  {},
		"expired":    {Known: true, Agreed: true, KeepMs: 1500},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				m := &machine{}
				r, stop := start(t, dir, m)
				defer stop()
				r.Committed(chain{height: 1, duties: []Duty{duty(ActCommit)}})
				next[*enc.Commit](t, m)
				r.Committed(chain{height: 2, end: end})
				quiet(t, m)
				if left := r.store.jobs(); len(left) != 0 || len(m.adopted) != 0 {
					t.Errorf("left on disk: %v; %d published", left, len(m.adopted))
				}
			})
		})
	}
}

func TestResultIsKeptForItsLifetimeAlsoOverARestart(t *testing.T) {
	dir := t.TempDir()
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := &machine{}
			r, stop := start(t, dir, m)
			r.Committed(chain{height: 1, duties: []Duty{duty(ActCommit)}})
			next[*enc.Commit](t, m)
			sealed := End{Known: true, Agreed: true, KeepMs: 50_000}
			r.Committed(chain{height: 2, end: sealed})
			<-m.adopted
			if restart {
				synctest.Wait()
				stop()
				r, stop = start(t, dir, m)
			}
			r.Committed(chain{height: 49, end: sealed})
			synctest.Wait()
			if !m.pinned(resultReason(testJob)) {
				t.Error("released before its time")
			}
			r.Committed(chain{height: 50, end: sealed})
			synctest.Wait()
			if m.pinned(resultReason(testJob)) {
				t.Error("kept past its time")
			}
			stop()
		})
	}
}

func TestPinsOfAnExecutionThatACrashCutShortAreReleased(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		m.pin(jobReason(testJob)) // of a process that ended without a word
		r, stop := start(t, dir, m)
		defer stop()
		r.Committed(chain{height: 1, end: End{Known: true}})
		synctest.Wait()
		if m.pinned(jobReason(testJob)) {
			t.Error("the inputs stay pinned for ever")
		}
	})
}

// damage changes one bit of an execution's file.
func damage(t *testing.T, r *Runner, file string) {
	t.Helper()
	path := filepath.Join(r.store.folder(testJob), file)
	b, err := os.ReadFile(path)
	if err == nil && len(b) > 0 {
		b[0] ^= 1
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil || len(b) == 0 {
		t.Fatalf("damage %s: %v", file, err)
	}
}

func TestDamagedExecutionIsRepeatedAndNeverRevealed(t *testing.T) {
	for _, file := range []string{"out/stdout", "outcome.cbor"} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			m := &machine{}
			r, stop := start(t, dir, m)
			defer stop()
			r.Committed(chain{height: 1, duties: []Duty{duty(ActCommit)}})
			commit := next[*enc.Commit](t, m)
			damage(t, r, file)
			r.Committed(chain{height: 2, duties: []Duty{duty(ActReveal)}})
			opens(t, commit, next[*enc.Reveal](t, m))
			if n := m.runs.Load(); n != 2 {
				t.Errorf("%s: %d runs", file, n)
			}
		})
	}
}

func TestDiskThatDamagesTwiceIsTrouble(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		r, stop := start(t, dir, m)
		defer stop()
		d := duty(ActCommit)
		for round := uint32(1); round < 4; round++ {
			d.Round = round
			r.Committed(chain{height: uint64(round), duties: []Duty{d}})
			if round < 3 {
				next[*enc.Commit](t, m)
				damage(t, r, "out/stdout")
			}
		}
		if c := next[*enc.Decline](t, m); c.Reason != enc.DeclineTrouble || c.Round != 3 {
			t.Errorf("declined with %+v", c)
		}
		d.Act = ActReveal
		r.Committed(chain{height: 9, duties: []Duty{d}})
		quiet(t, m)
		if n := m.runs.Load(); n != 2 {
			t.Errorf("%d runs", n)
		}
	})
}

func FuzzReadOutcome(f *testing.F) {
	raw := canon.Must(&receipt.Outcome{Outputs: []receipt.Output{{Name: "stderr"}, {Name: "stdout"}}})
	sum := digest.Of(raw)
	f.Add(append(bytes.Clone(raw), sum[:]...))
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, ok := readOutcome(b)
		if !ok {
			return
		}
		again := canon.Must(&o)
		sum := digest.Of(again)
		if !bytes.Equal(append(again, sum[:]...), b) {
			t.Error("a second spelling was taken")
		}
	})
}
