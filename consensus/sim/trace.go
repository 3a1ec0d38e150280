package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/metanode/metanode/internal/digest"
)

// The kinds of line in a trace.
const (
	traceSend    = 's' // a node sent a message
	traceReceive = 'r' // a node received one
	traceTimer   = 't' // a node's timer ran out
	traceEnter   = 'e' // a node entered a view
	traceCommit  = 'c' // a node committed a block
	traceCrash   = 'x' // a node crashed
	traceBoot    = 'b' // a node started
	traceDrop    = 'd' // the network lost what one node sent another
)

// trace is everything that happened in a run, in order, as one digest: two runs are the same run if theirs are equal.
type trace struct {
	h     hash.Hash
	lines int
}

func newTrace() *trace { return &trace{h: sha256.New()} }

// note adds a line: its kind, the node, a number that the kind gives a meaning, and the digest of what it is about.
func (t *trace) note(kind byte, node int, number uint64, about digest.Digest) {
	var b [1 + 8 + 8 + len(about)]byte
	b[0] = kind
	binary.BigEndian.PutUint64(b[1:], uint64(node))
	binary.BigEndian.PutUint64(b[9:], number)
	copy(b[17:], about[:])
	t.h.Write(b[:])
	t.lines++
}

func (t *trace) digest() digest.Digest {
	var d digest.Digest
	t.h.Sum(d[:0])
	return d
}
