package runner

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

// start executes a duty in a goroutine that Run waits for. A duty beyond the slots waits in its goroutine; placement
// never assigns more than the slots that this peer registered, so that wait is short.
func (r *Runner) start(ctx context.Context, d Duty) {
	ectx, cancel := context.WithCancelCause(ctx)
	e := &execution{job: d.Job, cancel: cancel, wanted: true, lease: d.Lease, round: d.Round}
	r.running[d.Job] = e
	r.inputs[d.Job] = true
	r.spawn.Go(func() {
		if e.err = r.execute(ectx, d); e.err == nil {
			r.counts.finished.Add(1)
		} else {
			r.counts.failed.Add(1)
		}
		r.done <- e
	})
}

// execute fetches what the duty needs, runs it, and makes the outcome durable.
func (r *Runner) execute(ctx context.Context, d Duty) error {
	r.counts.started.Add(1)
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for _, in := range d.Work.Inputs {
		if err := r.cfg.Blobs.Ensure(ctx, enc.BlobRef{Digest: in.Digest, Bytes: in.Bytes}, jobReason(d.Job)); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &NoResult{Reason: enc.DeclineInputs, Detail: fmt.Sprintf("input %s: %v", in.Path, err)}
		}
	}
	began := r.cfg.Now()
	dir, err := r.store.begin(d.Job)
	if err != nil {
		return err
	}
	o, err := r.cfg.Executor.Execute(ctx, d.Job, &d.Work, dir)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if drop := r.store.drop(d.Job); drop != nil {
			r.cfg.Logger.Warn("clear failed execution", "job", d.Job.Short(), "err", drop)
		}
		return err
	}
	if err := o.Check(); err != nil {
		return err // a fault of the executor: what is on disk would not be taken back
	}
	if r.cfg.Now().Sub(began) < r.cfg.Cheap {
		if ok, err := r.store.remember(d.Job, o); ok || err != nil {
			return err
		}
	}
	return r.store.finish(d.Job, o)
}

// settle looks at what is kept for a job that is no duty any more: outputs of a sealed job that this peer agreed on
// become blobs, kept for the result's lifetime; everything else is dropped, and the inputs are released.
func (r *Runner) settle(ctx context.Context, v View, wanted map[digest.Digest]bool) error {
	jobs := r.store.jobs()
	for job := range r.inputs {
		if !slices.Contains(jobs, job) {
			jobs = append(jobs, job) // it came to no outcome
		}
	}
	for _, job := range jobs {
		if wanted[job] || r.running[job] != nil {
			continue
		}
		end := v.Ended(job)
		switch {
		case end.Known && end.Running:
			continue // a later round may want it again
		case end.Agreed && v.TimeMs() < end.KeepMs:
			if err := r.publish(ctx, job); err != nil {
				r.cfg.Logger.Warn("outputs not published; tried again at a later block", "job", job.Short(), "err", err)
				continue
			}
			r.kept[job] = end.KeepMs
		}
		if err := r.store.drop(job); err != nil {
			return fmt.Errorf("drop execution of %s: %w", job.Short(), err)
		}
		if err := r.cfg.Blobs.Release(jobReason(job)); err != nil {
			return fmt.Errorf("release inputs of %s: %w", job.Short(), err)
		}
		delete(r.inputs, job)
	}
	for job, until := range r.kept {
		if until == 0 {
			until = v.Ended(job).KeepMs
			r.kept[job] = until
		}
		if v.TimeMs() >= until {
			if err := r.cfg.Blobs.Release(resultReason(job)); err != nil {
				return fmt.Errorf("release outputs of %s: %w", job.Short(), err)
			}
			delete(r.kept, job)
		}
	}
	return nil
}

// publish moves the outputs of a sealed job to the blob store, from where anyone may fetch them.
func (r *Runner) publish(ctx context.Context, job digest.Digest) error {
	o, ok, err := r.store.load(job)
	if err != nil || !ok {
		return err
	}
	memory, cheap := r.store.memory(job)
	for _, out := range o.Outputs {
		if out.Bytes == 0 {
			continue // nobody needs to be asked for nothing
		}
		if cheap {
			if err := r.cfg.Blobs.Put(ctx, memory[out.Name], resultReason(job)); err != nil {
				return fmt.Errorf("output %s: %w", out.Name, err)
			}
			continue
		}
		path := filepath.Join(r.store.outputs(job), out.Name)
		if err := r.cfg.Blobs.Adopt(ctx, path, enc.BlobRef{Digest: out.Digest, Bytes: out.Bytes}, resultReason(job)); err != nil {
			return fmt.Errorf("output %s: %w", out.Name, err)
		}
	}
	return nil
}

// The beginnings of the reasons under which the runner pins blobs; a job's id follows.
const (
	jobReasons    = "job/"
	resultReasons = "result/"
)

func jobReason(job digest.Digest) string    { return jobReasons + job.String() }
func resultReason(job digest.Digest) string { return resultReasons + job.String() }
