// Package sim runs whole networks of consensus replicas in one goroutine from one seed, in two ways.
//
// Run is a timed network: messages are lost, repeated, delayed and reordered, the network splits, clocks are skewed and
// drift, nodes crash between any two steps of the shell and come back from what was durable, and keys are shared by
// twins, each an honest replica, which together equivocate. At the end the network becomes good, and the chain must go on.
//
// Play plays a Scenario of Twins (Bano et al., arXiv 2004.10617): a few views, each with a leader and a partition of its
// own, in which every order of messages may occur. Then the partitions are healed, and the chain must go on within
// Scenario.Bound views.
//
// In both a referee looks at everything signed, certified and committed as it happens, and the run ends at once when two
// commits or two certificates contradict each other. Every run leaves a trace, whose digest is the same whenever the
// seed is: a failing seed replays bit for bit.
//
// Subpackage model explores the rules of voting, locking and timeouts exhaustively for four validators, one of them
// arbitrary: 28487 states between views and 8676481 acts of a replica in six views, 150056 and 58836895 in seven (make
// sim). It replays every history of two views (three in make sim) on a consensus.Replica, which must vote, lock, time out
// and commit as the model says, and in the view after do nothing that the model forbids, before and after a restart.
// Subpackage mutants breaks the rules one by one in a copy of package consensus and demands that the others notice.
package sim
