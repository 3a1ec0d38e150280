// Package model is the voting and locking rules of Jolteon without messages, and an explicit-state checker for them: four
// validators of one weight, three that keep the rules and one that does anything, up to a bound of views.
//
// # What is modelled
//
// The fourth validator leads every view, signs every vote and timeout that helps it, and decides what reaches whom and
// when. So a block has a certificate as soon as two of the three voted for it, and every certificate can be shown to
// anyone or to nobody. A correct leader, a lossy network and a crash only narrow what it can do: a restart is no step of
// its own, because what the rules look at is durable before it is sent.
//
// What a replica does in a view is a vote, a timeout, both in this order, or neither. Its premises are certificates of
// views below and the timeouts of the view before, and, of its own past, that it has not acted in a later view. More acts
// of others never take a premise away. So every set of acts that can come about at all can come about view by view, and
// within a view replica by replica; the checker goes in that order only. TestOrderOfActsLosesNothing compares with every
// order.
//
// Of the past only this matters to the future: which block each view certified, which certificate the timeouts of the
// last view cannot deny, and the replicas' locks. Two states that agree in it are one state. Replicas are alike, so they
// are sorted by their locks.
//
// # What is checked
//
// In every state: a view certifies at most one block; and a block certified after a committed one descends from it, hence
// no two committed blocks are on different branches.
//
// # How the code is held to it
//
// The test TestReplicaFollowsTheModel adds replica 0's whole history to the state, and at every step offers a
// consensus.Replica with that history whatever could come next: what the model allows it must do, with the vote, the
// timeout, the lock and the commit that the model says, and what the model forbids it must not; as it is, and after a
// restart from what it saved.
package model
