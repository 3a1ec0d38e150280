package node

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// minPrefix is the fewest digits that may stand for a job's id.
const minPrefix = 4

// outputWait is how long a sealed output may take to come: its executors publish it when they see the seal.
const outputWait = 10 * time.Second

// find resolves a job's id or prefix in a state.
func find(s *enc.State, ref string) (*enc.Job, error) {
	ref = strings.ToLower(strings.TrimPrefix(ref, "sha256:"))
	if len(ref) < minPrefix {
		return nil, api.Malformed("", "job %.80q: want the id or at least its first %d digits", ref, minPrefix)
	}
	ids := s.JobsByPrefix(ref, 2)
	switch len(ids) {
	case 0:
		return nil, api.NotFound("list the jobs with: bpi job list", "job %.80q is not known on this chain", ref)
	case 2:
		return nil, api.Ambiguous("give more digits", "job %.80q could be %s or %s", ref, ids[0].Short(), ids[1].Short())
	}
	j, ok := s.Job(ids[0])
	if !ok {
		return nil, fmt.Errorf("job %s: its entry cannot be read", ids[0].Short())
	}
	return j, nil
}

// endReason says why a job ended without a seal, or what one that is queued waits for.
func endReason(j *enc.Job) string {
	if j.Status == enc.StatusQueued {
		return j.Waiting
	}
	if j.FailDetail != "" && j.Failure != "" {
		return j.Failure + ": " + j.FailDetail
	}
	return j.Failure + j.FailDetail
}

func summary(j *enc.Job) api.JobSummary {
	s := api.JobSummary{
		ID: j.ID, State: string(j.Status), Reason: endReason(j), Kind: j.Kind, Note: j.Note, Client: j.Client, OnBehalf: j.OnBehalf,
		Height: j.Height, TimeMs: j.SubmittedMs, EndedMs: j.EndedMs,
	}
	if len(j.Outcome) > 0 {
		code := j.Outcome[0].ExitCode
		s.ExitCode = &code
	}
	return s
}

// cursorBytes is the length of a place in the list of jobs: a height and an index.
const cursorBytes = 8 + 4

// Jobs implements api.Jobs.
func (b *backend) Jobs(_ context.Context, q api.JobQuery) (api.JobList, error) {
	var cursor []byte
	if q.Cursor != "" {
		var err error
		if cursor, err = base64.RawURLEncoding.DecodeString(q.Cursor); err != nil || len(cursor) != cursorBytes {
			return api.JobList{}, api.Malformed("take the cursor from the page before", "cursor %.80q is not one of this API's", q.Cursor)
		}
	}
	limit := q.Limit
	if limit == 0 {
		limit = 50
	}
	jobs, next := b.n.ledger.head.Load().state.ListJobs(limit, cursor, enc.JobFilter{Status: enc.Status(q.State), Kind: q.Kind})
	list := api.JobList{Jobs: []api.JobSummary{}}
	for _, j := range jobs {
		list.Jobs = append(list.Jobs, summary(j))
	}
	if next != nil {
		list.Next = base64.RawURLEncoding.EncodeToString(next)
	}
	return list, nil
}

// Job implements api.Jobs.
func (b *backend) Job(ctx context.Context, ref string) (api.Job, error) {
	s := b.n.ledger.head.Load().state
	j, err := find(s, ref)
	if err != nil {
		return api.Job{}, err
	}
	work, ok := s.Work(j.ID)
	if !ok {
		return api.Job{}, fmt.Errorf("job %s: its work cannot be read", j.ID.Short())
	}
	out := api.Job{
		JobSummary: summary(j), WorkDigest: j.WorkDigest, Work: canon.Must(work), R: j.R, Q: j.Q, Priority: j.Priority, Round: j.Round,
		Executions: []api.Execution{}, Statement: j.Statement,
	}
	for _, x := range j.Executions {
		reason := x.Reason
		if x.Detail != "" {
			reason += ": " + x.Detail
		}
		out.Executions = append(out.Executions, api.Execution{
			Peer: x.Peer, Operator: x.Operator, Round: x.Round, State: string(x.Observed), Reason: reason, LeaseMs: x.LeaseMs,
		})
	}
	for _, r := range j.Reasons {
		out.Waiting = append(out.Waiting, api.Waiting{Node: r.Peer, Reason: r.Reason})
	}
	if len(j.Outcome) > 0 {
		for _, o := range j.Outcome[0].Outputs {
			out.Outputs = append(out.Outputs, api.Output{Name: o.Name, Digest: o.Digest, Bytes: o.Bytes})
		}
	}
	if at, ok := b.n.ledger.seal(ctx, j.ID); ok {
		out.SealHeight = at.Height
	}
	return out, nil
}

// stage is how far a job is, as the API streams it.
func (b *backend) stage(j *enc.Job, at *head) api.JobEvent {
	e := api.JobEvent{Job: j.ID, Round: j.Round, Height: uint64(at.header.Height), TimeMs: at.header.TimestampMs}
	switch j.Status {
	case enc.StatusPending:
		e.Stage, e.Height, e.TimeMs = api.StageOrdered, j.Height, j.SubmittedMs
	case enc.StatusQueued:
		e.Stage, e.Detail = api.StageQueued, j.Waiting
	case enc.StatusRunning:
		e.Stage, e.Height = api.StagePlaced, j.PlacedAt
		for _, x := range j.Executions {
			if x.Observed == enc.ObservedRunning {
				e.Stage = api.StageRunning
			}
			e.Detail = strings.TrimPrefix(e.Detail+", "+b.n.peerName(x.Peer), ", ")
		}
	case enc.StatusCommitting:
		e.Stage = api.StageRunning
	case enc.StatusRevealing:
		e.Stage = api.StageAgreed
	default:
		e.Stage, e.Detail, e.TimeMs = string(j.Status), endReason(j), j.EndedMs
	}
	return e
}

// JobEvents implements api.Jobs.
func (b *backend) JobEvents(ctx context.Context, ref string, emit func(api.JobEvent) error) error {
	first, err := find(b.n.ledger.head.Load().state, ref)
	if err != nil {
		return err
	}
	if err := emit(api.JobEvent{Job: first.ID, Stage: api.StageOrdered, Height: first.Height, TimeMs: first.SubmittedMs}); err != nil {
		return err
	}
	last := api.JobEvent{Stage: api.StageOrdered}
	for {
		head, changed := b.n.ledger.watch()
		j, ok := head.state.Job(first.ID)
		if !ok {
			return api.Gone("its receipt stays: bpi receipt get "+first.ID.Short(), "job %s is over and forgotten", first.ID.Short())
		}
		e := b.stage(j, head)
		if e.Stage != last.Stage || e.Round != last.Round && e.Stage != api.StageOrdered {
			if err := emit(e); err != nil {
				return err
			}
			last = e
		}
		if e.Ended() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// JobOutput implements api.Jobs.
func (b *backend) JobOutput(ctx context.Context, ref, name string) (api.Output, io.ReadCloser, error) {
	j, err := find(b.n.ledger.head.Load().state, ref)
	if err != nil {
		return api.Output{}, nil, err
	}
	if j.Status != enc.StatusSealed || len(j.Outcome) == 0 {
		return api.Output{}, nil, api.NotSealed("", "job %s is %s: it has no agreed outputs", j.ID.Short(), j.Status)
	}
	for _, o := range j.Outcome[0].Outputs {
		if o.Name != name {
			continue
		}
		out := api.Output{Name: o.Name, Digest: o.Digest, Bytes: o.Bytes}
		if o.Bytes == 0 {
			return out, io.NopCloser(strings.NewReader("")), nil
		}
		if err := b.n.fetchOutput(ctx, j, o); err != nil {
			return out, nil, err
		}
		f, err := b.n.store.Open(ctx, o.Digest)
		return out, f, err
	}
	return api.Output{}, nil, api.NotFound("", "job %s has no output %.80q", j.ID.Short(), name)
}

// fetchOutput makes an agreed output present, from the peers that agreed on it.
func (n *Node) fetchOutput(ctx context.Context, j *enc.Job, o receipt.Output) error {
	ctx, cancel := context.WithTimeout(ctx, outputWait)
	defer cancel()
	var from []sign.PublicKey
	for _, x := range j.Executions {
		if x.Observed == enc.ObservedMatched && x.Peer != n.host.Self() {
			from = append(from, x.Peer)
		}
	}
	pause := 2 * time.Millisecond
	for {
		if n.store.Has(o.Digest) {
			return nil
		}
		var err error
		if len(from) > 0 {
			err = n.blobs.exchange.Fetch(ctx, o.Digest, o.Bytes, from)
		} else {
			err = errors.New("no other peer agreed on it")
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return api.Gone("results are kept for the chain's result_ttl; run the job again", "output %s of job %s cannot be had any more: %v", o.Name, j.ID.Short(), err)
		case <-time.After(pause):
			pause = min(2*pause, 250*time.Millisecond)
		}
	}
}

// output reads an agreed output of at most limit bytes.
func (n *Node) output(ctx context.Context, j *enc.Job, name string, limit uint64) ([]byte, error) {
	for _, o := range j.Outcome[0].Outputs {
		if o.Name != name {
			continue
		}
		if o.Bytes > limit {
			return nil, api.TooLarge("get it with: bpi job get "+j.ID.Short(), "output %s of job %s has %d bytes: over the limit of %d here", name, j.ID.Short(), o.Bytes, limit)
		}
		if o.Bytes == 0 {
			return []byte{}, nil
		}
		if err := n.fetchOutput(ctx, j, o); err != nil {
			return nil, err
		}
		f, err := n.store.Open(ctx, o.Digest)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, int64(min(limit, math.MaxInt64))))
	}
	return nil, api.NotFound("", "job %s has no output %q", j.ID.Short(), name)
}

// Receipt implements api.Jobs. It works from the archive, so it outlives the job's entry in the state and its block; what
// was sealed before this node joined by snapshot is asked of others.
func (b *backend) Receipt(ctx context.Context, ref string, since uint64) (*api.Receipt, error) {
	n := b.n
	id, err := b.receiptID(ref)
	if err != nil {
		return nil, err
	}
	at, ok := n.ledger.seal(ctx, id)
	if !ok {
		j, known := n.ledger.head.Load().state.Job(id)
		if n.ledger.base.Load() > 0 && (!known || j.Status == enc.StatusSealed) {
			return b.receiptFromPeers(ctx, id, since)
		}
		if known && j.Status.Final() {
			return nil, api.NotSealed("see why: bpi job describe "+id.Short(), "job %s is %s: it has no receipt and will have none", id.Short(), j.Status)
		}
		return nil, api.NotSealed("wait for it with: bpi job wait "+id.Short(), "job %s is not sealed: there is no receipt", id.Short())
	}
	return n.receiptAt(ctx, id, at, consensus.Epoch(since))
}

// receiptID resolves a job of the state by prefix, or one of the archive by its whole id.
func (b *backend) receiptID(ref string) (digest.Digest, error) {
	j, err := find(b.n.ledger.head.Load().state, ref)
	if err == nil {
		return j.ID, nil
	}
	if d, perr := digest.Parse(strings.ToLower(ref)); perr == nil {
		if _, ok := b.n.ledger.seal(context.Background(), d); ok || b.n.ledger.base.Load() > 0 {
			return d, nil
		}
	}
	return digest.Digest{}, err
}

// archived gives the small outputs of a job, if they can be had: a receipt is complete without them.
func (n *Node) archived(ctx context.Context, job digest.Digest, outputs []receipt.Output) []receipt.Archived {
	var total uint64
	for _, o := range outputs {
		total += o.Bytes
	}
	if total > receipt.MaxArchivedBytes {
		return []receipt.Archived{}
	}
	j, ok := n.ledger.head.Load().state.Job(job)
	list := []receipt.Archived{}
	for _, o := range outputs {
		a := receipt.Archived{Name: o.Name, Content: []byte{}}
		if o.Bytes > 0 {
			if !n.store.Has(o.Digest) && (!ok || n.fetchOutput(ctx, j, o) != nil) {
				return []receipt.Archived{}
			}
			var err error
			if a.Content, err = readBlob(ctx, n.store, o.Digest); err != nil {
				return []receipt.Archived{}
			}
		}
		list = append(list, a)
	}
	return list
}
