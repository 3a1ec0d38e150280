package consensus

import (
	"fmt"
	"testing"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// lab is a chain of n validators whose messages a test makes by hand. Replica tests look at validator self.
type lab struct {
	t        *testing.T
	scheme   Scheme
	keys     []sign.PrivateKey
	genesis  *Genesis
	root     *Block
	verifier *Verifier
}

func newLab(t *testing.T, scheme Scheme, n int) *lab {
	t.Helper()
	l := &lab{t: t, scheme: scheme}
	g := &Genesis{Scheme: scheme, Version: ProtocolVersion, Name: "lab", TimestampMs: 1, BlockTimeMs: 1000, MaxTxsPerBlock: 10, MaxTimestampAhead: 500}
	for i := range n {
		s := digest.Sum("lab/key", []byte{byte(i)})
		l.keys = append(l.keys, sign.FromSeed(s[:]))
		g.Validators = append(g.Validators, l.member(l.keys[i], i))
	}
	root, err := g.Block(digest.Sum("lab/state"))
	if err != nil {
		t.Fatal(err)
	}
	l.genesis, l.root = g, root
	l.verifier, err = NewVerifier(g, root.ID())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// eachScheme runs a test under every signature scheme.
func eachScheme(t *testing.T, test func(*testing.T, Scheme)) {
	for _, s := range Schemes() {
		t.Run(s.String(), func(t *testing.T) { test(t, s) })
	}
}

// member is the validator with key k.
func (l *lab) member(k sign.PrivateKey, name int) Validator {
	v := Validator{Key: k.Public(), Weight: 1, Name: fmt.Sprint(name)}
	if l.scheme == BLS12381 {
		v.BLS = ProveBLS(k)
	}
	return v
}

// sign is validator i's signature of a vote or timeout.
func (l *lab) sign(i int, msg []byte) Signature { return NewSigner(l.scheme, l.keys[i]).Sign(msg) }

func (l *lab) fresh() Recovery {
	return Recovery{Safety: FreshSafety(l.root), Root: l.root, RootQC: GenesisQC(l.root)}
}

// replica starts validator i (-1: a follower) from rec.
func (l *lab) replica(i int, rec Recovery) (*Replica, Output) {
	l.t.Helper()
	var k sign.PrivateKey
	if i >= 0 {
		k = l.keys[i]
	}
	r, err := New(Config{Key: k, Verifier: l.verifier}, rec)
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := r.Start()
	if err != nil {
		l.t.Fatal(err)
	}
	return r, out
}

// leader is the index of the validator that leads view v of a short chain.
func (l *lab) leader(v View) int {
	return newLeaders(l.verifier.chain, l.verifier.epoch, l.verifier.set).nominal(v)
}

// other is a validator that leads none of the given views.
func (l *lab) other(views ...View) int {
	for i := range l.keys {
		ok := true
		for _, v := range views {
			ok = ok && l.leader(v) != i
		}
		if ok {
			return i
		}
	}
	l.t.Fatal("every validator leads one of the views")
	return 0
}

// block is an empty block of view v on parent; salt makes different ones.
func (l *lab) block(parent *Block, justify QC, v View, salt string) *Block {
	q := ProposeRequest{View: v, Parent: parent, Justify: justify}
	h := q.Header(l.verifier, l.keys[l.leader(v)].Public())
	h.TimestampMs = parent.Header.TimestampMs + 1
	h.TxRoot, h.EventRoot, h.StateRoot = merkle.Root(nil), merkle.Root(nil), digest.Sum("lab/state", []byte(salt))
	return &Block{Header: h, Justify: justify, Txs: [][]byte{}}
}

func (l *lab) proposal(b *Block, tc ...TC) *Proposal {
	if tc == nil {
		tc = []TC{}
	}
	return &Proposal{Block: *b, LastTC: tc, Sig: l.keys[l.leader(b.Header.View)].Sign(ProposalSigningBytes(b.ID()))}
}

// voteData is what an honest voter signs for b.
func (l *lab) voteData(b, parent *Block) VoteData {
	d := VoteData{ChainID: l.verifier.chain, Epoch: l.verifier.epoch, View: b.Header.View, Block: b.ID()}
	if parent.Header.View+1 == b.Header.View {
		d.CommitRef = parent.ID()
	}
	return d
}

func (l *lab) vote(i int, d VoteData) *Vote {
	return &Vote{Data: d, Voter: l.keys[i].Public(), Sig: l.sign(i, d.SigningBytes())}
}

// qc is signed by the first quorum of validators.
func (l *lab) qc(b, parent *Block) QC {
	var at []int
	for i := range 2*len(l.keys)/3 + 1 {
		at = append(at, i)
	}
	return l.qcBy(l.voteData(b, parent), at...)
}

// qcBy is signed by the validators at the given places, be they a quorum or not.
func (l *lab) qcBy(d VoteData, at ...int) QC {
	l.t.Helper()
	var sigs []Signature
	for _, i := range at {
		sigs = append(sigs, l.sign(i, d.SigningBytes()))
	}
	qc, err := NewQC(l.verifier.set, d, at, sigs)
	if err != nil {
		l.t.Fatal(err)
	}
	return *qc
}

func (l *lab) timeout(i int, v View, high QC, last ...TC) *Timeout {
	if last == nil {
		last = []TC{}
	}
	d := TimeoutData{ChainID: l.verifier.chain, Epoch: l.verifier.epoch, View: v, HighQC: high.Data.View}
	return &Timeout{Data: d, Voter: l.keys[i].Public(), Sig: l.sign(i, d.SigningBytes()), HighQC: high, LastTC: last}
}

// tc is of view v, by the first quorum, all of whom know high.
func (l *lab) tc(v View, high QC) TC {
	ts := newTimeouts(l.verifier)
	for i := range 2*len(l.keys)/3 + 1 {
		ts.add(VerifiedTimeout{l.timeout(i, v, high), i})
	}
	return *ts.certificate()
}

func (l *lab) step(r *Replica, in Input, err error) Output {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := r.Step(in)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

func (l *lab) propose(r *Replica, p *Proposal) Output {
	l.t.Helper()
	vp, err := l.verifier.Proposal(p)
	return l.step(r, vp, err)
}

func sent[T Message](out Output) []T {
	var l []T
	for _, o := range out.Send {
		if m, ok := o.Message.(T); ok {
			l = append(l, m)
		}
	}
	return l
}

func wantVote(t *testing.T, out Output, b *Block) *Vote {
	t.Helper()
	v := sent[*Vote](out)
	if len(v) != 1 || v[0].Data.Block != b.ID() {
		t.Fatalf("sent %d votes, want one for view %d", len(v), b.Header.View)
	}
	return v[0]
}

func wantNoVote(t *testing.T, out Output) {
	t.Helper()
	if v := sent[*Vote](out); len(v) != 0 {
		t.Fatalf("voted in view %d", v[0].Data.View)
	}
}
