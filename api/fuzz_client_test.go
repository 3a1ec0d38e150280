package api_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/metanode/metanode/api"
)

// answerer answers each request with the same status and body.
type answerer struct {
	status int
	body   io.Reader
}

func (a answerer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Status: http.StatusText(a.status), ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {"7"}}, Body: io.NopCloser(a.body), ContentLength: -1,
	}, nil
}

// FuzzClientAnswer is a client whose node answers what it likes: any peer may be asked.
func FuzzClientAnswer(f *testing.F) {
	f.Add(200, []byte(`{"version":"1","ready":true,"roles":["validator"],"height":3}`))
	f.Add(200, []byte(`{"stage":"queued"}`+"\n"+`{"stage":"sealed"}`+"\n"))
	f.Add(429, []byte(`{"error":{"code":"rate_limited","message":"m","next":"n"}}`))
	f.Add(500, []byte(`{"error":{"code":""}}`))
	f.Add(302, []byte(`null`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		status = 200 + int(uint(status)%400)
		client := func() *api.Client {
			c, err := api.NewClient("http://peer:80", answerer{status, bytes.NewReader(body)})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		_, err := client().Status(t.Context())
		_, errChain := client().ChainStatus(t.Context())
		_, errServices := client().Services(t.Context(), api.ServiceQuery{})
		_, errReceipt := client().Receipt(t.Context(), "latest")
		for _, err := range []error{err, errChain, errServices, errReceipt} {
			var e *api.Error
			if status >= 300 && !errors.As(err, &e) {
				t.Fatalf("status %d was read as %v", status, err)
			}
			if errors.As(err, &e) && (e.Code == "" || e.Message == "" && len(body) == 0) {
				t.Fatalf("an error without a word: %+v", e)
			}
		}
		jobs := 0
		_ = client().JobEvents(t.Context(), "job", func(*api.JobEvent) error { jobs++; return nil })
		if jobs > len(body) {
			t.Fatalf("%d stages in %d bytes", jobs, len(body))
		}
	})
}

// endless is a body without end.
type endless struct{ sent int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	if e.sent == 0 {
		copy(p, `{"stage":"`)
	}
	e.sent += len(p)
	return len(p), nil
}

// TestEndlessAnswersAreBounded has a node answer with an object that never ends, where one is expected and where many are.
func TestEndlessAnswersAreBounded(t *testing.T) {
	for name, ask := range map[string]func(*api.Client) error{
		"status": func(c *api.Client) error { _, err := c.Status(t.Context()); return err },
		"stages": func(c *api.Client) error {
			return c.JobEvents(t.Context(), "job", func(*api.JobEvent) error { t.Error("a stage"); return nil })
		},
	} {
		body := &endless{}
		c, err := api.NewClient("http://peer:80", answerer{http.StatusOK, body})
		if err != nil {
			t.Fatal(err)
		}
		if err := ask(c); err == nil {
			t.Errorf("%s: taken", name)
		}
		if body.sent > 256<<20 {
			t.Errorf("%s: %d bytes were read", name, body.sent)
		}
	}
}
