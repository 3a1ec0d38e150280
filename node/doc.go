// Package node is the composition root: it builds every room of one peer, wires them through small adapters, runs them,
// and stops them in reverse order. It holds no rule of its own: what may happen is decided in consensus and enc, how it
// happens in the edge packages.
package node
