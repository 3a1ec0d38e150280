package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"

	"github.com/metanode/metanode/internal/digest"
)

// ways is what a host does beyond plain dialing so that peers find a way to each other: it finds neighbours on the local
// network, serves as a relay, and finds out whether it can be reached itself.
type ways struct {
	relay io.Closer // nil unless Config.Relay
	mdns  io.Closer // nil where the local network is not asked

	mu    sync.Mutex
	nat   map[string]string // transport to the kind of NAT, in words
	reach Reach
}

const (
	maxNeighbours = 16 // dials to peers that mDNS found, at once; more are dropped: they announce themselves again
	reachFirst    = 5 * time.Second
	reachEvery    = 10 * time.Minute
)

// startWays starts them. Close ends them.
func (p *Host) startWays() error {
	p.ways = &ways{nat: map[string]string{}}
	p.serveReach()
	if p.cfg.Relay {
		// By the person's word, and not as libp2p's own service does, when strangers have said that it can be reached.
		r, err := relay.New(p.h, relay.WithResources(relayLimits(p.roll != nil)))
		if err != nil {
			return fmt.Errorf("p2p: relay service: %w", err)
		}
		p.ways.relay = r
	}
	if p.cfg.onLoopbackOnly() {
		return nil // nobody else's
	}
	return p.watchWays()
}

// announce tells the local network of this host, once it listens.
func (p *Host) announce() {
	if p.roll != nil && !p.cfg.Private.NoMDNS && !p.cfg.onLoopbackOnly() {
		m := mdns.NewMdnsService(p.h, mdnsName(p.roll.chain), neighbours{p, make(chan struct{}, maxNeighbours)})
		if err := m.Start(); err != nil { // a machine without multicast has no neighbours to find
			_ = m.Close()
			p.log.Warn("peers on the local network are not looked for", "error", err, "next", "set mdns = false in [p2p] to do without")
		} else {
			p.ways.mdns = m
		}
	}
}

func (w *ways) close() error {
	var err error
	for _, c := range []io.Closer{w.relay, w.mdns} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// relayLimits are what one relay gives. On a private network its users are members, and a connection through it is as
// good as a direct one; on an open one it lasts just long enough to punch a hole. A place is held by an open connection,
// so how many an address may have is for the guard to say, which knows the networks that many peers live behind.
func relayLimits(private bool) relay.Resources {
	r := relay.DefaultResources()
	if private {
		r.Limit = nil
	}
	r.MaxReservationsPerIP = r.MaxReservations
	r.MaxReservationsPerASN = r.MaxReservations
	return r
}

// relays are the connected peers that serve as a relay, for libp2p to choose from when this host cannot be reached.
func (p *Host) relays(ctx context.Context, want int) <-chan peer.AddrInfo {
	out := make(chan peer.AddrInfo, want)
	defer close(out)
	for _, i := range p.Peers() {
		id := PeerID(i.Key)
		if got, err := p.h.Peerstore().SupportsProtocols(id, proto.ProtoIDv2Hop); err != nil || len(got) == 0 {
			continue
		}
		select {
		case out <- peer.AddrInfo{ID: id, Addrs: p.h.Peerstore().Addrs(id)}:
		case <-ctx.Done():
			return out
		default:
			return out
		}
	}
	return out
}

// mdnsName is the service that members of one private network ask for. It tells others on the cable nothing.
func mdnsName(chain digest.Digest) string {
	d := digest.Sum("bpci/mdns/1", chain[:])
	return "_" + d.String()[:12] + "._udp"
}

// neighbours dials who announces itself on the local network. Anybody there can: the gate decides.
type neighbours struct {
	p     *Host
	slots chan struct{}
}

// HandlePeerFound implements mdns.Notifee.
func (n neighbours) HandlePeerFound(info peer.AddrInfo) {
	if info.ID == n.p.h.ID() || !n.p.gate.welcome(info.ID) || n.p.h.Network().Connectedness(info.ID) == network.Connected {
		return
	}
	select {
	case n.slots <- struct{}{}:
	default:
		return
	}
	if !n.p.group.spawn(func() {
		defer func() { <-n.slots }()
		ctx, cancel := context.WithTimeout(n.p.life, 10*time.Second)
		defer cancel()
		if err := n.p.meet(ctx, info); err != nil {
			n.p.log.Debug("neighbour dial", "peer", info.ID, "error", err)
		}
	}) {
		<-n.slots
	}
}

// watchWays follows what libp2p finds out about NATs, and asks members whether they reach this host.
func (p *Host) watchWays() error {
	sub, err := p.h.EventBus().Subscribe(new(event.EvtNATDeviceTypeChanged), eventbus.Name("p2p ways"))
	if err != nil {
		return fmt.Errorf("p2p: watch NATs: %w", err)
	}
	say, err := p.h.EventBus().Emitter(new(event.EvtLocalReachabilityChanged), eventbus.Stateful)
	if err != nil {
		return fmt.Errorf("p2p: watch reachability: %w", err)
	}
	if !p.group.spawn(func() {
		defer sub.Close()
		defer say.Close()
		timer := time.NewTimer(reachFirst)
		defer timer.Stop()
		last := network.ReachabilityUnknown
		if p.cfg.DHTServer {
			last = network.ReachabilityPublic
			_ = say.Emit(event.EvtLocalReachabilityChanged{Reachability: last})
		}
		for {
			select {
			case <-p.life.Done():
				return
			case e, ok := <-sub.Out():
				if !ok {
					return
				}
				if e, ok := e.(event.EvtNATDeviceTypeChanged); ok {
					p.ways.mu.Lock()
					p.ways.nat[e.TransportProtocol.String()] = natWords(e.NatDeviceType)
					p.ways.mu.Unlock()
				}
			case <-timer.C:
				timer.Reset(reachEvery)
				if p.memberCount() == 0 {
					timer.Reset(reachFirst)
					continue
				}
				r := p.CheckReach(p.life)
				now := network.ReachabilityUnknown
				switch {
				case p.cfg.DHTServer || r.Reached():
					now = network.ReachabilityPublic
				case len(r.Asked) > 0:
					now = network.ReachabilityPrivate
				}
				if now != last && now != network.ReachabilityUnknown {
					last = now
					_ = say.Emit(event.EvtLocalReachabilityChanged{Reachability: now})
				}
			}
		}
	}) {
		return errors.New("p2p: the host is closed")
	}
	return nil
}

func natWords(t network.NATDeviceType) string {
	switch t {
	case network.NATDeviceTypeEndpointIndependent:
		return "the same port for every peer (cone): hole punching works"
	case network.NATDeviceTypeEndpointDependent:
		return "another port for every peer (symmetric): hole punching does not work, a relay or a forwarded port does"
	}
	return "unknown"
}
