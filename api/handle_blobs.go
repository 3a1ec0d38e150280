package api

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

func (h *handler) putBlob(w http.ResponseWriter, r *http.Request) {
	q, err := query(r, "bytes", "sha256")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	size, err := number(q["bytes"], "bytes")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	d, err := digest.Parse(q["sha256"])
	if err != nil {
		h.fail(w, r, Malformed("", "%v", err))
		return
	}
	switch {
	case size > h.o.MaxBlobBytes:
		err = TooLarge("split the file", "blob of %d bytes: over the limit of %d", size, h.o.MaxBlobBytes)
	case r.ContentLength >= 0 && uint64(r.ContentLength) != size:
		err = Malformed("", "body of %d bytes for a blob of %d", r.ContentLength, size)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	body := h.upload(w, r, size)
	b, err := h.b.PutBlob(r.Context(), d, size, body)
	h.reply(w, r, http.StatusOK, b, err)
}

// An upload may come slowly, and not for ever: its first bytes have a minute, and each second brings so many more.
const (
	uploadGrace   = time.Minute
	uploadSlowest = 4 << 10
)

// upload gives a body of exactly left bytes that must not stand still, nor crawl.
type upload struct {
	c       *http.ResponseController
	timeout time.Duration
	r       io.Reader
	left    uint64
	came    uint64
	began   time.Time // of the first read
}

func (h *handler) upload(w http.ResponseWriter, r *http.Request, bytes uint64) *upload {
	return &upload{c: http.NewResponseController(w), timeout: h.o.IOTimeout, r: r.Body, left: bytes}
}

// deadline is when the next byte has to be here.
func (u *upload) deadline(now time.Time) time.Time {
	if u.began.IsZero() {
		u.began = now
	}
	still := now.Add(u.timeout)
	crawl := u.began.Add(uploadGrace + time.Duration(u.came/uploadSlowest)*time.Second)
	if crawl.Before(still) {
		return crawl
	}
	return still
}

var errLongBody = errors.New("body is longer than announced")

// Read fails on a body that is shorter or longer than announced.
func (u *upload) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	_ = u.c.SetReadDeadline(u.deadline(time.Now()))
	if u.left == 0 {
		var more [1]byte
		n, err := u.r.Read(more[:])
		if n > 0 {
			return 0, Malformed("", "%v", errLongBody)
		}
		if errors.Is(err, io.EOF) {
			_ = u.c.SetReadDeadline(time.Time{}) // what is done with the bytes may take its time
		}
		return 0, err
	}
	n, err := u.r.Read(p[:min(uint64(len(p)), u.left)])
	u.left -= uint64(n)
	u.came += uint64(n)
	if errors.Is(err, io.EOF) && u.left > 0 {
		return n, Malformed("", "body ends %d bytes early", u.left)
	}
	return n, err
}

func (h *handler) getBlob(w http.ResponseWriter, r *http.Request) {
	d, err := pathDigest(r, "digest")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	if r.Method == http.MethodHead {
		size, err := h.b.StatBlob(r.Context(), d)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		h.copyBody(w, r, http.NoBody, size)
		return
	}
	rc, size, err := h.b.OpenBlob(r.Context(), d)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.copyBody(w, r, rc, size)
}

func (h *handler) getOutput(w http.ResponseWriter, r *http.Request) {
	id, err := ref(r, "id")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	name := r.PathValue("name")
	if name == "" || len(name) > 1024 {
		h.fail(w, r, Malformed("", "output name of %d bytes: want 1 to 1024", len(name)))
		return
	}
	o, rc, err := h.b.JobOutput(r.Context(), id, name)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	w.Header().Set("X-Content-SHA256", o.Digest.String())
	h.copyBody(w, r, rc, o.Bytes)
}
