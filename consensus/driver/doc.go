// Package driver is the shell around consensus.Replica: the goroutine that owns it, the log that makes its promises
// durable, the sockets' and the application's side of a step, timers, block building, and catch-up.
//
// # Shape
//
// Deliver takes bytes from the network on any goroutine, drops what was seen, decodes and verifies the rest, and puts it
// in bounded queues. Run's goroutine, the owner, takes from the queues, executes blocks, steps the replica, and then, in
// this order: writes what the step promised to the log with one fdatasync, sends, commits, arms its timer. A third
// goroutine, the syncer, asks peers for blocks that are missing; the owner executes what it brings.
//
// A node whose validator key is in the set of the epoch votes. Another one follows: it verifies certificates, executes and
// commits, and sends nothing but requests. A key that leaves the set, or comes into it, makes a node the other, while it
// runs.
//
// # Durability
//
// The data folder holds LOCK (held by flock while the node runs), VALIDATOR (the key that the folder belongs to) and the
// segments of the write-ahead log (wal.go, walrecord.go), all but the lock on a Disk. Nothing leaves the node before the
// promise behind it is durable. If the log cannot be written, Run returns: a node that does not know what it has promised
// must not speak. Committed blocks go to the Store; a log segment is removed only after the Store has synced all blocks in
// it.
//
// A torn last record was never acknowledged and is ignored; a log that is damaged otherwise, or gone from a folder that was
// in use, is refused, and so are blocks that the Store finds damaged. Blocks can be fetched again from peers; what this
// node has signed cannot, so a log is never begun anew in its place. What no file shows, a second node with the same key
// or a log from an old backup, shows in what others send: a node that hears its key say what it has not said stops
// (voice.go).
//
// # Paths
//
// Proposals and timeouts go to every validator on the fast path and on gossip as well, votes by gossip only where the
// fast path fails. Either path alone carries the chain.
//
// # What it does not do
//
// It learns nothing of what a transaction means, keeps no peers, exports no metrics (Stats gives the numbers), and does
// not watch the clock's drift.
package driver
