// Package driver is the shell around consensus.Replica: the goroutine that owns it, the log that makes its promises
// durable, the sockets' and the application's side of a step, timers, block building, and catch-up.
//
// # Shape
//
// Deliver takes bytes from the network on any goroutine, drops what was seen, decodes and verifies the rest, and puts it
// in bounded queues. Run's goroutine, the owner, takes from the queues, executes blocks, steps the replica, and then, in
// this order: writes what the step promised to the log with one fdatasync, sends, commits, arms its timer. Beside it, the
// syncer asks peers for blocks that are missing, which the owner executes; one goroutine makes batches, and others fetch
// those that are missing.
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
// # Transactions
//
// A transaction that came to this node first goes to the validators in a batch (spread.go): at once when it is quiet,
// otherwise with those of 10 ms or 256 KiB. Leaders name batches in an Outline (compose.go), or, while the transactions
// are few or the view before has failed, carry them in the Proposal. An outline is filled from the batches at hand, and
// what is missing is fetched by digest from the proposer or who has voted (gather.go). The header's root binds the
// transactions in either form: a filled outline is a block like any other, and it is with all its transactions that a
// block goes into the log before this node votes, into the Store, and to those who catch up.
//
// Config.Check judges every transaction once on every node, in groups, on all cores, outside of the owner (checks.go). A
// validator votes for no block with one that is not sound, or that stands in the 32 blocks before it (once.go).
//
// Batches, outlines and fetches are bounded in number, in bytes for each node, and in age (batches.go, gather.go).
//
// # Paths
//
// Proposals and timeouts go to every validator on the fast path and on gossip as well, votes by gossip only where the
// fast path fails, and batches only where it reaches no quorum. Either path alone carries the chain.
//
// # Catch-up
//
// A node that is behind asks for blocks by id or by height, and executes them. One that is far behind, or is told that
// the next block is not kept any more, goes on from a snapshot of the state (Snapshots): the application and the store
// are set to its block, and a new replica begins there with the safety data of the old one. Blocks are given whole, with
// the transactions of the batches that they named: nobody who comes late asks for batches, and pruning a block leaves none.
//
// # What it does not do
//
// It learns nothing of what a transaction means, keeps no peers, exports no metrics (Stats gives the numbers), and does
// not watch the clock's drift.
package driver
