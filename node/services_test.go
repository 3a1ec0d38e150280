package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// caller is a program without a node: it reaches a node's API over libp2p, by a key of its own.
func caller(t *testing.T, n *Node, key sign.PrivateKey) *api.Client {
	t.Helper()
	host, err := p2p.New(p2p.Config{Key: key, Network: n.genesis.DisplayName(), EnableEncryption: true, Client: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	to, err := host.Connect(t.Context(), n.host.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	c := api.NewDialClient(func(ctx context.Context) (net.Conn, error) { return host.DialStream(ctx, to, APIProtocol) })
	t.Cleanup(c.Close)
	return c
}

func newTestKey(t *testing.T) sign.PrivateKey {
	t.Helper()
	k, err := sign.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// offered waits until the node's registry has a service.
func offered(t *testing.T, n *Node, service string) api.Service {
	t.Helper()
	late := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		list, err := (&backend{n}).Services(t.Context(), api.ServiceQuery{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 1 {
			return list[0]
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s is not offered after 30 s: %v", service, list)
		}
	}
}

func TestNodeOffersWhatItDoes(t *testing.T) {
	n, stop := startNode(t, testConfig(t))
	s := offered(t, n, "api")
	if s.Version != "1.0" || s.Capacity == 0 || s.Peer != n.host.ID().String() || s.Name != "one" || !slices.Contains(s.Labels, "role=validator") || len(s.Addresses) == 0 {
		t.Errorf("api is %+v", s)
	}
	offered(t, n, "analytics")
	// The engine of this chain is at hand nowhere, so nobody executes queries.
	if list, err := (&backend{n}).Services(t.Context(), api.ServiceQuery{Service: "sql", Search: true}); err != nil || len(list) != 0 {
		t.Errorf("sql is offered without an engine: %v, %v", list, err)
	}
	var e *api.Error
	if _, err := (&backend{n}).Services(t.Context(), api.ServiceQuery{Service: "S Q L"}); !errors.As(err, &e) || e.Code != api.CodeMalformed {
		t.Errorf("a name that is none: %v", err)
	}
	if _, err := (&backend{n}).SendToService(t.Context(), api.ServiceMessage{Service: "sql/1"}); !errors.As(err, &e) || e.Code != api.CodeNotFound {
		t.Errorf("a message for a service of nobody: %v", err)
	}
	stop()
	if list := n.services.reg.List(); len(list) != 0 {
		t.Errorf("a node that has stopped still offers %v", list)
	}
}

// TestGatewayIsOnlyOfferedWhereItsOperatorSaysSo: it signs for its callers.
func TestGatewayIsOnlyOfferedWhereItsOperatorSaysSo(t *testing.T) {
	cfg := testConfig(t)
	cfg.Gateway.Offer = false
	n, _ := startNode(t, cfg)
	offered(t, n, "api")
	if list := n.services.offers(); slices.ContainsFunc(n.services.reg.List(), func(p p2p.Provider) bool { return p.Offer.Service == serviceAnalytics }) || len(list) == 0 {
		t.Errorf("offered: %v", list)
	}
	if _, err := n.services.reg.Send(t.Context(), serviceAnalytics, 1, []byte("{}"), p2p.SendOptions{}); !errors.Is(err, p2p.ErrNoService) {
		t.Errorf("the gateway is served: %v", err)
	}
}

// ask sends an HTTP request as a message to the service api.
func ask(t *testing.T, c *api.Client, request string) (*http.Response, string) {
	t.Helper()
	reply, err := c.SendToService(t.Context(), api.ServiceMessage{Service: "api", Body: []byte(request)})
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(reply.Answer)), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp, body.String()
}

func TestMessagesOfServicesAreAnswered(t *testing.T) {
	n, _ := startNode(t, testConfig(t))
	offered(t, n, "api")
	offered(t, n, "analytics")
	c := caller(t, n, newTestKey(t))

	resp, body := ask(t, c, "GET /v1/status HTTP/1.1\r\nHost: peer\r\n\r\n")
	var s api.Status
	if err := json.Unmarshal([]byte(body), &s); resp.StatusCode != http.StatusOK || err != nil || s.Peer != n.host.ID().String() {
		t.Errorf("status: %s %.200s", resp.Status, body)
	}
	if resp, body := ask(t, c, "GET /v1/nothing HTTP/1.1\r\nHost: peer\r\n\r\n"); resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "openapi") {
		t.Errorf("no route: %s %.200s", resp.Status, body)
	}
	// Whoever hands a message over may speak for somebody else.
	drain := "POST /v1/admin/drain HTTP/1.1\r\nHost: peer\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"on\":true}"
	if resp, body := ask(t, c, drain); resp.StatusCode != http.StatusForbidden || n.register.draining.Load() {
		t.Errorf("an admin call by message: %s %.200s", resp.Status, body)
	}
	nested := "GET /v1/status HTTP/1.1\r\nHost: peer\r\n\r\n"
	nested = fmt.Sprintf("POST /v1/services/api/1/messages HTTP/1.1\r\nHost: peer\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s", len(nested), nested)
	if resp, body := ask(t, c, nested); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a message by message: %s %.200s", resp.Status, body)
	}

	var e *api.Error
	for service, refused := range map[string]string{"api": "garbage", "analytics": "{\"query\":1}"} {
		if _, err := c.SendToService(t.Context(), api.ServiceMessage{Service: service, Body: []byte(refused)}); !errors.As(err, &e) || e.Code != api.CodeRefused || !strings.Contains(e.Message, "peer one refuses") {
			t.Errorf("%q to %s: %v", refused, service, err)
		}
	}
	if _, err := c.SendToService(t.Context(), api.ServiceMessage{Service: "analytics", Body: []byte(`{"dataset":"nobody","query":"SELECT 1"}`)}); !errors.As(err, &e) || !strings.Contains(e.Message, "nobody") {
		t.Errorf("a query over no data set: %v", err)
	}
}

// TestAdminOverLibp2pIsForListedKeys drains a node as a stranger, as a peer of its configuration, and by TCP.
func TestAdminOverLibp2pIsForListedKeys(t *testing.T) {
	cfg := testConfig(t)
	key := newTestKey(t)
	cfg.API.Admins = []string{p2p.PeerID(key.Public()).String()}
	n, _ := startNode(t, cfg)
	var e *api.Error
	stranger := newTestKey(t)
	if _, err := caller(t, n, stranger).Drain(t.Context(), true); !errors.As(err, &e) || e.Code != api.CodeForbidden ||
		!strings.Contains(e.Message, p2p.PeerID(stranger.Public()).String()) || !strings.Contains(e.Next, "admins of [api]") {
		t.Errorf("a stranger drains: %v", err)
	}
	tcp := api.NewTCPClient(n.address("API"))
	defer tcp.Close()
	if _, err := tcp.Drain(t.Context(), true); !errors.As(err, &e) || e.Code != api.CodeForbidden || !strings.Contains(e.Next, "unix socket") {
		t.Errorf("whoever reaches the TCP address drains: %v", err)
	}
	if n.register.draining.Load() {
		t.Fatal("the node drains for whom it refused")
	}
	if s, err := caller(t, n, key).Drain(t.Context(), true); err != nil || !s.Draining || !n.register.draining.Load() {
		t.Errorf("a listed peer drains: %+v, %v", s, err)
	}
	unix := api.NewUnixClient(cfg.API.Socket)
	defer unix.Close()
	if s, err := unix.Drain(t.Context(), false); err != nil || s.Draining || n.register.draining.Load() {
		t.Errorf("the socket: %+v, %v", s, err)
	}
}

// TestBodiesOverLibp2pAreBounded as they are over TCP: one handler serves both.
func TestBodiesOverLibp2pAreBounded(t *testing.T) {
	n, _ := startNode(t, testConfig(t))
	c := caller(t, n, newTestKey(t))
	var e *api.Error
	if _, err := c.SubmitCommand(t.Context(), make([]byte, 1<<20)); !errors.As(err, &e) || e.Code != api.CodeTooLarge {
		t.Errorf("a command over its bound: %v", err)
	}
	if _, err := c.SendToService(t.Context(), api.ServiceMessage{Service: "api", Body: make([]byte, api.MaxMessageBytes+1)}); !errors.As(err, &e) || e.Code != api.CodeTooLarge {
		t.Errorf("a message over its bound: %v", err)
	}
	if _, err := c.ChainStatus(t.Context()); err != nil {
		t.Errorf("what comes after: %v", err)
	}
}
