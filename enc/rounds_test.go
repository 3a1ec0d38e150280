package enc

import (
	"testing"

	"github.com/metanode/metanode/internal/sign"
)

func TestJobIsSealedAtQuorumAndLateRevealIsRecorded(t *testing.T) {
	c := ready(t, 4, 2)
	id := c.placed(testJob(1, 3, 2))
	j := c.answer(id, "42", "42", "42")
	c.refused(0)
	if j.Status != StatusSealed {
		t.Fatalf("status %s, want sealed", j.Status)
	}
	seals := c.seals()
	if len(seals) != 1 || len(seals[0].Agreeing) != 2 || seals[0].Placement.Q != 2 || len(seals[0].Placement.Peers) != 3 {
		t.Fatalf("seals %+v", seals)
	}
	if seals[0].Statement != c.statement(j, "42").Digest() {
		t.Error("the seal names another statement")
	}
	for _, x := range j.Executions {
		if x.Observed != ObservedMatched {
			t.Errorf("execution is %s, want matched", x.Observed)
		}
		if !sign.VerifyBoth(x.Peer, c.statement(j, "42").SigningBytes(), x.Sig) {
			t.Error("the state does not keep the executor's signature")
		}
		n, _ := c.s.Node(x.Peer)
		if n.UsedSlots != 0 || n.UsedMemory != 0 {
			t.Errorf("node still counts %d slots, %d bytes", n.UsedSlots, n.UsedMemory)
		}
		if len(NewDesk(x.Peer).Assignments(c.s)) != 0 {
			t.Error("the peer is still assigned")
		}
	}
	if c.s.HasWork(c.at.TimestampMs) {
		c.block()
		if c.s.HasWork(c.at.TimestampMs) {
			t.Error("an idle chain keeps having work")
		}
	}
}

func TestDissentFromSealIsStruckAndStrikesDecay(t *testing.T) {
	c := ready(t, 4, 2)
	id := c.placed(testJob(1, 3, 2))
	j := c.answer(id, "wrong", "42", "42")
	if j.Status != StatusSealed {
		t.Fatalf("status %s, want sealed", j.Status)
	}
	bad := j.Executions[0].Peer
	n, _ := c.s.Node(bad)
	if now := c.at.TimestampMs; n.StrikesAt(now) != strikePoints || n.StrikesAt(now+strikeHalfMs) != strikePoints/2 || n.StrikesAt(now+10*strikeHalfMs) != 0 {
		t.Errorf("strikes %d", n.StrikesAt(now))
	}
	if v := c.seals()[0]; len(v.Dissent) != 1 || v.Dissent[0] != bad {
		t.Errorf("seal %+v", v)
	}
	// The struck peer comes last: with three others free it gets nothing.
	j = c.job(c.placed(testJob(2, 3, 2)))
	if j.Execution(bad) != nil {
		t.Error("a struck peer was placed before others")
	}
}

func TestLateDissentIsStruckAndSealStays(t *testing.T) {
	c := ready(t, 4, 2)
	id := c.placed(testJob(1, 3, 2))
	j := c.answer(id, "42", "42", "wrong")
	if x := j.Executions[2]; j.Status != StatusSealed || x.Observed != ObservedMismatched || !x.LateReveal {
		t.Fatalf("status %s, execution %+v", j.Status, x)
	}
	if n, _ := c.s.Node(j.Executions[2].Peer); n.Strikes == 0 {
		t.Error("no strike")
	}
	if len(c.seals()) != 1 {
		t.Error("the seal was opened again")
	}
}

func TestDissentAddsPeersAndEarlierPeersRecommit(t *testing.T) {
	c := ready(t, 5, 2)
	id := c.placed(testJob(1, 3, 2))
	first := part(c.job(id))
	j := c.answer(id, "a", "b", "c")
	if j.Status != StatusQueued {
		t.Fatalf("status %s, want queued", j.Status)
	}
	c.block()
	c.block()
	j = c.job(id)
	if j.Status != StatusRunning || j.Round != 2 || j.RoundR != 5 || j.RoundQ != 3 {
		t.Fatalf("status %s round %d: %d of %d", j.Status, j.Round, j.RoundQ, j.RoundR)
	}
	for _, p := range first {
		x := j.Execution(p)
		if x.Round != 2 || x.Added != 1 || x.Attempt != 1 || x.HoldsSlot {
			t.Errorf("earlier peer's execution %+v", x)
		}
	}
	j = c.answer(id, "a", "b", "c", "a", "a")
	if j.Status != StatusSealed || c.seals()[0].Round != 2 || len(c.seals()[0].Agreeing) != 3 {
		t.Fatalf("status %s", j.Status)
	}
}

func TestFiveDifferentRevealsAreNondeterministic(t *testing.T) {
	c := ready(t, 5, 2)
	j := c.answer(c.placed(testJob(1, 5, 3)), "a", "b", "c", "d", "e")
	if j.Status != StatusFailed || j.Failure != FailNondeterministic {
		t.Fatalf("status %s %s", j.Status, j.Failure)
	}
	for _, n := range c.s.Nodes() {
		if n.Strikes != 0 {
			t.Error("a strike without a seal")
		}
	}
}

func TestDissentWithoutAnotherPeerFailsWithoutQuorum(t *testing.T) {
	c := ready(t, 3, 2)
	id := c.placed(testJob(1, 3, 2))
	c.answer(id, "a", "b", "c")
	c.block()
	c.block()
	if j := c.job(id); j.Status != StatusFailed || j.Failure != FailNoQuorum {
		t.Fatalf("status %s %s", j.Status, j.Failure)
	}
}

func (c *chain) declineRound(id [32]byte, reason string) {
	c.t.Helper()
	j := c.job(id)
	var cmds []*Command
	for _, p := range part(j) {
		cmds = append(cmds, c.cmd(c.key(p), &Decline{Job: j.ID, Round: j.Round, Reason: reason}))
	}
	c.block(cmds...)
	c.block()
	c.block()
}

func TestThreeRoundsOfDeclinesFailWithTheReason(t *testing.T) {
	for reason, want := range map[string]string{DeclineNoResult: FailNoResult, DeclineInputs: FailUnavailable} {
		c := ready(t, 4, 2)
		id := c.placed(testJob(1, 3, 2))
		for round := uint32(1); round <= 3; round++ {
			if j := c.job(id); j.Round != round || j.Status != StatusRunning {
				t.Fatalf("round %d, status %s, want round %d", j.Round, j.Status, round)
			}
			c.declineRound(id, reason)
		}
		if j := c.job(id); j.Status != StatusFailed || j.Failure != want {
			t.Errorf("%s: status %s %q, want %s", reason, j.Status, j.Failure, want)
		}
	}
}

func TestLostLeaseMovesTheWorkToAnotherPeer(t *testing.T) {
	c := ready(t, 4, 2)
	id := c.placed(testJob(1, 3, 2))
	j := c.job(id)
	dead := j.Executions[0].Peer
	var renew []*Command
	for _, x := range j.Executions[1:] {
		renew = append(renew, c.cmd(c.key(x.Peer), &RenewLeases{Executions: []ExecutionRef{{Job: id, Round: 1}}}))
	}
	c.blockAfter(8000, renew...)
	c.blockAfter(3000)
	if c.count(EventLost) != 1 {
		t.Fatalf("events %+v", c.events)
	}
	if !c.s.HasWork(c.at.TimestampMs) {
		t.Error("no work although an execution is to be moved")
	}
	c.block()
	c.block()
	j = c.job(id)
	if j.Execution(dead).Observed != ObservedLost || len(j.Executions) != 4 || j.Round != 1 {
		t.Fatalf("%+v", j.Executions)
	}
	if n, _ := c.s.Node(dead); !n.Suspect || n.UsedSlots != 0 {
		t.Errorf("node %+v", n)
	}
	if j = c.answer(id, "42", "42", "42"); j.Status != StatusSealed {
		t.Fatalf("status %s", j.Status)
	}
	if v := c.seals()[0]; len(v.Lost) != 1 || v.Lost[0] != dead || len(v.Placement.Peers) != 4 {
		t.Errorf("seal %+v", v)
	}
}

func TestSilentInRevealWindowIsLostNotStruck(t *testing.T) {
	c := ready(t, 4, 2)
	id := c.placed(testJob(1, 3, 2))
	j := c.job(id)
	var cmds []*Command
	for _, p := range part(j) {
		cmds = append(cmds, c.commitFor(j, p, "42"))
	}
	c.block(cmds...)
	if got := c.job(id).Status; got != StatusRevealing {
		t.Fatalf("status %s", got)
	}
	c.block(c.revealFor(j, part(j)[0], "42"))
	c.blockAfter(15_000)
	c.block()
	c.block()
	got := c.job(id)
	if got.Status != StatusRunning || got.Round != 2 {
		t.Fatalf("status %s, round %d, want a second round", got.Status, got.Round)
	}
	for _, n := range c.s.Nodes() {
		if n.Strikes != 0 || n.Suspect {
			t.Errorf("node %+v is held to account for silence", n)
		}
	}
}

func TestCommitWindowClosesWithQuorumOnly(t *testing.T) {
	c := ready(t, 3, 2)
	id := c.placed(testJob(1, 3, 2))
	j := c.job(id)
	p := part(j)
	renew := func(who ...sign.PublicKey) {
		for range 4 {
			var cmds []*Command
			for _, w := range who {
				cmds = append(cmds, c.cmd(c.key(w), &RenewLeases{Executions: []ExecutionRef{{Job: id, Round: 1}}}))
			}
			c.blockAfter(8000, cmds...)
		}
	}
	c.block(c.commitFor(j, p[0], "42"))
	renew(p[1], p[2])
	if got := c.job(id).Status; got != StatusCommitting {
		t.Fatalf("one commit: status %s, want committing", got)
	}
	c.block(c.commitFor(j, p[1], "42"))
	if got := c.job(id).Status; got != StatusRevealing {
		t.Fatalf("two commits after the window: status %s, want revealing", got)
	}
	c.block(c.commitFor(j, p[2], "42"))
	c.refused(1)
}

func TestRevealMustOpenTheCommitAndBeSigned(t *testing.T) {
	c := ready(t, 3, 2)
	id := c.placed(testJob(1, 3, 2))
	j := c.job(id)
	p := part(j)
	c.block(c.commitFor(j, p[0], "42"), c.commitFor(j, p[1], "42"), c.commitFor(j, p[2], "42"))
	forged := c.cmd(c.key(p[0]), &Reveal{Job: id, Round: 1, Outcome: outcome("42"), Keyed: c.statement(j, "42").Keyed, Salt: [32]byte{9},
		Sig: c.key(p[1]).Sign(c.statement(j, "42").SigningBytes())})
	c.block(c.revealFor(j, p[0], "other"), forged)
	c.refused(2)
	c.block(c.revealFor(j, p[0], "42"), c.revealFor(j, p[1], "42"))
	c.refused(0)
	if got := c.job(id).Status; got != StatusSealed {
		t.Fatalf("status %s", got)
	}
}

func TestOnlyTheClientCancels(t *testing.T) {
	c := ready(t, 4, 2)
	id := c.placed(testJob(1, 3, 2))
	c.block(c.cmd(testKey("client", 1), &CancelJob{Job: id}))
	c.refused(1)
	c.block(c.cmd(c.client, &CancelJob{Job: id}))
	c.refused(0)
	j := c.job(id)
	if j.Status != StatusCancelled || j.Executions[0].Observed != ObservedStopped {
		t.Fatalf("%+v", j)
	}
	for _, n := range c.s.Nodes() {
		if n.UsedSlots != 0 || len(NewDesk(n.Peer).Assignments(c.s)) != 0 {
			t.Errorf("node %+v still works on it", n)
		}
	}
	c.block(c.cmd(c.client, &CancelJob{Job: id}))
	c.refused(1)
}

func TestWaitingJobSaysWhyAndExpires(t *testing.T) {
	c := ready(t, 2, 2)
	p := testJob(1, 3, 2)
	c.block(c.cmd(c.client, p))
	c.block()
	c.block()
	j := c.job(c.id4(p))
	if j.Status != StatusQueued || j.Waiting != "needs 3 peers, and 2 nodes could serve" {
		t.Fatalf("%s: %q %v", j.Status, j.Waiting, j.Reasons)
	}
	if c.s.HasWork(c.at.TimestampMs) {
		t.Error("a job that nobody can take keeps the chain busy")
	}
	c.blockAfter(600_000)
	if j = c.job(j.ID); j.Status != StatusExpired {
		t.Fatalf("status %s", j.Status)
	}
}

func TestJobWaitsForFreeCapacityInQueueOrder(t *testing.T) {
	c := ready(t, 3, 1)
	first := c.placed(testJob(1, 3, 2))
	low, high := testJob(2, 3, 2), testJob(3, 3, 2)
	high.Priority = 5
	c.block(c.cmd(c.client, low), c.cmd(c.client, high))
	c.block()
	c.block()
	c.block()
	if j := c.job(c.id4(high)); len(j.Reasons) != 3 || j.Reasons[0].Reason != "busy: all 1 slots are taken" {
		t.Fatalf("%q %v", j.Waiting, j.Reasons)
	}
	if c.s.HasWork(c.at.TimestampMs) {
		t.Error("busy although nothing can be placed")
	}
	c.answer(first, "1", "1", "1")
	if got := c.job(c.id4(high)).Status; got != StatusRunning {
		t.Errorf("high priority: %s, want running", got)
	}
	if got := c.job(c.id4(low)).Status; got.Final() || got == StatusRunning {
		t.Errorf("low priority: %s, want waiting", got)
	}
}

func TestEndedJobIsForgottenAfterItsLifetime(t *testing.T) {
	c := ready(t, 3, 2)
	id := c.placed(testJob(1, 3, 2))
	c.answer(id, "1", "1", "1")
	c.blockAfter(DefaultParams().ResultTTLMs)
	if _, ok := c.s.Job(id); ok {
		t.Error("the job is still there")
	}
	if jobs, _ := c.s.ListJobs(10, nil, JobFilter{}); len(jobs) != 0 {
		t.Error("the job is still listed")
	}
}
