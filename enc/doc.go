// Package enc is the replicated state machine of jobs, placement and agreement, and of who validates: ordered commands
// in, events out. It has no clock, no randomness, no goroutine and no floating point; time is the block's height and
// agreed timestamp.
//
// A ledger forks the state of the parent block, calls Begin once and ApplyTx (or Apply) for each transaction in order,
// and takes the events and Root for the header. Forks that lose are dropped. When a block commits, Changes of its fork
// is what to persist, and Load puts all leaves back at the next start.
//
// Everything lives in one authenticated map (internal/trie) under readable key prefixes, so that Begin touches only what
// is due and any leaf can be proven under the state root. A job is agreed in rounds: peers are placed (Place), commit
// to a statement without showing it, then reveal it; q equal ones are the seal.
//
// What it does not do: it runs nothing (enc/runner does), fetches nothing, and knows no block beyond its own height.
package enc
