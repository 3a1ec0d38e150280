package p2p

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	ma "github.com/multiformats/go-multiaddr"
)

// SwarmKey is the shared secret of a sealed network: every byte on the wire is encrypted with it, the handshake's
// included. The file format is kubo's, so that both read one file.
type SwarmKey struct{ key [32]byte }

const (
	swarmKeyHead     = "/key/swarm/psk/1.0.0/"
	maxSwarmKeyBytes = 1 << 10
)

// ErrSealedQUIC answers a configuration that wants both a swarm key and QUIC.
var ErrSealedQUIC = errors.New("a sealed network has no QUIC: the swarm key encrypts TCP and WebSocket connections only, " +
	"and QUIC would go around it; set enable_quic = false, or remove swarm_key")

// NewSwarmKey draws a key.
func NewSwarmKey(random io.Reader) (*SwarmKey, error) {
	k := &SwarmKey{}
	if _, err := io.ReadFull(random, k.key[:]); err != nil {
		return nil, fmt.Errorf("draw a swarm key: %w", err)
	}
	return k, nil
}

// Encode gives the file's bytes.
func (k *SwarmKey) Encode() []byte {
	return []byte(swarmKeyHead + "\n/base16/\n" + hex.EncodeToString(k.key[:]) + "\n")
}

// Fingerprint names the key without giving it away.
func (k *SwarmKey) Fingerprint() string {
	sum := sha256.Sum256(append([]byte("bpci/swarmkey/1\x00"), k.key[:]...))
	return hex.EncodeToString(sum[:6])
}

// DecodeSwarmKey reads a key file: kubo's header, an encoding (/base16/, /base64/ or /bin/), and 32 bytes.
func DecodeSwarmKey(raw []byte) (*SwarmKey, error) {
	if len(raw) > maxSwarmKeyBytes {
		return nil, fmt.Errorf("over %d bytes", maxSwarmKeyBytes)
	}
	if !bytes.HasPrefix(raw, []byte(swarmKeyHead)) {
		return nil, fmt.Errorf("it does not begin with %s", swarmKeyHead)
	}
	psk, err := pnet.DecodeV1PSK(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	k := &SwarmKey{}
	if copy(k.key[:], psk) != len(k.key) || k.key == [32]byte{} {
		return nil, errors.New("want a key of 32 bytes, not all zero")
	}
	return k, nil
}

// ReadSwarmKey reads a key file.
func ReadSwarmKey(path string) (*SwarmKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("swarm key: %w; get the file from whoever runs the network", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxSwarmKeyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("swarm key %s: %w", path, err)
	}
	k, err := DecodeSwarmKey(raw)
	if err != nil {
		return nil, fmt.Errorf("swarm key %s: %w; want a file as kubo's swarm.key", path, err)
	}
	return k, nil
}

// psk is the key as libp2p takes it; nil of nil.
func (k *SwarmKey) psk() pnet.PSK {
	if k == nil {
		return nil
	}
	return k.key[:]
}

// plainDialer is the transport of an address on which connections are upgraded, rather than encrypted by nature as QUIC.
func plainDialer(addr ma.Multiaddr, up transport.Upgrader) (transport.Transport, error) {
	ws, err := websocket.New(up, nil, nil)
	if err != nil {
		return nil, err
	}
	if ws.CanDial(addr) {
		return ws, nil
	}
	t, err := tcp.NewTCPTransport(up, nil, nil, tcp.DisableReuseport())
	if err != nil {
		return nil, err
	}
	if t.CanDial(addr) {
		return t, nil
	}
	return nil, errors.New("want an address of TCP or WebSocket: QUIC has no door")
}

// hasDoor reports whether an address is one to knock at.
func hasDoor(addr ma.Multiaddr) bool {
	_, notTCP := addr.ValueForProtocol(ma.P_TCP)
	_, direct := addr.ValueForProtocol(ma.P_CIRCUIT)
	return notTCP == nil && direct != nil
}
