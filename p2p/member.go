package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
)

// ErrOtherNetwork means that a peer answered, and does not speak this network's protocols.
var ErrOtherNetwork = errors.New("serves another network")

// errShut is what a private network looks like from outside.
var errShut = errors.New("closed the connection as soon as it knew who calls: it is on a private network, of which this peer is no member; " +
	"enter one with: bpi init --join INVITATION")

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
// libp2p sends one that it made a moment before, when the newest handlers may be missing from it. A client written with a
// library that cannot name a version of its own handles a protocol of this name instead, from before it dials.
func MemberVersion(network string) string { return fmt.Sprintf("/bpci/%d/%s", Protocol, network) }

// ReadMemberVersion takes apart what a peer names; false if it is no member of any network.
func ReadMemberVersion(speaks string) (version uint32, network string, ok bool) {
	rest, ok := strings.CutPrefix(speaks, "/bpci/")
	if !ok {
		return 0, "", false
	}
	number, network, numbered := strings.Cut(rest, "/")
	if !numbered {
		return 1, rest, true // the first one did not say
	}
	n, err := strconv.ParseUint(number, 10, 32)
	return uint32(n), network, err == nil
}

// ErrOtherVersion means that a peer answered, and follows another version of the protocol.
var ErrOtherVersion = errors.New("follows another protocol version")

// strange says what is wrong with a peer that names itself so and handles these protocols, and what to do; nil for a
// member of this network.
func (p *Host) strange(speaks string, handles []protocol.ID) error {
	if self := MemberVersion(p.cfg.Network); speaks == self || slices.Contains(handles, protocol.ID(self)) {
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
		if !p.gate.admits(e.Peer) { // its membership ended between the handshake and now
			_ = p.h.Network().ClosePeer(e.Peer)
			return
		}
		_, ed := PublicKey(e.Peer)
		if wrong := p.strange(e.ProtocolVersion, e.Protocols); !ed || wrong != nil || !p.gate.member(e.Peer) {
			if p.lodge(e) {
				return
			}
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
		if !p.isMember(id) && !p.isGuest(id) { // it may have come again, as what it should be
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
	if p.notices != nil {
		p.compare(e.Peer)
	}
}

func (p *Host) left(id peer.ID) {
	p.mu.Lock()
	delete(p.openDoors, id)
	_, known := p.members[id]
	delete(p.members, id)
	p.mu.Unlock()
	p.guestLeft(id)
	p.dropPools(id)
	if p.subs != nil {
		p.subs.forget(id)
	}
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
	if len(conns) == 0 && p.roll != nil {
		return errShut
	}
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
	if err != nil && p.roll != nil {
		return errShut
	}
	if err != nil {
		return ErrOtherNetwork
	}
	name, _ := speaks.(string)
	handles, _ := p.h.Peerstore().GetProtocols(id) // none are known: it is the name that counts
	return p.strange(name, handles)
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
