package api

import (
	"context"
	"io"
	"net/http"
)

// carType is the media type of a CAR file.
const carType = "application/vnd.ipld.car"

// maxCIDText bounds a CID in a path.
const maxCIDText = 128

// dagName is the CID that the path names; the backend reads it.
func dagName(r *http.Request) (string, error) {
	c := r.PathValue("cid")
	if c == "" || len(c) > maxCIDText {
		return "", Malformed("", "a CID of %d characters: want 1 to %d", len(c), maxCIDText)
	}
	return c, nil
}

// byCID makes a handler of a question about the DAG that the path names.
func byCID(h *handler, ask func(context.Context, string) (DAG, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := dagName(r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		v, err := ask(r.Context(), c)
		h.reply(w, r, http.StatusOK, v, err)
	}
}

// postDAGs takes a CAR file.
func (h *handler) postDAGs(w http.ResponseWriter, r *http.Request) {
	var err error
	switch {
	case r.Header.Get("Content-Type") != carType:
		err = newError(http.StatusUnsupportedMediaType, CodeMediaType, "send it as "+carType, "body of type %.80q", r.Header.Get("Content-Type"))
	case r.ContentLength < 0:
		err = Malformed("", "a body without Content-Length")
	case uint64(r.ContentLength) > h.o.MaxBlobBytes:
		err = TooLarge("send its parts one by one", "CAR file of %d bytes: over the limit of %d", r.ContentLength, h.o.MaxBlobBytes)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	body := h.upload(w, r, uint64(r.ContentLength))
	list, err := h.b.ImportDAGs(r.Context(), body)
	h.reply(w, r, http.StatusOK, list, err)
}

// getCAR gives a DAG as a CAR file. What goes wrong after its first byte breaks the connection: a CAR file has no end of
// its own that a reader could miss.
func (h *handler) getCAR(w http.ResponseWriter, r *http.Request) {
	c, err := dagName(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	q, err := query(r, "repeats")
	if err == nil && q["repeats"] != "" && q["repeats"] != "true" {
		err = Malformed("", "repeats: want true, or nothing")
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	out := &carBody{h: h, w: w}
	if err = h.b.ExportDAG(r.Context(), c, q["repeats"] == "true", out); err == nil {
		return
	}
	if !out.begun {
		h.fail(w, r, err)
		return
	}
	if r.Context().Err() == nil {
		h.o.Log.Warn("api: CAR file ends early", "cid", c, "err", err)
	}
	panic(http.ErrAbortHandler)
}

// carBody sends what is written to it, and gives up on a reader that takes nothing for IOTimeout.
type carBody struct {
	h     *handler
	w     http.ResponseWriter
	begun bool
}

var _ io.Writer = (*carBody)(nil)

// Write implements io.Writer.
func (b *carBody) Write(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.w.Header().Set("Content-Type", carType)
	}
	b.h.writeDeadline(b.w)
	return b.w.Write(p)
}
