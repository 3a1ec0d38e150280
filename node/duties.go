package node

import (
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/enc/runner"
	"github.com/metanode/metanode/internal/digest"
)

// maxHoldsPerView bounds the manifests that the runner is told of at once.
const maxHoldsPerView = 4096

// view shows the runner one committed state as it concerns one peer. It implements runner.View.
type view struct {
	desk *enc.Desk // of that peer; all views share it, since the runner reads one after the other
	head *head
}

func (v view) Height() uint64 { return uint64(v.head.header.Height) }
func (v view) TimeMs() uint64 { return v.head.header.TimestampMs }

func (v view) Duties() []runner.Duty {
	var duties []runner.Duty
	for _, a := range v.desk.Assignments(v.head.state) {
		d := runner.Duty{Job: a.Job, Round: a.Round, Act: runner.ActWait, Lease: a.LeaseMs, Work: *a.Work}
		switch a.Observed {
		case enc.ObservedAssigned, enc.ObservedRunning:
			d.Act = runner.ActCommit
		case enc.ObservedCommitted:
			if a.Status == enc.StatusRevealing {
				d.Act = runner.ActReveal
			}
		}
		duties = append(duties, d)
	}
	return duties
}

func (v view) Holds() []runner.Hold {
	var holds []runner.Hold
	for _, h := range v.desk.Holds(v.head.state, maxHoldsPerView) {
		holds = append(holds, runner.Hold{Manifest: h.Manifest, Blobs: h.Blobs, Held: h.Held})
	}
	return holds
}

func (v view) Stands(manifest digest.Digest) bool {
	_, ok := v.head.state.Manifest(manifest)
	return ok
}

func (v view) Ended(job digest.Digest) runner.End {
	j, ok := v.head.state.Job(job)
	if !ok {
		return runner.End{}
	}
	end := runner.End{Known: true, Running: !j.Status.Final()}
	if x := j.Execution(v.desk.Peer()); x != nil && j.Status == enc.StatusSealed {
		end.Agreed = x.Observed == enc.ObservedMatched
		end.KeepMs = j.EndedMs + v.head.state.Params().ResultTTLMs
	}
	return end
}
