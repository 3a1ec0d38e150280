package runner

import (
	"context"
	"fmt"
	"slices"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

func sentKey(what string, d Duty) string { return fmt.Sprintf("%s/%s/%d", what, d.Job, d.Round) }

// wasSent reports whether a command went out less than Resend ago.
func (r *Runner) wasSent(what string, d Duty) bool {
	at, ok := r.sent[sentKey(what, d)]
	return ok && r.cfg.Now().Sub(at) < r.cfg.Resend
}

// send hands a command to the network unless it did so less than Resend ago.
func (r *Runner) send(ctx context.Context, what string, d Duty, kind enc.Kind, payload any) {
	if r.wasSent(what, d) {
		return
	}
	b, err := canon.Marshal(payload)
	if err == nil {
		err = r.cfg.Command.Command(ctx, kind, b)
	}
	if err != nil {
		r.cfg.Logger.Warn("command not sent; it is tried again soon", "kind", kind, "job", d.Job.Short(), "err", err)
		return
	}
	r.sent[sentKey(what, d)] = r.cfg.Now()
}

// renew keeps the leases of what is executing when they are near their end at nowMs, agreed time.
func (r *Runner) renew(ctx context.Context, nowMs uint64, refs []enc.ExecutionRef) {
	due := refs[:0]
	for _, ref := range refs {
		e := r.running[ref.Job]
		if e.lease == 0 || nowMs+uint64(2*r.cfg.Resend.Milliseconds()) < e.lease {
			continue
		}
		due = append(due, ref)
	}
	if len(due) == 0 {
		return
	}
	slices.SortFunc(due, func(a, b enc.ExecutionRef) int { return a.Job.Compare(b.Job) }) // one a job
	d := Duty{Job: digest.Sum("runner/renew", canon.Must(due))}
	r.send(ctx, "renew", d, enc.KindRenewLeases, &enc.RenewLeases{Executions: due})
}

// salt follows from the node key, so that it survives a crash without being written, and nobody else can guess it.
func (r *Runner) salt(job digest.Digest, round uint32) [32]byte {
	return digest.Sum("enc/runner/salt/1", r.cfg.Key.Seed(), job[:], canon.Must(round))
}
