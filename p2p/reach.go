package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// A host cannot see whether others reach it. It asks peers to dial it back: at the address from which they see it, and
// nowhere else, so that nobody can be made to dial a third party. AutoNAT does the same on open networks, from throw-away
// identities that a private network's gate would refuse.

const (
	reachProto    = "reach/1"
	maxReachPorts = 4
	reachDial     = 3 * time.Second
	reachAsk      = 3 // peers asked
)

// Reach is what peers said when they were asked to dial this host back.
type Reach struct {
	At    time.Time   `json:"at"` // zero: not asked yet
	Asked []ReachPeer `json:"asked"`
}

// ReachPeer is one peer's word.
type ReachPeer struct {
	ID       string      `json:"id"`
	Observed string      `json:"observed"` // the IP address at which that peer sees this host
	NAT      bool        `json:"nat"`      // which is none of this machine's: somebody translates addresses
	Ports    []ReachPort `json:"ports"`
	Error    string      `json:"error,omitempty"` // it did not answer
}

// ReachPort is what became of one TCP port.
type ReachPort struct {
	Port  uint16 `json:"port"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// Reached reports whether any peer reached this host.
func (r Reach) Reached() bool {
	return slices.ContainsFunc(r.Asked, func(a ReachPeer) bool {
		return slices.ContainsFunc(a.Ports, func(p ReachPort) bool { return p.OK })
	})
}

type reachRequest struct {
	_     struct{} `cbor:",toarray"`
	Ports []uint16 // 1 to maxReachPorts
}

type reachAnswer struct {
	_        struct{} `cbor:",toarray"`
	Observed string
	Errors   []string // of each port asked for; "" if it was reached
}

func decodeReach(raw []byte) (*reachRequest, error) {
	var r reachRequest
	if err := canon.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	if len(r.Ports) == 0 || len(r.Ports) > maxReachPorts || slices.Contains(r.Ports, 0) {
		return nil, fmt.Errorf("%d ports: want 1 to %d, none of them 0", len(r.Ports), maxReachPorts)
	}
	return &r, nil
}

// serveReach dials peers back that ask for it.
func (p *Host) serveReach() {
	limits := Limits{RequestBytes: 64, ResponseBytes: 4 << 10, PerPeer: 1, Total: 4, PerSecond: 1, Timeout: maxReachPorts*reachDial + time.Second}
	p.Handle(reachProto, limits, func(ctx context.Context, from sign.PublicKey, raw []byte) ([]byte, error) {
		req, err := decodeReach(raw)
		if err != nil {
			return nil, err
		}
		ip, ok := p.observed(PeerID(from))
		if !ok {
			return nil, errors.New("no direct connection shows where this peer is")
		}
		a := reachAnswer{Observed: ip.String(), Errors: []string{}}
		for _, port := range req.Ports {
			words := ""
			if err := p.dialBack(ctx, from, netip.AddrPortFrom(ip, port)); err != nil {
				words = clip(err.Error(), 200)
			}
			a.Errors = append(a.Errors, words)
		}
		return canon.Marshal(&a)
	})
}

// observed is the IP address of a direct connection to the peer.
func (p *Host) observed(id peer.ID) (netip.Addr, bool) {
	for _, c := range p.h.Network().ConnsToPeer(id) {
		if _, err := c.RemoteMultiaddr().ValueForProtocol(ma.P_CIRCUIT); err == nil {
			continue
		}
		if ip, ok := addrIP(c.RemoteMultiaddr()); ok {
			return ip.Unmap(), true
		}
	}
	return netip.Addr{}, false
}

// handshake is the security protocol of a dial that wants to know no more than who answers.
type handshake struct {
	*noise.Transport
	proved bool
}

// SecureOutbound implements sec.SecureTransport.
func (h *handshake) SecureOutbound(ctx context.Context, insecure net.Conn, to peer.ID) (sec.SecureConn, error) {
	c, err := h.Transport.SecureOutbound(ctx, insecure, to)
	if err != nil {
		return nil, err
	}
	h.proved = true
	_ = c.Close()
	return nil, errKnocked
}

// dialBack makes a connection of its own, proves that it is the peer who answers, and closes it.
func (p *Host) dialBack(ctx context.Context, to sign.PublicKey, at netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, reachDial)
	defer cancel()
	ident, err := identity(p.cfg.Key)
	if err != nil {
		return err
	}
	n, err := noise.New(protocol.ID(noise.ID), ident, nil)
	if err != nil {
		return err
	}
	h := &handshake{Transport: n}
	up, err := upgrader.New([]sec.SecureTransport{h}, nil, p.cfg.SwarmKey.psk(), nil, nil)
	if err != nil {
		return err
	}
	family := "ip4"
	if at.Addr().Is6() {
		family = "ip6"
	}
	addr, err := ma.NewMultiaddr(fmt.Sprintf("/%s/%s/tcp/%d", family, at.Addr().WithZone(""), at.Port()))
	if err != nil {
		return err
	}
	dialer, err := plainDialer(addr, up)
	if err != nil {
		return err
	}
	c, err := dialer.Dial(ctx, addr, PeerID(to))
	switch {
	case h.proved:
		return nil
	case err == nil: // a handshake never gives a connection
		return c.Close()
	}
	return dialError(err)
}

// tcpPorts are the TCP ports under which this host is said to be reached.
func (p *Host) tcpPorts() []uint16 {
	var out []uint16
	for _, a := range p.h.Addrs() {
		if _, err := a.ValueForProtocol(ma.P_WS); err == nil || !hasDoor(a) {
			continue
		}
		v, err := a.ValueForProtocol(ma.P_TCP)
		if err != nil {
			continue
		}
		n, err := strconv.ParseUint(v, 10, 16)
		if err == nil && n != 0 && !slices.Contains(out, uint16(n)) && len(out) < maxReachPorts {
			out = append(out, uint16(n))
		}
	}
	return out
}

// CheckReach asks a few connected peers to dial this host back, and remembers what they said.
func (p *Host) CheckReach(ctx context.Context) Reach {
	r := Reach{At: time.Now(), Asked: []ReachPeer{}}
	ports := p.tcpPorts()
	if p.ways == nil || len(ports) == 0 {
		return r
	}
	for _, i := range p.reachPeers() {
		r.Asked = append(r.Asked, p.askReach(ctx, i, ports))
	}
	p.ways.mu.Lock()
	p.ways.reach = r
	p.ways.mu.Unlock()
	return r
}

// reachPeers are whom to ask: at different addresses if there are such, so that what one address may do decides nothing.
func (p *Host) reachPeers() []PeerInfo {
	var first, others []PeerInfo
	from := map[netip.Addr]bool{}
	for _, i := range p.Peers() {
		if strings.HasPrefix(i.Agent, "bpi/") { // a client has no handler
			continue
		}
		ip, ok := p.observed(PeerID(i.Key))
		switch {
		case !ok: // through a relay: it does not see where this host is
		case from[ip]:
			others = append(others, i)
		default:
			from[ip] = true
			first = append(first, i)
		}
	}
	all := append(first, others...)
	return all[:min(len(all), reachAsk)]
}

func (p *Host) askReach(ctx context.Context, i PeerInfo, ports []uint16) ReachPeer {
	ctx, cancel := context.WithTimeout(ctx, maxReachPorts*reachDial+2*time.Second)
	defer cancel()
	out := ReachPeer{ID: i.ID, Ports: []ReachPort{}}
	raw, err := p.Call(ctx, i.Key, reachProto, canon.Must(&reachRequest{Ports: ports}))
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.read(raw, ports)
	return out
}

// read takes in an answer about ports.
func (r *ReachPeer) read(raw []byte, ports []uint16) {
	var a reachAnswer
	if err := canon.Unmarshal(raw, &a); err != nil || len(a.Errors) != len(ports) {
		r.Error = "it gave no answer that can be read"
		return
	}
	r.Observed = clip(a.Observed, 64)
	if ip, err := netip.ParseAddr(a.Observed); err == nil {
		r.NAT = !machineAddrs()[ip.Unmap().WithZone("")]
	}
	for n, words := range a.Errors {
		r.Ports = append(r.Ports, ReachPort{Port: ports[n], OK: words == "", Error: clip(words, 200)})
	}
}
