// Package runner executes on a peer what the chain assigned to it.
//
// It is level-triggered: after every committed block it compares what the chain desires of this peer (executions to
// run, commits and reveals that are due, leases to renew, manifests to hold) with what it has, and acts on the
// difference. A command that got lost is therefore sent again at a later block, and a restart needs no replay: what was
// executed is found on disk by job, and what was not is executed again.
//
// Guarantees:
//   - An outcome is durable, with its output bytes, before the commit that binds the peer to it is sent.
//   - The salt of a commit follows from the node key, job and round, so that a restarted peer can always reveal.
//   - Neither outputs nor outcome leave the peer before the network revealed: Served answers no for them.
//   - A cancelled or lost execution is stopped, and its cage with it.
//
// It does not order, place or judge: that is enc. It does not know what runs: that is the Executor that node adapts to
// the cage.
package runner
