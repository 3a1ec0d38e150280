package p2p

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/metanode/metanode/internal/sign"
)

// Penalty weights for Penalise. A peer whose penalties reach banScore is disconnected and kept out for banTime.
const (
	PenaltyMinor = 1  // a malformed request that a different version might send
	PenaltyMajor = 10 // bytes that no honest peer sends
	banScore     = 50
	banTime      = 10 * time.Minute
	penaltyDecay = 10 * time.Second // one point is forgiven in this time
	maxRapSheets = 4096
)

// gate keeps out peers that sent garbage and, on a private network, everybody who is neither a member nor listed as foreign. It implements libp2p's
// ConnectionGater. Its word falls when the handshake has proved who the other is and before libp2p says anything more, so
// that who is refused has learnt nothing but that a libp2p host is there.
type gate struct {
	roll    *roll // nil: the network is open
	foreign map[peer.ID]peer.AddrInfo
	stats   *counters

	mu     sync.Mutex
	points map[peer.ID]rap // at most maxRapSheets
}

type rap struct {
	score float64
	at    time.Time // of the last change
	until time.Time // banned until
}

var _ connmgr.ConnectionGater = (*gate)(nil)

func newGate(r *roll, foreign map[peer.ID]peer.AddrInfo, stats *counters) *gate {
	return &gate{roll: r, foreign: foreign, stats: stats, points: map[peer.ID]rap{}}
}

// penalise adds points and reports the score, and whether the peer is banned from now on.
func (g *gate) penalise(id peer.ID, points int, now time.Time) (float64, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, known := g.points[id]
	if !known && len(g.points) >= maxRapSheets {
		for k, v := range g.points {
			if now.After(v.until) {
				delete(g.points, k)
				break
			}
		}
	}
	r.score = r.decayed(now) + float64(points)
	r.at = now
	banned := false
	if r.score >= banScore && now.After(r.until) {
		r.until, banned = now.Add(banTime), true
	}
	g.points[id] = r
	return r.score, banned
}

func (r rap) decayed(now time.Time) float64 {
	return max(0, r.score-float64(now.Sub(r.at))/float64(penaltyDecay))
}

func (g *gate) score(id peer.ID) float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.points[id]
	if !ok {
		return 0
	}
	return r.decayed(time.Now())
}

func (g *gate) banned(id peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	r, ok := g.points[id]
	return ok && time.Now().Before(r.until)
}

// member reports whether the peer may be a peer of this network: everybody on an open one.
func (g *gate) member(id peer.ID) bool {
	if g.roll == nil {
		return true
	}
	key, ok := PublicKey(id)
	return ok && g.roll.how(key, time.Now()) != ""
}

// listed reports whether the configuration lists the peer as a foreign one.
func (g *gate) listed(id peer.ID) bool {
	_, ok := g.foreign[id]
	return ok
}

// onlyForeign reports whether the peer is on this private network to exchange blobs and for nothing else.
func (g *gate) onlyForeign(id peer.ID) bool { return g.roll != nil && g.listed(id) && !g.member(id) }

// admits reports whether the peer may be connected at all.
func (g *gate) admits(id peer.ID) bool { return g.member(id) || g.listed(id) }

// welcome is the whole rule for who takes part in the network.
func (g *gate) welcome(id peer.ID) bool { return !g.banned(id) && g.member(id) }

// trades is the whole rule for who exchanges blobs.
func (g *gate) trades(id peer.ID) bool { return !g.banned(id) && g.admits(id) }

// InterceptPeerDial refuses to dial who would be refused.
func (g *gate) InterceptPeerDial(id peer.ID) bool {
	if g.trades(id) {
		return true
	}
	g.stats.gateDials.add(1)
	return false
}

// InterceptAddrDial allows every address.
func (g *gate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept allows every address: the resource manager bounds them.
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured is where a peer that has proved who it is goes on or not.
func (g *gate) InterceptSecured(_ network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	switch {
	case g.banned(id):
		g.stats.gateBanned.add(1)
		return false
	case !g.admits(id):
		g.stats.gateOutsiders.add(1)
		return false
	case g.onlyForeign(id):
		g.stats.gateForeign.add(1)
		return true
	}
	g.stats.gatePassed.add(1)
	return true
}

// InterceptUpgraded allows every connection that came this far.
func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// Penalise scores a peer for what it sent: PenaltyMinor or PenaltyMajor. A peer that collects too much too fast is
// disconnected and kept out for ten minutes. The score also lowers the peer's standing in gossip.
func (p *Host) Penalise(who sign.PublicKey, points int, reason string) {
	p.penalise(PeerID(who), points, reason)
}

func (p *Host) penalise(id peer.ID, points int, reason string) {
	p.stats.penalties.add(1)
	score, banned := p.gate.penalise(id, points, time.Now())
	p.log.Debug("peer penalised", "peer", id, "reason", reason, "score", int(score))
	if banned {
		p.log.Warn("peer sent too much garbage and is kept out", "peer", id, "last", reason, "for", banTime)
		_ = p.h.Network().ClosePeer(id)
	}
}
