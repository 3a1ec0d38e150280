package p2p

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/multiformats/go-multistream"
)

// A connection outlives the address that one of its ends had: for half a minute, until the multiplexer misses its answers,
// both ends send to where nobody is, and new streams go the same way. So a connection is asked to prove itself at the two
// moments that a move shows in: at the peer that moved, when an address of this machine is gone, and at the others, when
// that peer comes again while it seems to be here. And others are told the new address with the next word, not a minute
// later.

const (
	lookEvery = 2 * time.Second // at this machine's addresses
	moveTime  = 2 * time.Minute // after which libp2p has noticed as well: it remembers them for a minute
	proveTime = 5 * time.Second
	maxProofs = 64 // at once; a connection that finds no place is left to the multiplexer
)

// moves is what a host knows of its own moves, and whom it is looking at.
type moves struct {
	mu      sync.Mutex
	gone    map[netip.Addr]bool // addresses of this machine that are its own no more, until
	came    []netip.Addr        // those in their place
	until   time.Time
	proving map[network.Conn]bool // at most maxProofs
}

// watchMoves starts with the host and ends with it.
func (p *Host) watchMoves() error {
	p.h.Network().Notify(&network.NotifyBundle{ConnectedF: p.cameAgain})
	if p.cfg.onLoopbackOnly() {
		return nil
	}
	if !p.group.spawn(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		had := machineAddrs()
		for {
			select {
			case <-p.life.Done():
				return
			case <-tick.C:
			}
			have := machineAddrs()
			if p.moves.moved(had, have, time.Now()) {
				p.log.Info("this machine has lost an address; connections are looked at", "addresses", slices.SortedFunc(maps.Keys(have), netip.Addr.Compare))
				p.proveAll(have)
			}
			had = have
		}
	}) {
		return errors.New("p2p: the host is closed")
	}
	return nil
}

// machineAddrs are the addresses of this machine's interfaces.
func machineAddrs() map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return out
	}
	for _, a := range list {
		if n, err := netip.ParsePrefix(a.String()); err == nil {
			out[n.Addr().Unmap()] = true
		}
	}
	return out
}

// moved takes in what has changed, and reports whether an address is gone.
func (m *moves) moved(had, have map[netip.Addr]bool, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now.After(m.until) {
		m.gone, m.came = map[netip.Addr]bool{}, nil
	}
	lost := false
	for ip := range had {
		if !have[ip] {
			m.gone[ip], lost = true, true
		}
	}
	m.came = slices.DeleteFunc(m.came, func(ip netip.Addr) bool { return !have[ip] })
	for ip := range have {
		delete(m.gone, ip)
		if !had[ip] && ip.IsGlobalUnicast() && !slices.Contains(m.came, ip) {
			m.came = append(m.came, ip)
		}
	}
	if lost {
		m.until = now.Add(moveTime)
	}
	return lost
}

// current puts the addresses that this machine has now in place of those that it had, in what it tells others of itself.
func (m *moves) current(list []ma.Multiaddr) []ma.Multiaddr {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.gone) == 0 {
		return list
	}
	out := make([]ma.Multiaddr, 0, len(list))
	for _, a := range list {
		ip, ok := addrIP(a)
		if !ok || !m.gone[ip] {
			out = append(out, a)
			continue
		}
		_, rest := ma.SplitFirst(a)
		for _, now := range m.came {
			if now.Is4() != ip.Is4() {
				continue
			}
			if first, err := manet.FromIP(now.AsSlice()); err == nil {
				out = append(out, first.Encapsulate(rest))
			}
		}
	}
	return ma.Unique(out)
}

// proveAll closes what was made from an address that is gone, and has the rest prove itself.
func (p *Host) proveAll(have map[netip.Addr]bool) {
	for _, c := range p.h.Network().Conns() {
		ip, ok := addrIP(c.LocalMultiaddr())
		if ip = ip.Unmap().WithZone(""); ok && !ip.IsUnspecified() && !have[ip] {
			p.group.spawn(func() { _ = c.Close() }) // which may wait for a last word to be sent
			continue
		}
		p.prove(c)
	}
}

// cameAgain looks at the older connections of a peer that has made a new one.
func (p *Host) cameAgain(n network.Network, c network.Conn) {
	if c.Stat().Limited {
		return
	}
	for _, old := range n.ConnsToPeer(c.RemotePeer()) {
		if old != c {
			p.prove(old)
		}
	}
}

// prove closes a connection on which nothing is answered. It does not wait.
func (p *Host) prove(c network.Conn) {
	if c.Stat().Limited { // a relay's: it ends by itself
		return
	}
	p.moves.mu.Lock()
	defer p.moves.mu.Unlock()
	if p.moves.proving[c] || len(p.moves.proving) >= maxProofs {
		return
	}
	if p.group.spawn(func() {
		defer func() {
			p.moves.mu.Lock()
			defer p.moves.mu.Unlock()
			delete(p.moves.proving, c)
		}()
		ctx, cancel := context.WithTimeout(p.life, proveTime)
		defer cancel()
		if silent(ctx, c) && p.life.Err() == nil {
			p.log.Info("closing a connection on which nobody answers any more", "peer", c.RemotePeer(), "at", c.RemoteMultiaddr())
			_ = c.Close()
		}
	}) {
		p.moves.proving[c] = true
	}
}

// silent reports whether a question on this very connection stays without an answer until ctx ends. A refusal is one.
func silent(ctx context.Context, c network.Conn) bool {
	s, err := c.NewStream(ctx)
	if err != nil {
		return ctx.Err() != nil
	}
	defer s.Reset()
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	return multistream.SelectProtoOrFail(ping.ID, s) != nil && ctx.Err() != nil
}
