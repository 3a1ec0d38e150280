package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/metanode/metanode/internal/sign"
)

const (
	acceptQueue     = 128
	connsPerPeer    = 64 // open streams of one peer on one listener
	networkOfStream = "libp2p"
)

// peerAddr is the address of a stream's end: the peer id.
type peerAddr struct{ id peer.ID }

func (a peerAddr) Network() string { return networkOfStream }
func (a peerAddr) String() string  { return a.id.String() }

// streamConn is a stream as a net.Conn. Closing it closes both directions.
type streamConn struct {
	network.Stream
	once sync.Once
	done func() // may be nil
}

// LocalAddr is this host's peer id.
func (c *streamConn) LocalAddr() net.Addr { return peerAddr{c.Conn().LocalPeer()} }

// RemoteAddr is the other side's peer id, as proved by the handshake.
func (c *streamConn) RemoteAddr() net.Addr { return peerAddr{c.Conn().RemotePeer()} }

// Close ends the stream.
func (c *streamConn) Close() error {
	err := c.Stream.Close()
	c.once.Do(func() {
		if c.done != nil {
			c.done()
		}
	})
	return err
}

// RemotePeer is the proved key of the peer at the other end of a conn that came from Listener or DialStream.
func RemotePeer(c net.Conn) (sign.PublicKey, bool) {
	a, ok := c.RemoteAddr().(peerAddr)
	if !ok {
		return sign.PublicKey{}, false
	}
	return PublicKey(a.id)
}

// Listener accepts the streams that other peers open with DialStream, as connections; an http.Server serves them. A
// peer may hold 64 at once. The listener ends with Close or with the Host.
func (p *Host) Listener(proto string) (net.Listener, error) {
	l := &streamListener{p: p, id: p.proto("stream/" + proto), queue: make(chan *streamConn, acceptQueue), closed: make(chan struct{}), open: map[peer.ID]int{}}
	if p.life.Err() != nil {
		return nil, fmt.Errorf("p2p: listen on %s: the host is closed", proto)
	}
	p.h.SetStreamHandler(l.id, l.arrive)
	return l, nil
}

type streamListener struct {
	p      *Host
	id     protocol.ID
	queue  chan *streamConn
	once   sync.Once
	closed chan struct{}

	mu   sync.Mutex
	open map[peer.ID]int
}

func (l *streamListener) arrive(s network.Stream) {
	id := s.Conn().RemotePeer()
	if _, ok := PublicKey(id); !ok {
		_ = s.Reset()
		return
	}
	l.mu.Lock()
	full := l.open[id] >= connsPerPeer
	if !full {
		l.open[id]++
	}
	l.mu.Unlock()
	if full {
		l.p.stats.busy.add(1)
		_ = s.Reset()
		return
	}
	c := &streamConn{Stream: s, done: func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.open[id]--; l.open[id] <= 0 {
			delete(l.open, id)
		}
	}}
	select {
	case <-l.closed:
	default:
		select {
		case l.queue <- c:
			return
		default:
			l.p.stats.busy.add(1)
		}
	}
	_ = s.Reset()
	_ = c.Close()
}

// Accept returns net.ErrClosed once the listener or the Host is closed.
func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.closed:
	case <-l.p.life.Done():
	}
	return nil, net.ErrClosed
}

// Close stops accepting; connections already accepted stay.
func (l *streamListener) Close() error {
	l.once.Do(func() {
		l.p.h.RemoveStreamHandler(l.id)
		close(l.closed)
		for {
			select {
			case c := <-l.queue:
				_ = c.Reset()
				_ = c.Close()
				continue
			default:
			}
			return
		}
	})
	return nil
}

// Addr is the host's peer id.
func (l *streamListener) Addr() net.Addr { return peerAddr{l.p.h.ID()} }

// DialStream opens a connection to the peer's Listener of that name.
func (p *Host) DialStream(ctx context.Context, to sign.PublicKey, proto string) (net.Conn, error) {
	s, err := p.openStream(ctx, PeerID(to), p.proto("stream/"+proto))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", proto, err)
	}
	if ctx.Err() != nil {
		_ = s.Reset()
		return nil, errors.Join(ctx.Err())
	}
	return &streamConn{Stream: s}, nil
}
