package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

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
	subs  *subscriptions // nil on a client
	flow  *flow          // nil on a client
	guard *guard
	gate  *gate
	roll  *roll      // nil on an open network
	saved *peersFile // nil without a DataDir
	ways  *ways      // nil on a client
	boot  []peer.AddrInfo
	stats counters
	trust atomic.Pointer[trust] // whom the DHT is made of; nil until Services says
	moves moves

	// life ends when the Host is closed; it is the parent of everything the Host starts by itself.
	life  context.Context
	end   context.CancelFunc
	group *group

	mu        sync.Mutex
	members   map[peer.ID]time.Time // connected and of this network, since when
	guests    map[peer.ID]*guest    // connected and of none, for their blobs
	visitors  int                   // strangers in their moment of grace
	links     []*Links
	protected []peer.ID // never let go to make room, bootstrap peers aside
	pools     map[poolKey]*pool
	wake      chan struct{} // pokes the bootstrap loop

	// refreshing is held while the DHT is told to refresh its table: it must not be told so while it closes.
	refreshing sync.Mutex

	upgrader    transport.Upgrader // of a client's connections
	doorSlots   chan struct{}      // who is at the door
	notices     *Topic             // of members' papers; nil on an open network and on a client
	bootErrors  map[peer.ID]string // of the last dials of p.boot
	openDoors   map[peer.ID]bool   // members that let this peer in, while they are connected
	lastRefusal string             // what the person was told last
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
		protected: slices.Clone(cfg.Protected), members: map[peer.ID]time.Time{}, guests: map[peer.ID]*guest{}, pools: map[poolKey]*pool{}, wake: make(chan struct{}, 1),
		doorSlots: make(chan struct{}, doorsAtOnce),
		openDoors: map[peer.ID]bool{}, bootErrors: map[peer.ID]string{},
		moves: moves{proving: map[network.Conn]bool{}},
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
	if err = p.openRoll(); err != nil {
		return nil, err
	}
	foreign, err := cfg.foreignPeers()
	if err != nil {
		return nil, err
	}
	delete(foreign, p.ID())
	p.gate = newGate(p.roll, foreign, &p.stats)
	if cfg.DataDir != "" && !cfg.Client {
		if p.saved, err = openPeersFile(cfg.DataDir, cfg.Network); err != nil {
			return nil, err
		}
	}
	conns, err := newKeeper(cfg, p.boot)
	if err != nil {
		return nil, err
	}
	opts := append(p.transports(),
		libp2p.Identity(key),
		libp2p.UserAgent(cfg.Agent),
		libp2p.ProtocolVersion(MemberVersion(cfg.Network)),
		libp2p.NoListenAddrs, // it listens below, once every protocol has its handler
		libp2p.Muxer(string(muxers[0].ID), muxers[0].Muxer),
		libp2p.ConnectionManager(conns),
		libp2p.ConnectionGater(p.gate),
		libp2p.ResourceManager(p.guard),
		libp2p.DisableMetrics(),
		libp2p.WithDialTimeout(10*time.Second),
	)
	inner, err := libp2p.New(append(opts, cfg.wire.options()...)...)
	if err != nil {
		return nil, fmt.Errorf("p2p: start libp2p: %w", err)
	}
	p.h = &sieve{inner, p.gate}
	if err = p.dialThroughRelays(); err != nil {
		return nil, err
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
		if p.roll != nil {
			if err = p.startMembers(); err != nil {
				return nil, err
			}
		}
		if err = p.startWays(); err != nil {
			return nil, err
		}
		if err = p.listen(); err != nil {
			return nil, err
		}
		if err = p.watchMoves(); err != nil {
			return nil, err
		}
		p.announce()
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
		p.savePeers()
		if p.ways != nil {
			err = errors.Join(err, p.ways.close())
		}
		if p.dht != nil {
			p.refreshing.Lock()
			err = errors.Join(err, p.dht.Close())
			p.refreshing.Unlock()
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
func (p *Host) Addrs() []string { return fullAddrs(p.h.Addrs(), p.h.ID()) }

// fullAddrs puts plain TCP first, whose addresses people copy and every program dials, and others in their order.
func fullAddrs(addrs []ma.Multiaddr, id peer.ID) []string {
	suffix := "/p2p/" + id.String()
	var tcps, others []string
	for _, a := range addrs {
		if first, _ := ma.SplitFirst(a); first.Protocol().Code == ma.P_CIRCUIT { // through some relay: no address yet
			continue
		}
		if _, last := ma.SplitLast(a); last.Protocol().Code == ma.P_TCP { // a WebSocket's go on
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

// startDHT joins the network's own DHT.
func (p *Host) startDHT() error {
	mode := dht.ModeAutoServer // ModeAuto would leave a private network without any server
	if p.cfg.DHTServer || p.cfg.onLoopbackOnly() {
		mode = dht.ModeServer
	}
	d, err := dht.New(p.as("the DHT", maxDHTMessage), append(p.recordOptions(),
		dht.ProtocolPrefix(protocol.ID("/bpci/"+p.cfg.Network)),
		dht.Mode(mode),
		dht.RoutingTableRefreshPeriod(10*time.Minute),
		dht.QueryFilter(func(_ any, info peer.AddrInfo) bool {
			return p.trusts(info.ID) && p.gate.welcome(info.ID)
		}),
		dht.AddressFilter(abroad),
		dht.RoutingTableFilter(func(_ any, id peer.ID) bool { return p.trusts(id) && p.gate.welcome(id) }),
	)...)
	if err != nil {
		return fmt.Errorf("p2p: start the DHT: %w", err)
	}
	p.dht = d
	return d.Bootstrap(p.life)
}

// abroad leaves out the addresses of a peer's own machine, if it has others: here they are somebody else's.
func abroad(list []ma.Multiaddr) []ma.Multiaddr {
	out := ma.FilterAddrs(list, func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) })
	if len(out) == 0 {
		return list
	}
	return out
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
