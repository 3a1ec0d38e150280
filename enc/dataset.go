package enc

import (
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Dataset is one version of a named data set.
type Dataset struct {
	_        struct{} `cbor:",toarray"`
	Name     string
	Version  uint64 // 1 for the first
	Owner    sign.PublicKey
	Manifest digest.Digest
	Rows     uint64
	Bytes    uint64 // of all blobs
	Height   uint64 // block that published it
	TimeMs   uint64
}

// Manifest is the bytes that data sets stand on, and who holds them.
type Manifest struct {
	_        struct{} `cbor:",toarray"`
	Digest   digest.Digest
	Blobs    []BlobRef
	Wanted   uint32           // how many holders the publisher asked for
	Assigned []sign.PublicKey // peers that are to fetch and pin the bytes, in the order of placement
	Held     []sign.PublicKey // peers that have attested, sorted
	Complete bool             // "dataset-held" was announced: as many hold it as can be had of Wanted
}

// Hold is a manifest that a peer is to hold, for the node's fetcher.
type Hold struct {
	Manifest digest.Digest
	Blobs    []BlobRef
	Held     bool // the peer has attested already
}

// datasetHead is the owner and latest version of a name.
type datasetHead struct {
	_      struct{} `cbor:",toarray"`
	Owner  sign.PublicKey
	Latest uint64
}

// blobRecord says that a blob is known to the chain.
type blobRecord struct {
	_        struct{} `cbor:",toarray"`
	Bytes    uint64
	Manifest digest.Digest // the first that named it
}
