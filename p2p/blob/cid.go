package blob

import (
	"encoding/binary"
	"fmt"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/metanode/metanode/internal/digest"
)

// CID names a DAG, or a block of one, by the SHA-256 of the block at its top.
type CID = cid.Cid

// Raw is the codec of a block that is bytes of a file and nothing else.
const Raw = cid.Raw

// Bounds of what is stored, sent and read.
const (
	// MaxBlock bounds a block: the largest that Bitswap carries.
	MaxBlock = 2 << 20
	// chunk is how a file is cut.
	chunk = 1 << 20
	// maxCIDText bounds a CID as text.
	maxCIDText = 128
	// maxCIDBytes bounds a CID in binary: version, codec, hash code and length, 32 bytes.
	maxCIDBytes = 40
)

// Of is the CID of a blob of at most 1 MiB: it is one block, so its digest is in the name.
func Of(d digest.Digest) CID {
	h, err := mh.Encode(d[:], mh.SHA2_256)
	if err != nil {
		panic(err) // the code and the length are fixed
	}
	return cid.NewCidV1(cid.Raw, h)
}

// ParseCID reads a CID as people write it.
func ParseCID(text string) (CID, error) {
	if len(text) > maxCIDText {
		return cid.Undef, fmt.Errorf("a CID of %d characters: want at most %d", len(text), maxCIDText)
	}
	c, err := cid.Decode(text)
	if err != nil {
		return cid.Undef, fmt.Errorf("%q is no CID (want one as bafy… or bafk…): %w", text, err)
	}
	return c, CheckCID(c)
}

// ReadCID reads a CID in binary, which must be all of b.
func ReadCID(b []byte) (CID, error) {
	if len(b) > maxCIDBytes {
		return cid.Undef, fmt.Errorf("a CID of %d bytes: want at most %d", len(b), maxCIDBytes)
	}
	c, err := cid.Cast(b)
	if err != nil {
		return cid.Undef, err
	}
	return c, CheckCID(c)
}

// CheckCID refuses names of what this package does not read: it knows SHA-256, raw blocks and UnixFS nodes.
func CheckCID(c CID) error {
	if !c.Defined() {
		return fmt.Errorf("no CID is given")
	}
	p := c.Prefix()
	if p.MhType != mh.SHA2_256 || p.MhLength != digest.Size {
		return fmt.Errorf("CID %s: its hash is no SHA-256 of 32 bytes, the only one that is read here", c)
	}
	if p.Codec != cid.Raw && p.Codec != cid.DagProtobuf {
		return fmt.Errorf("CID %s: its codec is neither raw nor dag-pb, so it is no file or folder; add it anew with: bpi blob add", c)
	}
	return nil
}

// hashOf is the SHA-256 in a checked CID.
func hashOf(c CID) (d digest.Digest) {
	h := c.Hash()
	copy(d[:], h[len(h)-digest.Size:])
	return d
}

// isRaw reports whether the block is bytes of a file and nothing else.
func isRaw(c CID) bool { return c.Type() == cid.Raw }

// mark is what the collector remembers of a block: eight bytes of its hash. Two blocks with one mark are kept or let go
// together, which costs space and never content.
func mark(d digest.Digest) uint64 { return binary.BigEndian.Uint64(d[:8]) }
