package api_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

func (f *fakeNode) Services(_ context.Context, q api.ServiceQuery) ([]api.Service, error) {
	if q.Service != "" && q.Service != "echo" {
		return nil, f.err
	}
	return []api.Service{{Service: "echo/1", Version: "1.0", Peer: "12D3KooW", Key: testKey(), Capacity: 3, ExpiresMs: 9}}, f.err
}

func (f *fakeNode) SendToService(_ context.Context, m api.ServiceMessage) (api.ServiceReply, error) {
	if f.err != nil {
		return api.ServiceReply{}, f.err
	}
	if m.Service != "echo/1" {
		return api.ServiceReply{}, api.NotFound("see: bpi network services", "nobody offers %s", m.Service)
	}
	return api.ServiceReply{
		Service: m.Service, Peer: "12D3KooW", Tried: []api.ServiceTry{{Peer: "12D3KooX", Error: m.Try.String()}}, Answer: append([]byte("you said "), m.Body...),
	}, nil
}

func TestServicesAreListedAndSentTo(t *testing.T) {
	c, base := serve(t, newFake(), api.Options{})
	ctx := t.Context()
	if l, err := c.Services(ctx, api.ServiceQuery{}); err != nil || len(l) != 1 || l[0].Service != "echo/1" || l[0].Capacity != 3 || l[0].Labels == nil {
		t.Errorf("services: %+v, %v", l, err)
	}
	if l, err := c.Services(ctx, api.ServiceQuery{Service: "other", Search: true}); err != nil || len(l) != 0 {
		t.Errorf("services of no provider: %+v, %v", l, err)
	}
	for _, body := range []string{"hello\x00", ""} {
		r, err := c.SendToService(ctx, api.ServiceMessage{Service: "echo", Body: []byte(body), Try: 3 * time.Second})
		if err != nil || string(r.Answer) != "you said "+body || len(r.Tried) != 1 || r.Tried[0].Error != "3s" {
			t.Errorf("reply to %q: %+v, %v", body, r, err)
		}
	}
	var e *api.Error
	if _, err := c.SendToService(ctx, api.ServiceMessage{Service: "nobody/2"}); !errors.As(err, &e) || e.Code != api.CodeNotFound {
		t.Errorf("a service of nobody: %v", err)
	}
	if _, err := c.SendToService(ctx, api.ServiceMessage{Service: "echo", Body: make([]byte, api.MaxMessageBytes+1)}); !errors.As(err, &e) || e.Code != api.CodeTooLarge {
		t.Errorf("a message over the bound: %v", err)
	}
	for _, bad := range []string{"?search=true", "?search=maybe&service=echo", "?services=echo"} {
		resp, err := http.Get(base + "/v1/services" + bad)
		if err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v, %v", bad, resp.Status, err)
		}
		resp.Body.Close()
	}
	for _, bad := range []string{"?try=0s", "?try=6m", "?try=soon", "?tri=1s"} {
		resp, err := http.Post(base+"/v1/services/echo/1/messages"+bad, "application/octet-stream", strings.NewReader("x"))
		if err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v, %v", bad, resp.Status, err)
		}
		resp.Body.Close()
	}
}

// TestAdminIsForTheSocketAndForListedPeers asks an admin route as every kind of caller. Reading is open to all of them.
func TestAdminIsForTheSocketAndForListedPeers(t *testing.T) {
	const listed, other = "12D3KooWlisted", "12D3KooWother"
	h, err := api.NewHandler(newFake(), api.Options{Admins: []string{listed}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		caller api.Caller
		admin  bool
		next   string
	}{
		{api.Caller{Kind: api.CallerUnix}, true, ""},
		{api.Caller{Kind: api.CallerPeer, Name: listed}, true, ""},
		{api.Caller{Kind: api.CallerPeer, Name: other}, false, "admins of [api]"},
		{api.Caller{Kind: api.CallerPeer, Name: ""}, false, "admins of [api]"},
		{api.Caller{Kind: api.CallerIP, Name: "127.0.0.1"}, false, "unix socket"},
		{api.Caller{Kind: api.CallerIP, Name: "192.0.2.1"}, false, "unix socket"},
		{api.Caller{Kind: api.CallerIP, Name: listed}, false, "unix socket"},      // a name alone proves nothing
		{api.Caller{Kind: api.CallerService, Name: listed}, false, "unix socket"}, // it may speak for anybody
	} {
		s := httptest.NewUnstartedServer(nil)
		s.Config = api.NewServer(h, func(ctx context.Context, _ net.Conn) context.Context { return api.WithCaller(ctx, c.caller) })
		s.Start()
		client := api.NewTCPClient(s.Listener.Addr().String())
		if _, err := client.Status(t.Context()); err != nil {
			t.Errorf("%s may not even read: %v", c.caller, err)
		}
		var e *api.Error
		_, err := client.Drain(t.Context(), true)
		if c.admin != (err == nil) || !c.admin && (!errors.As(err, &e) || e.Code != api.CodeForbidden || !strings.Contains(e.Message, c.caller.String()) || !strings.Contains(e.Next, c.next)) {
			t.Errorf("%s drains: %v; want admin %v", c.caller, err, c.admin)
		}
		client.Close()
		s.Close()
	}
}

// TestMessagesDoNotCarryMessages: a message that asks for another to be sent could go round for ever.
func TestMessagesDoNotCarryMessages(t *testing.T) {
	h, err := api.NewHandler(newFake(), api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]int{api.CallerPeer: http.StatusOK, api.CallerService: http.StatusForbidden} {
		r := httptest.NewRequest(http.MethodPost, "/v1/services/echo/1/messages", strings.NewReader("x"))
		r.Header.Set("Content-Type", "application/octet-stream")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(api.WithCaller(r.Context(), api.Caller{Kind: kind, Name: "12D3KooW"})))
		if w.Code != want {
			t.Errorf("a message by %s: %d, want %d: %s", kind, w.Code, want, w.Body)
		}
	}
}

// TestEveryPeerHasLimitsOfItsOwn: the one that asks too much is told so, and the other is answered.
func TestEveryPeerHasLimitsOfItsOwn(t *testing.T) {
	h, err := api.NewHandler(newFake(), api.Options{RequestsPerSecond: 1e-9, Burst: 2})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(c api.Caller) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/v1/status", nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(api.WithCaller(r.Context(), c)))
		return w
	}
	greedy, modest := api.Caller{Kind: api.CallerPeer, Name: "12D3KooWa"}, api.Caller{Kind: api.CallerPeer, Name: "12D3KooWb"}
	for i, want := range []int{200, 200, 429, 429} {
		w := ask(greedy)
		if w.Code != want || want == 429 && (w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), greedy.String())) {
			t.Errorf("request %d of the greedy one: %d %s", i+1, w.Code, w.Body)
		}
	}
	if w := ask(modest); w.Code != 200 {
		t.Errorf("the modest one: %d %s", w.Code, w.Body)
	}
	// What a peer hands over for others is not on its own account.
	if w := ask(api.Caller{Kind: api.CallerService, Name: greedy.Name}); w.Code != 200 {
		t.Errorf("by a service: %d %s", w.Code, w.Body)
	}
}
