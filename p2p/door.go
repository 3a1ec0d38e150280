package p2p

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/invite"
)

// The door is how a peer that is no member yet shows its admission. To libp2p it is one more security protocol, beside
// Noise and TLS: whoever negotiates it makes a Noise handshake, says one frame, hears one, and is disconnected in any
// case. No libp2p connection comes of it: there is no muxer, no stream and no identify exchange, so there is nothing that
// could say too much. A peer that was let in dials again, the ordinary way, and passes the gate.
//
// The protocol's name is a digest of the chain's id: who has no invitation cannot ask for it, and a member's answer to a
// name that it does not know is that of any libp2p host.

const (
	doorTimeout  = 5 * time.Second
	doorsAtOnce  = 16 // further ones are disconnected
	maxKnock     = invite.MaxBytes + 16
	maxDoorWords = 512
	doorOpened   = 0
	doorRefused  = 1
)

// ErrNotAdmitted means that a member of a private network refused the admission that this peer showed; the error's text
// is its reason.
var ErrNotAdmitted = errors.New("the network does not let this peer in")

// errKnocked ends every conversation at the door: there is no connection to go on with.
var errKnocked = errors.New("the door is closed after each knock")

func doorName(chain digest.Digest) protocol.ID {
	d := digest.Sum("bpci/door/1", chain[:])
	return protocol.ID("/" + hex.EncodeToString(d[:16]))
}

// knock is what a peer says at the door.
type knock struct {
	_         struct{} `cbor:",toarray"`
	Admission invite.Admission
	Visitor   bool
}

func decodeKnock(raw []byte) (*knock, error) {
	if len(raw) > maxKnock {
		return nil, fmt.Errorf("%d bytes: at most %d", len(raw), maxKnock)
	}
	var k knock
	if err := canon.Unmarshal(raw, &k); err != nil {
		return nil, err
	}
	_, err := invite.DecodeAdmission(k.Admission.Encode())
	return &k, err
}

// sides is an upgrader that has the door for those who come in and not for those whom this host dials: a dialer names
// what it speaks until the other agrees, and would tell the door's name to whoever refuses the rest.
type sides struct {
	transport.Upgrader // of listeners
	out                transport.Upgrader
}

// Upgrade implements transport.Upgrader, for connections that this host dialed.
func (s sides) Upgrade(ctx context.Context, t transport.Transport, c manet.Conn, dir network.Direction, to peer.ID, scope network.ConnManagementScope) (transport.CapableConn, error) {
	return s.out.Upgrade(ctx, t, c, dir, to, scope)
}

// withDoor adds the door to what a listener offers.
func (p *Host) withDoor(out transport.Upgrader) (transport.Upgrader, error) {
	key, err := identity(p.cfg.Key)
	if err != nil {
		return nil, err
	}
	n, err := noise.New(noise.ID, key, muxers)
	if err != nil {
		return nil, err
	}
	s, err := libp2ptls.New(libp2ptls.ID, key, muxers)
	if err != nil {
		return nil, err
	}
	d, err := p.newDoor(doorName(p.roll.chain), key)
	if err != nil {
		return nil, err
	}
	in, err := upgrader.New([]sec.SecureTransport{n, s, d}, muxers, p.cfg.SwarmKey.psk(), p.guard, p.gate)
	if err != nil {
		return nil, err
	}
	return sides{in, out}, nil
}

// door is the security protocol, of the host that answers.
type door struct {
	p     *Host
	noise *noise.Transport
}

func (p *Host) newDoor(id protocol.ID, key crypto.PrivKey) (*door, error) {
	n, err := noise.New(id, key, nil)
	if err != nil {
		return nil, err
	}
	return &door{p, n}, nil
}

// ID implements sec.SecureTransport.
func (d *door) ID() protocol.ID { return d.noise.ID() }

// SecureOutbound implements sec.SecureTransport. Nobody dials by it: knocks have a transport of their own.
func (d *door) SecureOutbound(context.Context, net.Conn, peer.ID) (sec.SecureConn, error) {
	return nil, errKnocked
}

// SecureInbound implements sec.SecureTransport: it answers one knock. Its error closes the connection.
func (d *door) SecureInbound(ctx context.Context, insecure net.Conn, _ peer.ID) (sec.SecureConn, error) {
	select {
	case d.p.doorSlots <- struct{}{}:
		defer func() { <-d.p.doorSlots }()
	default:
		d.p.stats.doorBusy.add(1)
		return nil, errKnocked
	}
	ctx, cancel := context.WithTimeout(ctx, doorTimeout)
	defer cancel()
	c, err := d.noise.SecureInbound(ctx, insecure, "")
	if err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	if err := c.SetDeadline(end); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	raw, err := readFrame(c, maxKnock)
	if err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	answer := append([]byte{doorOpened}, MemberVersion(d.p.cfg.Network)...)
	if err := d.p.answerKnock(c.RemotePeer(), raw); err != nil {
		d.p.stats.doorRefused.add(1)
		words := clip(err.Error(), maxDoorWords)
		answer = append([]byte{doorRefused}, words[:min(len(words), maxDoorWords)]...)
	} else {
		d.p.stats.doorOpened.add(1)
	}
	if err := writeFrame(c, answer); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	// The other side hangs up when it has read the answer: closing first could overtake it.
	var one [1]byte
	_, _ = c.Read(one[:])
	return nil, errKnocked
}

// answerKnock lets a peer in or says why not.
func (p *Host) answerKnock(id peer.ID, raw []byte) error {
	who, ok := PublicKey(id)
	if !ok || p.gate.banned(id) {
		return errors.New("this peer is kept out for some minutes")
	}
	k, err := decodeKnock(raw)
	if err != nil {
		return fmt.Errorf("the admission cannot be read: %w", err)
	}
	if k.Admission.Peer != who {
		return invite.ErrOtherPeer
	}
	if p.roll.how(who, time.Now()) == MemberByChain {
		return nil
	}
	fresh, err := p.roll.admit(&k.Admission, k.Visitor, time.Now())
	if err != nil {
		p.log.Info("refused a peer's invitation", "peer", id, "invitation", k.Admission.Invitation.Body.ID.String(), "why", err)
		return err
	}
	if fresh {
		p.log.Info("let in a peer by its invitation", "peer", id, "invitation", k.Admission.Invitation.Body.ID.String(), "until", k.Admission.Invitation.Expires().UTC())
		p.passOn(papers{Admissions: []invite.Admission{k.Admission}, Revocations: []invite.Revocation{}})
	}
	return nil
}

// visit is the security protocol, of the peer that knocks once.
type visit struct {
	noise *noise.Transport
	say   []byte
	heard []byte
}

var _ sec.SecureTransport = (*visit)(nil)

// ID implements sec.SecureTransport.
func (v *visit) ID() protocol.ID { return v.noise.ID() }

// SecureInbound implements sec.SecureTransport; a visit is never answered.
func (v *visit) SecureInbound(context.Context, net.Conn, peer.ID) (sec.SecureConn, error) {
	return nil, errKnocked
}

// SecureOutbound implements sec.SecureTransport: it says the knock and hears the answer, and its error closes the
// connection.
func (v *visit) SecureOutbound(ctx context.Context, insecure net.Conn, to peer.ID) (sec.SecureConn, error) {
	c, err := v.noise.SecureOutbound(ctx, insecure, to)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(end); err != nil {
			return nil, err
		}
	}
	if err := writeFrame(c, v.say); err != nil {
		return nil, err
	}
	if v.heard, err = readFrame(c, maxDoorWords+1); err != nil {
		return nil, err
	}
	return nil, errKnocked
}

// Knock shows this peer's admission to a member, whose address ends in /p2p/ID, and gives the network's id. A refusal is
// ErrNotAdmitted with the member's reason. It needs no Host, and leaves no connection.
func Knock(ctx context.Context, key sign.PrivateKey, addr string, a *invite.Admission, asVisitor bool, swarmKey *SwarmKey) (network string, err error) {
	info, err := parseFull(addr)
	if err != nil {
		return "", err
	}
	ident, err := identity(key)
	if err != nil {
		return "", fmt.Errorf("p2p: node key: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*doorTimeout)
	defer cancel()
	n, err := noise.New(doorName(a.Invitation.Body.Chain), ident, nil)
	if err != nil {
		return "", fmt.Errorf("p2p: knock: %w", err)
	}
	v := &visit{noise: n, say: canon.Must(&knock{Admission: *a, Visitor: asVisitor})}
	up, err := upgrader.New([]sec.SecureTransport{v}, nil, swarmKey.psk(), nil, nil)
	if err != nil {
		return "", fmt.Errorf("p2p: knock: %w", err)
	}
	dialer, err := plainDialer(info.Addrs[0], up)
	if err != nil {
		return "", fmt.Errorf("knock at %s: %w", addr, err)
	}
	c, err := dialer.Dial(ctx, info.Addrs[0], info.ID)
	if err == nil { // a visit never gives one
		_ = c.Close()
	}
	if len(v.heard) == 0 {
		return "", fmt.Errorf("%s %w", addr, dialError(err))
	}
	if v.heard[0] != doorOpened {
		return "", fmt.Errorf("%w: %s", ErrNotAdmitted, clip(string(v.heard[1:]), maxDoorWords))
	}
	version, name, ok := ReadMemberVersion(string(v.heard[1:]))
	switch {
	case !ok || !networkName.MatchString(name):
		return "", fmt.Errorf("%s let this peer in and named no network", addr)
	case version != Protocol:
		return "", fmt.Errorf("%s %w: it is of version %d, this program follows version %d: run the same bpi release on both", addr, ErrOtherVersion, version, Protocol)
	}
	return name, nil
}
