package runner

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// chain is a hand-written View: what the test says is committed.
type chain struct {
	height uint64
	duties []Duty
	holds  []Hold
	gone   []digest.Digest // withdrawn manifests
	end    End
}

func (c chain) Height() uint64              { return c.height }
func (c chain) TimeMs() uint64              { return 1000 * c.height }
func (c chain) Duties() []Duty              { return c.duties }
func (c chain) Holds() []Hold               { return c.holds }
func (c chain) Stands(m digest.Digest) bool { return !slices.Contains(c.gone, m) }
func (c chain) Ended(digest.Digest) End     { return c.end }

// machine is the executor, the blob store and the network of one peer.
type machine struct {
	runs    atomic.Int32
	stopped atomic.Int32
	now     atomic.Int32 // executions under way
	most    atomic.Int32 // of now
	hang    bool
	release chan struct{} // if set, an execution goes on after receiving from it
	err     error         // of Execute
	missing digest.Digest // an input that nobody has
	refuse  atomic.Bool   // Command
	sent    chan enc.Payload
	adopted chan enc.BlobRef

	mu   sync.Mutex
	pins map[string]int
}

func (m *machine) Execute(ctx context.Context, _ digest.Digest, _ *receipt.Work, dir string) (receipt.Outcome, error) {
	m.runs.Add(1)
	m.most.Store(max(m.most.Load(), m.now.Add(1)))
	defer m.now.Add(-1)
	if m.hang {
		<-ctx.Done()
		m.stopped.Add(1)
		return receipt.Outcome{}, context.Cause(ctx)
	}
	if m.release != nil {
		<-m.release
	}
	if m.err != nil {
		return receipt.Outcome{}, m.err
	}
	for name, text := range map[string]string{"stdout": "42\n", "stderr": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return receipt.Outcome{}, err
		}
	}
	return receipt.Outcome{Outputs: []receipt.Output{
		{Name: "stderr", Digest: digest.Of(nil)}, {Name: "stdout", Digest: digest.Of([]byte("42\n")), Bytes: 3},
	}}, nil
}

func (m *machine) Ensure(_ context.Context, ref enc.BlobRef, reason string) error {
	if ref.Digest == m.missing {
		return errors.New("nobody has it")
	}
	m.pin(reason)
	return nil
}

func (m *machine) pin(reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pins == nil {
		m.pins = map[string]int{}
	}
	m.pins[reason]++
}

func (m *machine) pinned(reason string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pins[reason] > 0
}

func (m *machine) Release(reason string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pins, reason)
	return nil
}

func (m *machine) Reasons(prefix string) (list []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for reason := range m.pins {
		if strings.HasPrefix(reason, prefix) {
			list = append(list, reason)
		}
	}
	return list
}

func (m *machine) Adopt(_ context.Context, path string, ref enc.BlobRef, reason string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if uint64(len(b)) != ref.Bytes || digest.Of(b) != ref.Digest {
		return errors.New("other bytes than announced")
	}
	m.pin(reason)
	m.adopted <- ref
	return nil
}

func (m *machine) Put(_ context.Context, b []byte, reason string) error {
	m.pin(reason)
	m.adopted <- enc.BlobRef{Digest: digest.Of(b), Bytes: uint64(len(b))}
	return nil
}

func (m *machine) Command(_ context.Context, kind enc.Kind, payload []byte) error {
	if m.refuse.Load() {
		return errors.New("the mempool is full")
	}
	p, err := (&enc.CommandBody{Kind: kind, Payload: payload}).DecodePayload()
	if err == nil {
		m.sent <- p
	}
	return err
}

var (
	testKey   = sign.FromSeed(make([]byte, 32))
	testChain = digest.Of([]byte("chain"))
	testJob   = digest.Of([]byte("job"))
)

// slots of the runner in tests.
const slots = 2

// start runs a runner; the function that it gives ends it, and checks that it ended well.
func start(t *testing.T, dir string, m *machine) (*Runner, func()) {
	t.Helper()
	return startCheap(t, dir, m, -1) // every execution is kept on disk
}

func startCheap(t *testing.T, dir string, m *machine, cheap time.Duration) (*Runner, func()) {
	t.Helper()
	m.sent, m.adopted = make(chan enc.Payload, 64), make(chan enc.BlobRef, 64)
	r, err := New(Config{
		ChainID: testChain, Key: testKey, Dir: dir, Slots: slots, Cheap: cheap, Executor: m, Blobs: m, Command: m, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func duty(act Act) Duty {
	return Duty{Job: testJob, Round: 1, Act: act, Lease: 1e9, Work: receipt.Work{Kind: "sql"}}
}

// opens checks that a reveal is what the commit bound its peer to.
func opens(t *testing.T, c *enc.Commit, v *enc.Reveal) {
	t.Helper()
	w := duty(ActReveal).Work
	st := receipt.NewStatement(testChain, v.Job, v.Round, &w, &v.Outcome, v.Keyed)
	if enc.CommitHash(v.Job, v.Round, testKey.Public(), st.Digest(), v.Salt) != c.Hash {
		t.Error("the reveal does not open the commit")
	}
	if !sign.VerifyBoth(testKey.Public(), st.SigningBytes(), v.Sig) {
		t.Error("the statement's signature is bad")
	}
	if v.Keyed != receipt.KeyedOutput(v.Job, v.Round, map[string][]byte{"stdout": []byte("42\n"), "stderr": {}}) {
		t.Error("the keyed digest is not that of the output bytes")
	}
}

func TestRevealOpensTheCommitAndOutputsFollowTheSeal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		r, stop := start(t, dir, m)
		defer stop()
		r.Committed(chain{height: 1, duties: []Duty{duty(ActCommit)}})
		commit := (<-m.sent).(*enc.Commit)
		for h := uint64(2); h < 6; h++ { // agreed time jumps on; the command was sent a moment ago
			r.Committed(chain{height: 10 * h, duties: []Duty{duty(ActCommit)}})
			synctest.Wait()
		}
		if len(m.sent) != 0 {
			t.Error("the commit was sent twice at once")
		}
		r.Committed(chain{height: 60, duties: []Duty{duty(ActWait)}})
		synctest.Wait()
		if len(m.sent)+len(m.adopted) != 0 {
			t.Error("something left the peer before the reveal was due")
		}
		r.Committed(chain{height: 61, duties: []Duty{duty(ActReveal)}})
		opens(t, commit, (<-m.sent).(*enc.Reveal))
		r.Committed(chain{height: 62, end: End{Known: true, Agreed: true, KeepMs: 1 << 40}})
		if ref := <-m.adopted; ref.Bytes != 3 {
			t.Errorf("published %+v", ref)
		}
		synctest.Wait()
		if left := r.store.jobs(); len(left) != 0 || m.runs.Load() != 1 {
			t.Errorf("left on disk: %v; %d runs", left, m.runs.Load())
		}
	})
}

func TestRestartedPeerRevealsEvenIfItsDiskForgot(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		r, stop := start(t, first, m)
		r.Committed(chain{height: 1, duties: []Duty{duty(ActCommit)}})
		commit := (<-m.sent).(*enc.Commit)
		stop()
		for _, dir := range []string{first, second} { // found on disk, and executed again
			r, stop := start(t, dir, m)
			r.Committed(chain{height: 2, duties: []Duty{duty(ActReveal)}})
			opens(t, commit, (<-m.sent).(*enc.Reveal))
			stop()
		}
		if n := m.runs.Load(); n != 2 {
			t.Errorf("%d runs, want one for the commit and one for the lost disk", n)
		}
	})
}

// TestCheapExecution checks that a short execution is kept without a folder, is revealed and published from memory, is
// found again by a restarted peer, and is done again where a crash of the machine has damaged its file.
func TestCheapExecution(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, testJob.String()+cheapFile)
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		r, stop := startCheap(t, dir, m, 0)
		r.Committed(chain{height: 1, duties: []Duty{duty(ActCommit)}})
		commit := (<-m.sent).(*enc.Commit)
		synctest.Wait()
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(file) {
			t.Errorf("on disk: %v (%v)", entries, err)
		}
		stop()
		for runs := int32(1); runs <= 2; runs++ {
			r, stop := startCheap(t, dir, m, 0)
			r.Committed(chain{height: 2, duties: []Duty{duty(ActReveal)}})
			opens(t, commit, (<-m.sent).(*enc.Reveal))
			if n := m.runs.Load(); n != runs {
				t.Errorf("%d runs, want %d", n, runs)
			}
			stop()
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)/2] ^= 1
			if runs == 1 {
				if err := os.WriteFile(file, raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		r, stop = startCheap(t, dir, m, 0)
		defer stop()
		r.Committed(chain{height: 4, end: End{Known: true, Agreed: true, KeepMs: 1 << 40}})
		if ref := <-m.adopted; ref.Bytes != 3 || ref.Digest != digest.Of([]byte("42\n")) || !m.pinned(resultReason(testJob)) {
			t.Errorf("published %+v", ref)
		}
		synctest.Wait()
		entries, err := os.ReadDir(dir)
		if left := r.store.jobs(); len(left)+len(entries) != 0 || err != nil || m.runs.Load() != 2 {
			t.Errorf("kept: %v and %v (%v); %d runs, want two", left, entries, err, m.runs.Load())
		}
	})
}

func TestUnwantedExecutionStops(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{hang: true}
		r, stop := start(t, dir, m)
		defer stop()
		r.Committed(chain{height: 1, duties: []Duty{duty(ActCommit)}})
		synctest.Wait()
		r.Committed(chain{height: 2, end: End{Known: true}})
		synctest.Wait()
		if m.runs.Load() != 1 || m.stopped.Load() != 1 || len(m.sent) != 0 {
			t.Errorf("%d runs, %d stopped, %d commands", m.runs.Load(), m.stopped.Load(), len(m.sent))
		}
		if left := r.store.jobs(); len(left) != 0 {
			t.Errorf("left on disk: %v", left)
		}
	})
}

func TestHalfWrittenExecutionIsSweptAtStart(t *testing.T) {
	dir := t.TempDir()
	half := filepath.Join(dir, testJob.String(), "out")
	if err := os.MkdirAll(half, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if left := s.jobs(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := s.begin(testJob); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, testJob.String(), "outcome.cbor"), canon.Must("not an outcome"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.load(testJob); ok || err != nil {
		t.Errorf("a damaged outcome was taken for one: %v", err)
	}
}
