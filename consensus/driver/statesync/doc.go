// Package statesync keeps state snapshots on the disk, gives them to other nodes, and fetches theirs.
//
// # On the disk
//
// A Folder keeps the head and the chunks of each snapshot as files of a driver.Disk, named by height and id, and a mark that
// is made when they are all durable: a snapshot with its mark is whole. What a fetch has brought so far stays without one;
// every file of it is checked again when the fetch goes on, so it needs no order of writes. What is read is checked against
// the head in any case, so damage is found where it is, and the snapshot removed.
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
