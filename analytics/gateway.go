package analytics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/metanode/metanode/internal/digest"
)

// MaxGatewayBody bounds the body of POST /submit.
const MaxGatewayBody = 64 << 10

// Submitter is what the gateway needs of its node. All methods are called from many goroutines. An *Error goes to the
// caller as it is; any other error is answered as internal, and its text stays in the node's log.
type Submitter interface {
	// Submit resolves the datasets, checks the query, signs the job with the gateway's key and returns once it is
	// ordered, or fsynced in the outbox to be resent until it expires. A job reused from an earlier receipt is a Ticket
	// whose Wait answers at once.
	Submit(ctx context.Context, r SubmitRequest) (Ticket, error)
	// Wait blocks until the job has ended, or ctx has. Ending ctx does not cancel the job.
	Wait(ctx context.Context, job digest.Digest) (Outcome, error)
}

// SubmitRequest is what a caller of the gateway asks for.
type SubmitRequest struct {
	Datasets []Ref
	SQL      string
	ID       string // the caller's own name of the request: the same ID and request again is the same job; "" for none
	R, Q     uint32 // 0: the node's defaults
	Seed     digest.Digest
	Fresh    bool   // run again even if an earlier receipt answers it
	OnBehalf string // the caller as the gateway saw it, "http:127.0.0.1"; becomes part of the job
}

// Ticket is a job that will not be lost.
type Ticket struct {
	Job      digest.Digest
	Resolved []string // each dataset's resolution, "users@3"
	Warnings []string
	Reused   bool
}

// Outcome is a job's end.
type Outcome struct {
	State   string // "sealed", "failed", "cancelled", "expired"
	Reason  string // why it is not sealed
	Failure *Failure
	Stream  []byte // the result stream of a sealed job with exit code 0
	Receipt string // where the receipt is: a path of the node's API
}

// Error codes of the gateway, each with one HTTP status.
const (
	CodeBadRequest  = "bad-request"       // 400
	CodeNotFound    = "not-found"         // 404: no such dataset or version
	CodeConflict    = "conflict"          // 409: the same id with another request
	CodeTooLarge    = "too-large"         // 413
	CodeQuery       = "query"             // 422: the query is refused or failed, the same on every executor
	CodeRateLimited = "rate-limited"      // 429
	CodeUnavailable = "unavailable"       // 503: the chain stands still, no executor, outbox full
	CodeTimeout     = "timeout"           // 504: the job is not lost; ask for it by its id
	CodeInternal    = "internal"          // 500
	codeMethod      = "method"            // 405
	codeMediaType   = "unsupported-media" // 415
)

var statuses = map[string]int{
	CodeBadRequest: 400, CodeNotFound: 404, CodeConflict: 409, CodeTooLarge: 413, CodeQuery: 422, CodeRateLimited: 429,
	CodeUnavailable: 503, CodeTimeout: 504, CodeInternal: 500, codeMethod: 405, codeMediaType: 415,
}

// Error is a refusal that a caller sees: what, why, and what to do next.
type Error struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	Next     string `json:"next,omitempty"`
	Position *int   `json:"position,omitempty"` // byte offset in the query
	Job      string `json:"job,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Gateway is POST /submit and GET /healthz for callers who have no key: the node signs for them.
type Gateway struct {
	node Submitter
	log  func(error)
}

// NewGateway makes the handler. log gets the internal errors that callers do not see; nil drops them. Deadlines are the
// server's (http.Server) and the request's context.
func NewGateway(node Submitter, log func(error)) *Gateway {
	if log == nil {
		log = func(error) {}
	}
	return &Gateway{node: node, log: log}
}

// submitBody is the JSON of POST /submit. Unknown fields are refused.
type submitBody struct {
	Dataset  string   `json:"dataset"`  // one dataset, or several with commas
	Datasets []string `json:"datasets"` // the same as a list
	Query    string   `json:"query"`
	ID       string   `json:"id"`
	R        uint32   `json:"r"`
	Q        uint32   `json:"q"`
	Seed     string   `json:"seed"`
	Format   string   `json:"format"` // "json" (default), "ndjson", "csv", "table"
	Fresh    bool     `json:"fresh"`
}

// submitAnswer is the answer of POST /submit.
type submitAnswer struct {
	Job      string        `json:"job"`
	State    string        `json:"state"`
	Datasets []string      `json:"datasets,omitempty"`
	Result   *Result       `json:"result,omitempty"`
	Receipt  *receiptPlace `json:"receipt,omitempty"`
	Reused   bool          `json:"reused,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
}

type receiptPlace struct {
	Path string `json:"path"`
}

// ServeHTTP answers POST /submit and GET /healthz. It sends no CORS headers: a web page of another origin cannot use it.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	switch r.URL.Path {
	case "/healthz":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, &Error{Code: codeMethod, Message: r.Method + " /healthz", Next: "use GET"})
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "{\"status\":\"ok\"}\n")
	case "/submit":
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", "POST")
			writeError(w, &Error{Code: codeMethod, Message: r.Method + " /submit", Next: `use POST with {"dataset":"NAME","query":"SELECT ..."}`})
			return
		}
		if err := g.submit(w, r); err != nil {
			g.refuse(w, err)
		}
	default:
		writeError(w, &Error{Code: CodeNotFound, Message: "no such path: " + cellText(r.URL.Path), Next: "POST /submit runs a query, GET /v1/jobs/JOB follows it, GET /v1/receipts/JOB gives its receipt; the node's API has the rest"})
	}
}

func (g *Gateway) refuse(w http.ResponseWriter, err error) {
	var e *Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, context.Canceled):
		e = &Error{Code: CodeTimeout, Message: "the request was given up"}
	case errors.Is(err, context.DeadlineExceeded):
		e = &Error{Code: CodeTimeout, Message: "no answer in time", Next: "the job, if it was accepted, goes on; try again with the same id"}
	default:
		g.log(err)
		e = &Error{Code: CodeInternal, Message: "trouble inside the node", Next: "see the node's log"}
	}
	writeError(w, e)
}

func writeError(w http.ResponseWriter, e *Error) {
	status, ok := statuses[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	if e.Code == CodeRateLimited || e.Code == CodeUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Error *Error `json:"error"`
	}{e}) // the caller may have gone
}

// readBody reads the one JSON object of the request, strictly.
func readBody(w http.ResponseWriter, r *http.Request) (*submitBody, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, &Error{Code: codeMediaType, Message: "the body is not declared as JSON", Next: `send the header Content-Type: application/json`}
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxGatewayBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, &Error{Code: CodeTooLarge, Message: fmt.Sprintf("the body is over %d bytes", MaxGatewayBody), Next: "send a shorter query"}
		}
		return nil, &Error{Code: CodeBadRequest, Message: "the body could not be read"}
	}
	return parseBody(raw)
}

func parseBody(raw []byte) (*submitBody, error) {
	bad := func(cause string) error {
		return &Error{Code: CodeBadRequest, Message: "the body is not a request: " + cause, Next: `send {"dataset":"NAME","query":"SELECT ..."}`}
	}
	if !utf8.Valid(raw) {
		return nil, bad("it is not UTF-8")
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.DisallowUnknownFields()
	b := &submitBody{}
	if err := d.Decode(b); err != nil {
		return nil, bad(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, bad("there is more than one JSON value")
	}
	return b, nil
}

func (b *submitBody) request(r *http.Request) (SubmitRequest, error) {
	bad := func(format string, a ...any) error {
		return &Error{Code: CodeBadRequest, Message: fmt.Sprintf(format, a...)}
	}
	out := SubmitRequest{SQL: b.Query, ID: b.ID, R: b.R, Q: b.Q, Fresh: b.Fresh, OnBehalf: onBehalf(r.RemoteAddr)}
	if strings.TrimSpace(b.Query) == "" {
		return out, bad("there is no query")
	}
	if len(b.Query) > MaxSQLBytes {
		return out, &Error{Code: CodeTooLarge, Message: fmt.Sprintf("the query is over %d bytes", MaxSQLBytes)}
	}
	if len(b.ID) > 128 {
		return out, bad("the id is over 128 bytes")
	}
	switch b.Format {
	case "", "json", "ndjson", "csv", "table":
	default:
		return out, bad("format %.40q: want json, ndjson, csv or table", b.Format)
	}
	if b.R > 64 || b.Q > b.R && b.R != 0 || b.R != 0 && b.Q != 0 && 2*b.Q <= b.R {
		return out, bad("r=%d, q=%d: want r of at most 64 and q of more than half of r", b.R, b.Q)
	}
	names := b.Datasets
	if b.Dataset != "" {
		names = append(strings.Split(b.Dataset, ","), names...)
	}
	if len(names) > MaxTables {
		return out, bad("%d datasets: over the limit of %d", len(names), MaxTables)
	}
	seen := map[string]bool{}
	for _, n := range names {
		ref, err := ResolveRef(strings.TrimSpace(n))
		if err != nil {
			return out, bad("%v", err)
		}
		if seen[ref.Name] {
			return out, bad("dataset %q is named twice", ref.Name)
		}
		seen[ref.Name] = true
		out.Datasets = append(out.Datasets, ref)
	}
	if b.Seed != "" {
		d, err := digest.Parse(b.Seed)
		if err != nil {
			return out, bad("seed: %v", err)
		}
		out.Seed = d
	}
	return out, nil
}

// onBehalf names the caller for the job: the address, never the port.
func onBehalf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil || host == "" || len(host) > 64 {
		return "http:local"
	}
	return "http:" + host
}

func (g *Gateway) submit(w http.ResponseWriter, r *http.Request) error {
	wait := true
	switch v := r.URL.Query().Get("wait"); v {
	case "", "true":
	case "false":
		wait = false
	default:
		return &Error{Code: CodeBadRequest, Message: fmt.Sprintf("wait=%.20q: want true or false", v)}
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	req, err := body.request(r)
	if err != nil {
		return err
	}
	ticket, err := g.node.Submit(r.Context(), req)
	if err != nil {
		return err
	}
	a := submitAnswer{Job: ticket.Job.String(), State: "accepted", Datasets: ticket.Resolved, Reused: ticket.Reused, Warnings: ticket.Warnings}
	if !wait {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		return dropGone(json.NewEncoder(w).Encode(a))
	}
	out, err := g.node.Wait(r.Context(), ticket.Job)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return &Error{Code: CodeTimeout, Message: "the job has not ended in time; it goes on", Next: "ask for it: bpi job get " + a.Job, Job: a.Job}
		}
		return err
	}
	if out.Failure != nil {
		return &Error{Code: CodeQuery, Message: out.Failure.Message, Next: nextFor(out.Failure), Position: out.Failure.Position, Job: a.Job}
	}
	if out.State != "sealed" {
		return &Error{Code: CodeUnavailable, Message: fmt.Sprintf("the job is %s: %s", out.State, out.Reason), Next: "see: bpi job get " + a.Job, Job: a.Job}
	}
	a.State, a.Receipt = out.State, &receiptPlace{out.Receipt}
	if a.Result, err = Decode(strings.NewReader(string(out.Stream)), int64(len(out.Stream))); err != nil {
		return fmt.Errorf("result of job %s: %w", a.Job, err)
	}
	return writeAnswer(w, body.Format, &a)
}

func nextFor(f *Failure) string {
	switch f.Kind {
	case "syntax", "binder":
		return "correct the query"
	case "gate":
		return "ask with one SELECT over the datasets"
	case "limit":
		return "ask for less, or for more memory"
	}
	return ""
}

// writeAnswer writes the result alone in the formats that have no place for more; job and receipt are then headers.
func writeAnswer(w http.ResponseWriter, format string, a *submitAnswer) error {
	h := w.Header()
	h.Set("X-Metanode-Job", a.Job)
	h.Set("X-Metanode-Receipt", a.Receipt.Path)
	switch format {
	case "ndjson":
		h.Set("Content-Type", "application/x-ndjson")
		return dropGone(a.Result.WriteNDJSON(w))
	case "csv":
		h.Set("Content-Type", "text/csv; charset=utf-8")
		return dropGone(a.Result.WriteCSV(w))
	case "table":
		h.Set("Content-Type", "text/plain; charset=utf-8")
		return dropGone(a.Result.WriteTable(w, 0))
	}
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("result of job %s: %w", a.Job, err)
	}
	h.Set("Content-Type", "application/json")
	_, err = w.Write(append(b, '\n'))
	return dropGone(err)
}

// dropGone forgets the error of writing to a caller who has gone: the head of the answer is out, and nobody listens.
func dropGone(error) error { return nil }
