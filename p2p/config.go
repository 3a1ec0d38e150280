package p2p

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/metanode/metanode/internal/sign"
)

// DefaultMaxPeers is Config.MaxPeers when it is zero.
const DefaultMaxPeers = 50

// Config is what New needs. Key and Network are required.
type Config struct {
	// Key is the node key; the peer id is its public half.
	Key sign.PrivateKey
	// Network is the network's id, the chain's display name: 1 to 64 letters, digits, '.', '_' or '-'.
	Network string
	// ListenPort is the TCP port, and the UDP port for QUIC. 0 lets the kernel choose one free for both.
	ListenPort int
	// ListenAddrs are the IP addresses to listen on. Empty means 0.0.0.0.
	ListenAddrs []string
	// Bootstrap are full multiaddrs (ending in /p2p/ID) that are dialed again whenever they are not connected.
	Bootstrap []string
	// MaxPeers is the number of connected peers above which the least useful are let go. 0 means DefaultMaxPeers.
	MaxPeers int
	// DataDir is the folder of peers.json, the last good peers. Empty keeps none.
	DataDir string
	// EnableEncryption must be true: there is no plaintext mode.
	EnableEncryption bool
	// LocalSubnets are networks behind whose single addresses many peers may live. Nil means loopback.
	LocalSubnets []netip.Prefix
	// Protected are peers that are never let go to make room: validators. Bootstrap peers are protected anyway.
	Protected []peer.ID
	// Client makes a host that only dials: no listening, no DHT server, no topics. The CLI's --peer is one.
	Client bool
	// DHTServer declares the host reachable, so that it serves the DHT without waiting to find out.
	DHTServer bool
	// Private makes the network private; nil leaves it open.
	Private *Private
	// SwarmKey seals the network; nil does not. NoQUIC must be set with it.
	SwarmKey *SwarmKey
	// NoQUIC leaves QUIC out.
	NoQUIC bool
	// WebSocket listens for WebSocket connections besides, on WebSocketPort; port 0 takes a free one.
	WebSocket     bool
	WebSocketPort int
	// ForeignPeers are peers of no Metanode network with which blobs are exchanged, on a private network, too: peer ids, or
	// multiaddrs that end in one, which are dialed whenever they are not connected.
	ForeignPeers []string
	// MaxGuests is how many foreign peers that are not listed an open network lets stay at once. 0 means none.
	MaxGuests int
	// GuestIdle is how long such a peer stays without a block that goes to it or comes from it. 0 means DefaultGuestIdle.
	GuestIdle time.Duration
	// Relay lets members that cannot be reached directly be reached through this peer, within limits.
	Relay bool
	// Agent is shown to other peers. Empty means "metanode".
	Agent string
	// Logger may be nil.
	Logger *slog.Logger
	// Registerer receives the metrics; nil keeps them to Stats.
	Registerer prometheus.Registerer

	wire *wire // a simulated network in place of sockets; nil outside of simulations
}

// ErrPlaintext answers a configuration that asks for no encryption.
var ErrPlaintext = errors.New("enable_encryption = false: there is no plaintext mode, since a peer's identity is " +
	"proved by its encrypted handshake; set enable_encryption = true")

var networkName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Validate reports the first setting that New would refuse.
func (c Config) Validate() error {
	if c.Key.IsZero() {
		return errors.New("p2p: no node key; make one with: bpi init")
	}
	if !networkName.MatchString(c.Network) {
		return fmt.Errorf("p2p: network id %.80q: want 1 to 64 letters, digits, '.', '_' or '-'", c.Network)
	}
	if !c.EnableEncryption {
		return ErrPlaintext
	}
	if c.ListenPort < 0 || c.ListenPort > 65535 {
		return fmt.Errorf("p2p: listen_port %d: want 0 to 65535 (0 takes a free one)", c.ListenPort)
	}
	if c.MaxPeers < 0 || c.MaxPeers > 100_000 {
		return fmt.Errorf("p2p: max_peers %d: want 1 to 100000, or 0 for %d", c.MaxPeers, DefaultMaxPeers)
	}
	if c.WebSocketPort < 0 || c.WebSocketPort > 65535 {
		return fmt.Errorf("p2p: websocket_port %d: want 0 to 65535 (0 takes a free one)", c.WebSocketPort)
	}
	if c.SwarmKey != nil && !c.NoQUIC {
		return ErrSealedQUIC
	}
	if c.Private != nil && c.Private.Chain.IsZero() {
		return errors.New("p2p: a private network needs the digest of its genesis document")
	}
	for _, a := range c.ListenAddrs {
		if _, err := netip.ParseAddr(a); err != nil {
			return fmt.Errorf("p2p: listen address %q is not an IP address", a)
		}
	}
	for _, b := range c.Bootstrap {
		if _, err := parseFull(b); err != nil {
			return fmt.Errorf("p2p: bootstrap peer: %w", err)
		}
	}
	if c.MaxGuests < 0 || c.GuestIdle < 0 {
		return fmt.Errorf("p2p: %d guests that stay idle for %s: want no negative number", c.MaxGuests, c.GuestIdle)
	}
	if _, err := c.foreignPeers(); err != nil {
		return err
	}
	return nil
}

// withDefaults fills what Config says zero means.
func (c Config) withDefaults() Config {
	if c.MaxPeers == 0 {
		c.MaxPeers = DefaultMaxPeers
	}
	if c.GuestIdle == 0 {
		c.GuestIdle = DefaultGuestIdle
	}
	if len(c.ListenAddrs) == 0 {
		c.ListenAddrs = []string{"0.0.0.0"}
	}
	if c.LocalSubnets == nil {
		c.LocalSubnets = loopback
	}
	if c.Agent == "" {
		c.Agent = "metanode"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// onLoopbackOnly reports whether the host can be reached from this machine alone.
func (c Config) onLoopbackOnly() bool {
	for _, a := range c.ListenAddrs {
		if ip, err := netip.ParseAddr(a); err != nil || !ip.IsLoopback() {
			return false
		}
	}
	return true
}

// parseFull reads a multiaddr that ends in the peer's id.
func parseFull(s string) (peer.AddrInfo, error) {
	m, err := ma.NewMultiaddr(s)
	if err != nil {
		return peer.AddrInfo{}, fmt.Errorf("%.200q is not a multiaddr (want /ip4/HOST/tcp/PORT/p2p/ID): %w", s, err)
	}
	info, err := peer.AddrInfoFromP2pAddr(m)
	if err != nil {
		return peer.AddrInfo{}, fmt.Errorf("%.200q names no peer (want /ip4/HOST/tcp/PORT/p2p/ID): %w", s, err)
	}
	if len(info.Addrs) == 0 {
		return peer.AddrInfo{}, fmt.Errorf("%.200q has no address in front of the peer id (want /ip4/HOST/tcp/PORT/p2p/ID)", s)
	}
	if _, ok := PublicKey(info.ID); !ok {
		return peer.AddrInfo{}, fmt.Errorf("%.200q: the peer id is not an Ed25519 key", s)
	}
	return *info, nil
}
