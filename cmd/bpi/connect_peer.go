package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/keyfile"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// apiProtocol is the name under which a node serves its API on libp2p streams.
const apiProtocol = "api/1"

// dialPeer reaches a peer's API over libp2p, with a throw-away identity and no listening address; a command that
// administers has the operator key's. The peer's id in addr is proved in the handshake.
// From a home on a private network it is a peer of that network, which does not speak to strangers; otherwise the peer is
// asked which network it is on.
func (e *env) dialPeer(ctx context.Context, addr string) (*conn, error) {
	if _, err := os.Stat(configPath(e.home)); err == nil {
		cfg, err := configs.Load(configPath(e.home))
		if err == nil && cfg.P2P.Private {
			g, _, err := configs.ReadGenesis(cfg.Genesis)
			if err != nil {
				return nil, err
			}
			v, err := visitOf(cfg, g, addr)
			if err != nil {
				return nil, err
			}
			return dialMember(ctx, addr, v)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	network, err := probeNetwork(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("peer %s: %w", addr, err)
	}
	key, err := e.peerKey()
	if err != nil {
		return nil, err
	}
	return reachAPI(ctx, addr, p2p.Config{Key: key, Network: network, EnableEncryption: true, Client: true, Agent: "bpi/" + version})
}

// reachAPI connects a client host and gives the API at its other end.
func reachAPI(ctx context.Context, addr string, cfg p2p.Config) (*conn, error) {
	host, err := p2p.New(cfg)
	if err != nil {
		return nil, err
	}
	to, err := host.Connect(ctx, addr)
	if err != nil {
		host.Close()
		return nil, fmt.Errorf("peer %w", err)
	}
	client := api.NewDialClient(func(ctx context.Context) (net.Conn, error) { return host.DialStream(ctx, to, apiProtocol) })
	return &conn{Client: client, where: addr, close: func() { host.Close() }}, nil
}

// peerKey is who this command is to the peers that it dials.
func (e *env) peerKey() (sign.PrivateKey, error) {
	if !e.admin {
		return sign.Generate(rand.Reader)
	}
	path := filepath.Join(e.home, "keys", keyfile.Operator.FileName())
	key, err := keyfile.Load(path, keyfile.Operator)
	if errors.Is(err, fs.ErrNotExist) {
		return key, fmt.Errorf("no operator key in %s, by which a peer would know who administers it; run this on the node's machine without --peer, or make a key with: bpi key new operator, and list its peer id in admins of [api] in the node's configuration", tilde(path))
	}
	return key, err
}

// probeNetwork asks the peer which network it is on: the network's name is part of every protocol, and a stranger knows
// only an address. The peer closes a connection to a stranger as soon as it has seen one, so the answer may be lost, and
// the question is asked again.
func probeNetwork(ctx context.Context, addr string) (string, error) {
	info, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return "", usageError(fmt.Errorf("want /ip4/HOST/tcp/PORT/p2p/ID: %w", err))
	}
	var last error
	for range 5 {
		network, err := probeOnce(ctx, *info)
		if err == nil {
			return network, nil
		}
		last = err
		if ctx.Err() != nil || !errors.Is(err, errNoAnswer) {
			break
		}
	}
	return "", last
}

var errNoAnswer = errors.New("it closed the connection before it said which network it is on: on a private network only members are spoken to; enter one with: bpi init --join INVITATION")

func probeOnce(ctx context.Context, info peer.AddrInfo) (string, error) {
	h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.EnableRelay(), libp2p.DisableMetrics(), libp2p.DisableIdentifyAddressDiscovery())
	if err != nil {
		return "", fmt.Errorf("start libp2p: %w", err)
	}
	defer h.Close()
	sub, err := h.EventBus().Subscribe([]any{new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerIdentificationFailed)})
	if err != nil {
		return "", fmt.Errorf("start libp2p: %w", err)
	}
	defer sub.Close()
	// An address through a relay leads first to the relay, whose word is another's, and then to a short connection.
	if err := h.Connect(network.WithAllowLimitedConn(ctx, "to ask"), info); err != nil {
		if strings.Contains(err.Error(), "identify") {
			return "", errNoAnswer
		}
		if strings.Contains(err.Error(), "negotiate security protocol") {
			return "", fmt.Errorf("no connection: %w; is the node running, and is the address right? A network that needs a swarm key does not answer those who have none", err)
		}
		return "", fmt.Errorf("no connection: %w; is the node running, and is the address right?", err)
	}
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case x := <-sub.Out():
			switch x := x.(type) {
			case event.EvtPeerIdentificationFailed:
				if x.Peer != info.ID {
					continue
				}
				return "", errNoAnswer
			case event.EvtPeerIdentificationCompleted:
				if x.Peer != info.ID {
					continue
				}
				protocol, network, ok := p2p.ReadMemberVersion(x.ProtocolVersion)
				if !ok {
					return "", fmt.Errorf("it is no Metanode peer: it speaks %.40q", x.ProtocolVersion)
				}
				if protocol != p2p.Protocol {
					return "", &consensus.VersionError{What: "that peer", Version: protocol}
				}
				return network, nil
			}
		}
	}
}
