package model

import (
	"errors"
	"fmt"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// byzantine is the validator that leads every view and has every key it needs.
const byzantine = correct

// fork is a block of the model with everything before it: the code's blocks are named by it.
type fork struct {
	view int8
	Block
	under *fork // nil for a child of genesis
}

func (f *fork) name() string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%d%c(%s)", f.view, 'a'+rune(f.Variant), f.under.name())
}

func (f *fork) viewOf() int8 {
	if f == nil {
		return 0
	}
	return f.view
}

// certifiedFork is the certified block of view v in s with what is before it; nil for genesis.
func (s *State) certifiedFork(v int8) *fork {
	if v == 0 {
		return nil
	}
	return &fork{v, s.Cert[v], s.certifiedFork(s.Cert[v].Parent)}
}

// lab makes the code's messages for the model's.
type lab struct {
	t        testing.TB
	keys     []sign.PrivateKey
	root     *consensus.Block
	verifier *consensus.Verifier
	blocks   map[string]*consensus.Block
	qcs      map[string]consensus.QC
	tcs      map[string]consensus.TC
	byID     map[consensus.BlockID]*consensus.Block
}

func newLab(t testing.TB) *lab {
	l := &lab{
		t: t, blocks: make(map[string]*consensus.Block), qcs: make(map[string]consensus.QC),
		tcs: make(map[string]consensus.TC), byID: make(map[consensus.BlockID]*consensus.Block),
	}
	g := &consensus.Genesis{
		Version: consensus.ProtocolVersion, Name: "model", TimestampMs: 1, BlockTimeMs: 1000, MaxTxsPerBlock: 10, MaxTimestampAhead: 500,
	}
	for i := range correct + 1 {
		s := digest.Sum("model/key", []byte{byte(i)})
		l.keys = append(l.keys, sign.FromSeed(s[:]))
		g.Validators = append(g.Validators, consensus.Validator{Key: l.keys[i].Public(), Weight: 1, Name: fmt.Sprint(i)})
	}
	var err error
	if l.root, err = g.Block(digest.Sum("model/state")); err != nil {
		t.Fatal(err)
	}
	if l.verifier, err = consensus.NewVerifier(g, l.root.ID()); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) block(f *fork) *consensus.Block {
	if f == nil {
		return l.root
	}
	name := f.name()
	if b := l.blocks[name]; b != nil {
		return b
	}
	q := consensus.ProposeRequest{View: consensus.View(f.view), Parent: l.block(f.under), Justify: l.qc(f.under)}
	h := q.Header(l.verifier, l.keys[byzantine].Public())
	h.TimestampMs = q.Parent.Header.TimestampMs + 1
	h.TxRoot, h.EventRoot, h.StateRoot = merkle.Root(nil), merkle.Root(nil), digest.Sum("model/state", []byte(name))
	b := &consensus.Block{Header: h, Justify: q.Justify, Txs: [][]byte{}}
	l.blocks[name], l.byID[b.ID()] = b, b
	return b
}

// signed is the signature of a vote or timeout.
func signed(k sign.PrivateKey, msg []byte) consensus.Signature {
	return consensus.NewSigner(consensus.Ed25519, k).Sign(msg)
}

// qc is signed by replicas 0 and 1 and the Byzantine validator. What replica 0 remembers of its own votes is not in it.
func (l *lab) qc(f *fork) consensus.QC {
	if f == nil {
		return consensus.GenesisQC(l.root)
	}
	name := f.name()
	if qc, ok := l.qcs[name]; ok {
		return qc
	}
	b := l.block(f)
	d := consensus.VoteData{ChainID: l.verifier.ChainID(), View: consensus.View(f.view), Block: b.ID()}
	if f.viewOf() == f.under.viewOf()+1 {
		d.CommitRef = b.Header.Parent
	}
	at := []int{0, 1, byzantine}
	var sigs []consensus.Signature
	for _, i := range at {
		sigs = append(sigs, signed(l.keys[i], d.SigningBytes()))
	}
	qc, err := consensus.NewQC(l.verifier.Set(), d, at, sigs)
	if err != nil {
		l.t.Fatal(err)
	}
	l.qcs[name] = *qc
	return *qc
}

// tc is of the given view and knows no certificate above that of high.
func (l *lab) tc(view int8, high *fork) consensus.TC {
	name := fmt.Sprint(view, high.name())
	if tc, ok := l.tcs[name]; ok {
		return tc
	}
	tc := consensus.TC{ChainID: l.verifier.ChainID(), View: consensus.View(view), HighQC: l.qc(high)}
	for i := 1; i <= byzantine; i++ {
		d := consensus.TimeoutData{ChainID: tc.ChainID, View: tc.View, HighQC: tc.HighQC.Data.View}
		tc.Entries = append(tc.Entries, consensus.TCEntry{Validator: uint32(i), HighQC: d.HighQC, Sig: signed(l.keys[i], d.SigningBytes())})
	}
	l.tcs[name] = tc
	return tc
}

// proposal is the leader's of f, with the timeout certificates given: none or one.
func (l *lab) proposal(f *fork, tc ...consensus.TC) *consensus.Proposal {
	b := l.block(f)
	if tc == nil {
		tc = []consensus.TC{}
	}
	return &consensus.Proposal{Block: *b, LastTC: tc, Sig: l.keys[byzantine].Sign(consensus.ProposalSigningBytes(b.ID()))}
}

// timeout is the Byzantine validator's, with the certificate of high alone.
func (l *lab) timeout(view int8, high *fork) *consensus.Timeout {
	d := consensus.TimeoutData{ChainID: l.verifier.ChainID(), View: consensus.View(view), HighQC: consensus.View(high.viewOf())}
	k := l.keys[byzantine]
	return &consensus.Timeout{Data: d, Voter: k.Public(), Sig: signed(k, d.SigningBytes()), HighQC: l.qc(high), LastTC: []consensus.TC{}}
}

// puppet is a consensus.Replica with the shell's part played: it gets every certified block that it asks for.
type puppet struct {
	l      *lab
	r      *consensus.Replica
	saved  consensus.SafetyData
	stored []*consensus.Block
	rootQC consensus.QC
	sent   []consensus.Message // since the last take
}

func (l *lab) puppet() *puppet {
	return l.start(consensus.Recovery{Safety: consensus.FreshSafety(l.root), Root: l.root, RootQC: consensus.GenesisQC(l.root)})
}

func (l *lab) start(rec consensus.Recovery) *puppet {
	l.t.Helper()
	r, err := consensus.New(consensus.Config{
		Key: l.keys[0], Verifier: l.verifier, Schedule: func(consensus.View) int { return byzantine },
	}, rec)
	if err != nil {
		l.t.Fatal(err)
	}
	p := &puppet{l: l, r: r, saved: rec.Safety, stored: rec.Blocks, rootQC: rec.RootQC}
	out, err := r.Start()
	p.take(out, err)
	p.sent = nil // what was sent before
	return p
}

// restarted is another replica made from what p saved.
func (p *puppet) restarted() *puppet {
	s, err := consensus.DecodeSafety(p.saved.Encode())
	if err != nil {
		p.l.t.Fatal(err)
	}
	return p.l.start(consensus.Recovery{
		Safety: *s, Root: p.r.Root(), RootQC: p.rootQC, Blocks: append([]*consensus.Block(nil), p.stored...),
	})
}

func (p *puppet) step(in consensus.Input) {
	out, err := p.r.Step(in)
	p.take(out, err)
}

// take does what an Output says.
func (p *puppet) take(out consensus.Output, err error) {
	p.l.t.Helper()
	if err != nil {
		p.l.t.Fatalf("replica: %v", err)
	}
	p.stored = append(p.stored, out.Store...)
	if out.Save != nil {
		p.saved = *out.Save
	}
	for _, o := range out.Send {
		p.sent = append(p.sent, o.Message)
	}
	if out.Commit != nil {
		p.rootQC = out.Commit.QC
	}
	if len(out.Evidence) > 0 && out.Evidence[0].Key != p.l.keys[byzantine].Public() {
		p.l.t.Fatalf("evidence of %s against a replica that follows the model", out.Evidence[0].Kind)
	}
	for _, n := range out.Need {
		if b := p.l.byID[n.Block]; b != nil {
			p.fetched(b)
		}
	}
}

// fetched gives the replica a block after those before it.
func (p *puppet) fetched(b *consensus.Block) {
	v, err := p.l.verifier.Block(b, b.ID())
	if err != nil {
		p.l.t.Fatal(err)
	}
	if errors.Is(p.r.Check(v), consensus.ErrUnknownParent) {
		if parent := p.l.byID[b.Header.Parent]; parent != nil {
			p.fetched(parent)
		}
	}
	if p.r.Check(v) == nil && !p.r.Has(b.ID()) {
		p.step(v)
	}
}

// offer shows the replica a proposal as a shell does, and reports what it sent.
func (p *puppet) offer(m *consensus.Proposal) []consensus.Message {
	p.sent = nil
	v, err := p.l.verifier.Proposal(m)
	if err != nil {
		return nil
	}
	if errors.Is(p.r.Check(v), consensus.ErrUnknownParent) {
		for _, c := range v.Certificates() {
			p.step(c)
		}
	}
	if p.r.Check(v) == nil {
		p.step(v)
	}
	return p.sent
}

// show steps a timeout certificate.
func (p *puppet) show(tc consensus.TC) {
	c, err := p.l.verifier.TC(&tc)
	if err != nil {
		p.l.t.Fatal(err)
	}
	p.step(c)
}

// expire shows the replica certificates and lets the timer of the view run out, and reports what it sent.
func (p *puppet) expire(view int8, qc consensus.QC, tc ...consensus.TC) []consensus.Message {
	q, err := p.l.verifier.QC(&qc)
	if err != nil {
		p.l.t.Fatal(err)
	}
	p.step(q)
	for i := range tc {
		p.show(tc[i])
	}
	p.sent = nil
	p.step(consensus.TimerExpired{View: consensus.View(view)})
	return p.sent
}
