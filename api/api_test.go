package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

func trustChain() receipt.ChainRef {
	return receipt.ChainRef{ID: digest.Of([]byte("chain")), Name: "devnet"}
}

func trustCheckpoint() receipt.Checkpoint {
	return receipt.Checkpoint{Height: 3, Block: digest.Of([]byte("block"))}
}

func trustValidators() []receipt.TrustValidator {
	return []receipt.TrustValidator{{Key: testKey(), Weight: 1, Peer: testKey(), Name: "a"}}
}

func TestClientReachesEveryQuestion(t *testing.T) {
	f := newFake()
	c, _ := serve(t, f, api.Options{Local: true})
	ctx := context.Background()
	check := func(name string, got any, want any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	a, err := c.SubmitCommand(ctx, []byte("tx"))
	check("submit", a, api.CommandAccepted{ID: testID, State: "pending"}, err)
	check("tx", string(f.tx), "tx", nil)
	cs, err := c.WaitCommand(ctx, testID)
	check("command", cs, api.CommandStatus{ID: testID, State: "ordered", Height: 7, Events: []api.Event{}}, err)
	check("wait", f.waited, api.MaxWait, nil)
	s, err := c.Status(ctx)
	check("status", s.Version, "test", err)
	p, err := c.Peers(ctx)
	check("peers", len(p), 1, err)
	h, err := c.ChainStatus(ctx)
	check("chain", h.Head.Height, uint64(9), err)
	b, err := c.Block(ctx, 1<<63)
	check("block", b.Height, uint64(1<<63), err)
	v, err := c.Validators(ctx)
	check("validators", v.Total, uint64(4), err)
	x, err := c.Executors(ctx)
	check("executors", x, []api.Executor{{Peer: "12D3", Registered: true, Slots: 4, Engines: []digest.Digest{}, Policies: []digest.Digest{}, Labels: []string{}}}, err)
	g, err := c.Genesis(ctx)
	check("genesis", string(g), "genesis", err)
	for _, epoch := range []uint64{0, 7, api.LatestEpoch} {
		tr, err := c.Trust(ctx, epoch)
		want := testTrust()
		want.Checkpoint.Height = epoch
		check("trust", tr, want, err)
	}
	ev, err := c.Evidence(ctx)
	check("evidence", len(ev), 1, err)
	l, err := c.Jobs(ctx, api.JobQuery{Limit: 3, Cursor: "x&y", State: api.JobSealed, Kind: api.KindNative})
	check("jobs", l.Next, fmt.Sprint(3, "x&y", api.JobSealed, api.KindNative), err)
	j, err := c.Job(ctx, testID.Short())
	check("job", j.ID, testID, err)
	d, err := c.Dataset(ctx, "users@sha256:00/..%?")
	check("dataset", d.Name, "users@sha256:00/..%?", err)
	ds, err := c.Datasets(ctx)
	check("datasets", len(ds), 1, err)
	sn, err := c.SniffDataset(ctx, api.SniffRequest{Format: "csv"})
	check("sniff", sn.Format, "csv", err)
	pl, err := c.PlanSQL(ctx, api.PlanRequest{SQL: "SELECT 1", Datasets: []string{"users"}})
	check("plan", pl.R, uint32(3), err)
	check("plan request", f.plan.SQL, "SELECT 1", nil)
	pn, err := c.PlanNative(ctx, api.NativeRequest{Image: "base", Args: []string{"true"}})
	check("native plan", pn.R, uint32(3), err)
	check("native plan request", f.native.Args, []string{"true"}, nil)
	im, err := c.Image(ctx, "base@sha256:00/..%?")
	check("image", im.Name, "base@sha256:00/..%?", err)
	ims, err := c.Images(ctx)
	check("images", ims[0].Digest, testID, err)
	dr, err := c.Drain(ctx, true)
	check("drain", dr.Draining && f.drained, true, err)
	out, n, err := c.JobOutput(ctx, "abcd", "dir/a b?.csv")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(out)
	out.Close()
	check("output", string(raw), "output abcd dir/a b?.csv", err)
	check("output length", n, int64(len(raw)), nil)
	f.events = []api.Event{{Height: 1, Kind: "a"}, {Height: 2, Kind: "b"}}
	var kinds []string
	err = c.Events(ctx, api.EventQuery{From: 1, To: 2, Subject: testID}, func(e *api.Event) error { kinds = append(kinds, e.Kind); return nil })
	check("events", kinds, []string{"a", "b"}, err)
	check("event query", f.query, api.EventQuery{From: 1, To: 2, Subject: testID}, nil)
	au, err := c.Audit(ctx, api.AuditQuery{From: 4, Format: "csv"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err = io.ReadAll(au)
	au.Close()
	check("audit", string(raw), "csv 4 0\n", err)
}

func TestBlobsTravelBothWays(t *testing.T) {
	c, base := serve(t, newFake(), api.Options{})
	ctx := context.Background()
	for _, b := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("0123456789"), 50_000)} {
		d := digest.Of(b)
		if _, err := c.StatBlob(ctx, d); !errors.Is(err, &api.Error{Code: api.CodeNotFound}) {
			t.Errorf("stat before upload: %v", err)
		}
		st, err := c.PutBlob(ctx, d, uint64(len(b)), bytes.NewReader(b))
		if err != nil || st.Existed {
			t.Fatalf("put: %v %v", st, err)
		}
		if n, err := c.StatBlob(ctx, d); err != nil || n != uint64(len(b)) {
			t.Errorf("stat: %d %v", n, err)
		}
		r, n, err := c.GetBlob(ctx, d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		if err != nil || !bytes.Equal(got, b) || n != int64(len(b)) {
			t.Errorf("get %d bytes: %d, %v", len(b), len(got), err)
		}
	}
	small, _ := serve(t, newFake(), api.Options{MaxBlobBytes: 100})
	if _, err := small.PutBlob(ctx, testID, 4<<20, bytes.NewReader(make([]byte, 4<<20))); !errors.Is(err, &api.Error{Code: api.CodeTooLarge}) {
		t.Errorf("oversized blob: %v", err)
	}
	// Bodies without a length that are shorter or longer than announced.
	for _, body := range []string{"ab", "abcd"} {
		req, err := http.NewRequest(http.MethodPut, base+"/v1/blobs?bytes=3&sha256="+digest.Of([]byte("abc")).String(), io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("body %q for 3 bytes: %s", body, resp.Status)
		}
	}
}

func TestErrorsArriveAsTheBackendMeantThem(t *testing.T) {
	f := newFake()
	c, _ := serve(t, f, api.Options{})
	for _, want := range []*api.Error{
		api.Malformed("fix it", "bad %d", 1), api.BadSignature("", "b"), api.Forbidden("", "b"), api.NotFound("", "b"),
		api.Ambiguous("", "b"), api.Replay("", "b"), api.NotSealed("", "b"), api.Expired("", "b"), api.Gone("", "b"),
		api.TooLarge("", "b"), api.WrongChain("", "b"), api.RateLimited(3*time.Second, "b"), api.MempoolFull(time.Second, "b"),
		api.Unavailable("", "b"), api.QuotaFull("", "b"), api.BadSQL(api.SQLProblem{Kind: "syntax", Message: "near FORM", Position: 9}, "x"),
	} {
		f.err = fmt.Errorf("wrapped: %w", want)
		_, err := c.SubmitCommand(context.Background(), []byte("tx"))
		var got *api.Error
		if !errors.As(err, &got) || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	f.err = errors.New("disk on fire")
	_, err := c.Status(context.Background())
	var got *api.Error
	if !errors.As(err, &got) || got.Status != 500 || got.Code != api.CodeInternal || !strings.Contains(got.Message, "disk on fire") {
		t.Errorf("%+v", err)
	}
}

func TestBadRequestsAreRefusedInForm(t *testing.T) {
	_, base := serve(t, newFake(), api.Options{})
	big := strings.Repeat("x", enc.MaxCommandBytes+1)
	for _, c := range []struct {
		method, path, contentType, body string
		want                            int
		code                            string
	}{
		{"POST", "/v1/commands", "application/json", "{}", 415, api.CodeMediaType},
		{"POST", "/v1/commands", "application/cbor", big, 413, api.CodeTooLarge},
		{"GET", "/v1/commands/zz", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/commands/" + testID.String() + "?wait=never", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/commands/" + testID.String() + "?wait=-1s", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/chain/blocks/-1", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/chain/blocks/18446744073709551616", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/chain/events?from=2&to=1", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/chain/events?form=2", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/chain/events?follow=maybe", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/audit?format=xml", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/audit?from=1&from=2", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/jobs?limit=0", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/jobs?limit=501", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/jobs?state=sealed%20failed", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/jobs?kind=shell", "", "", 400, api.CodeMalformed},
		{"GET", "/v1/jobs/" + strings.Repeat("a", 257), "", "", 400, api.CodeMalformed},
		{"GET", "/v1/jobs/none", "", "", 404, api.CodeNotFound},
		{"GET", "/v1/jobs/none/events", "", "", 404, api.CodeNotFound},
		{"POST", "/v1/sql/plan", "application/json", `{"sql":"SELECT 1","dataset":"users"}`, 400, api.CodeMalformed},
		{"POST", "/v1/sql/plan", "application/json", `{"sql":"SELECT 1"} {}`, 400, api.CodeMalformed},
		{"POST", "/v1/sql/plan", "application/json", "\x00\xff", 400, api.CodeMalformed},
		{"POST", "/v1/sql/plan", "application/json", strings.Repeat("[", 1<<20), 400, api.CodeMalformed},
		{"POST", "/v1/sql/plan", "application/json", strings.Repeat(" ", 1<<20+1), 413, api.CodeTooLarge},
		{"PUT", "/v1/blobs?bytes=1&sha256=00", "", "x", 400, api.CodeMalformed},
		{"PUT", "/v1/blobs?sha256=" + testID.String(), "", "x", 400, api.CodeMalformed},
		{"PUT", "/v1/blobs?bytes=2&sha256=" + testID.String(), "", "x", 400, api.CodeMalformed},
		{"GET", "/v1/blobs/" + strings.ToUpper(testID.String()), "", "", 400, api.CodeMalformed},
		{"POST", "/v1/admin/drain", "application/json", `{"on":true}`, 403, api.CodeForbidden},
		{"GET", "/v1/nothing", "", "", 404, api.CodeNotFound},
		{"DELETE", "/v1/jobs", "", "", 405, api.CodeMethod},
	} {
		req, err := http.NewRequest(c.method, base+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.contentType != "" {
			req.Header.Set("Content-Type", c.contentType)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s %.60s: %v", c.method, c.path, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.want || !strings.Contains(string(body), `{"error":{"code":"`+c.code+`","message":"`) {
			t.Errorf("%s %.60s: %s %.200s %v, want %d %s", c.method, c.path, resp.Status, body, err, c.want, c.code)
		}
	}
}

func TestPagesOfOtherOriginsCannotCommand(t *testing.T) {
	_, base := serve(t, newFake(), api.Options{Local: true})
	req, err := http.NewRequest(http.MethodPost, base+"/v1/admin/drain", strings.NewReader(`{"on":true}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", "http://evil.example")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("%s, want 403", resp.Status)
	}
}

func TestAdminIsForTheSocket(t *testing.T) {
	h, err := api.NewHandler(newFake(), api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := api.NewServer(h, nil)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	c := api.NewUnixClient(path)
	if st, err := c.Drain(context.Background(), true); err != nil || !st.Draining {
		t.Errorf("%v %v", st, err)
	}
	c.Close()
	s.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func TestCallersAreBounded(t *testing.T) {
	f := newFake()
	f.entered, f.release = make(chan struct{}), make(chan struct{})
	c, _ := serve(t, f, api.Options{CallerRequests: 1})
	first := make(chan error, 1)
	go func() { _, err := c.Status(context.Background()); first <- err }()
	<-f.entered
	if _, err := c.ChainStatus(context.Background()); !errors.Is(err, &api.Error{Code: api.CodeRateLimited}) {
		t.Errorf("second request at once: %v", err)
	}
	close(f.release)
	if err := <-first; err != nil {
		t.Error(err)
	}

	c, _ = serve(t, newFake(), api.Options{RequestsPerSecond: 1e-9, Burst: 2})
	for i := range 3 {
		_, err := c.ChainStatus(context.Background())
		var e *api.Error
		if limited := errors.As(err, &e) && e.Code == api.CodeRateLimited && e.RetryAfter > 0; limited != (i == 2) {
			t.Errorf("request %d: %v", i, err)
		}
	}
}

func TestMetricsReadinessAndMounts(t *testing.T) {
	say := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) })
	}
	var notReady error
	_, base := serve(t, newFake(), api.Options{
		Metrics: say("metrics"), Mounts: map[string]http.Handler{"POST /submit": say("submitted")},
		Ready: func() error { return notReady },
	})
	get := func(method, path string) string {
		t.Helper()
		req, err := http.NewRequest(method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(resp.StatusCode, " ", string(b))
	}
	for _, c := range [][3]string{
		{"GET", "/metrics", "200 metrics"}, {"POST", "/submit", "200 submitted"}, {"GET", "/healthz", "200 ok\n"}, {"GET", "/readyz", "200 ready\n"},
	} {
		if got := get(c[0], c[1]); got != c[2] {
			t.Errorf("%s: %q, want %q", c[1], got, c[2])
		}
	}
	notReady = errors.New("catching up")
	if got := get("GET", "/readyz"); !strings.HasPrefix(got, "503 ") || !strings.Contains(got, "catching up") {
		t.Errorf("readyz: %q", got)
	}
}

// A list must be [] and not null where a program iterates over it.
func TestEmptyListsAreNotNull(t *testing.T) {
	_, base := serve(t, newFake(), api.Options{})
	for _, path := range []string{"/v1/status", "/v1/jobs", "/v1/chain/blocks/1", "/v1/chain/validators", "/v1/chain/executors", "/v1/jobs/" + testID.Short(), "/v1/datasets/x", "/v1/datasets", "/v1/images/x", "/v1/images", "/v1/peers"} {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || bytes.Contains(b, []byte("null")) {
			t.Errorf("%s: %s %s %v", path, resp.Status, b, err)
		}
	}
}

func FuzzRequests(f *testing.F) {
	h, err := api.NewHandler(newFake(), api.Options{RequestsPerSecond: 1e9, Burst: 1 << 30})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/v1/sql/plan", "", "application/json", []byte(`{"sql":"SELECT 1","datasets":["users"]}`))
	f.Add("/v1/native/plan", "", "application/json", []byte(`{"image":"base","args":["true"],"limits":{"calls":1}}`))
	f.Add("/v1/datasets/sniff", "", "application/json", []byte(`{"files":[{"path":"a","digest":""}]}`))
	f.Add("/v1/commands", "wait=1s", "application/cbor", []byte{0x83})
	f.Add("/v1/../x", "from=1&from=2", "", []byte{})
	f.Fuzz(func(t *testing.T, path, query, contentType string, body []byte) {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
			r := httptest.NewRequest(method, "/", bytes.NewReader(body))
			r.URL.Path, r.URL.RawQuery = path, query
			r.Header.Set("Content-Type", contentType)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code == http.StatusInternalServerError {
				t.Errorf("%s %q?%q: %d %s", method, path, query, w.Code, w.Body)
			}
		}
	})
}
