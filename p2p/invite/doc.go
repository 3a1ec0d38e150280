// Package invite holds the signed documents by which a peer enters a private network and by which it is put out again.
// It is pure: no clock, no network, no files.
//
// # Vocabulary
//
//   - Invitation: an inviter's signed word that a peer may be let in until it expires. It is public.
//   - Ticket: an Invitation with the secret that goes with it, in the text form that people pass on. Whoever has the
//     ticket may enter, unless the invitation names one peer: then it has no secret, and only that peer may.
//   - Admission: an Invitation bound to one peer by the ticket's secret. It is what a peer shows. It is of no use to
//     anybody else, so members pass it on to each other.
//   - Revocation: an inviter's signed word that an invitation holds no more.
//
// # Guarantees
//
// Each document has one encoding, and the decoders take no other. What an admission gives ends when its invitation does;
// so revocations can be forgotten then, and what members must remember is bounded. See docs/decisions/0019.
package invite
