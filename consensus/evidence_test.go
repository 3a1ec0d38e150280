package consensus

import (
	"testing"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// proofs is one piece of each kind, as a follower finds it among verified messages.
func (l *lab) proofs() []Evidence {
	l.t.Helper()
	r, _ := l.replica(-1, l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	b := l.block(l.root, GenesisQC(l.root), 1, "b")
	who := l.other(1)
	var all []Evidence
	note := func(in Input, err error) {
		if err != nil {
			l.t.Fatal(err)
		}
		all = append(all, r.Note(in)...)
	}
	for _, x := range []*Block{a, b} {
		vp, err := l.verifier.Proposal(l.proposal(x))
		note(vp, err)
		cv, err := l.verifier.Vote(l.vote(who, l.voteData(x, l.root)))
		note(cv, err)
	}
	vt, err := l.verifier.Timeout(l.timeout(who, 1, GenesisQC(l.root)))
	note(vt, err)
	return all
}

func TestEvidenceProvesItself(t *testing.T) { eachScheme(t, testEvidenceProvesItself) }

func testEvidenceProvesItself(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	all := l.proofs()
	kinds := map[EvidenceKind]bool{}
	for _, e := range all {
		kinds[e.Kind] = true
		raw := e.Encode()
		again, err := DecodeEvidence(raw)
		if err != nil {
			t.Fatalf("%s: %v", e.Kind, err)
		}
		if err := again.Verify(l.verifier.chain); err != nil {
			t.Errorf("%s: %v", e.Kind, err)
		}
		if again.Verify(digest.Sum("another chain")) == nil {
			t.Errorf("%s holds on another chain", e.Kind)
		}
		for i := range raw {
			bad := append([]byte(nil), raw...)
			bad[i] ^= 1
			if x, err := DecodeEvidence(bad); err == nil && x.Verify(l.verifier.chain) == nil {
				t.Errorf("%s: accepted with byte %d changed", e.Kind, i)
			}
		}
		if e.Link != (sign.Signature{}) { // one's own key does not speak for another's
			i, _ := l.verifier.set.Index(e.Key)
			other := ProveBLS(l.keys[(i+1)%4])
			for _, x := range []Evidence{{BLS: e.BLS, Link: other.Link}, {BLS: other.Key, Link: other.Link}, {BLS: other.Key, Link: e.Link}, {}} {
				y := e
				y.BLS, y.Link = x.BLS, x.Link
				if y.Verify(l.verifier.chain) == nil {
					t.Errorf("%s: accepted with another bls key", e.Kind)
				}
			}
		}
		same := e
		same.Second = same.First
		if same.Verify(l.verifier.chain) == nil {
			t.Errorf("%s: one statement twice was accepted", e.Kind)
		}
	}
	if len(all) != 3 || len(kinds) != 3 {
		t.Fatalf("%d pieces of %d kinds found, want one of each of 3", len(all), len(kinds))
	}
}

func TestVoteThenTimeoutIsNormal(t *testing.T) { eachScheme(t, testVoteThenTimeoutIsNormal) }

func testVoteThenTimeoutIsNormal(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	who := l.other(1)
	r, _ := l.replica(who, l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	vote := wantVote(t, l.propose(r, l.proposal(a)), a)
	to := sent[*Timeout](l.step(r, TimerExpired{View: 1}, nil))
	if len(to) != 1 || to[0].Data.LastVoted != 1 {
		t.Fatalf("timeouts %+v", to)
	}
	f, _ := l.replica(-1, l.fresh())
	cv, err := l.verifier.Vote(vote)
	out := l.step(f, cv, err)
	vt, err := l.verifier.Timeout(to[0])
	out2 := l.step(f, vt, err)
	if len(out.Evidence)+len(out2.Evidence) != 0 {
		t.Fatal("a vote and then a timeout became evidence")
	}
}

// The second half of an equivocation comes when the view is long over.
func TestLateMessagesAreStillEvidence(t *testing.T) { eachScheme(t, testLateMessagesAreStillEvidence) }

func testLateMessagesAreStillEvidence(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(-1, l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	b := l.block(l.root, GenesisQC(l.root), 1, "b")
	l.propose(r, l.proposal(a))
	l.votes(r, l.voteData(a, l.root), 0, 1, 2)
	tc := l.tc(20, l.qc(a, l.root))
	vt, err := l.verifier.TC(&tc)
	l.step(r, vt, err)
	if r.View() != 21 {
		t.Fatalf("in view %d", r.View())
	}
	if out := l.votes(r, l.voteData(b, l.root), 1); len(out.Evidence) != 1 || out.Evidence[0].Kind != DoubleVote {
		t.Errorf("late vote: %v", out.Evidence)
	}
	if out := l.votes(r, l.voteData(b, l.root), 1); len(out.Evidence) != 0 {
		t.Error("the same evidence was told twice")
	}
	vp, err := l.verifier.Proposal(l.proposal(b))
	if err != nil {
		t.Fatal(err)
	}
	if e := r.Note(vp); len(e) != 1 || e[0].Kind != DoubleProposal {
		t.Errorf("late proposal: %v", e)
	}
	tc = l.tc(80, l.qc(a, l.root))
	vt, err = l.verifier.TC(&tc)
	l.step(r, vt, err)
	if n := len(r.watch.byView); n != 0 {
		t.Errorf("%d views before the window are remembered", n)
	}
}

func TestForgedVoteIsNoEvidence(t *testing.T) { eachScheme(t, testForgedVoteIsNoEvidence) }

func testForgedVoteIsNoEvidence(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	r, _ := l.replica(-1, l.fresh())
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	b := l.block(l.root, GenesisQC(l.root), 1, "b")
	forged := l.vote(2, l.voteData(a, l.root))
	forged.Sig[7] ^= 1
	cv, err := l.verifier.Vote(forged)
	out := l.step(r, cv, err)
	out2 := l.votes(r, l.voteData(b, l.root), 2)
	if len(out.Evidence)+len(out2.Evidence) != 0 {
		t.Fatal("a forged vote became evidence")
	}
	if out := l.votes(r, l.voteData(a, l.root), 2); len(out.Evidence) != 1 {
		t.Fatal("the real second vote is no evidence")
	}
}

func FuzzDecodeEvidence(f *testing.F) {
	var seeds [][]byte
	var labs []*lab
	for _, s := range Schemes() {
		l := newLab(&testing.T{}, s, 4)
		for _, e := range l.proofs() {
			seeds = append(seeds, e.Encode())
		}
		labs = append(labs, l)
	}
	fuzz(f, DecodeEvidence, func(e *Evidence) {
		for _, l := range labs {
			e.Verify(l.verifier.chain)
		}
	}, seeds...)
}
