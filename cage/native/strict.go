package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/metanode/metanode/cage"
)

// wallGrace is how much longer than the program's limit the node waits: the tracer, which knows when the program began,
// keeps the limit; the node only ends a tracer that does not.
const wallGrace = 5 * time.Second

// strictRun is one run in strict or relaxed mode.
type strictRun struct {
	e       *Engine
	spec    *cage.Spec
	policy  *cage.Policy
	witness *cage.Recorder
	streams
}

// runStrict runs a spec of strict or relaxed mode under its policy. rec is filled unless it is nil.
func (e *Engine) runStrict(ctx context.Context, spec *cage.Spec, policy *cage.Policy, files cage.Files, out string, rec *cage.Recording) (cage.Result, error) {
	root, origin, err := e.roots.get(ctx, spec.Image, files)
	if err != nil {
		return cage.Result{}, err
	}
	mounts, err := planMounts(root, spec, policy.Determinism.Writable, files)
	if err != nil {
		return cage.Result{}, err
	}
	cpu, free := e.pins.take()
	defer free()
	b, err := e.encodeStrict(spec, policy, mounts, cpu)
	if err != nil {
		return cage.Result{}, err
	}
	r := &strictRun{e: e, spec: spec, policy: policy, witness: cage.NewRecorder(spec, policy, rec)}
	if err := r.open(spec, out); err != nil {
		return cage.Result{}, err
	}
	defer r.close()
	done, err := r.trace(ctx, b, cpu)
	if err != nil {
		return cage.Result{}, err
	}
	res, err := judge(done, &spec.Limits)
	var cannot *cage.ErrCannotStart
	if errors.As(err, &cannot) {
		res, err = r.cannotStart(cannot)
		if rec != nil {
			rec.Start = cannot.Detail
		}
	} else if err == nil && r.outDir == nil && policy.Determinism.Writable {
		err = errors.New("the tracer did not hand over the program's /out")
	}
	if err == nil {
		err = r.collect(&res, spec.Limits.OutputBytes)
	}
	if err != nil {
		return cage.Result{}, err
	}
	r.witness.Finish(&res, cage.Totals{Calls: done.Calls, VirtualNs: done.VirtualNs, Spawned: done.Spawned})
	if rec != nil {
		rec.Hints = hints(origin, spec, files)
	}
	return res, nil
}

// encodeStrict gives the bytes of the tracer's job.
func (e *Engine) encodeStrict(spec *cage.Spec, policy *cage.Policy, mounts []mount, cpu uint32) ([]byte, error) {
	l := &spec.Limits
	j := tracerJob{
		Flags: e.tracerFlags, CPU: cpu, EpochNs: spec.EpochNs, Seed: spec.Seed,
		MemoryBytes: l.MemoryBytes, OutputBytes: l.OutputBytes, FileBytes: max(l.OutputBytes, l.MemoryBytes),
		CPUMs: l.CPUMs, WallMs: l.WallMs, Calls: l.Calls, VirtualNs: l.VirtualMs * uint64(time.Millisecond),
		Files: l.Files, Processes: l.Processes, Spawned: l.Spawned,
	}
	if policy.Mode == cage.ModeRelaxed {
		j.Flags |= flagRelaxed
	}
	if !policy.Determinism.Processes {
		j.Flags |= flagNoProcesses
	}
	if !policy.Determinism.Writable {
		j.Flags |= flagReadOnly
	}
	var filter []byte
	if len(policy.Calls) > 0 { // else it would say no more than the tracer's own
		var err error
		if filter, err = policy.Filter(false); err != nil {
			return nil, err
		}
	}
	return j.encode(filter, spec.Workdir, spec.Argv, spec.Environ(), mounts)
}

// trace runs the tracer to its end and gives its last word. When it returns, nothing of the cage is left but the outputs.
func (r *strictRun) trace(ctx context.Context, job []byte, cpu uint32) (*tracerDone, error) {
	f, err := memory("job", job)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := startTracer(r.e.tracer, r.e.stage(), f, &r.streams, r.e.cache)
	if err != nil {
		return nil, err
	}
	type count struct {
		events uint64
		err    error
	}
	read, broken := make(chan count, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer r.e.pins.avoid(cpu)()
		defer t.events.close()
		n, err := t.read(func(kind, tid uint32, payload []byte) error {
			return r.witness.Record(cage.EventKind(kind), tid, payload)
		})
		if err != nil {
			close(broken)
			t.events.drain() // or the tracer would wait for us
		}
		read <- count{n, err}
	}()
	done, stopped := r.await(ctx, t, broken)
	if err := t.end(); stopped == nil {
		stopped = err
	}
	events := <-read
	switch {
	case events.err != nil:
		return nil, fmt.Errorf("read what happened in the cage: %w", events.err)
	case stopped != nil:
		return nil, stopped
	case done == nil:
		return nil, r.lost(t)
	case done.Kind == traceDone && done.Events != events.events:
		return nil, fmt.Errorf("the tracer wrote %d events and %d arrived", done.Events, events.events)
	}
	return done, nil
}

// await waits for the tracer's last word, nil if it ended without one, or for what ends the run before.
func (r *strictRun) await(ctx context.Context, t *tracer, broken chan struct{}) (*tracerDone, error) {
	wall := time.Duration(r.spec.Limits.WallMs) * time.Millisecond
	timer := time.NewTimer(wall + wallGrace)
	defer timer.Stop()
	for {
		select {
		case w, ok := <-t.words:
			if !ok || w.err != nil {
				return nil, nil
			}
			if w.done.Kind != traceStarted {
				closeFiles(w.out)
				return w.done, nil
			}
			closeFiles(r.outDir)
			r.outDir = w.out
			t.watchKids()
		case <-timer.C:
			return nil, &cage.ErrNoResult{Reason: cage.ReasonWall, Detail: fmt.Sprintf("still running after its limit of %v", wall)}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.e.stop:
			return nil, errors.New("the cage is closed")
		case <-broken:
			return nil, errors.New("what the tracer tells of events cannot be understood")
		}
	}
}

// lost tells of a tracer that ended without a word.
func (r *strictRun) lost(t *tracer) error {
	err := fmt.Errorf("the cage's tracer ended (%v) while it ran this job; run it again", t.cmd.ProcessState)
	if note := t.log.String(); note != "" {
		err = fmt.Errorf("%w: it says: %s", err, note)
	}
	return err
}

// cannotStart makes of a program that cannot start anywhere a result like any other: on the network it is the program's
// failure.
func (r *strictRun) cannotStart(e *cage.ErrCannotStart) (cage.Result, error) {
	closeFiles(r.outDir)
	r.outDir = nil
	text := fmt.Sprintf("%s: %s\n", r.spec.Argv[0], e.Detail)
	if _, err := r.stderr.WriteAt([]byte(text), 0); err != nil {
		return cage.Result{}, fmt.Errorf("say why the program cannot start: %w", err)
	}
	return cage.Result{ExitCode: e.ExitCode}, nil
}

// hints say where this machine had the root and the inputs.
func hints(root string, spec *cage.Spec, files cage.Files) []cage.Hint {
	list := []cage.Hint{{Name: "root", Path: root}}
	for i := range spec.Inputs {
		if p, err := files.Path(spec.Inputs[i].Digest); err == nil { // it was there before the run
			list = append(list, cage.Hint{Name: spec.Inputs[i].At(), Path: p})
		}
	}
	slices.SortFunc(list, func(a, b cage.Hint) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// openCache opens the folder in which tracers keep the places of patched instructions, by digest of the file.
func openCache(dir string) (*os.File, error) {
	path := filepath.Join(dir, "cache")
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the cage's cache: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the cage's cache: %w", err)
	}
	return f, nil
}
