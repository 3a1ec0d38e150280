package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/keyfile"
	"github.com/metanode/metanode/p2p"
)

// APIProtocol is the name under which a node serves its API on libp2p streams.
const APIProtocol = "api/1"

// server is one listener with its HTTP server.
type server struct {
	what     string
	listener net.Listener
	http     *http.Server
}

// openServers listens: the API on TCP, on the unix socket and on libp2p streams, all from one handler, and the gateway.
func (n *Node) openServers() error {
	backend := &backend{n}
	handler, err := api.NewHandler(backend, api.Options{
		Admins: n.cfg.API.Admins, Log: n.log.With("room", "api"), Metrics: promhttp.HandlerFor(n.registry, promhttp.HandlerOpts{}),
	})
	if err != nil {
		return err
	}
	if a := n.cfg.API.Listen; a != "" {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return fmt.Errorf("API: %w; choose another address with listen in [api], port 0 takes a free one", err)
		}
		n.addServer("API", n.bound(l), api.NewServer(handler, nil))
	}
	if path := n.cfg.API.Socket; path != "" {
		l, err := listenUnix(path)
		if err != nil {
			return fmt.Errorf("API: %w", err)
		}
		n.addServer("API socket", l, api.NewServer(withProfiles(handler), nil))
	}
	l, err := n.host.Listener(APIProtocol)
	if err != nil {
		return fmt.Errorf("API: %w", err)
	}
	n.addServer("API over libp2p", l, api.NewServer(handler, func(ctx context.Context, c net.Conn) context.Context {
		name := "unknown"
		if key, ok := p2p.RemotePeer(c); ok {
			name = p2p.PeerID(key).String()
		}
		return api.WithCaller(ctx, api.Caller{Kind: api.CallerPeer, Name: name})
	}))
	if !n.cfg.Gateway.Enabled {
		return n.services.serve(backend, handler, nil)
	}
	client, _, err := keyfile.LoadOrCreate(filepath.Join(n.cfg.KeysDir(), keyfile.Client.FileName()), keyfile.Client, rand.Reader)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	gateway := analytics.NewGateway(&submitter{n: n, backend: backend, key: client}, func(err error) {
		n.log.Error("gateway", "err", err)
	})
	g, err := net.Listen("tcp", n.cfg.Gateway.Listen)
	if err != nil {
		return fmt.Errorf("gateway: %w; choose another address with listen in [gateway], port 0 takes a free one", err)
	}
	n.addServer("gateway", n.bound(g), api.NewServer(besideReceipts(api.Patient(gateway), handler), nil))
	return n.services.serve(backend, handler, gateway)
}

// besideReceipts lets those who have only the gateway's address follow their jobs and fetch what its answers point to:
// jobs, receipts and the trust file are read there as from the API. Everything else is the gateway's.
func besideReceipts(gateway, api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", gateway)
	mux.Handle("GET /v1/jobs/{id}", api)
	mux.Handle("GET /v1/jobs/{id}/", api)
	mux.Handle("GET /v1/receipts/{id}", api)
	mux.Handle("GET /v1/chain/trust", api)
	return mux
}

func (n *Node) addServer(what string, l net.Listener, s *http.Server) {
	s.ErrorLog = slog.NewLogLogger(n.log.Handler(), slog.LevelDebug)
	n.servers = append(n.servers, &server{what, l, s})
}

// bound bounds the connections that strangers may hold open.
func (n *Node) bound(l net.Listener) net.Listener {
	b := api.Bound(l)
	n.bounds = append(n.bounds, b)
	return b
}

// connsRefused is how many connections to the API and the gateway were closed at once, since there were too many.
func (n *Node) connsRefused() (refused uint64) {
	for _, b := range n.bounds {
		refused += b.Refused()
	}
	return refused
}

// listenUnix listens on a socket that only this user may open. One that an earlier process left behind is replaced: the
// data folder's lock says that no other node uses it.
func listenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there and is no socket; move it away, or choose another socket in [api]", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// serve answers until ctx ends or a server fails, then lets what is under way finish for a moment, and returns when every
// goroutine of it has ended.
func (n *Node) serve(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var wait sync.WaitGroup
	failed := make(chan error, len(n.servers))
	for _, s := range n.servers {
		n.log.Info("listening", "what", s.what, "address", s.listener.Addr().String())
		wait.Go(func() {
			if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("%s on %s: %w", s.what, s.listener.Addr(), err)
			}
		})
	}
	wait.Go(func() { n.watchReady(ctx) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	end()
	stop, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, s := range n.servers {
		wait.Go(func() {
			if s.http.Shutdown(stop) != nil {
				s.http.Close() // streams that never end by themselves
			}
		})
	}
	wait.Wait()
	return err
}

// address is where a server of this node is reached; "" if there is none.
func (n *Node) address(what string) string {
	for _, s := range n.servers {
		if s.what == what {
			return s.listener.Addr().String()
		}
	}
	return ""
}
