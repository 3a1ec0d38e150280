package consensus

import (
	"bytes"
	"errors"
	"testing"
)

// Jolteon figure 2, vote: only once in a round.
func TestReplicaNeverVotesTwiceInView(t *testing.T) { eachScheme(t, testReplicaNeverVotesTwiceInView) }

func testReplicaNeverVotesTwiceInView(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(l.other(1), l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	b := l.block(l.root, GenesisQC(l.root), 1, "b")
	out := l.propose(r, l.proposal(a))
	wantVote(t, out, a)
	if out.Save == nil || out.Save.LastVoted != 1 {
		t.Fatal("a vote left without safety data to be saved")
	}
	out = l.propose(r, l.proposal(b))
	wantNoVote(t, out)
	if len(out.Evidence) != 1 || out.Evidence[0].Kind != DoubleProposal {
		t.Fatalf("two proposals in one view: evidence %v", out.Evidence)
	}
	wantNoVote(t, l.propose(r, l.proposal(a)))
}

// DiemBFT v4 safe_to_timeout: a timeout raises the highest vote round.
func TestReplicaNeverVotesAfterTimeout(t *testing.T) {
	eachScheme(t, testReplicaNeverVotesAfterTimeout)
}

func testReplicaNeverVotesAfterTimeout(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(l.other(1), l.fresh())
	out := l.step(r, TimerExpired{1}, nil)
	if len(sent[*Timeout](out)) != 1 || out.Save == nil {
		t.Fatal("no durable timeout was sent")
	}
	wantNoVote(t, l.propose(r, l.proposal(l.block(l.root, GenesisQC(l.root), 1, "a"))))
}

func TestReplicaTimesOutAfterVote(t *testing.T) { eachScheme(t, testReplicaTimesOutAfterVote) }

func testReplicaTimesOutAfterVote(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(l.other(1), l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	wantVote(t, l.propose(r, l.proposal(a)), a)
	out := l.step(r, TimerExpired{1}, nil)
	if to := sent[*Timeout](out); len(to) != 1 || to[0].Data.LastVoted != 1 {
		t.Fatal("the timeout after a vote does not own up to it")
	}
}

// Jolteon section 3, voting rule: r = qc.r + 1, or a TC of r - 1 with no higher QC than the block's.
func TestReplicaVotesOnlyOnNewestCertificate(t *testing.T) {
	eachScheme(t, testReplicaVotesOnlyOnNewestCertificate)
}

func testReplicaVotesOnlyOnNewestCertificate(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	g := GenesisQC(l.root)
	a := l.block(l.root, g, 1, "a")
	qa := l.qc(a, l.root)
	t.Run("view after a gap without a timeout certificate", func(t *testing.T) {
		if _, err := l.verifier.Proposal(l.proposal(l.block(l.root, g, 2, "x"))); !errors.Is(err, ErrRefused) {
			t.Fatalf("verdict %v", err)
		}
	})
	t.Run("timeouts that know a higher certificate", func(t *testing.T) {
		if _, err := l.verifier.Proposal(l.proposal(l.block(l.root, g, 3, "x"), l.tc(2, qa))); !errors.Is(err, ErrRefused) {
			t.Fatalf("verdict %v", err)
		}
	})
	t.Run("timeout certificate of an older view", func(t *testing.T) {
		if _, err := l.verifier.Proposal(l.proposal(l.block(l.root, g, 3, "x"), l.tc(1, g))); !errors.Is(err, ErrRefused) {
			t.Fatalf("verdict %v", err)
		}
	})
	t.Run("timeout certificate of the view before", func(t *testing.T) {
		r, _ := l.replica(l.other(1, 3), l.fresh())
		l.propose(r, l.proposal(a))
		b := l.block(a, qa, 3, "b")
		v := wantVote(t, l.propose(r, l.proposal(b, l.tc(2, g))), b)
		if !v.Data.CommitRef.IsZero() {
			t.Fatal("a vote over a gap commits its parent")
		}
	})
	t.Run("a block of a past view", func(t *testing.T) {
		r, _ := l.replica(l.other(1), l.fresh())
		tc := l.tc(1, g)
		vt, err := l.verifier.TC(&tc)
		l.step(r, vt, err)
		wantNoVote(t, l.propose(r, l.proposal(a)))
	})
}

// DiemBFT v4 safe_to_timeout: qc_round not below the 1-chain round.
func TestTimeoutNamesNoCertificateBelowTheLock(t *testing.T) {
	eachScheme(t, testTimeoutNamesNoCertificateBelowTheLock)
}

func testTimeoutNamesNoCertificateBelowTheLock(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(l.other(1, 2), l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	l.propose(r, l.proposal(a))
	b := l.block(a, l.qc(a, l.root), 2, "b")
	out := l.propose(r, l.proposal(b))
	wantVote(t, out, b)
	if out.Save.Locked != 1 {
		t.Fatalf("locked at %d after a vote on the certificate of view 1", out.Save.Locked)
	}
	out = l.step(r, TimerExpired{2}, nil)
	if to := sent[*Timeout](out); len(to) != 1 || to[0].Data.HighQC < out.Save.Locked {
		t.Fatal("timeout below the lock")
	}
	r.safety.HighQC = GenesisQC(l.root)
	r.safety.LastTimeout = nil
	if _, err := r.Step(TimerExpired{2}); !errors.Is(err, ErrBroken) {
		t.Fatalf("a high certificate below the lock: %v, want ErrBroken", err)
	}
}

func TestTimeoutIsSentAgainUnchanged(t *testing.T) { eachScheme(t, testTimeoutIsSentAgainUnchanged) }

func testTimeoutIsSentAgainUnchanged(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(0, l.fresh())
	first := sent[*Timeout](l.step(r, TimerExpired{1}, nil))
	out := l.step(r, TimerExpired{1}, nil)
	again := sent[*Timeout](out)
	if len(again) != 1 || !bytes.Equal(again[0].Encode(), first[0].Encode()) {
		t.Fatal("the second timeout differs from the first")
	}
	if out.Save != nil {
		t.Fatal("sending again made a new promise")
	}
	if out = l.step(r, TimerExpired{0}, nil); len(out.Send) != 0 {
		t.Fatal("timeout in a past view")
	}
	if out = l.step(r, TimerExpired{9}, nil); len(out.Send) != 0 {
		t.Fatal("timeout in a view not entered")
	}
}

func TestRestartSendsTheSameAgain(t *testing.T) { eachScheme(t, testRestartSendsTheSameAgain) }

func testRestartSendsTheSameAgain(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	me := l.leader(1)
	r, out := l.replica(me, l.fresh())
	if out.Propose == nil {
		t.Fatal("the leader of view 1 was not asked for a block")
	}
	out = l.step(r, OwnBlock{l.block(l.root, GenesisQC(l.root), 1, "mine")}, nil)
	if out.Save == nil || len(out.Store) != 1 || len(out.Send) != 2 {
		t.Fatalf("own block: save %v, %d blocks to store, %d messages", out.Save != nil, len(out.Store), len(out.Send))
	}
	var before [][]byte
	for _, o := range out.Send {
		before = append(before, EncodeMessage(o.Message))
	}
	out2 := l.step(r, TimerExpired{1}, nil)
	before = append(before, EncodeMessage(out2.Send[0].Message))
	saved, err := DecodeSafety(out2.Save.Encode())
	if err != nil {
		t.Fatal(err)
	}
	rec := l.fresh()
	rec.Safety, rec.Blocks = *saved, out.Store
	r, out = l.replica(me, rec)
	if out.Propose != nil {
		t.Fatal("asked for a second block in one view")
	}
	if len(out.Send) != 3 {
		t.Fatalf("sent %d messages after the restart, want proposal, timeout, vote", len(out.Send))
	}
	for _, o := range out.Send {
		raw, found := EncodeMessage(o.Message), false
		for _, b := range before {
			found = found || bytes.Equal(raw, b)
		}
		if !found {
			t.Fatalf("message of kind %d differs after the restart", KindOf(o.Message))
		}
	}
	out = l.step(r, OwnBlock{l.block(l.root, GenesisQC(l.root), 1, "another")}, nil)
	if len(out.Send) != 0 {
		t.Fatal("a second block was proposed in one view")
	}
}

// Jolteon section 3, commit rule: two adjacent certified blocks of consecutive rounds.
func TestTwoChainCommits(t *testing.T) { eachScheme(t, testTwoChainCommits) }

func testTwoChainCommits(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(-1, l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	l.propose(r, l.proposal(a))
	b := l.block(a, l.qc(a, l.root), 2, "b")
	if out := l.propose(r, l.proposal(b)); out.Commit != nil {
		t.Fatal("one certificate committed a block")
	}
	qb := l.qc(b, a)
	vq, err := l.verifier.QC(&qb)
	out := l.step(r, vq, err)
	if out.Commit == nil || len(out.Commit.Blocks) != 1 || out.Commit.Blocks[0] != r.Root() || r.Root().ID() != a.ID() {
		t.Fatal("the certificate of view 2 did not commit the block of view 1")
	}
	if err := out.Commit.Finality(0).Verify(l.verifier.chain, l.verifier.set); err != nil {
		t.Fatal(err)
	}
	// view 3 fails: the certificate of view 4 commits nothing, that of view 5 all of it.
	d := l.block(b, qb, 4, "d")
	l.propose(r, l.proposal(d, l.tc(3, qb)))
	qd := l.qc(d, b)
	vq, err = l.verifier.QC(&qd)
	if out := l.step(r, vq, err); out.Commit != nil {
		t.Fatal("a certificate over a gap committed")
	}
	e := l.block(d, qd, 5, "e")
	l.propose(r, l.proposal(e))
	qe := l.qc(e, d)
	vq, err = l.verifier.QC(&qe)
	out = l.step(r, vq, err)
	if out.Commit == nil || len(out.Commit.Blocks) != 2 {
		t.Fatal("the certificate of view 5 did not commit views 2 and 4")
	}
	for i := range out.Commit.Blocks {
		if err := out.Commit.Finality(i).Verify(l.verifier.chain, l.verifier.set); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConflictingFinalBlocksStopTheReplica(t *testing.T) {
	eachScheme(t, testConflictingFinalBlocksStopTheReplica)
}

func testConflictingFinalBlocksStopTheReplica(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(-1, l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	b := l.block(a, l.qc(a, l.root), 2, "b")
	l.propose(r, l.proposal(a))
	l.propose(r, l.proposal(b))
	qb := l.qc(b, a)
	vq, err := l.verifier.QC(&qb)
	l.step(r, vq, err)
	a2 := l.block(l.root, GenesisQC(l.root), 1, "a2")
	b2 := l.block(a2, l.qc(a2, l.root), 2, "b2")
	q2 := l.qc(b2, a2)
	vq, err = l.verifier.QC(&q2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Step(vq); !errors.Is(err, ErrBroken) {
		t.Fatalf("two final blocks at height 1: %v, want ErrBroken", err)
	}
}
