package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/metanode/metanode/internal/sign"
)

// ErrNoRoute means that no address of a peer is known or none of them answers.
var ErrNoRoute = errors.New("peer cannot be reached")

// Connect dials a full multiaddr (/ip4/…/tcp/…/p2p/ID), proves the peer's identity and that it is of this network, and
// returns its key.
func (p *Host) Connect(ctx context.Context, addr string) (sign.PublicKey, error) {
	info, err := parseFull(addr)
	if err != nil {
		return sign.PublicKey{}, err
	}
	key, _ := PublicKey(info.ID)
	if key == p.self {
		return key, fmt.Errorf("%s is this peer itself", addr)
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := p.meet(ctx, info); errors.Is(err, ErrNotAdmitted) || errors.Is(err, errOutsider) || errors.Is(err, errNoDoor) {
		return key, err
	} else if err != nil {
		return key, fmt.Errorf("%s %w", addr, dialError(err))
	}
	if err := p.awaitMember(ctx, info.ID); err != nil {
		p.shut(info.ID)
		if errors.Is(err, errShut) {
			return key, fmt.Errorf("%s %w", addr, err)
		}
		if errors.Is(err, ErrOtherVersion) {
			_ = p.h.Network().ClosePeer(info.ID)
			return key, fmt.Errorf("%s %w", addr, err)
		}
		if errors.Is(err, ErrOtherNetwork) {
			_ = p.h.Network().ClosePeer(info.ID)
			return key, fmt.Errorf("%s %w: it is no member of %s", addr, err, p.cfg.Network)
		}
		return key, fmt.Errorf("%s did not identify itself: %w", addr, err)
	}
	p.h.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.RecentlyConnectedAddrTTL)
	return key, nil
}

// dialError turns libp2p's list of attempts into the one sentence that helps.
func dialError(err error) error {
	var wrong sec.ErrPeerIDMismatch
	switch {
	case errors.As(err, &wrong):
		return fmt.Errorf("is answered by another peer, %s: %w", wrong.Actual, ErrNoRoute)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("refused the connection: is the node running? (%w)", ErrNoRoute)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Errorf("is on a network that this machine has no route to: %w", ErrNoRoute)
	case errors.Is(err, swarm.ErrGaterDisallowedConnection):
		return fmt.Errorf("sent too much garbage and is kept out for some minutes: %w", ErrNoRoute)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("closed the connection before it said who it is: it may hold as many connections from this address as it allows, which bpi network resources tells there, or want a swarm key: %w", ErrNoRoute)
	case errors.Is(err, swarm.ErrDialBackoff):
		return fmt.Errorf("did not answer a moment ago and is not tried again yet: %w", ErrNoRoute)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return fmt.Errorf("did not answer in time: %w", ErrNoRoute)
	}
	return fmt.Errorf("%w: %w", ErrNoRoute, err)
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// reach makes sure that there is a connection to the peer: by a known address, or by one that the DHT finds.
func (p *Host) reach(ctx context.Context, id peer.ID) error {
	switch c := p.h.Network().Connectedness(id); {
	case c == network.Connected, c == network.Limited && p.cfg.Client:
		return nil
	}
	info := peer.AddrInfo{ID: id, Addrs: p.h.Peerstore().Addrs(id)}
	var first error
	if len(info.Addrs) > 0 {
		if first = p.meet(ctx, info); first == nil {
			return nil
		}
	}
	if p.dht != nil {
		found, err := p.dht.FindPeer(ctx, id)
		if err == nil && len(found.Addrs) > 0 {
			if err = p.meet(ctx, found); err == nil {
				return nil
			}
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		return fmt.Errorf("peer %s: %w: no address is known", id, ErrNoRoute)
	}
	return fmt.Errorf("peer %s %w", id, dialError(first))
}

// openStream opens a stream to a peer of this network.
func (p *Host) openStream(ctx context.Context, id peer.ID, proto protocol.ID) (network.Stream, error) {
	if p.cfg.Client { // nobody can dial it, so that no direct connection follows the short one that a relay gives
		ctx = network.WithAllowLimitedConn(ctx, "a client")
	}
	if err := p.reach(ctx, id); err != nil {
		return nil, err
	}
	s, err := p.h.NewStream(network.WithNoDial(ctx, "reached"), id, proto)
	if err != nil {
		return nil, fmt.Errorf("peer %s: open %s: %w", id, proto, err)
	}
	return s, nil
}
