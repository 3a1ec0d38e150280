// Package receipt says what was done, and proves it to someone who was not there.
//
// A Statement is what the agreeing executors of a job sign: the work, its inputs and its outcome, as an in-toto
// statement in one deterministic spelling. A Seal is the chain's event that names the statement, the peers assigned
// and those who agreed. A Receipt holds both, with the proof that the seal is in a block (Inclusion) and that the block
// is final (Certificate). Verify checks it against a TrustFile, which holds what the verifier believes beforehand, with
// no network, no node and no clock.
//
// An audit file is the same for the whole history: AuditWriter writes it, VerifyAudit rebuilds every event root and
// names the line that was touched.
//
// Guarantees: every value of a receipt is checked, so a changed bit makes it invalid; what cannot be checked is
// reported as not checked, and never counts as valid. What a receipt does not prove: that the agreeing peers did not
// collude, and, for a relaxed policy, that running the work again would give the same bytes.
package receipt
