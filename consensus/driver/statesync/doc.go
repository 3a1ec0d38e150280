// Package statesync keeps state snapshots on the disk, gives them to other nodes, and fetches theirs.
//
// # On the disk
//
// A Folder holds one folder a snapshot, named by height and id: a file with the head and one a chunk. It is written under
// another name, synced, and renamed when it is whole, so a snapshot that is there is a durable one. What a fetch has
// brought so far stays in a folder with the ending .part; every file of it is checked again when the fetch goes on, so
// it needs no order of writes and no marks of its own.
//
// # Between nodes
//
// Four requests: the offers of a node, a head by height and id, a chunk by index, and the handovers from an epoch on. A
// Fetcher asks many nodes for offers, takes the highest that it can, follows the handovers to its epoch, checks the head, and
// then asks all that offer the same for chunks at once. Each chunk is
// checked when it comes: who gave a wrong one is reported and asked for nothing more. All that a stranger sends is bounded
// before it is looked at.
//
// # What it does not do
//
// It makes no state of what it fetched, and decides neither when to fetch nor when to make a snapshot: the driver and the
// node do.
package statesync
