package api

import (
	"bytes"
	"context"
	_ "embed" // for openapi.yaml
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

//go:embed openapi.yaml
var openAPI []byte

// maxJSON bounds a JSON body.
const maxJSON = 1 << 20

type handler struct {
	b      Backend
	o      Options
	limits *limiter
}

type route struct {
	pattern string
	serve   http.HandlerFunc
}

// routes are all that openapi.yaml describes.
func (h *handler) routes() []route {
	return []route{
		{"POST /v1/commands", h.postCommand},
		{"GET /v1/commands/{id}", h.getCommand},
		{"GET /v1/status", answer(h, h.b.Status)},
		{"GET /v1/peers", answer(h, h.b.Peers)},
		{"GET /v1/chain", answer(h, h.b.ChainStatus)},
		{"GET /v1/chain/blocks/{height}", h.getBlock},
		{"GET /v1/chain/validators", answer(h, h.b.Validators)},
		{"GET /v1/chain/executors", answer(h, h.b.Executors)},
		{"GET /v1/chain/evidence", answer(h, h.b.Evidence)},
		{"GET /v1/chain/genesis", h.getGenesis},
		{"GET /v1/chain/trust", h.getTrust},
		{"GET /v1/chain/events", h.getEvents},
		{"GET /v1/audit", h.getAudit},
		{"GET /v1/jobs", h.getJobs},
		{"GET /v1/jobs/{id}", h.getJob},
		{"GET /v1/jobs/{id}/events", h.getJobEvents},
		{"GET /v1/jobs/{id}/outputs/{name...}", h.getOutput},
		{"GET /v1/receipts/{id}", h.getReceipt},
		{"POST /v1/sql/plan", exchange(h, h.b.PlanSQL)},
		{"POST /v1/native/plan", exchange(h, h.b.PlanNative)},
		{"GET /v1/datasets", answer(h, h.b.Datasets)},
		{"GET /v1/datasets/{ref}", byRef(h, h.b.Dataset)},
		{"POST /v1/datasets/sniff", exchange(h, h.b.SniffDataset)},
		{"GET /v1/images", answer(h, h.b.Images)},
		{"GET /v1/images/{ref}", byRef(h, h.b.Image)},
		{"GET /v1/services", h.getServices},
		{"POST /v1/services/{service}/{major}/messages", h.postMessage},
		{"PUT /v1/blobs", h.putBlob},
		{"GET /v1/blobs/{digest}", h.getBlob}, // and HEAD
		{"GET /v1/dags", answer(h, h.b.DAGs)},
		{"POST /v1/dags", h.postDAGs},
		{"POST /v1/dags/missing", exchange(h, h.b.MissingBlocks)},
		{"GET /v1/dags/{cid}", byCID(h, h.b.DAG)},
		{"GET /v1/dags/{cid}/car", h.getCAR},
		{"POST /v1/dags/{cid}/fetch", h.local(byCID(h, h.b.FetchDAG))},
		{"POST /v1/dags/{cid}/pin", h.local(byCID(h, h.b.PinDAG))},
		{"POST /v1/dags/{cid}/unpin", h.local(byCID(h, h.b.UnpinDAG))},
		{"POST /v1/admin/collect", h.local(answer(h, h.b.Collect))},
		{"POST /v1/admin/drain", h.local(exchange(h, func(ctx context.Context, d Drain) (DrainStatus, error) { return h.b.Drain(ctx, d.On) }))},
		{"GET /v1/admin/network", h.local(answer(h, func(ctx context.Context) (Network, error) { return h.b.Network(ctx, false) }))},
		{"POST /v1/admin/network/check", h.local(answer(h, func(ctx context.Context) (Network, error) { return h.b.Network(ctx, true) }))},
		{"POST /v1/admin/network/revocations", h.local(exchange(h, func(ctx context.Context, r Revocation) (RevocationTaken, error) {
			return h.b.Revoke(ctx, r.Revocation)
		}))},
		{"GET /v1/openapi.yaml", h.getOpenAPI},
		{"GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, "ok\n") }},
		{"GET /readyz", h.getReady},
	}
}

// NewHandler makes the node's HTTP handler. Serve it with NewServer, whose limits it counts on. It starts nothing and
// keeps nothing that would have to be closed.
func NewHandler(b Backend, o Options) (http.Handler, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &handler{b: b, o: o, limits: newLimiter(o)}
	mux := http.NewServeMux()
	for _, r := range h.routes() {
		mux.Handle(r.pattern, r.serve)
	}
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	for pattern, m := range o.Mounts {
		mux.Handle(pattern, m)
	}
	// A page in a browser on this machine must not be able to make the node do things.
	browser := http.NewCrossOriginProtection()
	browser.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, Forbidden("", "request from a page of another origin"))
	}))
	return h.guard(browser.Handler(h.unknown(mux))), nil
}

// unknown answers what the mux has no route for in the API's own form.
func (h *handler) unknown(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		rec := &statusOnly{header: w.Header()}
		next.ServeHTTP(rec, r)
		switch {
		case rec.status == http.StatusMethodNotAllowed:
			h.fail(w, r, newError(rec.status, CodeMethod, "allowed here: "+w.Header().Get("Allow"), "%s is not a method of %.200q", r.Method, r.URL.Path))
		case rec.status/100 == 3:
			w.WriteHeader(rec.status)
		default:
			h.fail(w, r, NotFound("the routes are listed in /v1/openapi.yaml", "no such route: %s %.200q", r.Method, r.URL.Path))
		}
	})
}

// statusOnly takes a standard answer's headers and status, and drops its text.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(code int)        { s.status = code }
func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }

// local lets only callers pass that may administer the node.
func (h *handler) local(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if c := callerOf(r); !h.administers(c) {
			next := "run bpi on the node's machine, as the node's user, by its unix socket"
			if c.Kind == CallerPeer {
				next += ", or have the peer id listed in admins of [api] in the node's configuration"
			}
			h.fail(w, r, Forbidden(next, "%s may not administer this node", c))
			return
		}
		next(w, r)
	}
}

func (h *handler) administers(c Caller) bool {
	switch c.Kind {
	case CallerUnix:
		return true
	case CallerPeer:
		return slices.Contains(h.o.Admins, c.Name)
	}
	return h.o.Local && c.Local()
}

// answer makes a handler of a question without parameters.
func answer[T any](h *handler, ask func(context.Context) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := ask(r.Context())
		h.reply(w, r, http.StatusOK, v, err)
	}
}

// byRef makes a handler of a question about the one thing that the path's ref names.
func byRef[T any](h *handler, ask func(context.Context, string) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name, err := ref(r, "ref")
		if err != nil {
			h.fail(w, r, err)
			return
		}
		v, err := ask(r.Context(), name)
		h.reply(w, r, http.StatusOK, v, err)
	}
}

// exchange makes a handler of a question whose parameters are a JSON body.
func exchange[I, O any](h *handler, ask func(context.Context, I) (O, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in I
		if err := h.readJSON(w, r, &in); err != nil {
			h.fail(w, r, err)
			return
		}
		v, err := ask(r.Context(), in)
		h.reply(w, r, http.StatusOK, v, err)
	}
}

// body reads a whole body of a type.
func (h *handler) body(w http.ResponseWriter, r *http.Request, contentType string, limit int64) ([]byte, error) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != contentType {
		return nil, newError(http.StatusUnsupportedMediaType, CodeMediaType, "send it as "+contentType, "body of type %.80q", r.Header.Get("Content-Type"))
	}
	if r.ContentLength > limit {
		return nil, TooLarge("", "body of %d bytes: over the limit of %d", r.ContentLength, limit)
	}
	// A body may trickle in, but not for ever. Connections without deadlines, as in tests, have nothing to bound.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.o.IOTimeout))
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, TooLarge("", "body over the limit of %d bytes", limit)
	}
	if err != nil {
		return nil, Malformed("", "read the body: %v", err)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return raw, nil
}

func (h *handler) readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	raw, err := h.body(w, r, "application/json", maxJSON)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return Malformed("", "read the JSON body: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Malformed("", "read the JSON body: text after its end")
	}
	return nil
}

// reply writes v as JSON, or err.
func (h *handler) reply(w http.ResponseWriter, r *http.Request, status int, v any, err error) {
	if err != nil {
		h.fail(w, r, err)
		return
	}
	b, err := marshal(v)
	if err != nil {
		h.fail(w, r, fmt.Errorf("encode the answer: %w", err))
		return
	}
	h.send(w, status, "application/json", append(b, '\n'))
}

func (h *handler) send(w http.ResponseWriter, status int, contentType string, b []byte) {
	h.writeDeadline(w)
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // a caller that went away is no trouble of the node
}

func (h *handler) writeDeadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.o.IOTimeout)) // see body
}

// fail answers with an error.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := h.asError(r, err)
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	b, err := json.Marshal(map[string]Problem{"error": {Code: e.Code, Message: e.Message, Next: e.Next, SQL: e.SQL}})
	if err != nil {
		h.o.Log.Error("api: encode an error", "code", e.Code, "err", err)
	}
	h.send(w, e.Status, "application/json", append(b, '\n'))
}

func (h *handler) asError(r *http.Request, err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e) && e.Status >= 400 && e.Status < 600:
		return e
	case r.Context().Err() != nil:
		return Unavailable("", "the request was given up before its answer")
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable("try again later", "the answer took too long: %v", err)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		h.o.Log.Error("api: the disk is full", "route", r.Pattern, "err", err)
		return newError(http.StatusInsufficientStorage, CodeQuotaFull, "make room on the disk of the node's data folder, then ask again", "the node's disk is full: %v", err)
	}
	h.o.Log.Error("api: answer a request", "route", r.Pattern, "caller", callerOf(r).String(), "err", err)
	return newError(http.StatusInternalServerError, CodeInternal, "see the node's log", "%v", err)
}

func text(w http.ResponseWriter, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, s)
}

func (h *handler) getOpenAPI(w http.ResponseWriter, _ *http.Request) {
	h.send(w, http.StatusOK, "application/yaml", openAPI)
}

func (h *handler) getReady(w http.ResponseWriter, r *http.Request) {
	if h.o.Ready != nil {
		if err := h.o.Ready(); err != nil {
			h.fail(w, r, Unavailable("", "not ready: %v", err))
			return
		}
		text(w, "ready\n")
		return
	}
	s, err := h.b.Status(r.Context())
	if err == nil && !s.Ready {
		err = Unavailable("", "not ready: %v", s.NotReady)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	text(w, "ready\n")
}

// Parameters.

func pathDigest(r *http.Request, name string) (digest.Digest, error) {
	d, err := digest.Parse(r.PathValue(name))
	if err != nil {
		return d, Malformed("", "%v", err)
	}
	return d, nil
}

// ref is a path parameter that people may have typed.
func ref(r *http.Request, name string) (string, error) {
	v := r.PathValue(name)
	if v == "" || len(v) > 256 {
		return "", Malformed("", "%s of %d bytes: want 1 to 256", name, len(v))
	}
	return v, nil
}

func number(s, what string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, Malformed("", "%s %.40q: want a whole number", what, s)
	}
	return n, nil
}

// query reads parameters, each at most once, and refuses unknown ones.
func query(r *http.Request, allowed ...string) (map[string]string, error) {
	if len(r.URL.RawQuery) > 4096 {
		return nil, Malformed("", "query of %d bytes: over the limit of 4096", len(r.URL.RawQuery))
	}
	m := map[string]string{}
	for k, v := range r.URL.Query() {
		known := false
		for _, a := range allowed {
			known = known || a == k
		}
		if !known || len(v) != 1 {
			return nil, Malformed(fmt.Sprintf("known here, once each: %q", allowed), "parameter %.40q", k)
		}
		m[k] = v[0]
	}
	return m, nil
}

func heightRange(q map[string]string) (from, to uint64, err error) {
	for _, p := range []struct {
		name string
		v    *uint64
	}{{"from", &from}, {"to", &to}} {
		if s, ok := q[p.name]; ok {
			if *p.v, err = number(s, p.name); err != nil {
				return 0, 0, err
			}
		}
	}
	if to != 0 && from > to {
		return 0, 0, Malformed("", "from %d is above to %d", from, to)
	}
	return from, to, nil
}
