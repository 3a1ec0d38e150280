// Package blob keeps content on disk under its plain SHA-256 (what sha256sum prints).
//
// # Layout
//
//	blobs/ab/abcdef…   one blob, mode 0444, named by its digest
//	blobs/tmp/…        bytes on their way in; swept at Open
//	blobs/partial/…    a fetch that can be resumed, named by the digest it should have
//	blobs/pins         who needs what, an append-only log
//
// # Guarantees
//
// A blob appears under its name only when its bytes are whole, verified and synced, file and folder: a crash or a full
// disk never leaves half a blob. What is pinned is never collected. A Store is safe for concurrent use by one process;
// two processes must not share a folder.
package blob
