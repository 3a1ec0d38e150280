// Package rpc is the part of CometBFT's RPC that a load needs, both ends of it: transactions sent without waiting for
// their fate, block events over a WebSocket, blocks by height, and how high the chain is. bpi-kv serves it and CometBFT
// serves it, so that one client drives both and both pay the same for being spoken to.
//
// Ours adds fields that CometBFT's clients do not look at: who proposed a block, and how many times the validator had
// synced its log when it committed it.
package rpc
