package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// gatewayCommandMs is how long a gateway's job may wait to be ordered.
const gatewayCommandMs = 30 * 60_000

// submitter is the node as the MetaAnalytics gateway sees it: it signs with the gateway's client key for callers who
// have none. It implements analytics.Submitter.
type submitter struct {
	n       *Node
	backend *backend
	key     sign.PrivateKey
}

// Submit implements analytics.Submitter.
func (s *submitter) Submit(ctx context.Context, r analytics.SubmitRequest) (analytics.Ticket, error) {
	req := api.PlanRequest{SQL: r.SQL, R: r.R, Q: r.Q, Fresh: r.Fresh}
	for _, ref := range r.Datasets {
		req.Datasets = append(req.Datasets, ref.String())
	}
	if !r.Seed.IsZero() {
		req.Seed = &r.Seed
	} else if seed, ok, err := s.n.cfg.Cage.Seed(); err == nil && ok {
		req.Seed = &seed
	}
	p, err := s.n.plan(ctx, req)
	if err != nil {
		return analytics.Ticket{}, gatewayError(err)
	}
	t := analytics.Ticket{Warnings: p.warnings}
	for _, d := range p.resolved {
		t.Resolved = append(t.Resolved, fmt.Sprintf("%s@%d", d.Name, d.Version))
	}
	if p.reuse != nil && r.ID == "" {
		t.Job, t.Reused = *p.reuse, true
		return t, nil
	}
	work := p.work.Digest()
	salt, err := s.salt(r, work)
	if err != nil {
		return t, err
	}
	t.Job = enc.JobID(work, s.key.Public(), salt)
	if j, ok := s.n.ledger.head.Load().state.Job(t.Job); ok {
		if r.ID != "" || !j.Status.Final() || j.Status == enc.StatusSealed {
			t.Reused = true
			return t, nil
		}
		if _, err := rand.Read(salt[:]); err != nil { // it ended without a result: this is another try
			return t, err
		}
		t.Job = enc.JobID(work, s.key.Public(), salt)
	}
	body := enc.SubmitJob{Work: *p.work, Salt: salt, R: p.r, Q: p.q, OnBehalf: r.OnBehalf, Note: noteFor(r.SQL)}
	raw, err := canon.Marshal(&body)
	if err != nil {
		return t, err
	}
	tx, _, err := s.n.command.sign(s.key, enc.KindSubmitJob, raw, gatewayCommandMs)
	if err != nil {
		return t, err
	}
	if _, err := s.backend.SubmitCommand(ctx, tx); err != nil {
		return t, gatewayError(err)
	}
	return t, nil
}

// salt makes equal requests equal jobs, unless the caller wants a fresh one.
func (s *submitter) salt(r analytics.SubmitRequest, work digest.Digest) (salt [16]byte, err error) {
	switch {
	case r.ID != "":
		d := digest.Sum("analytics/gateway-id/1", []byte(r.ID), work[:])
		copy(salt[:], d[:])
	case r.Fresh:
		_, err = rand.Read(salt[:])
	}
	return salt, err
}

// Wait implements analytics.Submitter.
func (s *submitter) Wait(ctx context.Context, job digest.Digest) (analytics.Outcome, error) {
	for {
		head, changed := s.n.ledger.watch()
		j, ok := head.state.Job(job)
		if ok && j.Status.Final() {
			return s.outcome(ctx, j)
		}
		select {
		case <-ctx.Done():
			return analytics.Outcome{}, ctx.Err()
		case <-changed:
		}
	}
}

func (s *submitter) outcome(ctx context.Context, j *enc.Job) (analytics.Outcome, error) {
	o := analytics.Outcome{State: string(j.Status), Reason: endReason(j)}
	if j.Status != enc.StatusSealed || len(j.Outcome) == 0 {
		return o, nil
	}
	o.Receipt = "/v1/receipts/" + j.ID.String()
	name := "stdout"
	if j.Outcome[0].ExitCode != 0 {
		name = "stderr"
	}
	b, err := s.n.output(ctx, j, name, maxLocalOutput)
	if err != nil {
		return o, gatewayError(err)
	}
	if name == "stderr" {
		o.Failure = analytics.ParseFailure(int(j.Outcome[0].ExitCode), b)
		return o, nil
	}
	o.Stream = b
	return o, nil
}

// gatewayError turns the API's error into the gateway's.
func gatewayError(err error) error {
	var e *api.Error
	if !errors.As(err, &e) {
		return err
	}
	out := &analytics.Error{Message: e.Message, Next: e.Next}
	switch e.Status {
	case http.StatusNotFound:
		out.Code = analytics.CodeNotFound
	case http.StatusConflict:
		out.Code = analytics.CodeConflict
	case http.StatusRequestEntityTooLarge:
		out.Code = analytics.CodeTooLarge
	case http.StatusUnprocessableEntity:
		out.Code = analytics.CodeQuery
		if e.SQL != nil && e.SQL.Position >= 0 {
			out.Position = &e.SQL.Position
		}
	case http.StatusTooManyRequests:
		out.Code = analytics.CodeRateLimited
	case http.StatusServiceUnavailable, http.StatusGone, http.StatusInsufficientStorage:
		out.Code = analytics.CodeUnavailable
	default:
		out.Code = analytics.CodeBadRequest
	}
	return out
}
