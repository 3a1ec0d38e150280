package p2p

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/host/autorelay"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
)

// muxers carry many streams on a connection.
var muxers = []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}

// transports are the ways in and out, and how a way is found where there is none.
func (p *Host) transports() []libp2p.Option {
	c := p.cfg
	opts := []libp2p.Option{
		libp2p.NoTransports,
		libp2p.Security(noise.ID, noise.New),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
	}
	// Every node has its own port: sharing it would let two nodes start on one and split its callers.
	alone := []tcp.Option{tcp.DisableReuseport(), tcp.WithConnectionTimeout(10 * time.Second)}
	switch {
	case c.Client:
		opts = append(opts, libp2p.DisableRelay(), libp2p.Transport(websocket.New), libp2p.Transport(func(up transport.Upgrader) (*tcp.TcpTransport, error) {
			p.upgrader = up
			return tcp.NewTCPTransport(up, p.guard, nil, alone...)
		}))
	case p.roll != nil:
		opts = append(opts,
			libp2p.Transport(func(out transport.Upgrader) (*tcp.TcpTransport, error) {
				up, err := p.withDoor(out)
				if err != nil {
					return nil, err
				}
				return tcp.NewTCPTransport(up, p.guard, nil, alone...)
			}),
			libp2p.Transport(func(out transport.Upgrader) (*websocket.WebsocketTransport, error) {
				up, err := p.withDoor(out)
				if err != nil {
					return nil, err
				}
				return websocket.New(up, p.guard, nil)
			}))
	default:
		opts = append(opts, libp2p.Transport(tcp.NewTCPTransport, alone[0], alone[1]), libp2p.Transport(websocket.New))
	}
	if c.SwarmKey != nil {
		opts = append(opts, libp2p.PrivateNetwork(c.SwarmKey.psk()))
	}
	if !c.NoQUIC {
		opts = append(opts, libp2p.Transport(quic.NewTransport))
	}
	if c.Client {
		return append(opts, libp2p.DisableIdentifyAddressDiscovery())
	}
	opts = append(opts, libp2p.EnableRelay()) // to reach others, and be reached, through a peer that serves as a relay
	if c.onLoopbackOnly() {
		return append(opts, libp2p.DisableIdentifyAddressDiscovery())
	}
	opts = append(opts, libp2p.NATPortMap(), libp2p.EnableHolePunching(holepunch.WithTracer(holes{&p.stats})), libp2p.AddrsFactory(p.moves.current),
		// The one relay of a small network is as good as the best of four in a large one.
		libp2p.EnableAutoRelayWithPeerSource(p.relays, autorelay.WithNumRelays(2), autorelay.WithMinCandidates(1), autorelay.WithMinInterval(5*time.Second)))
	if p.roll == nil {
		// Its dial back comes from a throw-away identity, which the gate of a private network refuses: there, members
		// ask each other with their own (see reach.go).
		opts = append(opts, libp2p.EnableAutoNATv2())
	}
	return opts
}

// listen opens TCP and then QUIC on the same port, and WebSocket on its own. With port 0 it tries again when the kernel's
// choice for TCP is taken for UDP.
func (p *Host) listen() error {
	if w := p.cfg.wire; w != nil {
		return p.h.Network().Listen(w.listen)
	}
	port := p.cfg.ListenPort
	for attempt := 0; ; attempt++ {
		err := p.listenOn(port)
		if err == nil {
			return nil
		}
		p.stopListening()
		if port != 0 || attempt == 9 {
			return err
		}
	}
}

// stopListening closes every listener but that for connections through relays.
func (p *Host) stopListening() {
	c, ok := p.h.Network().(interface{ ListenClose(...ma.Multiaddr) })
	if !ok {
		return
	}
	for _, a := range p.h.Network().ListenAddresses() {
		if _, err := a.ValueForProtocol(ma.P_CIRCUIT); err != nil {
			c.ListenClose(a)
		}
	}
}

// dialThroughRelays gives a client the half of the relay's transport that it needs: it dials through relays, and is not
// to be dialed through them. libp2p's option would make it listen.
func (p *Host) dialThroughRelays() error {
	if !p.cfg.Client {
		return nil
	}
	c, err := client.New(p.h, p.upgrader)
	if err != nil {
		return fmt.Errorf("p2p: dial through relays: %w", err)
	}
	n, ok := p.h.Network().(transport.TransportNetwork)
	if !ok {
		return errors.Join(errors.New("p2p: dial through relays: libp2p's network takes no transport"), c.Close())
	}
	if err := n.AddTransport(c); err != nil { // which closes it
		return fmt.Errorf("p2p: dial through relays: %w", err)
	}
	return nil
}

func (p *Host) listenOn(port int) error {
	for _, host := range p.cfg.ListenAddrs {
		family := "ip4"
		if net.ParseIP(host).To4() == nil {
			family = "ip6"
		}
		at := func(proto string, n int) error {
			a, err := ma.NewMultiaddr(fmt.Sprintf("/%s/%s/%s", family, host, fmt.Sprintf(proto, n)))
			if err != nil {
				return fmt.Errorf("p2p: listen address %s: %w", host, err)
			}
			l, ok := p.h.Network().(interface{ AddListenAddr(ma.Multiaddr) error }) // Listen hides the cause
			if !ok {
				return p.h.Network().Listen(a)
			}
			if err := l.AddListenAddr(a); err != nil {
				return listenError(host, n, err)
			}
			return nil
		}
		if err := at("tcp/%d", port); err != nil {
			return err
		}
		if port == 0 {
			for _, a := range p.h.Network().ListenAddresses() {
				if v, err := a.ValueForProtocol(ma.P_TCP); err == nil {
					port, _ = strconv.Atoi(v)
				}
			}
		}
		if !p.cfg.NoQUIC {
			if err := at("udp/%d/quic-v1", port); err != nil {
				return err
			}
		}
		if p.cfg.WebSocket {
			if err := at("tcp/%d/ws", p.cfg.WebSocketPort); err != nil {
				return err
			}
		}
	}
	return nil
}

// listenError says what to do about a port that cannot be had.
func listenError(host string, port int, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("p2p: port %d on %s is taken by another program; set listen_port to a free one, or 0 to let the kernel choose: %w", port, host, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("p2p: port %d on %s needs more rights; set listen_port above 1023: %w", port, host, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("p2p: this machine has no address %s to listen on: %w", host, err)
	}
	return fmt.Errorf("p2p: listen on %s port %d: %w", host, port, err)
}
