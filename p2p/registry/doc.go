// Package registry is what the mesh knows of its services: the records, the rules that make one acceptable, and the
// table of those in force. It opens no connection, and its only clock is the one that it is given.
//
// # Vocabulary
//
// A service is a name with a major version, such as sql/1; an offer is one peer's readiness to provide it. A description
// is everything that one peer offers, signed by that peer as a libp2p record.Envelope of a domain of its own. Its seq
// orders the descriptions of one peer, and it expires at most MaxLifetime after it was signed. A description without
// offers takes back what the last one said.
//
// # Guarantees
//
// Open returns a description only if it is the one spelling of a record that the peer named in it signed for this
// network, within every bound. Such a refusal is ErrInvalid and does not depend on a clock: no honest peer passes such
// bytes on. What a clock decides (ErrExpired, ErrFuture) and what is merely old (Stale) is kept apart, since an honest
// peer may pass that on for a moment.
//
// # What it does not do
//
// A description says what a peer claims. That the chain knows the peer is for the caller to ask, see Table.Allow, and
// that it answers shows when it is called.
package registry
