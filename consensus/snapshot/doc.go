// Package snapshot is the form of a state snapshot and its proof: what a node that never executed the chain needs to go
// on from one of its blocks.
//
// # The proof
//
// A snapshot is a Head and chunks of the state's entries. Nothing in it is believed:
//
//	certificate   the validators' quorum certificate makes the block of the Head final (consensus.Finality)
//	block         its header names the state root, and the root and number of all block ids before it
//	outline       the top of the state's tree, hashed up to the state root (trie.Outline): so each part's hash hangs under it
//	chunk         neighbouring parts of the outline, hashed up to what the outline says (trie.Outline.CheckParts)
//	history       the frontier of the log of block ids: its root and count are the header's
//	recent        the headers before the block that the leader rule looks at, each the parent of the next
//
// So a chunk is proved by itself the moment it comes, from whomever, and there is no manifest to be believed until the
// end. The outline is a function of the state, so nodes that make a snapshot at one height make the same one, and its
// chunks can come from several of them. Only what an outline says of its parts' sizes is a claim; a false one changes the
// snapshot's ID, so it never makes an honest node's chunk look wrong.
//
// # What it does not do
//
// It holds no set of validators: the Verifier that Check is given is that of the block's epoch, which whoever calls has
// reached by the handovers before it. There is none of a block that ends an epoch. It knows nothing of what
// the entries mean, of disks, or of peers; consensus/driver/statesync does.
package snapshot
