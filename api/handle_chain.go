package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

func (h *handler) postCommand(w http.ResponseWriter, r *http.Request) {
	tx, err := h.body(w, r, "application/cbor", enc.MaxCommandBytes)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	a, err := h.b.SubmitCommand(r.Context(), tx)
	h.reply(w, r, http.StatusAccepted, a, err)
}

func (h *handler) getCommand(w http.ResponseWriter, r *http.Request) {
	id, err := pathDigest(r, "id")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	q, err := query(r, "wait")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	var wait time.Duration
	if s, ok := q["wait"]; ok {
		if wait, err = time.ParseDuration(s); err != nil || wait < 0 {
			h.fail(w, r, Malformed("", "wait %.40q: want a time such as 30s", s))
			return
		}
	}
	s, err := h.b.CommandStatus(r.Context(), id, min(wait, MaxWait))
	h.reply(w, r, http.StatusOK, s, err)
}

func (h *handler) getBlock(w http.ResponseWriter, r *http.Request) {
	height, err := number(r.PathValue("height"), "height")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	b, err := h.b.Block(r.Context(), height)
	h.reply(w, r, http.StatusOK, b, err)
}

func (h *handler) getGenesis(w http.ResponseWriter, r *http.Request) {
	b, err := h.b.Genesis(r.Context())
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.send(w, http.StatusOK, "application/cbor", b)
}

// encoder is a document of package receipt.
type encoder interface{ Encode() ([]byte, error) }

func (h *handler) document(w http.ResponseWriter, r *http.Request, d encoder, err error) {
	if err != nil {
		h.fail(w, r, err)
		return
	}
	b, err := d.Encode()
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.send(w, http.StatusOK, "application/json", b)
}

func (h *handler) getTrust(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, "epoch")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	epoch := uint64(0)
	if s, ok := q["epoch"]; ok && s == "latest" {
		epoch = LatestEpoch
	} else if ok {
		if epoch, err = number(s, "epoch"); err != nil {
			h.fail(w, r, err)
			return
		}
	}
	t, err := h.b.Trust(r.Context(), epoch)
	h.document(w, r, t, err)
}

func (h *handler) getEvents(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, "from", "to", "follow", "subject")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	var e EventQuery
	if e.From, e.To, err = heightRange(q); err != nil {
		h.fail(w, r, err)
		return
	}
	if s, ok := q["follow"]; ok {
		if e.Follow, err = strconv.ParseBool(s); err != nil {
			h.fail(w, r, Malformed("", "follow %.40q: want true or false", s))
			return
		}
	}
	if s, ok := q["subject"]; ok {
		if e.Subject, err = digest.Parse(s); err != nil {
			h.fail(w, r, Malformed("give a whole id", "subject %.80q: want 64 hexadecimal digits", s))
			return
		}
	}
	s := h.newStream(w, "application/x-ndjson")
	s.end(r, h.b.Events(r.Context(), e, func(ev Event) error { return s.line(ev) }))
}

func (h *handler) getAudit(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, "from", "to", "format")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	a := AuditQuery{Format: "json"}
	if a.From, a.To, err = heightRange(q); err != nil {
		h.fail(w, r, err)
		return
	}
	contentType := "application/x-ndjson"
	switch f, ok := q["format"]; {
	case !ok || f == "json":
	case f == "csv":
		a.Format, contentType = "csv", "text/csv; charset=utf-8"
	default:
		h.fail(w, r, Malformed("", "format %.40q: want json or csv", f))
		return
	}
	s := h.newStream(w, contentType)
	s.end(r, h.b.WriteAudit(r.Context(), a, s))
}

var jobStates = []string{JobPending, JobQueued, JobRunning, JobCommitting, JobRevealing, JobSealed, JobFailed, JobCancelled, JobExpired}

func (h *handler) getJobs(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, "limit", "cursor", "state", "kind")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	jq := JobQuery{Limit: 50, Cursor: q["cursor"], State: q["state"], Kind: q["kind"]}
	if s, ok := q["limit"]; ok {
		n, err := number(s, "limit")
		if err != nil || n == 0 || n > 500 {
			h.fail(w, r, Malformed("", "limit %.40q: want 1 to 500", s))
			return
		}
		jq.Limit = int(n)
	}
	if jq.State != "" && !slices.Contains(jobStates, jq.State) {
		h.fail(w, r, Malformed("", "state %.40q is none of a job's; those are: %s", jq.State, strings.Join(jobStates, ", ")))
		return
	}
	if jq.Kind != "" && jq.Kind != KindSQL && jq.Kind != KindNative {
		h.fail(w, r, Malformed("", "kind %.40q is none of a job's; those are: %s, %s", jq.Kind, KindSQL, KindNative))
		return
	}
	l, err := h.b.Jobs(r.Context(), jq)
	h.reply(w, r, http.StatusOK, l, err)
}

func (h *handler) getJob(w http.ResponseWriter, r *http.Request) {
	id, err := ref(r, "id")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	j, err := h.b.Job(r.Context(), id)
	h.reply(w, r, http.StatusOK, j, err)
}

func (h *handler) getReceipt(w http.ResponseWriter, r *http.Request) {
	id, err := ref(r, "id")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	q, err := query(r, "since")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	since := uint64(0)
	if s, ok := q["since"]; ok {
		if since, err = number(s, "since"); err != nil {
			h.fail(w, r, err)
			return
		}
	}
	d, err := h.b.Receipt(r.Context(), id, since)
	h.document(w, r, d, err)
}

func (h *handler) getJobEvents(w http.ResponseWriter, r *http.Request) {
	id, err := ref(r, "id")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	s := h.newStream(w, "application/x-ndjson")
	s.end(r, h.withHeartbeat(r, s, func(emit func(JobEvent) error) error {
		return h.b.JobEvents(r.Context(), id, emit)
	}))
}
