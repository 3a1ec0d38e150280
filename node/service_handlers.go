package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// serve answers the messages of this node's services:
//
//	api        an HTTP/1.1 request as it goes over a wire; the answer is the response, likewise
//	analytics  the JSON of the gateway's POST /submit; the answer is its answer
//	dataset    a reference, NAME, NAME@VERSION or NAME@sha256:DIGEST; the answer is the JSON of the API's DatasetDetail
//	sql        the JSON of an API PlanRequest; the answer is {"plan": Plan} or {"error": Problem}
//	native     the JSON of an API NativeRequest; the answer likewise
//
// Nothing here signs for a caller but analytics, and nothing administers: whoever hands a message over may speak for
// somebody else.
func (s *services) serve(b *backend, apiHandler http.Handler, gateway http.Handler) error {
	plan := p2p.Limits{RequestBytes: 1 << 20, ResponseBytes: 4 << 20, PerPeer: 4, Total: 2 * planPlaces, PerSecond: 20, Timeout: 30 * time.Second}
	errs := []error{
		s.reg.Serve(serviceAPI, 1, p2p.Limits{RequestBytes: api.MaxMessageBytes, ResponseBytes: api.MaxAnswerBytes - 1, PerPeer: 32, Total: apiCapacity, PerSecond: 200, Timeout: 30 * time.Second},
			func(ctx context.Context, from sign.PublicKey, msg []byte) ([]byte, error) {
				return relayHTTP(ctx, apiHandler, from, msg)
			}),
		s.reg.Serve(serviceDataset, 1, p2p.Limits{RequestBytes: 512, PerSecond: 50},
			func(ctx context.Context, _ sign.PublicKey, msg []byte) ([]byte, error) {
				d, err := b.Dataset(ctx, string(msg))
				if err != nil {
					return nil, remoteError(err)
				}
				return json.Marshal(d)
			}),
		s.reg.Serve(serviceSQL, 1, plan, func(ctx context.Context, _ sign.PublicKey, msg []byte) ([]byte, error) {
			if s.n.missing != "" {
				return nil, &p2p.RemoteError{Code: p2p.CodeNotFound, Message: "this peer executes nothing"}
			}
			return planFor(ctx, msg, b.PlanSQL)
		}),
		s.reg.Serve(serviceNative, 1, plan, func(ctx context.Context, _ sign.PublicKey, msg []byte) ([]byte, error) {
			return planFor(ctx, msg, b.PlanNative)
		}),
	}
	if gateway != nil && s.n.cfg.Gateway.Offer {
		errs = append(errs, s.reg.Serve(serviceAnalytics, 1,
			p2p.Limits{RequestBytes: analytics.MaxGatewayBody, PerPeer: 4, Total: gatewayPlaces, PerSecond: 5, Timeout: api.MaxTryTime},
			func(ctx context.Context, from sign.PublicKey, msg []byte) ([]byte, error) {
				return submitFor(ctx, gateway, from, msg)
			}))
	}
	return errors.Join(errs...)
}

// planAnswer is what sql and native answer with: a refused query is an answer, and every executor's the same.
type planAnswer struct {
	Plan  *api.Plan    `json:"plan,omitempty"`
	Error *api.Problem `json:"error,omitempty"`
}

func planFor[R any](ctx context.Context, msg []byte, prepare func(context.Context, R) (api.Plan, error)) ([]byte, error) {
	var req R
	d := json.NewDecoder(bytes.NewReader(msg))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return nil, fmt.Errorf("the message is no request in JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the message is more than one request")
	}
	p, err := prepare(ctx, req)
	var e *api.Error
	switch {
	case errors.As(err, &e) && e.Status < 500:
		return json.Marshal(planAnswer{Error: &api.Problem{Code: e.Code, Message: e.Message, Next: e.Next, SQL: e.SQL}})
	case err != nil:
		return nil, remoteError(err)
	}
	return json.Marshal(planAnswer{Plan: &p})
}

// remoteError puts an error of the backend in the terms of the mesh. What is only wrong with this node makes a sender go
// on to the next.
func remoteError(err error) error {
	var e *api.Error
	switch {
	case !errors.As(err, &e):
		return &p2p.RemoteError{Code: p2p.CodeBusy, Message: "trouble inside this peer; its log says more"}
	case e.Code == api.CodeNotFound:
		return &p2p.RemoteError{Code: p2p.CodeNotFound, Message: e.Error()}
	case e.Status >= 500 || e.Status == http.StatusTooManyRequests:
		return &p2p.RemoteError{Code: p2p.CodeBusy, Message: e.Error()}
	}
	return &p2p.RemoteError{Code: p2p.CodeRefused, Message: e.Error()}
}

// relayHTTP answers an HTTP request that came as a message.
func relayHTTP(ctx context.Context, h http.Handler, from sign.PublicKey, msg []byte) ([]byte, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(msg)))
	if err != nil {
		return nil, fmt.Errorf("the message is no HTTP/1.1 request, such as \"GET /v1/status HTTP/1.1\\r\\nHost: peer\\r\\n\\r\\n\": %w", err)
	}
	id := p2p.PeerID(from).String()
	r.RemoteAddr = id
	w := newAnswer(api.MaxAnswerBytes - 4096)
	w.serve(h, r.WithContext(api.WithCaller(ctx, api.Caller{Kind: api.CallerService, Name: id})))
	if w.overflow {
		return nil, &p2p.RemoteError{Code: p2p.CodeTooLarge, Message: "the answer is too large for a message; ask the peer's API itself, with --peer"}
	}
	var out bytes.Buffer
	resp := &http.Response{StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, ContentLength: int64(w.body.Len()), Body: io.NopCloser(&w.body), Request: r}
	if err := resp.Write(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// submitFor hands a query to the gateway for another peer.
func submitFor(ctx context.Context, gateway http.Handler, from sign.PublicKey, msg []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/submit", bytes.NewReader(msg))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = p2p.PeerID(from).String() + ":0" // who it is for becomes part of the job
	w := newAnswer(p2p.MaxFrame - 4096)
	w.serve(gateway, r)
	switch {
	case w.overflow:
		return nil, &p2p.RemoteError{Code: p2p.CodeTooLarge, Message: "the result is too large for a message; ask for it by its job"}
	case w.status == http.StatusOK || w.status == http.StatusAccepted:
		return w.body.Bytes(), nil
	}
	code := p2p.CodeRefused
	if w.status == http.StatusServiceUnavailable || w.status == http.StatusTooManyRequests {
		code = p2p.CodeBusy
	}
	return nil, &p2p.RemoteError{Code: code, Message: string(bytes.TrimSpace(w.body.Bytes()))}
}

// answer collects a handler's response up to a bound.
type answer struct {
	header   http.Header
	body     bytes.Buffer
	status   int
	limit    int
	overflow bool
}

func newAnswer(limit int) *answer { return &answer{header: http.Header{}, limit: limit} }

// serve runs a handler. One that breaks its answer off leaves half of it, which is no answer.
func (a *answer) serve(h http.Handler, r *http.Request) {
	defer func() {
		if x := recover(); x != nil {
			if x != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				panic(x)
			}
			a.status = http.StatusBadGateway
			a.header = http.Header{}
			a.body.Reset()
			a.body.WriteString("{\"error\":{\"code\":\"unavailable\",\"message\":\"the answer broke off\"}}\n")
		}
		if a.status == 0 {
			a.status = http.StatusOK
		}
		a.header.Set("Content-Length", strconv.Itoa(a.body.Len()))
	}()
	h.ServeHTTP(a, r)
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
	}
}

// Write implements http.ResponseWriter. Past the bound it fails, which stops a handler that streams.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.body.Len()+len(p) > a.limit {
		a.overflow = true
		return 0, errors.New("answer over its bound")
	}
	return a.body.Write(p)
}

// Flush implements http.Flusher: there is nothing between this and the reader.
func (a *answer) Flush() {}
