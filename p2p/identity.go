package p2p

import (
	"crypto/ed25519"
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/sign"
)

// PeerID is the libp2p spelling of a node key. Every 32 bytes have one: the id holds the key itself.
func PeerID(k sign.PublicKey) peer.ID {
	pub, err := crypto.UnmarshalEd25519PublicKey(k[:])
	if err != nil {
		return "" // only another length is refused
	}
	id, err := peer.IDFromPublicKey(pub)
	if err != nil {
		return ""
	}
	return id
}

// PublicKey is the node key inside a peer id; false when the id holds no Ed25519 key.
func PublicKey(id peer.ID) (sign.PublicKey, bool) {
	var k sign.PublicKey
	pub, err := id.ExtractPublicKey()
	if err != nil || pub.Type() != crypto.Ed25519 {
		return k, false
	}
	raw, err := pub.Raw()
	if err != nil || len(raw) != len(k) {
		return k, false
	}
	copy(k[:], raw)
	return k, true
}

// ParsePeer reads a peer id ("12D3Koo…") as a node key.
func ParsePeer(s string) (sign.PublicKey, error) {
	id, err := peer.Decode(s)
	if err != nil {
		return sign.PublicKey{}, fmt.Errorf("peer id %.80q: %w", s, err)
	}
	k, ok := PublicKey(id)
	if !ok {
		return k, fmt.Errorf("peer id %.80q is not an Ed25519 key", s)
	}
	return k, nil
}

// identity is the libp2p form of the node key.
func identity(k sign.PrivateKey) (crypto.PrivKey, error) {
	return crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(k.Seed()))
}
