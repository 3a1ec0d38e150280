// Package load drives a chain over its validators' RPC: signed transactions of 256 bytes, sent at a fixed rate whether
// or not the chain keeps up (an open loop), and what became of them.
//
// # What is measured
//
// A transaction's latency runs from when it was due, not from when the loader got round to it, so that a validator that
// makes the loader wait does not hide it; it ends when the first target announces the block that holds it. A transaction
// that was due and is in no block when the run ends counts as slower than all others. Throughput is what the blocks after
// the first and up to the last of the window hold, over the time between those two: whole blocks, whatever their interval.
//
// All transactions are made and signed before the clock starts, and blocks are fetched after it has stopped, so that
// neither takes processor time from validators on the same machine while they are measured.
package load
