package p2p

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

var errForeign = errors.New("is a foreign peer, with which blobs are exchanged and nothing else")

// sieve is the host as this package and the libraries under it use it: to a foreign peer on a private network, it answers
// on Bitswap alone and opens nothing else. What libp2p adds by itself is not asked: identify and ping.
type sieve struct {
	host.Host
	gate *gate
}

// isBitswap reports whether a protocol is Bitswap, of any version.
func isBitswap(id protocol.ID) bool { return strings.HasPrefix(string(id), "/ipfs/bitswap") }

func openToForeign(id protocol.ID) bool { return isBitswap(id) || id == ping.ID }

func (s *sieve) wrap(id protocol.ID, h network.StreamHandler) network.StreamHandler {
	if openToForeign(id) {
		return h
	}
	return func(st network.Stream) {
		if s.gate.onlyForeign(st.Conn().RemotePeer()) {
			_ = st.Reset()
			return
		}
		h(st)
	}
}

// SetStreamHandler implements host.Host.
func (s *sieve) SetStreamHandler(id protocol.ID, h network.StreamHandler) {
	s.Host.SetStreamHandler(id, s.wrap(id, h))
}

// SetStreamHandlerMatch implements host.Host.
func (s *sieve) SetStreamHandlerMatch(id protocol.ID, match func(protocol.ID) bool, h network.StreamHandler) {
	s.Host.SetStreamHandlerMatch(id, match, s.wrap(id, h))
}

// NewStream implements host.Host.
func (s *sieve) NewStream(ctx context.Context, to peer.ID, list ...protocol.ID) (network.Stream, error) {
	if s.gate.onlyForeign(to) && !slices.ContainsFunc(list, openToForeign) {
		return nil, fmt.Errorf("peer %s %w", to, errForeign)
	}
	return s.Host.NewStream(ctx, to, list...)
}

// IDService is for those who wait for a peer's identification; nil if the host has none.
func (s *sieve) IDService() identify.IDService {
	if h, ok := s.Host.(interface{ IDService() identify.IDService }); ok {
		return h.IDService()
	}
	return nil
}
