package enc

import (
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Manifest is the bytes that versions of data sets and images stand on, and who holds them. An image is its own manifest:
// one blob, itself.
type Manifest struct {
	_        struct{} `cbor:",toarray"`
	Digest   digest.Digest
	Blobs    []BlobRef
	Wanted   uint32           // how many holders the publisher asked for
	Assigned []sign.PublicKey // peers that are to fetch and pin the bytes, in the order of placement
	Held     []sign.PublicKey // peers that have attested, sorted
	Named    uint32           // versions that stand on it; with the last of them it is forgotten
	Images   uint32           // of these, versions of images
	Complete bool             // EventHeld was announced: as many hold it as can be had of Wanted
}

// Hold is a manifest that a peer is to hold, for the node's fetcher.
type Hold struct {
	Manifest digest.Digest
	Blobs    []BlobRef
	Held     bool // the peer has attested already
}
