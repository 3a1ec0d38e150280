package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/metanode/metanode/internal/sign"
)

// ErrOtherNetwork means that a peer answered, and does not speak this network's protocols.
var ErrOtherNetwork = errors.New("serves another network")

// A stranger may stay for a moment: long enough to learn which network this is, as a client that knows only an address
// must. No more than maxStrangers are given that moment at once.
const (
	strangerGrace = 3 * time.Second
	maxStrangers  = 64
)

// Protocol is the version of what members say to each other and agree on. It is consensus.ProtocolVersion.
const Protocol = 2

// MemberVersion is the protocol version that every member of the network names in libp2p's identify exchange: it holds
// Protocol and the network id, and that is the whole handshake. The list of protocols in the same message would not do:
// libp2p sends one that it made a moment before, when the newest handlers may be missing from it.
func MemberVersion(network string) string { return fmt.Sprintf("/bpci/%d/%s", Protocol, network) }

// ReadMemberVersion takes apart what a peer names; false if it is no member of any network.
func ReadMemberVersion(speaks string) (protocol uint32, network string, ok bool) {
	rest, ok := strings.CutPrefix(speaks, "/bpci/")
	if !ok {
		return 0, "", false
	}
	version, network, numbered := strings.Cut(rest, "/")
	if !numbered {
		return 1, rest, true // the first one did not say
	}
	n, err := strconv.ParseUint(version, 10, 32)
	return uint32(n), network, err == nil
}

// ErrOtherVersion means that a peer answered, and follows another version of the protocol.
var ErrOtherVersion = errors.New("follows another protocol version")

// strange says what is wrong with a peer that names itself so, and what to do; nil for a member of this network.
func (p *Host) strange(speaks string) error {
	if speaks == MemberVersion(p.cfg.Network) {
		return nil
	}
	if v, network, ok := ReadMemberVersion(speaks); ok && v != Protocol {
		return fmt.Errorf("%w: it is of network %s and version %d, this program follows version %d: run the same bpi release on both", ErrOtherVersion, clip(network, 64), v, Protocol)
	}
	return ErrOtherNetwork
}

// peerEvent runs on the one goroutine of watchPeers.
func (p *Host) peerEvent(e any) {
	switch e := e.(type) {
	case event.EvtPeerIdentificationCompleted:
		_, ed := PublicKey(e.Peer)
		if wrong := p.strange(e.ProtocolVersion); !ed || wrong != nil {
			p.stats.strangers.add(1)
			if other := errors.Is(wrong, ErrOtherVersion); other && p.isBootstrap(e.Peer) {
				p.log.Warn("a bootstrap peer is of another version, so this node cannot join by it", "peer", e.Peer, "agent", clip(e.AgentVersion, 64), "reason", wrong)
			} else if p.isBootstrap(e.Peer) {
				p.log.Warn("a bootstrap peer is of another network, so this node cannot join by it", "peer", e.Peer, "speaks", clip(e.ProtocolVersion, 64), "this_node", MemberVersion(p.cfg.Network),
					"next", "correct bootstrap, or make this node anew with the genesis document of that peer's chain")
			} else {
				p.log.Info("closing a connection to a peer of another network", "peer", e.Peer, "agent", clip(e.AgentVersion, 64), "speaks", clip(e.ProtocolVersion, 64))
			}
			p.dismiss(e.Peer)
			return
		}
		p.joined(e)
	case event.EvtPeerIdentificationFailed:
		p.stats.strangers.add(1)
		p.log.Debug("closing a connection to a peer that does not identify itself", "peer", e.Peer, "cause", e.Reason)
		p.dismiss(e.Peer)
	case event.EvtPeerConnectednessChanged:
		if e.Connectedness == network.NotConnected {
			p.left(e.Peer)
		}
	}
}

// dismiss closes the connection to a stranger after its grace, or at once when there are many.
func (p *Host) dismiss(id peer.ID) {
	p.mu.Lock()
	crowd := p.visitors >= maxStrangers
	if !crowd {
		p.visitors++
	}
	p.mu.Unlock()
	if crowd {
		_ = p.h.Network().ClosePeer(id)
		return
	}
	stay := time.NewTimer(strangerGrace)
	if !p.group.spawn(func() {
		defer stay.Stop()
		select {
		case <-stay.C:
		case <-p.life.Done():
		}
		p.mu.Lock()
		p.visitors--
		p.mu.Unlock()
		if !p.isMember(id) { // it may have come again, as what it should be
			_ = p.h.Network().ClosePeer(id)
		}
	}) {
		stay.Stop()
	}
}

func (p *Host) joined(e event.EvtPeerIdentificationCompleted) {
	if p.h.Network().Connectedness(e.Peer) != network.Connected {
		return
	}
	p.mu.Lock()
	_, known := p.members[e.Peer]
	if !known {
		p.members[e.Peer] = time.Now()
	}
	links := slices.Clone(p.links)
	p.mu.Unlock()
	if p.saved != nil && len(e.ListenAddrs) > 0 {
		p.saved.seen(e.Peer, e.ListenAddrs, time.Now())
	}
	if known {
		return
	}
	p.log.Debug("peer connected", "peer", e.Peer, "agent", clip(e.AgentVersion, 64))
	for _, l := range links {
		l.poke(e.Peer)
	}
	p.poke()
}

func (p *Host) left(id peer.ID) {
	p.mu.Lock()
	_, known := p.members[id]
	delete(p.members, id)
	p.mu.Unlock()
	p.dropPools(id)
	if known {
		p.log.Debug("peer gone", "peer", id)
	}
	p.poke()
}

// isMember reports whether the peer is connected and has shown that it is of this network.
func (p *Host) isMember(id peer.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.members[id]
	return ok
}

func (p *Host) memberCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.members)
}

// poke wakes the bootstrap loop.
func (p *Host) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// awaitMember waits until a connected peer has identified itself, and says whether it is of this network.
func (p *Host) awaitMember(ctx context.Context, id peer.ID) error {
	if p.isMember(id) {
		return nil
	}
	conns := p.h.Network().ConnsToPeer(id)
	if len(conns) == 0 {
		return fmt.Errorf("%w, or closed the connection at once", ErrOtherNetwork)
	}
	if ids, ok := p.h.(interface{ IDService() identify.IDService }); ok {
		select {
		case <-ids.IDService().IdentifyWait(conns[0]):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	speaks, err := p.h.Peerstore().Get(id, "ProtocolVersion") // where identify puts it
	if err != nil {
		return ErrOtherNetwork
	}
	name, _ := speaks.(string)
	return p.strange(name)
}

// Penalty weights for Penalise. A peer whose penalties reach banScore is disconnected and kept out for banTime.
const (
	PenaltyMinor = 1  // a malformed request that a different version might send
	PenaltyMajor = 10 // bytes that no honest peer sends
	banScore     = 50
	banTime      = 10 * time.Minute
	penaltyDecay = 10 * time.Second // one point is forgiven in this time
	maxRapSheets = 4096
)

// gate keeps out peers that sent garbage. It implements libp2p's ConnectionGater.
type gate struct {
	mu     sync.Mutex
	points map[peer.ID]rap // at most maxRapSheets
}

type rap struct {
	score float64
	at    time.Time // of the last change
	until time.Time // banned until
}

var _ connmgr.ConnectionGater = (*gate)(nil)

func newGate() *gate { return &gate{points: map[peer.ID]rap{}} }

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

// InterceptPeerDial refuses to dial a banned peer.
func (g *gate) InterceptPeerDial(id peer.ID) bool { return !g.banned(id) }

// InterceptAddrDial allows every address.
func (g *gate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept allows every address: the resource manager bounds them.
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured refuses a banned peer as soon as it has proved who it is.
func (g *gate) InterceptSecured(_ network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	return !g.banned(id)
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

// clip keeps a stranger's text short and printable.
func clip(s string, n int) string {
	out := make([]rune, 0, min(len(s), n))
	for _, r := range s {
		if len(out) == n {
			break
		}
		if r < ' ' || r == 0x7f {
			r = '.'
		}
		out = append(out, r)
	}
	return string(out)
}
