package consensus

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// nextSet is a set of n validators of weight 1 with their keys; from is the number of the first.
func (l *lab) nextSet(from, n int) ([]Validator, []sign.PrivateKey) {
	var list []Validator
	var keys []sign.PrivateKey
	for i := range n {
		s := digest.Sum("lab/key", []byte{byte(from + i)})
		k := sign.FromSeed(s[:])
		keys = append(keys, k)
		list = append(list, l.member(k, from+i))
	}
	return list, keys
}

// closing is a block that ends the epoch in favour of next.
func (l *lab) closing(parent *Block, justify QC, v View, next []Validator) *Block {
	l.t.Helper()
	set, err := NewValidatorSet(next)
	if err != nil {
		l.t.Fatal(err)
	}
	b := l.block(parent, justify, v, "closing")
	b.Header.NextVals, b.Header.EventRoot = set.Digest(), digest.Sum("lab/events")
	return b
}

// trailing is an empty block after a closing one.
func (l *lab) trailing(parent *Block, justify QC, v View) *Block {
	q := ProposeRequest{View: v, Parent: parent, Justify: justify}
	h := q.Trailing(l.verifier, l.keys[l.leader(v)].Public())
	h.TimestampMs = parent.Header.TimestampMs + 1
	return &Block{Header: h, Justify: justify, Txs: [][]byte{}}
}

// enter makes l the lab of the next epoch.
func (l *lab) enter(h *Handover, root *Block, keys []sign.PrivateKey) {
	l.t.Helper()
	v, err := l.verifier.After(h)
	if err != nil {
		l.t.Fatal(err)
	}
	l.verifier, l.keys, l.root = v, keys, root
}

func TestOnlyEmptyBlocksFollowTheClosingBlock(t *testing.T) {
	eachScheme(t, testOnlyEmptyBlocksFollowTheClosingBlock)
}

func testOnlyEmptyBlocksFollowTheClosingBlock(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	next, _ := l.nextSet(2, 4)
	c := l.closing(l.root, GenesisQC(l.root), 1, next)
	r, _ := l.replica(l.other(1, 2), l.fresh())
	wantVote(t, l.propose(r, l.proposal(c)), c)
	good := l.trailing(c, l.qc(c, l.root), 2)
	for name, edit := range map[string]func(*Block){
		"a state":            func(b *Block) { b.Header.StateRoot = digest.Sum("other") },
		"events":             func(b *Block) { b.Header.EventRoot = digest.Sum("other") },
		"another next set":   func(b *Block) { b.Header.NextVals = digest.Sum("other") },
		"the old set's name": func(b *Block) { b.Header.NextVals = b.Header.Validators },
	} {
		b := *good
		edit(&b)
		vp, err := l.verifier.Proposal(l.proposal(&b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := r.Check(vp); !errors.Is(err, ErrRefused) {
			t.Errorf("trailing block with %s: %v", name, err)
		}
	}
	wantVote(t, l.propose(r, l.proposal(good)), good)
}

func TestAnotherSetNeedsAnEventThatSaysSo(t *testing.T) {
	eachScheme(t, testAnotherSetNeedsAnEventThatSaysSo)
}

func testAnotherSetNeedsAnEventThatSaysSo(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	next, _ := l.nextSet(2, 4)
	c := l.closing(l.root, GenesisQC(l.root), 1, next)
	c.Header.EventRoot = noEvents
	r, _ := l.replica(l.other(1), l.fresh())
	vp, err := l.verifier.Proposal(l.proposal(c))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(vp); !errors.Is(err, ErrRefused) {
		t.Fatalf("silent change of the set: %v", err)
	}
}

// closed runs a replica through an epoch's end: the closing block in view 1, then trailing blocks in the views given.
// Whichever certificate commits first, the chain ends with the closing block.
func (l *lab) closed(next []Validator, views ...View) (*Replica, *Block, *Handover) {
	l.t.Helper()
	r, _ := l.replica(l.other(), l.fresh())
	c := l.closing(l.root, GenesisQC(l.root), 1, next)
	l.propose(r, l.proposal(c))
	parent, justify := c, l.qc(c, l.root)
	var commit *Commit
	for _, v := range views {
		b := l.trailing(parent, justify, v)
		p := l.proposal(b)
		if justify.Data.View+1 != v {
			p = l.proposal(b, l.tc(v-1, justify))
		}
		if out := l.propose(r, p); out.Commit != nil {
			commit = out.Commit
		}
		parent, justify = b, l.qc(b, parent)
	}
	if commit == nil {
		vq, err := l.verifier.QC(&justify)
		out := l.step(r, vq, err)
		commit = out.Commit
		if out.Enter != nil || out.Propose != nil || len(out.Need) != 0 {
			l.t.Fatalf("the epoch is over, and the replica goes on in it: %+v", out)
		}
	}
	if commit == nil {
		l.t.Fatal("the closing block was not committed")
	}
	if n := len(commit.Blocks); commit.Blocks[n-1].ID() != c.ID() || !r.Closed() || r.Root().ID() != c.ID() {
		l.t.Fatal("the chain of the epoch does not end with the closing block")
	}
	return r, c, &Handover{Finality: *commit.Finality(len(commit.Blocks) - 1), Next: next}
}

func TestTheClosingBlockIsTheLastCommitted(t *testing.T) {
	eachScheme(t, testTheClosingBlockIsTheLastCommitted)
}

func testTheClosingBlockIsTheLastCommitted(t *testing.T, scheme Scheme) {
	for name, views := range map[string][]View{"at once": {2}, "after failed views": {3, 5, 6}} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, scheme, 4)
			next, _ := l.nextSet(2, 4)
			_, c, h := l.closed(next, views...)
			if _, err := h.Verify(l.verifier.chain, 0, l.verifier.set); err != nil {
				t.Fatal(err)
			}
			if h.Header().ID() != c.ID() || len(h.Finality.Headers) != len(views) {
				t.Fatalf("the handover is of another block, or by a path of %d headers", len(h.Finality.Headers))
			}
		})
	}
}

func TestClosedReplicaTakesNothing(t *testing.T) { eachScheme(t, testClosedReplicaTakesNothing) }

func testClosedReplicaTakesNothing(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	next, _ := l.nextSet(2, 4)
	r, c, _ := l.closed(next, 2)
	b := l.trailing(c, l.qc(c, l.root), 3)
	vt, err := l.verifier.Timeout(l.timeout(1, 9, l.qc(c, l.root), l.tc(8, l.qc(c, l.root))))
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []Input{vt, VerifiedBlock{b, b.ID()}, TimerExpired{View: r.View()}} {
		if out := l.step(r, in, nil); len(out.Send)+len(out.Store) != 0 || out.Save != nil || out.Commit != nil {
			t.Errorf("%T after the epoch's end: %+v", in, out)
		}
	}
}

func TestNextEpochGoesOnFromTheClosingBlock(t *testing.T) {
	eachScheme(t, testNextEpochGoesOnFromTheClosingBlock)
}

func testNextEpochGoesOnFromTheClosingBlock(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	next, keys := l.nextSet(10, 7) // not one of the old ones
	_, c, h := l.closed(next, 2)
	old := *l
	l.enter(h, c, keys)
	r, out := l.replica(l.other(2, 3), l.fresh())
	if out.Enter == nil || out.Enter.View != c.Header.View+1 {
		t.Fatalf("entered %+v, want the view after the closing block's", out.Enter)
	}
	a := l.block(c, RootQC(c), 2, "a")
	if v := wantVote(t, l.propose(r, l.proposal(a)), a); v.Data.Epoch != 1 {
		t.Fatalf("vote of epoch %d", v.Data.Epoch)
	}
	b := l.block(a, l.qc(a, c), 3, "b")
	l.propose(r, l.proposal(b))
	qb := l.qc(b, a)
	vq, err := l.verifier.QC(&qb)
	out = l.step(r, vq, err)
	if out.Commit == nil || out.Commit.Blocks[0].ID() != a.ID() {
		t.Fatal("the first block of the epoch is not committed")
	}
	// What the old set signs is nothing here.
	ot := old.trailing(c, old.qc(c, old.root), 2)
	if _, err := l.verifier.Block(ot, ot.ID()); !errors.Is(err, ErrRefused) {
		t.Errorf("a block of the epoch before: %v", err)
	}
	oqc := old.qc(ot, c)
	if _, err := l.verifier.QC(&oqc); !errors.Is(err, ErrRefused) {
		t.Errorf("a certificate of the epoch before: %v", err)
	}
	if out := l.step(r, VerifiedQC{&oqc}, nil); out.Enter != nil || out.Commit != nil {
		t.Errorf("a certificate verified in the epoch before moved the replica: %+v", out)
	}
}

// A trailing block is certified and even committed by certificates, but not of the chain: nobody may be shown it as final.
func TestTrailingBlockIsNeverFinal(t *testing.T) { eachScheme(t, testTrailingBlockIsNeverFinal) }

func testTrailingBlockIsNeverFinal(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	next, _ := l.nextSet(2, 4)
	c := l.closing(l.root, GenesisQC(l.root), 1, next)
	a := l.trailing(c, l.qc(c, l.root), 2)
	b := l.trailing(a, l.qc(a, c), 3)
	qc := l.qc(b, a)
	if err := VerifyHeader(l.verifier.chain, l.verifier.set, &a.Header, &qc); !errors.Is(err, ErrNotFinal) {
		t.Fatalf("trailing block: %v", err)
	}
	f := Finality{Headers: []Header{c.Header, a.Header}, QC: qc}
	if err := f.Verify(l.verifier.chain, l.verifier.set); err != nil {
		t.Fatalf("closing block by way of a trailing one: %v", err)
	}
	if _, err := l.verifier.Chain([]*Block{c, a}, &Finality{Headers: []Header{a.Header}, QC: qc}); !errors.Is(err, ErrRefused) {
		t.Fatalf("a run beyond the closing block: %v", err)
	}
}

func TestSafetyOfAnEpochBeginsAnew(t *testing.T) { eachScheme(t, testSafetyOfAnEpochBeginsAnew) }

func testSafetyOfAnEpochBeginsAnew(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	next, keys := l.nextSet(2, 4)
	_, c, h := l.closed(next, 2)
	if _, err := New(Config{Verifier: l.verifier}, Recovery{Safety: FreshSafety(l.root), Root: c, RootQC: RootQC(c)}); err == nil {
		t.Error("the old epoch's verifier took the closing block for a root")
	}
	l.enter(h, c, keys)
	rec := l.fresh()
	rec.Safety.Epoch = 0
	if _, err := New(Config{Verifier: l.verifier}, rec); err == nil {
		t.Error("safety data of the epoch before was taken")
	}
	rec = l.fresh()
	rec.Blocks = []*Block{{Header: Header{Epoch: 0, Parent: c.ID(), Height: 2, View: 2}}}
	if r, err := New(Config{Verifier: l.verifier}, rec); err != nil || r.Has(rec.Blocks[0].ID()) {
		t.Errorf("a trailing block of the epoch before came back: %v", err)
	}
}

// A replica that was stopped between the certificate that ends its epoch and the commit finds the end when it starts. It
// repeats nothing of what it signed in the epoch.
func TestRestartFindsTheEndOfTheEpoch(t *testing.T) { eachScheme(t, testRestartFindsTheEndOfTheEpoch) }

func testRestartFindsTheEndOfTheEpoch(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	next, _ := l.nextSet(2, 4)
	c := l.closing(l.root, GenesisQC(l.root), 1, next)
	a := l.trailing(c, l.qc(c, l.root), 2)
	rec := l.fresh()
	rec.Safety.HighQC = l.qc(a, c)
	rec.Safety.LastVoted, rec.Safety.LastVote = 2, []Vote{*l.vote(3, l.voteData(a, c))}
	rec.Safety.LastTimeout = []Timeout{*l.timeout(3, 1, GenesisQC(l.root))}
	rec.Blocks = []*Block{a, c}
	r, out := l.replica(3, rec)
	if !r.Closed() || out.Commit == nil || len(out.Commit.Blocks) != 1 || len(out.Send) != 0 || out.Enter != nil {
		t.Fatalf("closed %t, output %+v", r.Closed(), out)
	}
}

func TestHandoverIsRefusedWithAnyFieldChanged(t *testing.T) {
	eachScheme(t, testHandoverIsRefusedWithAnyFieldChanged)
}

func testHandoverIsRefusedWithAnyFieldChanged(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	next, _ := l.nextSet(2, 4)
	_, _, h := l.closed(next, 2)
	raw := h.Encode()
	again, err := DecodeHandover(raw)
	if err != nil {
		t.Fatal(err)
	}
	if set, err := again.Verify(l.verifier.chain, 0, l.verifier.set); err != nil || set.Len() != 4 {
		t.Fatalf("the handover itself: %v", err)
	}
	if _, err := again.Verify(l.verifier.chain, 1, l.verifier.set); err == nil {
		t.Error("taken for the handover of another epoch")
	}
	accepted := 0
	for i := range raw {
		bad := append([]byte(nil), raw...)
		bad[i] ^= 1
		h, err := DecodeHandover(bad)
		if err != nil {
			continue
		}
		if _, err := h.Verify(l.verifier.chain, 0, l.verifier.set); err == nil {
			accepted++
			t.Errorf("accepted with byte %d of %d changed", i, len(raw))
		}
	}
}

// A quorum is more than two thirds of the weight, however it is spread: compared with sums by hand.
func TestQuorumsOfWeightedSetsOverlapInMoreThanAThird(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := 1 + rng.IntN(12)
		var list []Validator
		var total uint64
		for i := range n {
			s := digest.Sum("weights", []byte{byte(i)})
			w := 1 + rng.Uint64N(1<<uint(rng.IntN(32)))
			list = append(list, Validator{Key: sign.FromSeed(s[:]).Public(), Weight: w})
			total += w
		}
		set, err := NewValidatorSet(list)
		if err != nil {
			t.Fatal(err)
		}
		var masks []uint
		for m := range uint(1) << n {
			var sum uint64
			for i := range n {
				if m&(1<<i) != 0 {
					sum += list[i].Weight
				}
			}
			if set.IsQuorum(sum) != (sum > total*2/3 && 3*sum > 2*total) {
				t.Fatalf("weight %d of %d: quorum %t", sum, total, set.IsQuorum(sum))
			}
			if set.IsQuorum(sum) {
				masks = append(masks, m)
			}
		}
		for range 50 {
			a, b := masks[rng.IntN(len(masks))], masks[rng.IntN(len(masks))]
			var both uint64
			for i := range n {
				if a&b&(1<<i) != 0 {
					both += list[i].Weight
				}
			}
			if 3*both <= total {
				t.Fatalf("two quorums share %d of %d", both, total)
			}
		}
	}
}

func FuzzDecodeHandover(f *testing.F) {
	var seeds [][]byte
	var labs []*lab
	for _, s := range Schemes() {
		l := newLab(&testing.T{}, s, 4)
		next, _ := l.nextSet(2, 4)
		_, _, h := l.closed(next, 2)
		labs, seeds = append(labs, l), append(seeds, h.Encode())
	}
	fuzz(f, DecodeHandover, func(h *Handover) {
		for _, l := range labs {
			if _, err := h.Verify(l.verifier.chain, 0, l.verifier.set); err == nil {
				if _, err := l.verifier.After(h); err != nil {
					panic(err)
				}
			}
		}
	}, seeds...)
}
