// Package trie is a persistent, authenticated, ordered map from byte strings to byte strings: a binary Patricia
// (crit-bit) tree whose nodes carry hashes, so that one digest commits to all entries and a short proof shows that
// a key is there, with its value, or is not.
//
// The shape depends on the entries alone, never on the order in which they came: every inner node branches at the
// first bit in which the keys below it differ. A key is read as nine bits a byte: a 1 for "there is a byte", then the
// byte from its highest bit; beyond its end a key reads as zeros. So a key may be a prefix of another, and the order of
// the tree is bytes.Compare.
//
// Hashes, with the domain separation of RFC 6962 section 2.1:
//
//	empty = SHA-256("")
//	leaf  = SHA-256(0x00 ‖ uint32(len(key)) ‖ key ‖ SHA-256(value))
//	inner = SHA-256(0x01 ‖ uint32(bit) ‖ left ‖ right)
//
// The branching bit stands in the hash because a verifier decides by it which way a key must go; that is what makes
// a proof of absence possible.
//
// A Map is owned by one goroutine. Forks share nodes and never write to what they share, so each fork may be used by
// another goroutine. What the package does not do: it keeps everything in memory, and persistence is the caller's
// (Diff says what changed, Set puts it back). Outline cuts a map into parts that can be handed on and checked one by one.
package trie
