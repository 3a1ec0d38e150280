package api

// DAG is a file or folder in the node's blob store, or one that is being fetched.
type DAG struct {
	CID     string   `json:"cid"`
	Kind    string   `json:"kind,omitempty"` // "file" or "folder"; nothing while it is fetched
	Bytes   uint64   `json:"bytes"`          // of the files in it; while it is fetched, what it may grow to
	SHA256  string   `json:"sha256,omitempty"`
	Whole   bool     `json:"whole"`             // every block is here
	Pins    []string `json:"pins"`              // why it is kept
	Fetched uint64   `json:"fetched,omitempty"` // of a fetch under way: bytes of blocks that are here
	Total   uint64   `json:"total,omitempty"`   // and of all blocks, as the one at the top says; 0 before that is here
}

// DAGList is what the node's blob store holds.
type DAGList struct {
	DAGs  []DAG     `json:"dags"`
	Usage BlobUsage `json:"usage"`
}

// MaxBlocksAsked bounds the CIDs of one question after blocks.
const MaxBlocksAsked = 512

// BlocksAsked asks which blocks the node lacks.
type BlocksAsked struct {
	CIDs []string `json:"cids"` // at most MaxBlocksAsked
}

// BlocksMissing answers it.
type BlocksMissing struct {
	Missing []int `json:"missing"` // positions in the question, in order
}

// BlobUsage is the room that the blob store takes.
type BlobUsage struct {
	Blobs       int    `json:"blobs"`
	UsedBytes   uint64 `json:"used_bytes"`
	PinnedBytes uint64 `json:"pinned_bytes"`
	QuotaBytes  uint64 `json:"quota_bytes"`
}

// Collected answers a collection.
type Collected struct {
	FreedBytes uint64    `json:"freed_bytes"`
	Usage      BlobUsage `json:"usage"`
}
