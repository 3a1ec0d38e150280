// Package consensus is BPI: the Jolteon protocol (chained HotStuff, two-chain commit, timeout certificates) as a pure
// state machine that orders opaque transactions into a chain of certified blocks.
//
// # Vocabulary
//
// A view is one attempt of one leader to extend the chain. A quorum certificate (QC) is a vote for a block by more than
// two thirds of the weight; a timeout certificate (TC) is as many promises that a view is given up. A block carries the
// QC of its parent, its justify. Block and header are executed before they are voted for, so a QC covers results too.
//
// # Shape
//
// Bytes are decoded (DecodeMessage), verified (Verifier), and stepped:
//
//	replica, err := consensus.New(consensus.Config{Key: key, Verifier: verifier}, recovery)
//	out := replica.Start()
//	for {
//		// as Output says: store, save, send, commit, arm the timer, build a block, fetch
//		out, err = replica.Step(<-inputs)
//	}
//
// The shell handles a proposal like this: Verifier.Proposal; Replica.Check; on ErrUnknownParent, step its Certificates,
// keep it, and fetch what Output.Need names; on nil, execute the block, compare the roots, step the proposal. A block
// whose TimestampMs is more than the genesis limit ahead of the shell's clock is held back until it is not: that rule
// needs a clock, so it is the shell's.
//
// Errors of Step: ErrRefused, the input is not acceptable, drop it; ErrUnknownParent, a block came before its parent;
// ErrBroken, an invariant of the protocol is violated (two final blocks at one height, say), stop the node. What is
// merely late is dropped with no error.
//
// # Safety rules, each with a test of its name in rules_test.go
//
// One vote in a view. A replica votes in view v only if v is its current view and above that of its last vote (Jolteon,
// figure 2, "vote"; DiemBFT v4, section 3.5, safe_to_vote: round above the highest vote round).
//
// No vote after a timeout. Having timed out in v it votes in no view up to v (DiemBFT v4, safe_to_timeout raises the
// highest vote round). A vote in v and then a timeout in v is normal.
//
// Extend the newest. It votes for a block of view v only if the block's justify is of view v-1, or a TC of view v-1 comes
// along none of whose timeouts names a QC above the justify (Jolteon, section 3, voting rule, both cases).
//
// Lock. Voting for a block locks the view of its justify; a timeout never names a QC below the lock (DiemBFT v4,
// safe_to_timeout: qc_round not below the 1-chain round).
//
// One timeout in a view, and only in the current one, which it was entered by a QC or TC of the view before (DiemBFT v4,
// safe_to_timeout). It is sent again unchanged as often as the timer runs out.
//
// One proposal in a view, sent again unchanged after a restart.
//
// Two-chain commit. A vote for a block of view v whose parent is of view v-1 names the parent as CommitRef; a QC of such
// votes commits the parent and all before it (Jolteon, section 3, commit rule: two adjacent certified blocks of
// consecutive rounds). Our deviation: the reference stands inside the vote, so that one certificate proves finality.
//
// Durability. What the rules remember is SafetyData; the shell makes it durable before anything that depends on it is
// sent. High QC and high TC are saved along with it but never wait for the disk alone: forgetting them costs time only,
// because the lock is in what was saved with the vote.
//
// # Liveness rules
//
// A QC or TC of view v leads into view v+1 whoever sent it (Jolteon, advance round). Votes and timeouts go to every
// validator, so no leader can hide a certificate. Timeouts of a third of the weight or more in the current view make a
// replica join without waiting for its own timer, since one of them is honest (Bracha's amplification). The timeout
// of a validator in an earlier view is answered with the high QC and high TC, once in a view and timer.
//
// # Timers
//
// EnterView starts a view; the shell then arms one timer: timeout(Timeouts), where timeout grows with the number of
// consecutive failed views. Every time it runs out the shell steps TimerExpired and arms it again. The chain pauses
// between blocks when it is idle, and a pause is no fault: while the shell knows of no work (Replica.HasWork is false
// and its mempool is empty) it arms genesis.BlockTimeMs + timeout; as soon as work appears in a view without a proposal
// it re-arms to timeout counted from then. A leader answers Propose at once if there is work and otherwise BlockTimeMs
// after the view began. One validator that alone knows of work and of a silent leader times out alone; gossip brings the
// work to the others, and their timeouts or a third of the weight's complete the certificate.
//
// # Leaders
//
// Leader is a function of the view and of the chain that the block extends; see leaders.go.
//
// # Epochs
//
// A set of validators reigns for an epoch. A block whose header names another set for the next one closes it: until that
// block is committed, only empty blocks follow, and once it is, the replica is Closed. The shell then makes a Verifier of
// the next epoch (After) and a new Replica with the closing block as its root. Views go on from the closing block's; what
// was signed in one epoch counts for nothing in another, so the safety data of an epoch begin anew, and the shell makes
// the closing block durable before it promises anything in the next epoch. A Handover proves the change to strangers.
// See epochs.go.
//
// # Signature schemes
//
// Genesis says how votes and timeouts are signed: by Ed25519, and a certificate lists its signers' signatures, or by
// BLS12-381, and it carries their sum. Everything that knows the difference is in scheme.go; a validator set is of one scheme,
// and every set of a chain of the same.
//
// # Evidence
//
// Two votes or two proposals of one view, or a vote in a view with a timeout of it that denies the vote, convict their
// signer, whenever within a window of views the second one comes. See evidence.go.
//
// # What it does not do
//
// It decides on no validator set (the application does, and Header.NextVals says so), keeps no committed blocks, fetches
// nothing, and holds no clock.
package consensus
