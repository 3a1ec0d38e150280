package api

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Connections to one listener: of one address, and in all. An address has as many as it may have requests under way;
// one on this machine is bounded by the whole alone, since a proxy in front of the node has its callers' connections.
const (
	maxConnsPerAddress = 256
	maxConns           = 2048
)

// Listener is a net.Listener that accepts so many connections and closes what is more, at once: who holds connections
// open and says nothing takes file descriptors from everybody.
type Listener struct {
	net.Listener
	perAddress, total int
	refused           atomic.Uint64

	mu   sync.Mutex
	open map[netip.Addr]int // mu: of those that are open, so that it is bounded by them
	all  int                // mu
}

// Bound bounds l. Close closes both.
func Bound(l net.Listener) *Listener {
	return &Listener{Listener: l, perAddress: maxConnsPerAddress, total: maxConns, open: map[netip.Addr]int{}}
}

// Refused is how many connections were closed for want of a place.
func (l *Listener) Refused() uint64 { return l.refused.Load() }

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(c)
		if l.enter(from) {
			return &boundConn{Conn: c, leave: func() { l.leave(from) }}, nil
		}
		l.refused.Add(1)
		_ = c.Close()
	}
}

// addressOf is a connection's address; the zero value for what has none, as a unix socket.
func addressOf(c net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

func (l *Listener) enter(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= l.total || from.IsValid() && !from.IsLoopback() && l.open[from] >= l.perAddress {
		return false
	}
	l.all++
	l.open[from]++
	return true
}

func (l *Listener) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

type boundConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close implements net.Conn.
func (c *boundConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}
