package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Config of a Runner.
type Config struct {
	ChainID  digest.Digest
	Key      sign.PrivateKey  // node key
	Dir      string           // folder of executions, this runner's alone
	Slots    int              // executions at once; at least 1
	Resend   time.Duration    // after which an unanswered command is sent again; 0 means 3 s
	Cheap    time.Duration    // an execution shorter than that is not worth a disk's time: after a crash it is done again; 0 means 1 s
	Now      func() time.Time // the clock of Resend; time.Now if nil
	Executor Executor
	Blobs    Blobs
	Command  Commander
	Logger   *slog.Logger
}

// Runner is the executing side of one peer. Make it with New, feed it with Committed, and run it with Run.
type Runner struct {
	cfg   Config
	store *store
	wake  chan struct{} // capacity 1: a newer view replaces an unread one

	mu        sync.Mutex
	next      View
	seen      time.Time // when next came
	tentative View      // newer than next, and not final

	// Owned by Run's goroutine.
	sent    map[string]time.Time // command key → the last send
	running map[digest.Digest]*execution
	holds   map[digest.Digest]context.CancelFunc
	pinned  map[digest.Digest]bool // manifests whose bytes may be pinned
	done    chan *execution        // finished executions
	held    chan holdResult

	slots  chan struct{}
	spawn  sync.WaitGroup
	kept   map[digest.Digest]uint64    // sealed and agreed: agreed time until which outputs stay pinned
	inputs map[digest.Digest]bool      // jobs whose inputs may be pinned
	failed map[digest.Digest]*NoResult // duties without a result
	ahead  map[digest.Digest]uint64    // jobs begun by a tentative view: its height, until a final view is as high
	redone map[digest.Digest]bool      // duties that were executed again because the disk had damaged them
	counts counts
}

// execution is one run of a job's work on this peer.
type execution struct {
	job    digest.Digest
	cancel context.CancelCauseFunc
	err    error
	lease  uint64
	round  uint32
	wanted bool // still a duty; set by each reconcile
}

type holdResult struct {
	manifest digest.Digest
	err      error
}

// New opens the executions folder and sweeps what a crash left there.
func New(cfg Config) (*Runner, error) {
	if cfg.Slots < 1 {
		return nil, fmt.Errorf("runner with %d slots: want at least 1", cfg.Slots)
	}
	if cfg.Resend == 0 {
		cfg.Resend = 3 * time.Second
	}
	if cfg.Cheap == 0 {
		cfg.Cheap = time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s, err := openStore(cfg.Dir)
	if err != nil {
		return nil, err
	}
	r := &Runner{
		cfg: cfg, store: s, wake: make(chan struct{}, 1),
		sent: map[string]time.Time{}, running: map[digest.Digest]*execution{}, holds: map[digest.Digest]context.CancelFunc{},
		pinned: map[digest.Digest]bool{},
		done:   make(chan *execution), held: make(chan holdResult), slots: make(chan struct{}, cfg.Slots),
		kept: map[digest.Digest]uint64{}, inputs: map[digest.Digest]bool{},
		failed: map[digest.Digest]*NoResult{}, ahead: map[digest.Digest]uint64{}, redone: map[digest.Digest]bool{},
	}
	for _, reason := range cfg.Blobs.Reasons(jobReasons) {
		if job, err := digest.Parse(strings.TrimPrefix(reason, jobReasons)); err == nil {
			r.inputs[job] = true // settled, or wanted still, by the first view
		}
	}
	for _, reason := range cfg.Blobs.Reasons(holdReasons) {
		if m, err := digest.Parse(strings.TrimPrefix(reason, holdReasons)); err == nil {
			r.pinned[m] = true
		}
	}
	for _, reason := range cfg.Blobs.Reasons(resultReasons) {
		if job, err := digest.Parse(strings.TrimPrefix(reason, resultReasons)); err == nil {
			r.kept[job] = 0 // until when is looked up in the first view
		}
	}
	return r, nil
}

// Committed shows the runner a newer committed state. It never blocks; a view that was not looked at yet is replaced.
// Safe for concurrent use.
func (r *Runner) Committed(v View) {
	r.mu.Lock()
	r.next, r.seen = v, r.cfg.Now()
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Tentative shows the runner the state after a block that is not final yet. What it assigns to this peer is begun, and
// committed to, before the block is final, which hides the time of two blocks: if the block comes to nothing, so does the
// execution, and a commit tells nobody anything. Nothing is revealed, dropped or declined for a tentative view. It never
// blocks. Safe for concurrent use.
func (r *Runner) Tentative(v View) {
	r.mu.Lock()
	r.tentative = v
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run reconciles after every view until ctx ends, and returns when every execution has stopped. A chain with nothing to
// do makes no blocks for as long as genesis says, so Run also looks at the last view again every Resend: a lost command
// must be repeated, and a lease renewed, though no block comes.
func (r *Runner) Run(ctx context.Context) error {
	defer func() {
		for _, e := range r.running {
			e.cancel(context.Canceled)
		}
		for _, cancel := range r.holds {
			cancel()
		}
		go func() { r.spawn.Wait(); close(r.done) }()
		for {
			select {
			case _, open := <-r.done:
				if !open {
					return
				}
			case <-r.held:
			}
		}
	}()
	tick := time.NewTicker(r.cfg.Resend)
	defer tick.Stop()
	var last, tentative View
	var seen time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
			r.mu.Lock()
			last, seen, tentative = r.next, r.seen, r.tentative
			r.mu.Unlock()
		case <-tick.C:
		case e := <-r.done:
			r.finished(e)
		case h := <-r.held:
			r.holdDone(ctx, h)
		}
		if last == nil {
			continue
		}
		if err := r.reconcile(ctx, last, seen); err != nil {
			return err
		}
		if tentative != nil && tentative.Height() > last.Height() {
			if err := r.foresee(ctx, tentative); err != nil {
				return err
			}
		}
	}
}

// foresee begins what a tentative view assigns.
func (r *Runner) foresee(ctx context.Context, v View) error {
	for _, d := range v.Duties() {
		if d.Act != ActCommit || r.running[d.Job] != nil || r.failed[d.Job] != nil {
			continue
		}
		r.ahead[d.Job] = v.Height()
		if err := r.perform(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) finished(e *execution) {
	delete(r.running, e.job)
	e.cancel(nil)
	if e.err == nil {
		return
	}
	var no *NoResult
	if !errors.As(e.err, &no) {
		if errors.Is(e.err, ErrStopped) || errors.Is(e.err, context.Canceled) {
			return
		}
		r.cfg.Logger.Error("execution failed", "job", e.job.Short(), "err", e.err)
		no = &NoResult{Reason: enc.DeclineTrouble, Detail: clip(e.err.Error(), 256)}
	}
	r.failed[e.job] = no
}

// reconcile brings this peer closer to what v, which came at seen, desires. Errors are trouble with the executions
// folder, which stops the node.
func (r *Runner) reconcile(ctx context.Context, v View, seen time.Time) error {
	for _, e := range r.running {
		e.wanted = false
	}
	duties := v.Duties()
	wanted := make(map[digest.Digest]bool, len(duties))
	var renew []enc.ExecutionRef
	for _, d := range duties {
		wanted[d.Job] = true
		if e, ok := r.running[d.Job]; ok {
			e.wanted, e.lease, e.round = true, d.Lease, d.Round
			if d.Act == ActCommit { // what has committed has no lease any more
				renew = append(renew, enc.ExecutionRef{Job: d.Job, Round: d.Round})
			}
			continue
		}
		if err := r.perform(ctx, d); err != nil {
			return err
		}
	}
	r.renew(ctx, v.TimeMs()+uint64(max(0, r.cfg.Now().Sub(seen).Milliseconds())), renew)
	for job, height := range r.ahead {
		if v.Height() >= height {
			delete(r.ahead, job)
		} else {
			wanted[job] = true // perhaps; this view is too old to tell
		}
	}
	for _, e := range r.running {
		if !e.wanted && !wanted[e.job] {
			e.cancel(ErrStopped)
		}
	}
	for job := range r.failed {
		if !wanted[job] {
			delete(r.failed, job)
		}
	}
	for job := range r.redone {
		if !wanted[job] {
			delete(r.redone, job)
		}
	}
	for k, at := range r.sent {
		if r.cfg.Now().Sub(at) > 10*r.cfg.Resend {
			delete(r.sent, k)
		}
	}
	if err := r.settle(ctx, v, wanted); err != nil {
		return err
	}
	r.hold(ctx, v)
	return nil
}

// perform acts on a duty that is not executing now.
func (r *Runner) perform(ctx context.Context, d Duty) error {
	if d.Act == ActWait {
		return nil
	}
	if no := r.failed[d.Job]; no != nil {
		if d.Act == ActCommit { // a commit cannot be taken back: who has nothing to reveal stays silent
			r.send(ctx, "decline", d, enc.KindDecline, &enc.Decline{
				Job: d.Job, Round: d.Round, Reason: no.Reason, Detail: clip(no.Detail, enc.MaxDetailBytes),
			})
		}
		return nil
	}
	what, kind := "commit", enc.KindCommit
	if d.Act == ActReveal {
		what, kind = "reveal", enc.KindReveal
	}
	if r.wasSent(what, d) {
		return nil
	}
	o, ready, err := r.store.load(d.Job)
	if err != nil {
		return err
	}
	if !ready {
		// Also if this peer committed and its disk lost the outcome since: the work is deterministic and the salt follows
		// from the key, so that the same statement comes out again.
		r.start(ctx, d)
		return nil
	}
	statement, keyed, err := r.statement(d, o)
	if err != nil {
		return r.redo(ctx, d, err)
	}
	salt := r.salt(d.Job, d.Round)
	if d.Act == ActReveal {
		r.send(ctx, what, d, kind, &enc.Reveal{
			Job: d.Job, Round: d.Round, Outcome: o, Keyed: keyed, Salt: salt, Sig: r.cfg.Key.Sign(statement.SigningBytes()),
		})
		return nil
	}
	hash := enc.CommitHash(d.Job, d.Round, r.cfg.Key.Public(), statement.Digest(), salt)
	r.send(ctx, what, d, kind, &enc.Commit{Job: d.Job, Round: d.Round, Hash: hash})
	return nil
}

// redo executes a duty again whose outputs on disk are not what was executed. A disk that damages them a second time is
// trouble, not worth a third try.
func (r *Runner) redo(ctx context.Context, d Duty, damage error) error {
	r.cfg.Logger.Error("execution damaged on disk", "job", d.Job.Short(), "err", damage, "again", !r.redone[d.Job])
	if err := r.store.drop(d.Job); err != nil {
		return fmt.Errorf("drop execution of %s: %w", d.Job.Short(), err)
	}
	if r.redone[d.Job] {
		r.failed[d.Job] = &NoResult{Reason: enc.DeclineTrouble, Detail: clip(damage.Error(), enc.MaxDetailBytes)}
		return r.perform(ctx, d)
	}
	r.redone[d.Job] = true
	r.start(ctx, d)
	return nil
}
