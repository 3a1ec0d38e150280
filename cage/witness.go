package cage

import (
	"encoding/binary"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
)

// CheckpointEvery is the number of events from one checkpoint to the next.
const CheckpointEvery = 1024

// Chain is the witness of a strict run while it grows: hᵢ = H(hᵢ₋₁ ‖ kind ‖ thread ‖ payload), and after each
// CheckpointEvery events a checkpoint, hᵢ itself, under an RFC 6962 tree. It keeps no events. Not for concurrent use.
type Chain struct {
	h0, h digest.Digest
	count uint64
	tree  merkle.Frontier
}

// NewChain begins at h0, which is Spec.Genesis.
func NewChain(h0 digest.Digest) *Chain { return &Chain{h0: h0, h: h0} }

// Add appends e, which must have passed its Check, and reports whether it made a checkpoint: End is it.
func (c *Chain) Add(e Event) bool {
	c.h = link(c.h, &e)
	c.count++
	if c.count%CheckpointEvery != 0 {
		return false
	}
	c.tree.Append(c.h[:])
	return true
}

func link(h digest.Digest, e *Event) digest.Digest {
	var head [8]byte
	binary.BigEndian.PutUint32(head[:], uint32(e.Kind))
	binary.BigEndian.PutUint32(head[4:], e.Tid)
	return digest.Sum("docklock/event/1", h[:], head[:], e.Payload)
}

// Count is the number of events added.
func (c *Chain) Count() uint64 { return c.count }

// End is hᵢ of the last event, or h0.
func (c *Chain) End() digest.Digest { return c.h }

// Root is the witness of a run that had these events and ended in r, whose outputs are sorted.
func (c *Chain) Root(r *Result) digest.Digest {
	count, tree := binary.BigEndian.AppendUint64(nil, c.count), c.tree.Root()
	return digest.Sum("docklock/witness/strict/1", c.h0[:], r.code(), []byte(r.Killed), canon.Must(r.Outputs), count, c.h[:], tree[:])
}

// Finish sorts r's outputs and sets its witness.
func (c *Chain) Finish(r *Result) {
	r.sortOutputs()
	r.Witness = c.Root(r)
}
