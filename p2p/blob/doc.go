// Package blob keeps files and folders on disk as blocks, each under its SHA-256.
//
// # Vocabulary
//
// A block is at most 2 MiB of bytes under their hash. A DAG is a tree of blocks: a file is cut into blocks of 1 MiB with
// nodes above them that list their hashes, a folder is a node that lists names (UnixFS, CIDv1, raw leaves, 1024 links).
// Its CID is the hash at its top. The digest of a file is the plain SHA-256 of its bytes (what sha256sum prints): that is
// what the chain, specs and receipts name. A file of at most 1 MiB is one block, and its digest is in its CID (Of); for a
// larger one the store knows which digest belongs to which CID, because it has read the file. docs/decisions/0020.
//
// A root is a file or folder that is here whole. A pin keeps a root, for a reason. A part is the root of a fetch that has
// not ended: its blocks are kept for a week, so that it can go on.
//
// # Layout
//
//	blocks/…   the blocks, a file each
//	views/…    whole files for those who need a path, made of blocks, gone at the next start
//	index      what the store holds and why, an append-only log
//
// # Guarantees
//
// A root is named only when all its blocks are here, verified and durable: a crash or a full disk never leaves half a
// blob under a name. A block is compared with its hash whenever it is read (for other peers, who compare it themselves, if
// it was not in the last minutes or its file has changed); one that rotted is removed, and what it belongs to counts as
// absent until it is fetched again. What is pinned is never collected, nor what a Writer relies on, nor what is being read.
// Everything made by others is bounded before memory is taken for it: blocks, names, depth, claimed sizes.
//
// A Store is safe for concurrent use by one process; two processes must not share a folder.
//
// # What it does not do
//
// It does not fetch: package p2p's Exchange does, and writes here.
package blob
