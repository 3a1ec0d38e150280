package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

// Config sets up an Engine.
type Config struct {
	// Dir is a folder of the engine's own; made if missing. It keeps executable copies of engine images, unpacked roots,
	// and what tracers have learned about programs.
	Dir string
	// IdleAfter ends a zygote that has had no job for so long; 0 means one minute.
	IdleAfter time.Duration
	// MaxZygotes bounds the zygotes alive; the one unused longest makes room. 0 means 4.
	MaxZygotes int
	// MaxRuns bounds the runs at once; others wait for a place. 0 means 16; at most 60.
	MaxRuns int
	// AllowMissing names walls, as Probe does, that may be missing: "net namespace", "ipc namespace", "uts namespace"
	// and "seccomp". The others cannot be left out.
	AllowMissing []string
	// Policies are those that specs may name besides the shipped ones.
	Policies []*cage.Policy
	// Cold executes each sealed program anew, zygote or not: for comparing the two.
	Cold bool
}

// Validate checks c and reports what is wrong with it.
func (c *Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("cage: no folder is configured for the native engine")
	case c.IdleAfter < 0 || c.MaxZygotes < 0 || c.MaxRuns < 0 || c.MaxRuns > 60:
		return errors.New("cage: idle time, zygotes and runs must not be negative, and runs at most 60")
	}
	_, _, err := skipFlags(c.AllowMissing)
	return err
}

// Engine runs specs. Safe for concurrent use.
type Engine struct {
	cfg         Config
	supervisor  string // path of the executable supervisor
	tracer      string // and of the tracer
	flags       uint32 // walls left out, for the supervisor
	tracerFlags uint32 // and for the tracer
	walls       []Wall
	policies    map[digest.Digest]*cage.Policy
	places      chan struct{} // one token a run
	stop        chan struct{} // closed by Close
	pins        *pins
	roots       *roots
	cache       *os.File

	mu      sync.Mutex
	zygotes map[string]*zygote
	images  map[digest.Digest]image
	closed  bool
	stats   Stats
	sweep   *time.Timer
	running sync.WaitGroup
}

// Stats are counters since New, for metrics.
type Stats struct {
	Zygotes  int           // of sealed mode, alive now
	Started  uint64        // zygotes started
	Runs     uint64        // that gave a Result
	NoResult uint64        // that ended in ErrNoResult
	Failures uint64        // trouble with this machine
	Mean     time.Duration // of a run that gave a Result, start to outputs hashed; 0 if none did
	total    time.Duration
}

// New makes an engine and finds out which walls this machine gives. It starts no zygote. It returns an engine even if
// walls are missing: Run then refuses. The caller closes it.
func New(cfg Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.IdleAfter == 0 {
		cfg.IdleAfter = time.Minute
	}
	if cfg.MaxZygotes == 0 {
		cfg.MaxZygotes = 4
	}
	if cfg.MaxRuns == 0 {
		cfg.MaxRuns = 16
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("cage folder %s: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	for _, d := range []string{"images", "stage"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make the cage's folder: %w", err)
		}
	}
	e := &Engine{
		cfg: cfg, places: make(chan struct{}, cfg.MaxRuns), stop: make(chan struct{}), pins: newPins(),
		policies: map[digest.Digest]*cage.Policy{}, zygotes: map[string]*zygote{}, images: map[digest.Digest]image{},
	}
	for _, p := range append(cage.Policies(), cfg.Policies...) {
		e.policies[p.Digest()] = p
	}
	if e.supervisor, err = install("docklock-supervisor", dir); err != nil && !errors.Is(err, errNotBuilt) {
		return nil, err
	}
	if e.tracer, err = install("docklock-tracer", dir); err != nil && !errors.Is(err, errNotBuilt) {
		return nil, err
	}
	if e.cache, err = openCache(dir); err != nil {
		return nil, err
	}
	if e.roots, err = openRoots(filepath.Join(dir, "roots")); err != nil {
		e.cache.Close()
		return nil, err
	}
	e.walls = probe(e.supervisor, e.tracer, e.stage())
	e.flags, e.tracerFlags, _ = skipFlags(e.missing())
	return e, nil
}

func (e *Engine) stage() string { return filepath.Join(e.cfg.Dir, "stage") }

// Close ends all zygotes and all runs, and waits until they have gone.
func (e *Engine) Close() error {
	e.mu.Lock()
	if !e.closed {
		close(e.stop)
	}
	e.closed = true
	if e.sweep != nil {
		e.sweep.Stop()
	}
	all := e.zygotes
	e.zygotes = map[string]*zygote{}
	e.mu.Unlock()
	for _, z := range all {
		z.end()
	}
	e.running.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, im := range e.images {
		im.file.Close()
	}
	e.images = map[digest.Digest]image{}
	e.roots.close()
	e.cache.Close()
	return nil
}

// Stats returns the counters.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Zygotes = len(e.zygotes)
	if s.Runs > 0 {
		s.Mean = s.total / time.Duration(s.Runs)
	}
	return s
}

// Run executes spec and returns what any other machine's run would return. files gives the image and the inputs by
// digest; it may also be a cage.Roots. The outputs' bytes are left in the folder out, which is made and should be empty: out/stdout, out/stderr, and
// out/out/NAME for a file NAME in the program's /out. A *cage.ErrNoResult means a limit that nobody can attest; any
// other error, trouble with this machine or a spec that nobody may run. If ctx ends, the program is killed and ctx's
// error returned.
//
// A program that cannot start anywhere, because the root does not have it or it is for another architecture, is the
// program's failure: a result with exit code cage.ExitNotFound or ExitNotExecutable and the cause on stderr.
func (e *Engine) Run(ctx context.Context, spec cage.Spec, files cage.Files, out string) (cage.Result, error) {
	return e.counted(ctx, &spec, files, out, nil)
}

// Record is Run, and fills rec with what happened, for comparing with another run. rec is of use only if there is a
// result. The spec's mode must be strict or relaxed: a sealed run records nothing.
func (e *Engine) Record(ctx context.Context, spec cage.Spec, files cage.Files, out string, rec *cage.Recording) (cage.Result, error) {
	if spec.Mode == cage.ModeSealed {
		return cage.Result{}, fmt.Errorf("a run in mode %q records nothing; run it in mode %q", spec.Mode, cage.ModeStrict)
	}
	return e.counted(ctx, &spec, files, out, rec)
}

func (e *Engine) counted(ctx context.Context, spec *cage.Spec, files cage.Files, out string, rec *cage.Recording) (cage.Result, error) {
	start := time.Now()
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return cage.Result{}, errors.New("the cage is closed")
	}
	e.running.Add(1)
	e.mu.Unlock()
	defer e.running.Done()

	res, err := e.run(ctx, spec, files, out, rec)

	e.mu.Lock()
	defer e.mu.Unlock()
	var none *cage.ErrNoResult
	switch {
	case err == nil:
		e.stats.Runs++
		e.stats.total += time.Since(start)
	case errors.As(err, &none):
		e.stats.NoResult++
	default:
		e.stats.Failures++
	}
	return res, err
}

func (e *Engine) run(ctx context.Context, spec *cage.Spec, files cage.Files, out string, rec *cage.Recording) (cage.Result, error) {
	if err := spec.Check(); err != nil {
		return cage.Result{}, err
	}
	policy := e.policies[spec.Policy]
	switch {
	case policy == nil:
		return cage.Result{}, fmt.Errorf("cage policy %s is not known here; known are %s", spec.Policy.Short(), e.policyNames())
	case policy.Mode != spec.Mode:
		return cage.Result{}, fmt.Errorf("cage policy %q is for mode %q, and the spec is for mode %q", policy.Name, policy.Mode, spec.Mode)
	}
	if err := e.ReadyFor(spec.Mode); err != nil {
		return cage.Result{}, err
	}
	select {
	case e.places <- struct{}{}:
		defer func() { <-e.places }()
	case <-ctx.Done():
		return cage.Result{}, ctx.Err()
	}
	if spec.Mode != cage.ModeSealed {
		return e.runStrict(ctx, spec, policy, files, out, rec)
	}
	return e.runSealed(ctx, spec, policy, files, out)
}

// policyNames lists the policies that specs may name, sorted.
func (e *Engine) policyNames() string {
	var names []string
	for d, p := range e.policies {
		names = append(names, fmt.Sprintf("%q (%s)", p.Name, d.Short()))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (e *Engine) runSealed(ctx context.Context, spec *cage.Spec, policy *cage.Policy, files cage.Files, out string) (cage.Result, error) {
	im, err := e.image(spec.Image, files)
	if err != nil {
		return cage.Result{}, err
	}
	j, err := newJob(spec, policy, files, out, !im.zygote || e.cfg.Cold, e.flags)
	if err != nil {
		return cage.Result{}, err
	}
	defer j.close()
	z, err := e.zygote(ctx, im, spec.CPUClass)
	if err != nil {
		return cage.Result{}, err
	}
	defer e.release(z)
	done, err := z.run(ctx, j, im, time.Duration(spec.Limits.WallMs)*time.Millisecond)
	if err != nil {
		return cage.Result{}, err
	}
	return j.result(&done)
}

// zygote gives a live zygote for im, counted as in use until release.
func (e *Engine) zygote(ctx context.Context, im image, class string) (*zygote, error) {
	cold := !im.zygote || e.cfg.Cold
	key := class
	if !cold {
		key += " " + im.digest.String()
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, errors.New("the cage is closed")
	}
	z := e.zygotes[key]
	if z == nil || z.dead() {
		var old *zygote
		if z == nil && len(e.zygotes) >= e.cfg.MaxZygotes {
			old = e.evict()
		}
		z = newZygote(key, class, cold)
		e.zygotes[key] = z
		e.stats.Started++
		e.running.Add(1)
		go func() {
			defer e.running.Done()
			z.start(e.supervisor, e.stage(), e.flags, im)
			if old != nil {
				old.end()
			}
		}()
	}
	z.users++
	e.arm()
	e.mu.Unlock()
	select {
	case <-z.ready:
	case <-ctx.Done():
		e.release(z)
		return nil, ctx.Err()
	}
	if z.startErr != nil {
		e.release(z)
		return nil, z.startErr
	}
	return z, nil
}

func (e *Engine) release(z *zygote) {
	e.mu.Lock()
	defer e.mu.Unlock()
	z.users--
	z.used = time.Now()
}

// evict takes the zygote unused longest off the list; nil if all are in use. The caller holds mu.
func (e *Engine) evict() *zygote {
	var old *zygote
	for _, z := range e.zygotes {
		if z.users == 0 && (old == nil || z.used.Before(old.used)) {
			old = z
		}
	}
	if old != nil {
		delete(e.zygotes, old.key)
	}
	return old
}

// arm sets the timer that ends idle zygotes. The caller holds mu.
func (e *Engine) arm() {
	if e.sweep == nil {
		e.sweep = time.AfterFunc(e.cfg.IdleAfter, e.endIdle)
	} else {
		e.sweep.Reset(e.cfg.IdleAfter)
	}
}

func (e *Engine) endIdle() {
	var old []*zygote
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return
	}
	for k, z := range e.zygotes {
		if z.users == 0 && (z.dead() || time.Since(z.used) >= e.cfg.IdleAfter) {
			old = append(old, z)
			delete(e.zygotes, k)
		}
	}
	if len(e.zygotes) > 0 {
		e.sweep.Reset(e.cfg.IdleAfter)
	}
	e.running.Add(1)
	e.mu.Unlock()
	defer e.running.Done()
	for _, z := range old {
		z.end()
	}
}
