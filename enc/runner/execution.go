package runner

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

// start executes a duty in a goroutine that Run waits for. A duty beyond the slots waits in its goroutine; placement
// never assigns more than the slots that this peer registered, so that wait is short.
func (r *Runner) start(ctx context.Context, d Duty) {
	ectx, cancel := context.WithCancelCause(ctx)
	e := &execution{job: d.Job, cancel: cancel, wanted: true, lease: d.Lease, round: d.Round}
	r.running[d.Job] = e
	r.spawn.Go(func() {
		e.err = r.execute(ectx, d)
		r.done <- e
	})
}

// execute fetches what the duty needs, runs it, and makes the outcome durable.
func (r *Runner) execute(ctx context.Context, d Duty) error {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.counts.started.Add(1)
	for _, in := range d.Work.Inputs {
		if err := r.cfg.Blobs.Ensure(ctx, enc.BlobRef{Digest: in.Digest, Bytes: in.Bytes}, jobReason(d.Job)); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return &NoResult{Reason: enc.DeclineInputs, Detail: fmt.Sprintf("input %s: %v", in.Path, err)}
		}
	}
	dir, err := r.store.begin(d.Job)
	if err != nil {
		return err
	}
	o, err := r.cfg.Executor.Execute(ctx, d.Job, &d.Work, dir)
	if err != nil {
		r.counts.failed.Add(1)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if drop := r.store.drop(d.Job); drop != nil {
			r.cfg.Logger.Warn("clear failed execution", "job", d.Job.Short(), "err", drop)
		}
		return err
	}
	if err := r.store.finish(d.Job, o); err != nil {
		return err
	}
	r.counts.finished.Add(1)
	return nil
}

// settle looks at what is on disk but no duty any more: outputs of a sealed job that this peer agreed on become blobs,
// kept for the result's lifetime; everything else is dropped.
func (r *Runner) settle(ctx context.Context, v View, wanted map[digest.Digest]bool) error {
	jobs, err := r.store.jobs()
	if err != nil {
		return err
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
	for _, out := range o.Outputs {
		if out.Bytes == 0 {
			continue // nobody needs to be asked for nothing
		}
		path := filepath.Join(r.store.outputs(job), out.Name)
		if err := r.cfg.Blobs.Adopt(ctx, path, enc.BlobRef{Digest: out.Digest, Bytes: out.Bytes}, resultReason(job)); err != nil {
			return fmt.Errorf("output %s: %w", out.Name, err)
		}
	}
	return nil
}

func jobReason(job digest.Digest) string    { return "job/" + job.String() }
func resultReason(job digest.Digest) string { return "result/" + job.String() }
