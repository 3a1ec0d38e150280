package consensus

import (
	"errors"
	"testing"
)

// certified feeds votes by the validators in who and returns the last output.
func (l *lab) votes(r *Replica, d VoteData, who ...int) Output {
	l.t.Helper()
	var out Output
	for _, i := range who {
		cv, err := l.verifier.Vote(l.vote(i, d))
		out = l.step(r, cv, err)
	}
	return out
}

func TestQuorumOfVotesEntersNextView(t *testing.T) { eachScheme(t, testQuorumOfVotesEntersNextView) }

func testQuorumOfVotesEntersNextView(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(-1, l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	l.propose(r, l.proposal(a))
	d := l.voteData(a, l.root)
	if out := l.votes(r, d, 3, 1); out.Enter != nil {
		t.Fatal("two of four votes made a certificate")
	}
	out := l.votes(r, d, 0)
	if out.Enter == nil || out.Enter.View != 2 || out.Enter.Reason != EnterByQC || out.Enter.Timeouts != 0 {
		t.Fatalf("entered %+v", out.Enter)
	}
	if _, err := l.verifier.QC(&r.Certificates().QC); err != nil {
		t.Fatal(err)
	}
}

func TestForgedVotesNeitherCountNorKeepRealOnesOut(t *testing.T) {
	eachScheme(t, testForgedVotesNeitherCountNorKeepRealOnesOut)
}

func testForgedVotesNeitherCountNorKeepRealOnesOut(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(-1, l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	l.propose(r, l.proposal(a))
	d := l.voteData(a, l.root)
	forged := func(i int) *Vote {
		v := l.vote(i, d)
		v.Sig[5] ^= 1
		return v
	}
	var out Output
	for _, i := range []int{0, 1} {
		cv, err := l.verifier.Vote(forged(i))
		out = l.step(r, cv, err)
	}
	out = l.votes(r, d, 2)
	if out.Enter != nil || len(out.BadVotes) != 2 {
		t.Fatalf("two forged votes of three: entered %v, %d found bad", out.Enter, len(out.BadVotes))
	}
	cv, err := l.verifier.Vote(forged(0))
	l.step(r, cv, err)
	out = l.votes(r, d, 0) // contests the forged one's place
	if len(out.BadVotes) != 1 {
		t.Fatalf("%d bad votes reported, want the forged one", len(out.BadVotes))
	}
	cv, err = l.verifier.Vote(forged(0)) // contests the real one's place
	if out = l.step(r, cv, err); len(out.BadVotes) != 1 || len(out.Evidence) != 0 {
		t.Fatal("a forged vote beside a real one was not found bad, or became evidence")
	}
	if out = l.votes(r, d, 3); out.Enter == nil {
		t.Fatal("three real votes made no certificate")
	}
}

func TestDoubleVoteIsEvidence(t *testing.T) { eachScheme(t, testDoubleVoteIsEvidence) }

func testDoubleVoteIsEvidence(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(-1, l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	b := l.block(l.root, GenesisQC(l.root), 1, "b")
	l.votes(r, l.voteData(a, l.root), 2)
	out := l.votes(r, l.voteData(b, l.root), 2)
	if len(out.Evidence) != 1 || out.Evidence[0].Kind != DoubleVote || out.Evidence[0].Key != l.keys[2].Public() {
		t.Fatalf("evidence %v", out.Evidence)
	}
}

func TestVoteDeniedByTimeoutIsEvidence(t *testing.T) {
	eachScheme(t, testVoteDeniedByTimeoutIsEvidence)
}

func testVoteDeniedByTimeoutIsEvidence(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(-1, l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	l.votes(r, l.voteData(a, l.root), 2)
	vt, err := l.verifier.Timeout(l.timeout(2, 1, GenesisQC(l.root)))
	out := l.step(r, vt, err)
	if len(out.Evidence) != 1 || out.Evidence[0].Kind != VoteAfterTimeout {
		t.Fatalf("evidence %v", out.Evidence)
	}
}

func TestVotesOutsideTheWindowAreNotKept(t *testing.T) {
	eachScheme(t, testVotesOutsideTheWindowAreNotKept)
}

func testVotesOutsideTheWindowAreNotKept(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(-1, l.fresh())
	for v := View(1); v < 1000; v++ {
		d := VoteData{ChainID: l.verifier.chain, View: v, Block: l.root.ID()}
		for i := range l.keys[:2] {
			cv, err := l.verifier.Vote(l.vote(i, d))
			l.step(r, cv, err)
		}
		if v > 50 {
			v += 50
		}
	}
	if n := len(r.votes.byView); n > voteWindowAhead+1 {
		t.Fatalf("votes of %d views are kept", n)
	}
}

// Bracha's amplification: a third of the weight has an honest member.
func TestTimeoutsOfAThirdMakeTheReplicaJoin(t *testing.T) {
	eachScheme(t, testTimeoutsOfAThirdMakeTheReplicaJoin)
}

func testTimeoutsOfAThirdMakeTheReplicaJoin(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(3, l.fresh())
	vt, err := l.verifier.Timeout(l.timeout(0, 1, GenesisQC(l.root)))
	if out := l.step(r, vt, err); len(out.Send) != 0 {
		t.Fatal("joined on one timeout of four")
	}
	vt, err = l.verifier.Timeout(l.timeout(1, 1, GenesisQC(l.root)))
	out := l.step(r, vt, err)
	if len(sent[*Timeout](out)) != 1 || out.Save == nil {
		t.Fatal("did not join on two timeouts of four")
	}
	if out.Enter == nil || out.Enter.View != 2 || out.Enter.Reason != EnterByTC || out.Enter.Timeouts != 1 {
		t.Fatalf("three timeouts of four did not end the view: %+v", out.Enter)
	}
	if _, err := l.verifier.Certificates(r.Certificates()); err != nil {
		t.Fatal(err)
	}
}

func TestValidatorBehindIsAnsweredWithCertificates(t *testing.T) {
	eachScheme(t, testValidatorBehindIsAnsweredWithCertificates)
}

func testValidatorBehindIsAnsweredWithCertificates(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(3, l.fresh())
	tc := l.tc(1, GenesisQC(l.root))
	vt, err := l.verifier.TC(&tc)
	l.step(r, vt, err)
	to, err := l.verifier.Timeout(l.timeout(0, 1, GenesisQC(l.root)))
	out := l.step(r, to, err)
	c := sent[*Certificates](out)
	if len(c) != 1 || out.Send[0].To != l.keys[0].Public() {
		t.Fatal("no answer")
	}
	if out = l.step(r, to, nil); len(out.Send) != 0 {
		t.Fatal("a repeated timeout was answered again")
	}
	in, err := l.verifier.Certificates(c[0])
	if err != nil {
		t.Fatal(err)
	}
	behind, _ := l.replica(0, l.fresh())
	for _, i := range in {
		l.step(behind, i, nil)
	}
	if behind.View() != 2 {
		t.Fatalf("in view %d after the answer", behind.View())
	}
}

func TestMissingBlockIsAskedForAndThenExtended(t *testing.T) {
	eachScheme(t, testMissingBlockIsAskedForAndThenExtended)
}

func testMissingBlockIsAskedForAndThenExtended(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(l.leader(3), l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	b := l.block(a, l.qc(a, l.root), 2, "b")
	qb := l.qc(b, a)
	vq, err := l.verifier.QC(&qb)
	out := l.step(r, vq, err)
	if out.Enter == nil || out.Enter.View != 3 || out.Propose != nil || len(out.Need) != 2 {
		t.Fatalf("unknown certified block: %+v", out)
	}
	vb, err := l.verifier.Block(b, b.ID())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(vb); !errors.Is(err, ErrUnknownParent) {
		t.Fatalf("check of a block without its parent: %v", err)
	}
	va, err := l.verifier.Block(a, a.ID())
	out = l.step(r, va, err)
	if out.Commit == nil || r.Root().ID() != a.ID() {
		t.Fatal("the certified commit was not made when its block came")
	}
	out = l.step(r, vb, nil)
	if out.Propose == nil || out.Propose.Parent.ID() != b.ID() {
		t.Fatal("the leader was not asked for a block when the parent came")
	}
}

func TestChainCatchesUp(t *testing.T) { eachScheme(t, testChainCatchesUp) }

func testChainCatchesUp(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	chain := []*Block{l.root}
	qc := GenesisQC(l.root)
	for v := View(1); v <= 6; v++ {
		b := l.block(chain[v-1], qc, v, "c")
		chain = append(chain, b)
		qc = l.qc(b, chain[v-1])
	}
	proof := &Finality{Headers: []Header{chain[4].Header, chain[5].Header}, QC: qc}
	vc, err := l.verifier.Chain(chain[1:5], proof)
	r, _ := l.replica(0, l.fresh())
	out := l.step(r, vc, err)
	if out.Commit == nil || len(out.Commit.Blocks) != 4 || r.Root().Header.Height != 4 || r.View() != 7 {
		t.Fatalf("root at %d in view %d", r.Root().Header.Height, r.View())
	}
	for i := range out.Commit.Blocks {
		if err := out.Commit.Finality(i).Verify(l.verifier.chain, l.verifier.set); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
	}
	if _, err := l.verifier.Chain(chain[1:4], proof); !errors.Is(err, ErrRefused) {
		t.Fatalf("a proof for another block: %v", err)
	}
	if _, err := l.verifier.Chain([]*Block{chain[1], chain[3], chain[4]}, proof); !errors.Is(err, ErrRefused) {
		t.Fatalf("a chain with a gap: %v", err)
	}
	bad := *chain[3]
	bad.Justify = cloneQC(bad.Justify)
	bad.Justify.Sigs[0][3] ^= 1
	if _, err := l.verifier.Chain([]*Block{chain[1], chain[2], &bad, chain[4]}, proof); !errors.Is(err, ErrRefused) {
		t.Fatalf("a chain with a bad certificate inside: %v", err)
	}
	far, _ := l.replica(0, l.fresh())
	vc, err = l.verifier.Chain(chain[3:5], proof)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := far.Step(vc); !errors.Is(err, ErrUnknownParent) {
		t.Fatalf("a chain that begins above the root: %v", err)
	}
}

func TestSilentValidatorIsPassedOverAndComesBack(t *testing.T) {
	eachScheme(t, testSilentValidatorIsPassedOverAndComesBack)
}

func testSilentValidatorIsPassedOverAndComesBack(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	ls := newLeaders(l.verifier.chain, 0, l.verifier.set)
	silent := 2
	tip := &node{block: l.root, id: l.root.ID()}
	asked, waited := 0, 0
	for v := View(1); v <= 200; v++ {
		i := ls.at(v, tip)
		if i == silent {
			waited++
			if v > 8 && v%32 >= 4 {
				t.Fatalf("view %d waits for the silent validator outside a probe", v)
			}
			continue
		}
		asked++
		h := Header{View: v, Height: Height(asked), Proposer: l.keys[i].Public()}
		ls.committed(&h)
		tip = &node{block: &Block{Header: h}}
	}
	if waited < 6 || waited > 10 {
		t.Fatalf("waited for the silent validator in %d of 200 views", waited)
	}
	for v := View(224); v < 228; v++ { // a probe round
		if i := ls.at(v, tip); i == silent {
			h := Header{View: v, Height: 1000, Proposer: l.keys[i].Public()}
			ls.committed(&h)
			tip = &node{block: &Block{Header: h}}
		}
	}
	back := false
	for v := View(229); v < 233; v++ {
		back = back || ls.at(v, tip) == silent
	}
	if !back {
		t.Fatal("a validator that proposed again is still passed over")
	}
}
