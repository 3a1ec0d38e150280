package receipt

import (
	"crypto/sha256"
	"fmt"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
)

// Sides of a sibling in an inclusion proof.
const (
	SideLeft  = "left"
	SideRight = "right"
)

// Inclusion proves that an event is in a block's event tree (RFC 6962). Unlike the RFC's audit path it names each
// sibling's side instead of the leaf's index and the tree's size: several sizes fit one path, and a receipt holds no
// number that could be changed unseen.
type Inclusion struct {
	Event []byte    `json:"event"` // canonical bytes of an Event of KindJobSealed
	Path  []Sibling `json:"path"`  // from the leaf upwards
}

// Sibling is one step of an inclusion proof.
type Sibling struct {
	Side   string        `json:"side"`
	Digest digest.Digest `json:"digest"`
}

// NewInclusion proves events[i] among a block's events, in canonical bytes. It panics if i is not in range.
func NewInclusion(events [][]byte, i int) Inclusion {
	in := Inclusion{Event: append([]byte{}, events[i]...), Path: []Sibling{}}
	fn, sn := uint64(i), uint64(len(events)-1) // as in RFC 9162 section 2.1.3.2
	for _, p := range merkle.Proof(events, i) {
		if fn&1 == 1 || fn == sn {
			in.Path = append(in.Path, Sibling{SideLeft, p})
			for fn&1 == 0 && fn != 0 {
				fn >>= 1
				sn >>= 1
			}
		} else {
			in.Path = append(in.Path, Sibling{SideRight, p})
		}
		fn >>= 1
		sn >>= 1
	}
	return in
}

// root is the event root that the proof leads to.
func (in *Inclusion) root() (digest.Digest, error) {
	r := merkle.Leaf(in.Event)
	for i, s := range in.Path {
		switch s.Side {
		case SideLeft:
			r = parent(s.Digest, r)
		case SideRight:
			r = parent(r, s.Digest)
		default:
			return r, fmt.Errorf("inclusion proof: step %d: side %.20q: want left or right", i, s.Side)
		}
	}
	return r, nil
}

func parent(l, r digest.Digest) digest.Digest {
	var b [1 + 2*digest.Size]byte
	b[0] = 1
	copy(b[1:], l[:])
	copy(b[1+digest.Size:], r[:])
	return sha256.Sum256(b[:])
}
