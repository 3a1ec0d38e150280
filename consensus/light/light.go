// Package light checks a chain's headers with nothing but a validator set to begin with: no network, no node, no clock.
//
// A Client holds the set of one epoch. Follow takes it over a handover, the old set's word for the next one, into the
// next epoch; Check finds a header final by its certificate. A Proof is both in one: what a stranger needs to believe a
// header, from the set that he knows. Everything else in a chain hangs under its headers' roots.
//
// What it does not do: it keeps no headers, and cannot tell an old set whose keys have leaked from an honest one. Begin
// with a set that is as new as possible where validators have left.
package light

import (
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Client knows the validators of one epoch of one chain. It is not for concurrent use.
type Client struct {
	chain digest.Digest
	epoch consensus.Epoch
	set   *consensus.ValidatorSet
}

// New makes a client that believes in the validators of an epoch.
func New(chain digest.Digest, epoch consensus.Epoch, set *consensus.ValidatorSet) *Client {
	return &Client{chain: chain, epoch: epoch, set: set}
}

// Epoch is the epoch whose headers the client can check.
func (c *Client) Epoch() consensus.Epoch { return c.epoch }

// Set is that epoch's validators.
func (c *Client) Set() *consensus.ValidatorSet { return c.set }

// Follow goes over a handover into the next epoch. Every error wraps consensus.ErrNotFinal, and changes nothing.
func (c *Client) Follow(h *consensus.Handover) error {
	next, err := h.Verify(c.chain, c.epoch, c.set)
	if err != nil {
		return err
	}
	c.epoch, c.set = c.epoch+1, next
	return nil
}

// Check checks the proof of a header of the client's epoch. Every error wraps consensus.ErrNotFinal.
func (c *Client) Check(f *consensus.Finality) error {
	if err := f.Verify(c.chain, c.set); err != nil {
		return err
	}
	if e := f.Header().Epoch; e != c.epoch {
		return fmt.Errorf("%w: block %d is of epoch %d, the validators at hand of %d", consensus.ErrNotFinal, f.Header().Height, e, c.epoch)
	}
	return nil
}

// MaxHandovers bounds the epochs between a set and a header: who is further behind begins with a newer set.
const MaxHandovers = 4096

// MaxProofBytes bounds an encoded Proof.
const MaxProofBytes = 64 << 20

// Proof is what leads from a set to a final header: the handovers between their epochs, in order, and the header's own
// finality.
type Proof struct {
	_         struct{} `cbor:",toarray"`
	Handovers []consensus.Handover
	Finality  consensus.Finality
}

// Encode gives the canonical bytes.
func (p *Proof) Encode() []byte { return canon.Must(p) }

// DecodeProof reads what Encode wrote and checks nothing but form and size.
func DecodeProof(raw []byte) (*Proof, error) {
	if len(raw) > MaxProofBytes {
		return nil, fmt.Errorf("proof of %d bytes: over the limit of %d", len(raw), MaxProofBytes)
	}
	var p Proof
	if err := canon.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	if len(p.Handovers) > MaxHandovers {
		return nil, fmt.Errorf("proof with %d handovers: over the limit of %d", len(p.Handovers), MaxHandovers)
	}
	return &p, nil
}

// Verify goes over the proof's handovers and checks its header, and leaves the client in the header's epoch. On an error,
// which wraps consensus.ErrNotFinal, the client is as it was.
func (c *Client) Verify(p *Proof) (*consensus.Header, error) {
	if len(p.Handovers) > MaxHandovers {
		return nil, fmt.Errorf("%w: %d handovers: at most %d", consensus.ErrNotFinal, len(p.Handovers), MaxHandovers)
	}
	at := *c
	for i := range p.Handovers {
		if err := at.Follow(&p.Handovers[i]); err != nil {
			return nil, fmt.Errorf("handover %d: %w", i+1, err)
		}
	}
	if err := at.Check(&p.Finality); err != nil {
		return nil, err
	}
	*c = at
	return p.Finality.Header(), nil
}
