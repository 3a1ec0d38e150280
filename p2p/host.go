package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/metanode/metanode/internal/sign"
)

// Host is one peer's presence on one network. It is safe for concurrent use.
type Host struct {
	cfg   Config
	log   *slog.Logger
	self  sign.PublicKey
	h     host.Host
	dht   *dht.IpfsDHT   // nil on a client
	ps    *pubsub.PubSub // nil on a client
	guard *guard
	gate  *gate
	saved *peersFile // nil without a DataDir
	boot  []peer.AddrInfo
	stats counters

	// life ends when the Host is closed; it is the parent of everything the Host starts by itself.
	life  context.Context
	end   context.CancelFunc
	group *group

	mu        sync.Mutex
	members   map[peer.ID]time.Time // connected and of this network, since when
	visitors  int                   // strangers in their moment of grace
	links     []*Links
	protected []peer.ID // never let go to make room, bootstrap peers aside
	pools     map[poolKey]*pool
	wake      chan struct{} // pokes the bootstrap loop
}

// New makes a host and lets it listen; Addrs tells where. Close frees it, whether or not Run was called.
func New(cfg Config) (*Host, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	key, err := identity(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("p2p: node key: %w", err)
	}
	p := &Host{
		cfg: cfg, log: cfg.Logger, self: cfg.Key.Public(), group: newGroup(),
		protected: slices.Clone(cfg.Protected), members: map[peer.ID]time.Time{}, pools: map[poolKey]*pool{}, wake: make(chan struct{}, 1),
	}
	p.life, p.end = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	for _, b := range cfg.Bootstrap {
		info, err := parseFull(b)
		if err != nil {
			return nil, err
		}
		if info.ID != PeerID(p.self) {
			p.boot = append(p.boot, info)
		}
	}
	if p.guard, err = newGuard(cfg, &p.stats.refusals); err != nil {
		return nil, err
	}
	p.gate = newGate()
	if cfg.DataDir != "" && !cfg.Client {
		if p.saved, err = openPeersFile(cfg.DataDir, cfg.Network); err != nil {
			return nil, err
		}
	}
	conns, err := newKeeper(cfg, p.boot)
	if err != nil {
		return nil, err
	}
	opts := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.UserAgent(cfg.Agent),
		libp2p.ProtocolVersion(MemberVersion(cfg.Network)),
		libp2p.NoListenAddrs, // it listens below, once every protocol has its handler
		libp2p.NoTransports,
		// Every node has its own port: sharing it would let two nodes start on one and split its callers.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport(), tcp.WithConnectionTimeout(10*time.Second)),
		libp2p.Transport(quic.NewTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ConnectionManager(conns),
		libp2p.ConnectionGater(p.gate),
		libp2p.ResourceManager(p.guard),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.WithDialTimeout(10 * time.Second),
	}
	if cfg.onLoopbackOnly() || cfg.Client {
		opts = append(opts, libp2p.DisableIdentifyAddressDiscovery())
	} else {
		opts = append(opts, libp2p.EnableAutoNATv2(), libp2p.NATPortMap())
	}
	if p.h, err = libp2p.New(opts...); err != nil {
		return nil, fmt.Errorf("p2p: start libp2p: %w", err)
	}
	if err = p.watchPeers(); err != nil {
		return nil, err
	}
	p.serveClock()
	if !cfg.Client {
		if err = p.startDHT(); err != nil {
			return nil, err
		}
		if err = p.startGossip(); err != nil {
			return nil, err
		}
		if err = p.listen(); err != nil {
			return nil, err
		}
	}
	if cfg.Registerer != nil {
		if err = cfg.Registerer.Register(collector{p}); err != nil {
			return nil, fmt.Errorf("p2p: register metrics: %w", err)
		}
	}
	return p, nil
}

// Run keeps the mesh together until ctx ends or Close is called: it dials bootstrap and saved peers and saves the good
// ones. It returns nil when everything the Host started has ended. It is called once.
func (p *Host) Run(ctx context.Context) error {
	if !p.cfg.Client {
		p.group.spawn(p.bootstrap)
	}
	select {
	case <-ctx.Done():
	case <-p.life.Done():
	}
	return p.Close()
}

// Close stops everything and waits for it. It may be called again.
func (p *Host) Close() error {
	p.end()
	var err error
	if p.group.close() {
		if p.saved != nil {
			p.savePeers()
		}
		if p.dht != nil {
			err = errors.Join(err, p.dht.Close())
		}
		if p.h != nil {
			err = errors.Join(err, p.h.Close())
		}
		if p.guard != nil && p.h == nil {
			err = errors.Join(err, p.guard.Close())
		}
		if p.cfg.Registerer != nil {
			p.cfg.Registerer.Unregister(collector{p})
		}
	}
	p.group.wait()
	return err
}

// Self is the host's own key.
func (p *Host) Self() sign.PublicKey { return p.self }

// ID is the host's own peer id.
func (p *Host) ID() peer.ID { return PeerID(p.self) }

// Network is the network's id.
func (p *Host) Network() string { return p.cfg.Network }

// Addrs are the full multiaddrs under which the host is reached, /ip4/…/tcp/…/p2p/ID first. A client has none.
func (p *Host) Addrs() []string {
	suffix := "/p2p/" + p.h.ID().String()
	var tcps, others []string
	for _, a := range p.h.Addrs() {
		if _, err := a.ValueForProtocol(ma.P_TCP); err == nil {
			tcps = append(tcps, a.String()+suffix)
		} else {
			others = append(others, a.String()+suffix)
		}
	}
	return append(tcps, others...)
}

// proto names a protocol of this network.
func (p *Host) proto(name string) protocol.ID {
	return protocol.ID("/bpci/" + p.cfg.Network + "/" + name)
}

// startDHT joins the network's own DHT. Values and provider records are off until something here uses them.
func (p *Host) startDHT() error {
	mode := dht.ModeAutoServer // ModeAuto would leave a private network without any server
	if p.cfg.DHTServer || p.cfg.onLoopbackOnly() {
		mode = dht.ModeServer
	}
	d, err := dht.New(p.h,
		dht.ProtocolPrefix(protocol.ID("/bpci/"+p.cfg.Network)),
		dht.Mode(mode), dht.DisableProviders(), dht.DisableValues(),
		dht.RoutingTableRefreshPeriod(10*time.Minute),
		dht.QueryFilter(func(_ any, info peer.AddrInfo) bool {
			_, ok := PublicKey(info.ID)
			return ok && !p.gate.banned(info.ID)
		}),
	)
	if err != nil {
		return fmt.Errorf("p2p: start the DHT: %w", err)
	}
	p.dht = d
	return d.Bootstrap(p.life)
}

// listen opens TCP and then QUIC on the same port. With port 0 it tries again when the kernel's choice for TCP is taken
// for UDP.
func (p *Host) listen() error {
	port := p.cfg.ListenPort
	for attempt := 0; ; attempt++ {
		err := p.listenOn(port)
		if err == nil {
			return nil
		}
		if c, ok := p.h.Network().(interface{ ListenClose(...ma.Multiaddr) }); ok {
			c.ListenClose(p.h.Network().ListenAddresses()...)
		}
		if port != 0 || attempt == 9 {
			return err
		}
	}
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
		if err := at("udp/%d/quic-v1", port); err != nil {
			return err
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

// watchPeers follows connections: it takes in members of this network and closes what is not one.
func (p *Host) watchPeers() error {
	sub, err := p.h.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerIdentificationFailed), new(event.EvtPeerConnectednessChanged),
	}, eventbus.BufSize(512), eventbus.Name("p2p"))
	if err != nil {
		return fmt.Errorf("p2p: watch peers: %w", err)
	}
	p.group.spawn(func() {
		defer sub.Close()
		for {
			select {
			case <-p.life.Done():
				return
			case e, ok := <-sub.Out():
				if !ok {
					return
				}
				p.peerEvent(e)
			}
		}
	})
	return nil
}
