package api

import (
	"net/http"
	"time"
)

// ioTimeout is how long a body or an answer may stand still.
const ioTimeout = 30 * time.Second

// Patient serves h, which knows nothing of strangers that send a byte now and then or read nothing: a body has to be
// whole within 30 s, and what is written has to be taken within 30 s. The API's own handler does so by itself, and gives a
// large body more.
func Patient(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		meetBody(c, r, ioTimeout)
		h.ServeHTTP(&patientWriter{w, c}, r)
	})
}

// meetBody bounds how long a request's body is waited for. It is for those bodies, too, that nobody reads: the server
// does, before it serves the connection's next request. Whoever reads a body to its end takes the bound away when it goes
// on to other work, since it would end the request.
func meetBody(c *http.ResponseController, r *http.Request, timeout time.Duration) {
	if r.ContentLength != 0 {
		_ = c.SetReadDeadline(time.Now().Add(timeout)) // connections without deadlines, as in tests, have nothing to bound
	}
}

type patientWriter struct {
	http.ResponseWriter
	c *http.ResponseController
}

// Write implements http.ResponseWriter. Whoever writes has read the body, or never will.
func (w *patientWriter) Write(p []byte) (int, error) {
	_ = w.c.SetWriteDeadline(time.Now().Add(ioTimeout))
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
