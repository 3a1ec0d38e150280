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
// segments of the write-ahead log (wal.go). Nothing leaves the node before the promise behind it is durable. If the log
// cannot be written, Run returns: a node that does not know what it has promised must not speak. Committed blocks go
// to the Store; a log segment is removed only after the Store has synced all blocks in it.
//
// # Paths
//
// Proposals and timeouts go to every validator on the fast path and on gossip as well, votes by gossip only where the
// fast path fails. Either path alone carries the chain.
//
// # Catch-up
//
// A node that is behind asks for blocks by id or by height, and executes them. One that is far behind, or finds that
// nobody keeps the next block any more, goes on from a snapshot of the state (Snapshots): the application and the store
// are set to its block, and a new replica begins there with the safety data of the old one.
//
// # What it does not do
//
// It learns nothing of what a transaction means, keeps no peers, exports no metrics (Stats gives the numbers), and does
// not watch the clock's drift.
package driver
