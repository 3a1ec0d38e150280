// Package mempool keeps the transactions that wait for a block. It never learns what a transaction means: a check
// function, given by the node, tells whose a transaction is, until when it may be ordered, and whether it is sound.
//
// Guarantees:
//
//   - A transaction is known by the hash of all of its bytes, the signature included (ID), so that a forged copy never
//     suppresses the real one. A check comes before a transaction takes any room.
//   - Every bound is a number in Config: transactions and bytes in all, per client, tokens per client and second, and
//     the ids of committed transactions that are remembered.
//   - Reap goes round the clients, one transaction each, so that no client's flood delays another's by more than a
//     round. A client's own transactions keep their order.
//   - Priority transactions (those of admitted nodes: commits and reveals of executions) have a lane of their own, come
//     first, are not rate limited, and have room that others cannot take.
//
// What came to this node first (Offer) is handed out once for a batch (Take), round the clients in the same way; what
// others passed on (Add) is only for blocks.
//
// A pool is in memory only: whoever must not lose a transaction keeps it and adds it again after a restart.
package mempool
