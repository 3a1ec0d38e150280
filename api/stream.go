package api

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// stream writes an answer whose length is not known beforehand. Its status goes out with the first bytes, so that an
// error before them is answered as one; an error after them breaks the connection off, which a reader sees as an
// unexpected end. Safe for use by several goroutines.
type stream struct {
	h           *handler
	w           http.ResponseWriter
	contentType string
	mu          sync.Mutex
	began       bool // mu
}

func (h *handler) newStream(w http.ResponseWriter, contentType string) *stream {
	return &stream{h: h, w: w, contentType: contentType}
}

// Write sends p, and gives up on a reader that takes nothing for IOTimeout.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.began {
		s.began = true
		s.w.Header().Set("Content-Type", s.contentType)
		s.w.WriteHeader(http.StatusOK)
	}
	s.h.writeDeadline(s.w)
	return s.w.Write(p)
}

// line sends v as a line of JSON at once.
func (s *stream) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := s.Write(append(b, '\n')); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return http.NewResponseController(s.w).Flush()
}

// end closes the answer with the outcome of what wrote it.
func (s *stream) end(r *http.Request, err error) {
	s.mu.Lock()
	began := s.began
	s.mu.Unlock()
	switch {
	case err == nil && !began:
		_, _ = s.Write(nil)
	case err != nil && !began:
		s.h.fail(s.w, r, err)
	case err != nil:
		if r.Context().Err() == nil {
			s.h.o.Log.Warn("api: stream broken off", "route", r.Pattern, "caller", callerOf(r).String(), "err", err)
		}
		panic(http.ErrAbortHandler)
	}
}

// withHeartbeat runs produce, and puts a heartbeat on the stream after each Options.Heartbeat without a line. It
// returns once produce has, and the heartbeats with it.
func (h *handler) withHeartbeat(r *http.Request, s *stream, produce func(emit func(JobEvent) error) error) error {
	lines := make(chan struct{}, 1)
	done := make(chan struct{})
	var beats sync.WaitGroup
	beats.Go(func() {
		t := time.NewTimer(h.o.Heartbeat)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-r.Context().Done():
				return
			case <-lines:
			case <-t.C:
				if s.line(JobEvent{Stage: StageHeartbeat}) != nil {
					return // produce sees the broken connection through the request's context
				}
			}
			t.Reset(h.o.Heartbeat)
		}
	})
	defer beats.Wait()
	defer close(done)
	return produce(func(e JobEvent) error {
		select {
		case lines <- struct{}{}:
		default:
		}
		return s.line(e)
	})
}

// copyBody sends size bytes of rc and closes it.
func (h *handler) copyBody(w http.ResponseWriter, r *http.Request, rc io.ReadCloser, size uint64) {
	defer rc.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatUint(size, 10))
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return
	}
	buf := make([]byte, 64<<10)
	var sent uint64
	for sent < size {
		n, err := rc.Read(buf[:min(uint64(len(buf)), size-sent)])
		if n > 0 {
			h.writeDeadline(w)
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			sent += uint64(n)
		}
		if err != nil && sent < size {
			h.o.Log.Warn("api: blob ends early", "route", r.Pattern, "sent", sent, "size", size, "err", err)
			panic(http.ErrAbortHandler)
		}
	}
	if size == 0 {
		w.WriteHeader(http.StatusOK)
	}
}
