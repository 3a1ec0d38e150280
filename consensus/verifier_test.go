package consensus

import (
	"bytes"
	"errors"
	"testing"

	"github.com/metanode/metanode/internal/digest"
)

func cloneQC(q QC) QC {
	q.Signers = append([]byte(nil), q.Signers...)
	q.Sigs = append([]Signature(nil), q.Sigs...)
	for i := range q.Sigs {
		q.Sigs[i] = bytes.Clone(q.Sigs[i])
	}
	return q
}

func TestVerifierRefusesBadQuorumCertificates(t *testing.T) {
	eachScheme(t, testVerifierRefusesBadQuorumCertificates)
}

func testVerifierRefusesBadQuorumCertificates(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	good := l.qc(a, l.root)
	other := newLab(t, 1-scheme, 4)
	if _, err := l.verifier.QC(&good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(q *QC){
		"another chain":         func(q *QC) { q.Data.ChainID[0] ^= 1 },
		"another epoch":         func(q *QC) { q.Data.Epoch = 1 },
		"another view":          func(q *QC) { q.Data.View++ },
		"another block":         func(q *QC) { q.Data.Block[0] ^= 1 },
		"another commit":        func(q *QC) { q.Data.CommitRef[0] ^= 1 },
		"no quorum":             func(q *QC) { *q = l.qcBy(q.Data, 0, 1) },
		"no signers":            func(q *QC) { q.Signers = nil },
		"a signature too few":   func(q *QC) { q.Sigs = q.Sigs[:len(q.Sigs)-1] },
		"a signature too many":  func(q *QC) { q.Sigs = append(q.Sigs, q.Sigs[0]) },
		"signer out of set":     func(q *QC) { q.Signers = []byte{0x13} },
		"trailing zero byte":    func(q *QC) { q.Signers = append(q.Signers, 0) },
		"others' signatures":    func(q *QC) { x := l.qcBy(q.Data, 1, 2, 3); q.Sigs = x.Sigs },
		"spoilt signature":      func(q *QC) { q.Sigs[len(q.Sigs)-1][40] ^= 1 },
		"a longer signature":    func(q *QC) { q.Sigs[0] = append(q.Sigs[0], 0) },
		"a shorter signature":   func(q *QC) { q.Sigs[0] = q.Sigs[0][:len(q.Sigs[0])-1] },
		"no signature":          func(q *QC) { q.Sigs[0] = Signature{} },
		"the other scheme":      func(q *QC) { *q = other.qcBy(q.Data, 0, 1, 2) },
		"other signers":         func(q *QC) { q.Signers = []byte{0x0e} },
		"unsigned, view 0":      func(q *QC) { *q = QC{Data: VoteData{ChainID: q.Data.ChainID, Block: q.Data.Block}} },
		"genesis with a signer": func(q *QC) { g := GenesisQC(l.root); g.Signers, g.Sigs = q.Signers, q.Sigs; *q = g },
		"genesis with a commit": func(q *QC) { *q = GenesisQC(l.root); q.Data.CommitRef = l.root.ID() },
		"nothing":               func(q *QC) { *q = QC{} },
		"a far too long bitmap": func(q *QC) { q.Signers = make([]byte, 32); q.Signers[31] = 1 },
		"no block":              func(q *QC) { q.Data.Block = BlockID{} },
	} {
		q := cloneQC(good)
		spoil(&q)
		if _, err := l.verifier.QC(&q); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
}

func TestVerifierRefusesBadTimeoutCertificates(t *testing.T) {
	eachScheme(t, testVerifierRefusesBadTimeoutCertificates)
}

func testVerifierRefusesBadTimeoutCertificates(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	qa := l.qc(a, l.root)
	good := func() TC {
		ts := newTimeouts(l.verifier)
		ts.add(VerifiedTimeout{l.timeout(0, 3, GenesisQC(l.root)), 0})
		ts.add(VerifiedTimeout{l.timeout(2, 3, qa), 2})
		ts.add(VerifiedTimeout{l.timeout(3, 3, GenesisQC(l.root)), 3})
		return *ts.certificate()
	}
	tc := good()
	if tc.HighQC.Data.View != 1 {
		t.Fatalf("the certificate carries view %d, not the highest", tc.HighQC.Data.View)
	}
	if _, err := l.verifier.TC(&tc); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(tc *TC){
		"another chain":                   func(tc *TC) { tc.ChainID[0] ^= 1 },
		"another epoch":                   func(tc *TC) { tc.Epoch = 1 },
		"another view":                    func(tc *TC) { tc.View++ },
		"no quorum":                       func(tc *TC) { tc.Entries = tc.Entries[:2] },
		"no entries":                      func(tc *TC) { tc.Entries = nil },
		"entries out of order":            func(tc *TC) { tc.Entries[0], tc.Entries[1] = tc.Entries[1], tc.Entries[0] },
		"an entry twice":                  func(tc *TC) { tc.Entries[1] = tc.Entries[0] },
		"an entry out of set":             func(tc *TC) { tc.Entries[2].Validator = 4 },
		"an entry out of any set":         func(tc *TC) { tc.Entries[2].Validator = 1 << 31 },
		"a lower certificate than named":  func(tc *TC) { tc.HighQC = GenesisQC(l.root) },
		"a higher certificate than named": func(tc *TC) { b := l.block(a, qa, 2, "b"); tc.HighQC = l.qc(b, a) },
		"an entry with another view":      func(tc *TC) { tc.Entries[0].HighQC = 1 },
		"a vote after the view":           func(tc *TC) { tc.Entries[0].LastVoted = 4 },
		"another last vote":               func(tc *TC) { tc.Entries[0].LastVoted = 2 },
		"a certificate of its own view":   func(tc *TC) { tc.View = 1 },
		"a spoilt signature":              func(tc *TC) { tc.Entries[0].Sig = bytes.Clone(tc.Entries[0].Sig); tc.Entries[0].Sig[9] ^= 1 },
		"a signature less":                func(tc *TC) { tc.Entries[0].Sig = Signature{} },
		"a signature in the wrong place": func(tc *TC) {
			e := tc.Entries
			e[0].Sig, e[2].Sig = e[2].Sig, e[0].Sig
		},
		"a signature too many": func(tc *TC) {
			for i := range tc.Entries {
				if len(tc.Entries[i].Sig) == 0 {
					tc.Entries[i].Sig = tc.Entries[0].Sig
					return
				}
			}
			tc.Entries[0].Sig = append(bytes.Clone(tc.Entries[0].Sig), tc.Entries[1].Sig...)
		},
	} {
		tc := good()
		spoil(&tc)
		if _, err := l.verifier.TC(&tc); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
}

func TestVerifierRefusesBadTimeouts(t *testing.T) { eachScheme(t, testVerifierRefusesBadTimeouts) }

func testVerifierRefusesBadTimeouts(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	g := GenesisQC(l.root)
	a := l.block(l.root, g, 1, "a")
	qa := l.qc(a, l.root)
	for name, to := range map[string]*Timeout{
		"a gap without the certificate of the view before": l.timeout(0, 3, qa),
		"a timeout certificate of another view":            l.timeout(0, 4, qa, l.tc(2, qa)),
		"a timeout certificate that is not needed":         l.timeout(0, 2, qa, l.tc(1, g)),
		"a certificate of its own view":                    l.timeout(0, 1, qa),
		"view 0":                                           l.timeout(0, 0, g),
	} {
		if _, err := l.verifier.Timeout(to); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	good := l.timeout(0, 3, qa, l.tc(2, g))
	if _, err := l.verifier.Timeout(good); err != nil {
		t.Fatal(err)
	}
	bad := *good
	bad.Data.LastVoted = 2
	if _, err := l.verifier.Timeout(&bad); !errors.Is(err, ErrRefused) {
		t.Errorf("another last vote: %v", err)
	}
	bad = *good
	bad.Sig = bad.Sig[:len(bad.Sig)-1]
	if _, err := l.verifier.Timeout(&bad); !errors.Is(err, ErrRefused) {
		t.Errorf("a shorter signature: %v", err)
	}
	bad = *good
	bad.Voter = l.keys[1].Public()
	if _, err := l.verifier.Timeout(&bad); !errors.Is(err, ErrRefused) {
		t.Errorf("another's signature: %v", err)
	}
}

func TestReplicaRefusesBadProposals(t *testing.T) { eachScheme(t, testReplicaRefusesBadProposals) }

func testReplicaRefusesBadProposals(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	g := GenesisQC(l.root)
	for name, spoil := range map[string]func(b *Block){
		"another chain":            func(b *Block) { b.Header.ChainID[0] ^= 1 },
		"another version":          func(b *Block) { b.Header.Version++ },
		"another epoch":            func(b *Block) { b.Header.Epoch++ },
		"another set":              func(b *Block) { b.Header.Validators = digest.Sum("x") },
		"another next set":         func(b *Block) { b.Header.NextVals = digest.Sum("x") },
		"a height that skips":      func(b *Block) { b.Header.Height, b.Header.HistoryCount = 2, 2 },
		"a history that skips":     func(b *Block) { b.Header.HistoryCount++ },
		"a parent not certified":   func(b *Block) { b.Header.Parent[0] ^= 1 },
		"the parent's time":        func(b *Block) { b.Header.TimestampMs = 1 },
		"too many transactions":    func(b *Block) { b.Txs = make([][]byte, 11) },
		"another transaction root": func(b *Block) { b.Header.TxRoot[0] ^= 1 },
		"a proposer out of turn":   func(b *Block) { b.Header.Proposer = l.keys[l.other(1)].Public() },
		"a proposer from outside":  func(b *Block) { b.Header.Proposer[0] ^= 1 },
		"an unsigned certificate": func(b *Block) {
			b.Justify.Data.View = 0
			b.Justify.Data.Block = digest.Sum("x")
			b.Header.Parent = digest.Sum("x")
		},
	} {
		b := l.block(l.root, g, 1, "a")
		spoil(b)
		p := l.proposal(b)
		if i, ok := l.verifier.set.Index(b.Header.Proposer); ok {
			p.Sig = l.keys[i].Sign(ProposalSigningBytes(b.ID()))
		}
		r, _ := l.replica(0, l.fresh())
		vp, err := l.verifier.Proposal(p)
		if err == nil {
			err = r.Check(vp)
			if out, serr := r.Step(vp); serr == nil || len(out.Send) != 0 {
				t.Errorf("%s: Step took what Check refused", name)
			}
		}
		if !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	p := l.proposal(l.block(l.root, g, 1, "a"))
	p.Sig[0] ^= 1
	if _, err := l.verifier.Proposal(p); !errors.Is(err, ErrRefused) {
		t.Errorf("a bad signature: %v", err)
	}
}

func TestFinalityRefusesWhatIsNotFinal(t *testing.T) {
	eachScheme(t, testFinalityRefusesWhatIsNotFinal)
}

func testFinalityRefusesWhatIsNotFinal(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	b := l.block(a, l.qc(a, l.root), 2, "b")
	c := l.block(b, l.qc(b, a), 3, "c")
	qc := l.qc(c, b)
	good := func() *Finality { return &Finality{Headers: []Header{a.Header, b.Header}, QC: cloneQC(qc)} }
	if err := good().Verify(l.verifier.chain, l.verifier.set); err != nil {
		t.Fatal(err)
	}
	if err := VerifyHeader(l.verifier.chain, l.verifier.set, &b.Header, &qc); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(f *Finality){
		"no headers":        func(f *Finality) { f.Headers = nil },
		"another last":      func(f *Finality) { f.Headers = f.Headers[:1] },
		"a gap":             func(f *Finality) { f.Headers[0] = l.root.Header },
		"a changed header":  func(f *Finality) { f.Headers[0].EventRoot[0] ^= 1 },
		"a bad signature":   func(f *Finality) { f.QC.Sigs[0][0] ^= 1 },
		"no commit":         func(f *Finality) { f.QC.Data.CommitRef = BlockID{} },
		"certified only":    func(f *Finality) { f.Headers = append(f.Headers, c.Header) },
		"another epoch":     func(f *Finality) { f.QC.Data.Epoch++ },
		"a changed version": func(f *Finality) { f.Headers[1].Version++ },
	} {
		f := good()
		spoil(f)
		if err := f.Verify(l.verifier.chain, l.verifier.set); !errors.Is(err, ErrNotFinal) {
			t.Errorf("%s: %v, want ErrNotFinal", name, err)
		}
	}
	other := newLab(t, scheme, 5)
	if err := good().Verify(l.verifier.chain, other.verifier.set); !errors.Is(err, ErrNotFinal) {
		t.Errorf("another set: %v", err)
	}
	if err := good().Verify(other.verifier.chain, l.verifier.set); !errors.Is(err, ErrNotFinal) {
		t.Errorf("another chain: %v", err)
	}
}

func TestSignaturesFindEveryOffender(t *testing.T) { eachScheme(t, testSignaturesFindEveryOffender) }

func testSignaturesFindEveryOffender(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 7)
	for _, mask := range []int{0, 1, 2, 0x40, 0x41, 0x2a, 0x55, 0x7e, 0x7f} {
		known := newSignatures()
		var claims []claim
		for i, k := range l.keys {
			msg := []byte{byte(i), byte(mask)}
			s := NewSigner(scheme, k).Sign(msg)
			if mask>>i&1 == 1 {
				s[7] ^= 1
			}
			claims = append(claims, l.verifier.set.claim(i, msg, s))
		}
		got := 0
		for _, i := range known.bad(claims, false) {
			got |= 1 << i
		}
		if got != mask {
			t.Fatalf("offenders %b, found %b", mask, got)
		}
		if known.check(claims...) != (mask == 0) {
			t.Fatalf("offenders %b: wrong verdict afterwards", mask)
		}
	}
}

func TestSignatureMemoryIsBounded(t *testing.T) {
	s := newSignatures()
	for i := range 3 * signaturesPerGeneration {
		s.learn(digest.Sum("x", []byte{byte(i), byte(i >> 8), byte(i >> 16)}))
	}
	if len(s.young)+len(s.old) > 2*signaturesPerGeneration {
		t.Fatalf("%d signatures remembered", len(s.young)+len(s.old))
	}
}
