package p2p

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A foreign peer is of no Metanode network and speaks Bitswap: kubo, or any other program that does. One that stays
// connected is a guest. Guests exchange blobs and are nothing else: no member, no part of the DHT, no one to ask.
//
//   - A listed guest is one of Config.ForeignPeers. It may be on a private network too, and there it reaches Bitswap alone
//     (see sieve).
//   - On an open network any other may come, MaxGuests of them at once, and stays while blocks go to it or come from it.

const (
	// DefaultGuestIdle is Config.GuestIdle when it is zero.
	DefaultGuestIdle = 2 * time.Minute

	// MaxForeign is how many entries Config.ForeignPeers may have.
	MaxForeign = 256
)

// guest is a foreign peer that is connected. The Host's mutex guards it.
type guest struct {
	since  time.Time
	used   time.Time // when a block last went either way
	listed bool
	agent  string
	gone   chan struct{} // closed when it has left
}

// ParseForeign reads an entry of Config.ForeignPeers: a peer id, or a multiaddr that ends in /p2p/ID.
func ParseForeign(s string) (peer.AddrInfo, error) {
	if !strings.HasPrefix(s, "/") {
		id, err := peer.Decode(s)
		if err != nil {
			return peer.AddrInfo{}, fmt.Errorf("%.200q is neither a peer id nor a multiaddr that ends in one; kubo tells its own with: ipfs config Identity.PeerID", s)
		}
		return peer.AddrInfo{ID: id}, nil
	}
	m, err := ma.NewMultiaddr(s)
	if err != nil {
		return peer.AddrInfo{}, fmt.Errorf("%.200q is not a multiaddr (want /ip4/HOST/tcp/PORT/p2p/ID): %w", s, err)
	}
	info, err := peer.AddrInfoFromP2pAddr(m)
	if err != nil {
		return peer.AddrInfo{}, fmt.Errorf("%.200q names no peer (want /ip4/HOST/tcp/PORT/p2p/ID): %w", s, err)
	}
	return *info, nil
}

// foreignPeers reads Config.ForeignPeers; entries of one peer become one.
func (c Config) foreignPeers() (map[peer.ID]peer.AddrInfo, error) {
	if len(c.ForeignPeers) > MaxForeign {
		return nil, fmt.Errorf("p2p: %d foreign peers: at most %d", len(c.ForeignPeers), MaxForeign)
	}
	out := map[peer.ID]peer.AddrInfo{}
	for _, s := range c.ForeignPeers {
		info, err := ParseForeign(s)
		if err != nil {
			return nil, fmt.Errorf("p2p: foreign peer: %w", err)
		}
		info.Addrs = append(out[info.ID].Addrs, info.Addrs...)
		out[info.ID] = info
	}
	return out, nil
}

// lodge lets a peer stay that is of no Metanode network, if it may. It runs on the goroutine of watchPeers.
func (p *Host) lodge(e event.EvtPeerIdentificationCompleted) bool {
	listed := p.gate.listed(e.Peer)
	if !listed {
		_, _, metanode := ReadMemberVersion(e.ProtocolVersion)
		speaks := slices.ContainsFunc(e.Protocols, isBitswap)
		if p.roll != nil || metanode || !speaks {
			return false
		}
	}
	if p.h.Network().Connectedness(e.Peer) != network.Connected {
		return true // gone already
	}
	now := time.Now()
	p.mu.Lock()
	g, known := p.guests[e.Peer]
	if !known {
		if !listed && p.casualGuests() >= p.cfg.MaxGuests {
			p.mu.Unlock()
			return false
		}
		g = &guest{since: now, used: now, listed: listed, agent: clip(e.AgentVersion, 64), gone: make(chan struct{})}
		p.guests[e.Peer] = g
	}
	p.mu.Unlock()
	if known {
		return true
	}
	p.log.Info("exchanging blobs with a foreign peer", "peer", e.Peer, "agent", g.agent, "listed", listed)
	if listed {
		p.h.ConnManager().TagPeer(e.Peer, tagForeign, worthUseful)
	} else {
		p.group.spawn(func() { p.attend(e.Peer, g) })
	}
	p.poke()
	return true
}

// casualGuests counts the guests that nobody listed. The Host's mutex is held.
func (p *Host) casualGuests() int {
	n := 0
	for _, g := range p.guests {
		if !g.listed {
			n++
		}
	}
	return n
}

// attend sends a guest away when no block has gone either way for a while: its place is for another.
func (p *Host) attend(id peer.ID, g *guest) {
	timer := time.NewTimer(p.cfg.GuestIdle)
	defer timer.Stop()
	for {
		select {
		case <-p.life.Done():
			return
		case <-g.gone:
			return
		case <-timer.C:
		}
		p.mu.Lock()
		left := p.cfg.GuestIdle - time.Since(g.used)
		p.mu.Unlock()
		if left <= 0 {
			p.log.Info("closing the connection to a foreign peer that exchanges nothing", "peer", id)
			_ = p.h.Network().ClosePeer(id)
			return
		}
		timer.Reset(left)
	}
}

// served notes that blocks went to a peer or came from it.
func (p *Host) served(id peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.guests[id]; g != nil {
		g.used = time.Now()
	}
}

// guestLeft forgets a guest.
func (p *Host) guestLeft(id peer.ID) {
	p.mu.Lock()
	g := p.guests[id]
	delete(p.guests, id)
	p.mu.Unlock()
	if g != nil {
		close(g.gone)
		p.log.Debug("foreign peer gone", "peer", id)
	}
}

func (p *Host) isGuest(id peer.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.guests[id] != nil
}

// ForeignPeer is one that the configuration lists, or a guest.
type ForeignPeer struct {
	ID        string
	Agent     string // as it calls itself; "" if it is not connected
	Listed    bool
	Connected bool
	Since     time.Time // zero if it is not connected
	Error     string    // of the last dial; "" if there was none or it was answered
}

// foreignOverview lists them in order of their ids. The Host's mutex is held.
func (p *Host) foreignOverview() []ForeignPeer {
	var out []ForeignPeer
	for id, g := range p.guests {
		out = append(out, ForeignPeer{ID: id.String(), Agent: g.agent, Listed: g.listed, Connected: true, Since: g.since})
	}
	for id := range p.gate.foreign {
		if p.guests[id] == nil {
			_, member := p.members[id]
			f := ForeignPeer{ID: id.String(), Listed: true, Connected: member}
			if !member {
				f.Error = p.bootErrors[id]
			}
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(a, b ForeignPeer) int { return strings.Compare(a.ID, b.ID) })
	return out
}
