package analytics

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/digest"
)

// fakeNode is a Submitter that remembers what it was asked and answers what it was told.
type fakeNode struct {
	asked     SubmitRequest
	submitted bool
	refusal   error
	outcome   Outcome
	waitErr   error
}

func (f *fakeNode) Submit(_ context.Context, r SubmitRequest) (Ticket, error) {
	f.asked, f.submitted = r, true
	if f.refusal != nil {
		return Ticket{}, f.refusal
	}
	return Ticket{Job: digest.Of([]byte("job")), Resolved: []string{"users@3"}, Warnings: []string{"careful"}}, nil
}

func (f *fakeNode) Wait(ctx context.Context, _ digest.Digest) (Outcome, error) {
	return f.outcome, f.waitErr
}

// countStream is the result of SELECT COUNT(*) with the answer 2.
var countStream = []byte("BPIR\x01\x01\x00\x00\x00\x01\x00\x00\x00n\x05\x01\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00")

func post(t *testing.T, f *fakeNode, path, body string) (*http.Response, string) {
	t.Helper()
	srv := httptest.NewServer(NewGateway(f, func(err error) { t.Logf("log: %v", err) }))
	defer srv.Close()
	resp, err := http.Post(srv.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestGatewayAnswersWithResultAndReceipt(t *testing.T) {
	f := &fakeNode{outcome: Outcome{State: "sealed", Stream: countStream, Receipt: "/v1/jobs/x/receipt"}}
	resp, body := post(t, f, "/submit", `{"dataset":"users","query":"SELECT COUNT(*) FROM users"}`)
	want := `{"job":"` + digest.Of([]byte("job")).String() + `","state":"sealed","datasets":["users@3"],"result":{"columns":[{"name":"n","type":"BIGINT"}],"rows":[[2]]},"receipt":{"path":"/v1/jobs/x/receipt"},"warnings":["careful"]}` + "\n"
	if resp.StatusCode != 200 || body != want {
		t.Errorf("%d %s\nwant %s", resp.StatusCode, body, want)
	}
	if f.asked.OnBehalf != "http:127.0.0.1" || len(f.asked.Datasets) != 1 || f.asked.Datasets[0].Name != "users" {
		t.Errorf("the node was asked %+v", f.asked)
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("CORS is on")
	}
	for format, want := range map[string]string{"csv": "n\n2\n", "ndjson": "{\"n\":2}\n", "table": "n\n-\n2\n(1 row)\n"} {
		if resp, body := post(t, f, "/submit", `{"dataset":"users","query":"q","format":"`+format+`"}`); body != want || resp.Header.Get("X-Metanode-Receipt") == "" {
			t.Errorf("%s: %q, want %q", format, body, want)
		}
	}
}

func TestGatewayDetaches(t *testing.T) {
	f := &fakeNode{waitErr: errors.New("must not be waited for")}
	resp, body := post(t, f, "/submit?wait=false", `{"datasets":["users@3","sales"],"query":"q","id":"mine","r":3,"q":2,"fresh":true}`)
	if resp.StatusCode != 202 || !strings.Contains(body, `"state":"accepted"`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if f.asked.ID != "mine" || f.asked.R != 3 || f.asked.Q != 2 || !f.asked.Fresh || f.asked.Datasets[0].Version != 3 {
		t.Errorf("the node was asked %+v", f.asked)
	}
}

func TestGatewayRefusesBadRequestsBeforeTheNodeIsAsked(t *testing.T) {
	for body, status := range map[string]int{
		``: 400, `{`: 400, `[]`: 400, `null`: 400, `{"dataset":"users"}`: 400, `{"dataset":"users","query":" "}`: 400,
		`{"dataset":"users","query":"q","extra":1}`: 400, `{"dataset":"users","query":"q"} {}`: 400, `{"dataset":"Users","query":"q"}`: 400,
		`{"dataset":"users@0","query":"q"}`: 400, `{"dataset":"users,users@2","query":"q"}`: 400, `{"dataset":"users","query":"q","r":3,"q":1}`: 400,
		`{"dataset":"users","query":"q","r":65}`: 400, `{"dataset":"users","query":"q","seed":"x"}`: 400, `{"dataset":"users","query":"q","format":"xml"}`: 400,
		`{"dataset":"users","query":7}`: 400, "{\"dataset\":\"users\",\"query\":\"\xff\"}": 400,
		`{"dataset":"users","query":"` + strings.Repeat("x", MaxGatewayBody) + `"}`: 413,
		`{"dataset":"users","query":"` + strings.Repeat("x", MaxSQLBytes+1) + `"}`:  413,
		`{"dataset":"users","query":"q","id":"` + strings.Repeat("x", 129) + `"}`:   400,
		`{"dataset":"` + strings.Repeat("a,", 70) + `b","query":"q"}`:               400,
	} {
		f := &fakeNode{}
		resp, answer := post(t, f, "/submit", body)
		var e struct{ Error Error }
		if err := json.Unmarshal([]byte(answer), &e); err != nil || e.Error.Code == "" || e.Error.Message == "" {
			t.Errorf("%.60s: no error in %s", body, answer)
		}
		if resp.StatusCode != status || f.submitted {
			t.Errorf("%.60s: %d (node asked: %v) %s; want %d", body, resp.StatusCode, f.submitted, answer, status)
		}
	}
}

func TestGatewayMapsOutcomes(t *testing.T) {
	at := 14
	for name, c := range map[string]struct {
		node   fakeNode
		status int
		code   string
	}{
		"unknown dataset": {fakeNode{refusal: &Error{Code: CodeNotFound, Message: "m"}}, 404, CodeNotFound},
		"conflict":        {fakeNode{refusal: &Error{Code: CodeConflict, Message: "m"}}, 409, CodeConflict},
		"rate":            {fakeNode{refusal: &Error{Code: CodeRateLimited, Message: "m"}}, 429, CodeRateLimited},
		"no executors":    {fakeNode{refusal: &Error{Code: CodeUnavailable, Message: "m"}}, 503, CodeUnavailable},
		"trouble":         {fakeNode{refusal: errors.New("secret path")}, 500, CodeInternal},
		"slow":            {fakeNode{waitErr: context.DeadlineExceeded}, 504, CodeTimeout},
		"query failed":    {fakeNode{outcome: Outcome{State: "sealed", Failure: &Failure{Code: ExitBinder, Kind: "binder", Message: "m", Position: &at}}}, 422, CodeQuery},
		"cancelled":       {fakeNode{outcome: Outcome{State: "cancelled", Reason: "by the client"}}, 503, CodeUnavailable},
		"broken stream":   {fakeNode{outcome: Outcome{State: "sealed", Stream: []byte("BPIX")}}, 500, CodeInternal},
	} {
		resp, body := post(t, &c.node, "/submit", `{"dataset":"users","query":"q"}`)
		if resp.StatusCode != c.status || !strings.Contains(body, `"code":"`+c.code+`"`) || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s; want %d %s", name, resp.StatusCode, body, c.status, c.code)
		}
	}
}

func TestGatewayRoutes(t *testing.T) {
	g := NewGateway(&fakeNode{}, nil)
	for _, c := range []struct {
		method, path, media string
		status              int
	}{
		{"GET", "/healthz", "", 200}, {"POST", "/healthz", "", 405}, {"GET", "/submit", "", 405}, {"GET", "/", "", 404},
		{"POST", "/submit", "text/plain", 415}, {"POST", "/submit", "", 415}, {"POST", "/submit?wait=maybe", "application/json", 400},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader("{}"))
		if c.media != "" {
			r.Header.Set("Content-Type", c.media)
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.status)
		}
	}
}
