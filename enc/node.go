package enc

import (
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Node is what the chain knows of an admitted executor.
type Node struct {
	_          struct{} `cbor:",toarray"`
	Peer       sign.PublicKey
	Operator   sign.PublicKey
	Registered bool // has sent RegisterNode; the fields down to Reason are from the last one
	Engines    []digest.Digest
	Policies   []digest.Digest
	CPUClass   string
	Slots      uint32
	Memory     uint64
	Labels     []string
	Draining   bool
	Reason     string
	UsedSlots  uint32
	UsedMemory uint64
	SeenMs     uint64 // agreed time of a recent command, to the minute
	Suspect    bool   // lost a lease and has not commanded since: placed last
	Strikes    uint32 // points at StrikeMs; StrikesAt gives today's
	StrikeMs   uint64
}

// What a dissent from a seal costs, and how it is forgotten: a strike is strikePoints, halved every strikeHalfMs.
const (
	strikePoints = 8
	strikeHalfMs = 3600_000
	maxStrikes   = 1 << 20
)

// StrikesAt is the node's strike points at agreed time nowMs, after decay.
func (n *Node) StrikesAt(nowMs uint64) uint32 {
	if nowMs <= n.StrikeMs {
		return n.Strikes
	}
	return n.Strikes >> min((nowMs-n.StrikeMs)/strikeHalfMs, 31)
}
