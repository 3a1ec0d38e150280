package statesync

import (
	"context"
	"errors"
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Bounds of what nodes say to each other.
const (
	MaxRequestBytes  = 128
	MaxResponseBytes = snapshot.MaxHeadBytes
	maxOffers        = 8
	maxOffersBytes   = maxOffers*64 + 16
)

// The requests.
const (
	askOffers    = 1
	askHead      = 2
	askChunk     = 3
	askHandovers = 4
)

// request is what one node asks of another. What says nothing is zero.
type request struct {
	_      struct{} `cbor:",toarray"`
	What   uint8
	Height consensus.Height
	ID     digest.Digest
	Index  uint32
	Epoch  consensus.Epoch
}

// offer is a snapshot that a node has.
type offer struct {
	_      struct{} `cbor:",toarray"`
	Height consensus.Height
	ID     digest.Digest
}

// errBusy is returned when too many requests are being answered.
var errBusy = errors.New("this node gives too many chunks now: ask another, or ask again later")

// Server answers other nodes from a folder. Safe for concurrent use.
type Server struct {
	folder *Folder
	epochs Epochs
	busy   chan struct{} // one token for each request being answered: each holds a chunk in memory
}

// NewServer makes a server.
func NewServer(f *Folder, e Epochs) *Server {
	return &Server{folder: f, epochs: e, busy: make(chan struct{}, 8)}
}

// Serve answers a request. An error means that it is not well-formed, that what it wants is not here, or that the node is
// busy.
func (s *Server) Serve(_ context.Context, req []byte) ([]byte, error) {
	if len(req) > MaxRequestBytes {
		return nil, fmt.Errorf("request of %d bytes: at most %d", len(req), MaxRequestBytes)
	}
	var r request
	if err := canon.Unmarshal(req, &r); err != nil {
		return nil, err
	}
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	default:
		return nil, errBusy
	}
	switch r.What {
	case askOffers:
		list := s.folder.List()
		offers := []offer{}
		for _, x := range list[max(0, len(list)-maxOffers):] {
			offers = append(offers, offer{Height: x.Height(), ID: x.ID()})
		}
		return canon.Must(offers), nil
	case askHead:
		x, ok := s.folder.Get(r.Height, r.ID)
		if !ok {
			return nil, fmt.Errorf("block %d: %w", r.Height, ErrNoSnapshot)
		}
		return x.Head().Encode(), nil
	case askChunk:
		return s.folder.Chunk(r.Height, r.ID, int(r.Index))
	case askHandovers:
		return s.handovers(r.Epoch)
	}
	return nil, fmt.Errorf("unknown request %d", r.What)
}

// decodeOffers reads the answer to askOffers.
func decodeOffers(raw []byte) ([]offer, error) {
	if len(raw) > maxOffersBytes {
		return nil, fmt.Errorf("offers of %d bytes: at most %d", len(raw), maxOffersBytes)
	}
	var list []offer
	if err := canon.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	if len(list) > maxOffers {
		return nil, fmt.Errorf("%d offers: at most %d", len(list), maxOffers)
	}
	return list, nil
}
