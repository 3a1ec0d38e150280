package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	libpeer "github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// ways are the ways to a peer's API: one handler behind three kinds of connection.
func (n *testnet) ways(p *peer) map[string]*http.Client {
	n.t.Helper()
	key, err := sign.Generate(rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	status, err := n.client(p).ChainStatus(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	caller, err := p2p.New(p2p.Config{Key: key, Network: status.Chain.Name, EnableEncryption: true, Client: true})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { caller.Close() })
	to, err := caller.Connect(n.t.Context(), p.Address)
	if err != nil {
		n.t.Fatal(err)
	}
	dial := map[string]func(context.Context) (net.Conn, error){
		"tcp": func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", strings.TrimPrefix(p.API, "http://"))
		},
		"unix": func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", p.Socket)
		},
		"libp2p": func(ctx context.Context) (net.Conn, error) { return caller.DialStream(ctx, to, "api/1") },
	}
	ways := map[string]*http.Client{}
	for name, d := range dial {
		tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d(ctx) }}
		n.t.Cleanup(tr.CloseIdleConnections)
		ways[name] = &http.Client{Transport: tr, Timeout: 20 * time.Second}
	}
	return ways
}

// endless gives bytes until the reader has had enough; it counts them.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.n += int64(len(p))
	if e.n > 1<<30 {
		return 0, io.EOF
	}
	return len(p), nil
}

// TestBodiesAreBoundedOnEveryWay sends too much by TCP, by the unix socket, over libp2p and to the gateway.
func TestBodiesAreBoundedOnEveryWay(t *testing.T) {
	n := up(t, 4)
	p := n.peers[0]
	post := func(c *http.Client, url, kind string, body io.Reader) (int, string) {
		t.Helper()
		resp, err := c.Post(url, kind, body)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			return 0, ""
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		if err != nil {
			t.Errorf("%s: read the answer: %v", url, err)
		}
		var v struct {
			Error struct {
				Code, Message string
			} `json:"error"`
		}
		if err := json.Unmarshal(raw, &v); err != nil || v.Error.Code == "" {
			t.Errorf("%s answers %d and %q; want an error in the API's form", url, resp.StatusCode, raw)
		}
		return resp.StatusCode, v.Error.Message
	}
	for way, c := range n.ways(p) {
		t.Run(way, func(t *testing.T) {
			for _, r := range []struct {
				path, kind string
				limit      int
			}{
				{"/v1/commands", "application/cbor", enc.MaxCommandBytes},
				{"/v1/sql/plan", "application/json", 1 << 20},
				{"/v1/datasets/sniff", "application/json", 1 << 20},
			} {
				code, said := post(c, "http://node"+r.path, r.kind, bytes.NewReader(make([]byte, r.limit+1)))
				if code != 413 || !strings.Contains(said, strconv.Itoa(r.limit)) {
					t.Errorf("%s, a byte too much: %d %q", r.path, code, said)
				}
				flood := &endless{} // of no stated length
				code, said = post(c, "http://node"+r.path, r.kind, flood)
				if code != 413 || !strings.Contains(said, strconv.Itoa(r.limit)) {
					t.Errorf("%s, an endless body: %d %q", r.path, code, said)
				}
				if flood.n > 64<<20 {
					t.Errorf("%s read %d bytes of an endless body", r.path, flood.n)
				}
				if code, said = post(c, "http://node"+r.path, r.kind, strings.NewReader("garbage")); code != 400 || said == "" {
					t.Errorf("%s, garbage: %d %q", r.path, code, said)
				}
				if code, _ = post(c, "http://node"+r.path, "text/plain", strings.NewReader("{}")); code != 415 {
					t.Errorf("%s, another type: %d", r.path, code)
				}
			}
		})
	}
	t.Run("gateway", func(t *testing.T) {
		c, url := &http.Client{Timeout: 20 * time.Second}, "http://"+p.Gateway+"/submit"
		for name, body := range map[string]io.Reader{"long": bytes.NewReader(make([]byte, analytics.MaxGatewayBody+1)), "endless": &endless{}} {
			if code, said := post(c, url, "application/json", body); code != 413 || said == "" {
				t.Errorf("%s: %d %q", name, code, said)
			}
		}
		for _, body := range []string{"", "garbage", "[]", `{"dataset":"users","query":"SELECT 1"} tail`, `{"dataset":"users","query":"SELECT 1","no_such":1}`} {
			if code, said := post(c, url, "application/json", strings.NewReader(body)); code != 400 || said == "" {
				t.Errorf("body %q: %d %q", body, code, said)
			}
		}
		if code, said := post(c, url, "application/json", strings.NewReader(`{"dataset":"nope","query":"SELECT 1"}`)); code != 404 || !strings.Contains(said, "nope") {
			t.Errorf("unknown data set: %d %q", code, said)
		}
	})
	n.users()
	n.must("analytics", "submit", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users")
}

// connected counts the hosts that have a connection to a peer.
func connected(hosts []host.Host, to libpeer.ID) int {
	n := 0
	for _, h := range hosts {
		if len(h.Network().ConnsToPeer(to)) > 0 {
			n++
		}
	}
	return n
}

// TestCrowdsAreBounded crowds a peer with members beyond its max_peers, and with connections that never say a word.
func TestCrowdsAreBounded(t *testing.T) {
	const most = 8
	path := filepath.Join(home(t), "small.toml")
	if err := os.WriteFile(path, fmt.Appendf(nil, "[p2p]\nmax_peers = %d\n", most), 0o600); err != nil {
		t.Fatal(err)
	}
	n := up(t, 4, "--config", path)
	n.users()
	status, err := n.client(n.peers[0]).ChainStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	crowded, err := libpeer.AddrInfoFromString(n.peers[0].Address)
	if err != nil {
		t.Fatal(err)
	}
	var hosts []host.Host
	for range 20 {
		h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableRelay(), libp2p.ProtocolVersion(p2p.MemberVersion(status.Chain.Name)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		if err := h.Connect(t.Context(), *crowded); err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}

	// Meanwhile others knock and stay silent, more than there is room for.
	address := strings.Split(n.peers[0].Address, "/") // "", ip4, HOST, tcp, PORT, …
	knock := net.JoinHostPort(address[2], address[4])
	for range 200 {
		c, err := net.DialTimeout("tcp", knock, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	eventually(t, 10*time.Second, "refused by a limit", func() bool { return n.metric(n.peers[0], "bpci_resource_refusals_total") > 0 })
	for _, p := range n.peers { // the validators know each other, and have all they need
		if r := n.run("--api", "unix://"+p.Socket, "analytics", "submit", "--fresh", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users"); r.code != 0 {
			t.Errorf("%s, amid a crowd: exit code %d: %s", p.Name, r.code, r.stderr)
		}
	}
	eventually(t, 60*time.Second, fmt.Sprintf("down to %d peers", most), func() bool {
		return n.metric(n.peers[0], `bpci_peers{direction="inbound"}`)+n.metric(n.peers[0], `bpci_peers{direction="outbound"}`) <= most
	})
	if left := connected(hosts, crowded.ID); left > most {
		t.Errorf("%d hosts of the crowd are still connected; max_peers is %d", left, most)
	}
	peers, err := n.client(n.peers[0]).Peers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	validators := 0
	for _, p := range peers {
		for _, role := range p.Roles {
			if p.Connected && role == "validator" {
				validators++
			}
		}
	}
	if validators != 3 {
		t.Errorf("connected to %d validators after the crowd was let go, want the other 3: %+v", validators, peers)
	}
	// Room again for whoever speaks, once the silent ones have had their time.
	eventually(t, 60*time.Second, "reached by a newcomer", func() bool {
		return n.runWith(home(t), "--peer", n.peers[0].Address, "chain", "status").code == 0
	})
}

// metric reads one value of a peer's /metrics; -1 when it does not answer or has none of that name.
func (n *testnet) metric(p *peer, name string) float64 {
	resp, err := http.Get("http://" + strings.TrimPrefix(p.API, "http://") + "/metrics")
	if err != nil {
		return -1
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
				return f
			}
		}
	}
	return -1
}
