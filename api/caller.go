package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Kinds of caller.
const (
	CallerUnix = "unix" // a process on this machine, let in by the socket's file mode
	CallerIP   = "ip"
	CallerPeer = "peer" // a libp2p peer, authenticated by Noise
	// CallerService is a message to the service api, by the peer that handed it over: it may speak for anybody.
	CallerService = "service"
)

// Caller is who is at the other end of a connection. Limits are kept per Caller.
type Caller struct {
	Kind string
	Name string // peer id or IP address; "" for the unix socket
}

// Local reports whether c is on this machine.
func (c Caller) Local() bool {
	if c.Kind == CallerUnix {
		return true
	}
	a, err := netip.ParseAddr(c.Name)
	return c.Kind == CallerIP && err == nil && a.Unmap().IsLoopback()
}

// String is "peer 12D3..." or "unix".
func (c Caller) String() string {
	if c.Name == "" {
		return c.Kind
	}
	return c.Kind + " " + c.Name
}

type callerKey struct{}

// WithCaller notes the caller in a connection's context; for http.Server.ConnContext.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom is the caller that WithCaller noted.
func CallerFrom(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// callerOf is the noted caller, or the remote IP address.
func callerOf(r *http.Request) Caller {
	if c, ok := CallerFrom(r.Context()); ok {
		return c
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.Unmap().WithZone("").String()
	}
	return Caller{Kind: CallerIP, Name: host}
}

// ConnCaller is a ConnContext for TCP and unix listeners: it notes CallerUnix for unix sockets, and leaves TCP to the
// remote address.
func ConnCaller(ctx context.Context, c net.Conn) context.Context {
	if _, ok := c.(*net.UnixConn); ok {
		return WithCaller(ctx, Caller{Kind: CallerUnix})
	}
	return ctx
}

// NewServer makes an http.Server for h with the time limits that strangers need. connContext nil means ConnCaller; for
// libp2p listeners pass one that notes the peer. The caller sets ErrorLog, and runs and shuts it down.
func NewServer(h http.Handler, connContext func(context.Context, net.Conn) context.Context) *http.Server {
	if connContext == nil {
		connContext = ConnCaller
	}
	return &http.Server{
		Handler:           h,
		ConnContext:       connContext,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}
