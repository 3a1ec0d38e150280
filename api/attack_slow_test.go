package api_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/digest"
)

// memory is a listener whose connections are pipes, so that servers on it live in a bubble's time. A pipe holds nothing:
// who does not read stops its writer at once.
type memory struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error   { m.once.Do(func() { close(m.closed) }); return nil }
func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

func (m *memory) dial(from string) net.Conn {
	near, far := net.Pipe()
	m.conns <- from4{far, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))}
	return near
}

// from4 is a connection from an address.
type from4 struct {
	net.Conn
	addr net.Addr
}

func (c from4) RemoteAddr() net.Addr { return c.addr }

// TestSlowCallersAreClosed has callers that send a byte now and then, or nothing, or read nothing; each loses its
// connection in the time that is said, and a caller beside them is answered all the while.
func TestSlowCallersAreClosed(t *testing.T) {
	large := bytes.Repeat([]byte{7}, 1<<20)
	post := "POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: 100\r\n\r\n"
	put := "PUT /v1/blobs?sha256=" + digest.Of(large).String() + "&bytes=1048576 HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"
	for name, c := range map[string]struct {
		say    string
		drip   time.Duration // a byte more each
		reads  bool
		atMost time.Duration
	}{
		"nothing at all":              {"", 0, true, 11 * time.Second},
		"half a head":                 {"GET /v1/chain HTTP/1.1\r\nHost: x\r\n", 0, true, 11 * time.Second},
		"a head that drips":           {"GET /v1/chain HTTP/1.1\r\nX: ", time.Second, true, 11 * time.Second},
		"idle after a request":        {"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 0, true, 121 * time.Second},
		"no body":                     {post, 0, true, 31 * time.Second},
		"a body that drips":           {post, time.Second, true, 31 * time.Second},
		"no body where none is read":  {strings.Replace(post, "POST /v1/commands", "GET /v1/chain", 1), 0, true, 31 * time.Second},
		"no body where nobody is":     {strings.Replace(post, "POST /v1/commands", "POST /v1/nothing", 1), 0, true, 31 * time.Second},
		"no body for the gateway":     {strings.Replace(post, "POST /v1/commands", "POST /submit", 1), 0, true, 31 * time.Second},
		"no upload":                   {put, 0, true, 31 * time.Second},
		"an upload that drips":        {put, 10 * time.Second, true, 91 * time.Second},
		"reads no blob":               {"GET /v1/blobs/" + digest.Of(large).String() + " HTTP/1.1\r\nHost: x\r\n\r\n", 0, false, 31 * time.Second},
		"reads no short answer":       {"GET /v1/chain HTTP/1.1\r\nHost: x\r\n\r\n", 0, false, 31 * time.Second},
		"reads no metrics":            {"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 0, false, 31 * time.Second},
		"reads no error":              {"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 0, false, 31 * time.Second},
		"reads nothing of many":       {strings.Repeat("GET /v1/chain HTTP/1.1\r\nHost: x\r\n\r\n", 100), 0, false, 31 * time.Second},
		"reads nothing of a gateway":  {"GET /submit HTTP/1.1\r\nHost: x\r\n\r\n", 0, false, 31 * time.Second},
		"reads no stream of a node's": {"GET /v1/openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n", 0, false, 31 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.blobs[digest.Of(large)] = large
				l := newMemory()
				much := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.ReadAll(r.Body); err == nil {
						_, _ = w.Write(large)
					}
				})
				h, err := api.NewHandler(f, api.Options{Metrics: much})
				if err != nil {
					t.Fatal(err)
				}
				mux := http.NewServeMux()
				mux.Handle("/submit", api.Patient(much))
				mux.Handle("/", h)
				srv := api.NewServer(mux, nil)
				bound := api.Bound(l)
				served := make(chan error, 1)
				go func() { served <- srv.Serve(bound) }()
				t.Cleanup(func() {
					_ = srv.Close()
					<-served
				})
				honest := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					return l.dial("198.51.100.1:5000"), nil
				}}}
				t.Cleanup(honest.CloseIdleConnections)

				conn := l.dial("203.0.113.9:6000")
				var talk sync.WaitGroup
				defer talk.Wait()
				defer conn.Close()
				began := time.Now()
				over := make(chan time.Duration, 1)
				talk.Go(func() { // what it says may be more than the server takes
					_, err := io.WriteString(conn, c.say)
					for c.drip > 0 && err == nil {
						time.Sleep(c.drip)
						_, err = conn.Write([]byte("x"))
					}
					if !c.reads {
						for err == nil {
							time.Sleep(time.Second)
							_, err = conn.Write([]byte("G")) // fails once the connection is closed
						}
						over <- time.Since(began)
					}
				})
				if c.reads {
					talk.Go(func() {
						_, _ = io.Copy(io.Discard, conn)
						over <- time.Since(began)
					})
				}
				for turn := 0; ; turn++ {
					select {
					case took := <-over:
						t.Logf("closed after %s", took)
						if took > c.atMost {
							t.Errorf("closed after %s: want at most %s", took, c.atMost)
						}
						return
					case <-time.After(5 * time.Second):
					}
					if time.Since(began) > 10*time.Minute {
						t.Fatal("the connection stays open")
					}
					resp, err := honest.Get("http://node/v1/chain")
					if err != nil {
						t.Fatalf("a caller beside it: %v", err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						t.Fatalf("a caller beside it: %s", resp.Status)
					}
				}
			})
		})
	}
}

// TestConnectionsAreBounded floods a listener from one address, from this machine, and from everywhere.
func TestConnectionsAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		address func(i int) string
		want    int
	}{
		"one address":  {func(int) string { return "203.0.113.9:6000" }, 256},
		"this machine": {func(int) string { return "127.0.0.1:6000" }, 2048},
		"many addresses": {func(i int) string {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 6000).String()
		}, 2048},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newMemory()
				b := api.Bound(l)
				var open []net.Conn // of the goroutine below; read while it waits
				go func() {
					for {
						c, err := b.Accept()
						if err != nil {
							return
						}
						open = append(open, c)
					}
				}()
				const flood = 2500
				for i := range flood {
					l.dial(c.address(i))
				}
				synctest.Wait()
				if len(open) != c.want || b.Refused() != uint64(flood-c.want) {
					t.Errorf("of %d connections %d are open and %d were refused: want %d open", flood, len(open), b.Refused(), c.want)
				}
				if c.want == 2048 { // a place that is free again is given again
					_ = open[7].Close()
					_ = open[7].Close() // which frees one place, not two
				}
				l.dial("198.51.100.7:5000")
				l.dial(c.address(flood))
				synctest.Wait()
				if got := open[len(open)-1].RemoteAddr().String(); len(open) != c.want+1 || got != "198.51.100.7:5000" {
					t.Errorf("then %d are open, the last from %s: want a caller beside the flood", len(open), got)
				}
				_ = l.Close()
			})
		})
	}
}
