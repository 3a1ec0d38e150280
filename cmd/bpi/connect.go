package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/metanode/metanode/api"
)

// conn is a connected client with how it was reached, and what to close.
type conn struct {
	*api.Client
	where string
	close func()
}

// Close drops connections, and the libp2p host where there is one.
func (c *conn) Close() {
	c.Client.Close()
	if c.close != nil {
		c.close()
	}
}

// connect finds the node to speak to: --api or --peer; BPI_API or BPI_PEER; the devnet of this home; the node of this
// home. It opens nothing yet but for libp2p.
func (e *env) connect(ctx context.Context) (*conn, error) {
	if e.api != "" && (e.peer == "" || e.apiFlag) {
		return dialAPI(e.api)
	}
	if e.peer != "" {
		return e.dialPeer(ctx, e.peer)
	}
	if s, err := readDevnet(e.devnetDir("")); err == nil {
		if up := s.running(); len(up) > 0 {
			return &conn{Client: api.NewUnixClient(up[0].Socket), where: "unix://" + up[0].Socket}, nil
		}
	}
	socket := filepath.Join(e.home, "api.sock")
	if _, err := os.Stat(socket); err == nil {
		return &conn{Client: api.NewUnixClient(socket), where: "unix://" + socket}, nil
	}
	return nil, fmt.Errorf("no node runs in %s and none was named; start a network with: bpi devnet up, or name a peer with --peer /ip4/HOST/tcp/PORT/p2p/ID", tilde(e.home))
}

// dialAPI reads an API address: unix:///path, http://host:port or host:port.
func dialAPI(addr string) (*conn, error) {
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		if !filepath.IsAbs(path) {
			return nil, usageError(fmt.Errorf("API address %q: want unix:///absolute/path", addr))
		}
		return &conn{Client: api.NewUnixClient(path), where: addr}, nil
	}
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" {
		return nil, usageError(fmt.Errorf("API address %q: want unix:///path or http://host:port", addr))
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.DialContext = (&net.Dialer{}).DialContext
	c, err := api.NewClient(addr, t)
	if err != nil {
		return nil, usageError(err)
	}
	return &conn{Client: c, where: addr}, nil
}

// explain adds the next step to an error of the way to a node.
func (c *conn) explain(err error) error {
	var a *api.Error
	if err == nil || errors.As(err, &a) {
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("no node answers at %s: %w; is the node running? bpi devnet status and bpi doctor look; where BPI_API names a node that is gone: unset BPI_API", c.where, op.Err)
	}
	return err
}

// withNode runs f with a connected client and adds to errors what the user can do.
func (e *env) withNode(ctx context.Context, f func(c *conn) error) error {
	c, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.explain(f(c))
}
