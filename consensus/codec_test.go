package consensus

import (
	"bytes"
	"testing"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
)

// FuzzDecodeX: what is decoded encodes to the same bytes, and the Verifier judges it without a panic.

func samples(f *testing.F) (*lab, []Message, *Finality, *SafetyData) {
	t := &testing.T{}
	l := newLab(t, 4)
	g := GenesisQC(l.root)
	a := l.block(l.root, g, 1, "a")
	qa := l.qc(a, l.root)
	b := l.block(a, qa, 3, "b")
	tc := l.tc(2, qa)
	s := FreshSafety(l.root)
	s.LastVote = []Vote{*l.vote(0, l.voteData(a, l.root))}
	s.LastTimeout = []Timeout{*l.timeout(0, 3, g, tc)}
	return l, []Message{
		l.proposal(a), l.proposal(b, tc), l.vote(1, l.voteData(a, l.root)),
		l.timeout(2, 1, g), l.timeout(2, 3, qa, tc), &Certificates{QC: qa, TC: []TC{tc}},
	}, &Finality{Headers: []Header{l.root.Header}, QC: qa}, &s
}

func FuzzDecodeMessage(f *testing.F) {
	l, msgs, _, _ := samples(f)
	for _, m := range msgs {
		f.Add(EncodeMessage(m))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := DecodeMessage(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(EncodeMessage(m), raw) {
			t.Fatal("another spelling was accepted")
		}
		switch m := m.(type) {
		case *Proposal:
			l.verifier.Proposal(m)
		case *Vote:
			l.verifier.Vote(m)
		case *Timeout:
			l.verifier.Timeout(m)
		case *Certificates:
			l.verifier.Certificates(m)
		}
	})
}

// fuzz runs one decoder.
func fuzz[T interface{ Encode() []byte }](f *testing.F, decode func([]byte) (T, error), use func(T), seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := decode(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(v.Encode(), raw) {
			t.Fatal("another spelling was accepted")
		}
		if use != nil {
			use(v)
		}
	})
}

func FuzzDecodeProposal(f *testing.F) {
	l, m, _, _ := samples(f)
	fuzz(f, DecodeProposal, func(p *Proposal) { l.verifier.Proposal(p) }, m[0].Encode(), m[1].Encode())
}

func FuzzDecodeVote(f *testing.F) {
	l, m, _, _ := samples(f)
	fuzz(f, DecodeVote, func(v *Vote) { l.verifier.Vote(v) }, m[2].Encode())
}

func FuzzDecodeTimeout(f *testing.F) {
	l, m, _, _ := samples(f)
	fuzz(f, DecodeTimeout, func(v *Timeout) { l.verifier.Timeout(v) }, m[3].Encode(), m[4].Encode())
}

func FuzzDecodeQC(f *testing.F) {
	l, m, _, _ := samples(f)
	fuzz(f, DecodeQC, func(q *QC) { l.verifier.QC(q) }, m[5].(*Certificates).QC.Encode())
}

func FuzzDecodeTC(f *testing.F) {
	l, m, _, _ := samples(f)
	fuzz(f, DecodeTC, func(q *TC) { l.verifier.TC(q) }, m[5].(*Certificates).TC[0].Encode())
}

func FuzzDecodeCertificates(f *testing.F) {
	l, m, _, _ := samples(f)
	fuzz(f, DecodeCertificates, func(c *Certificates) { l.verifier.Certificates(c) }, m[5].Encode())
}

// FuzzGenesis reads the document that a newcomer is given by a stranger: Check passes only what everything built on it
// may rely on.
func FuzzGenesis(f *testing.F) {
	l, _, _, _ := samples(f)
	f.Add(canon.Must(l.genesis))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var g Genesis
		if canon.Unmarshal(raw, &g) != nil || g.Check() != nil {
			return
		}
		if !bytes.Equal(canon.Must(&g), raw) {
			t.Fatal("another spelling was accepted")
		}
		if _, err := NewValidatorSet(g.Validators); err != nil {
			t.Fatalf("checked, and its validators are no set: %v", err)
		}
		g.ChainID()
	})
}

func FuzzDecodeBlock(f *testing.F) {
	l, m, _, _ := samples(f)
	b := m[0].(*Proposal).Block
	fuzz(f, DecodeBlock, func(b *Block) { l.verifier.Block(b, b.ID()) }, b.Encode(), l.root.Encode())
}

func FuzzDecodeFinality(f *testing.F) {
	l, _, fin, _ := samples(f)
	fuzz(f, DecodeFinality, func(x *Finality) { l.verifier.Finality(x) }, fin.Encode())
}

// FuzzVerifyFinality changes a proof that holds: what still verifies proves the same block.
func FuzzVerifyFinality(f *testing.F) {
	l, _, fin, _ := samples(f)
	set, chain := l.verifier.Set(), l.verifier.ChainID()
	if err := fin.Verify(chain, set); err != nil {
		f.Fatal(err)
	}
	f.Add(fin.Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := DecodeFinality(raw)
		if err != nil {
			return
		}
		if x.Verify(chain, set) == nil && x.Header().ID() != fin.Header().ID() {
			t.Fatalf("a proof for block %d that nobody voted for", x.Header().Height)
		}
	})
}

func FuzzDecodeSafety(f *testing.F) {
	_, _, _, s := samples(f)
	fuzz(f, DecodeSafety, nil, s.Encode())
}

// The limits on bytes hold for the largest set, or an honest message would be refused.
func TestLargestMessagesFitTheirLimits(t *testing.T) {
	qc := QC{Data: VoteData{Epoch: 1 << 62, View: 1 << 62}, Signers: bytes.Repeat([]byte{255}, MaxValidators/8), Sigs: make([]sign.Signature, MaxValidators)}
	tc := TC{Epoch: 1 << 62, View: 1 << 62, HighQC: qc}
	for i := range MaxValidators {
		tc.Entries = append(tc.Entries, TCEntry{Validator: uint32(i), HighQC: 1 << 62, LastVoted: 1 << 62})
	}
	v := Vote{Data: qc.Data}
	to := Timeout{Data: TimeoutData{Epoch: 1 << 62, View: 1 << 62, HighQC: 1 << 62, LastVoted: 1 << 62}, HighQC: qc, LastTC: []TC{tc}}
	s := SafetyData{Epoch: 1 << 62, ProposedView: 1 << 62, ProposedTC: []TC{tc}, LastVoted: 1 << 62, LastVote: []Vote{v},
		Locked: 1 << 62, LastTimeout: []Timeout{to}, HighQC: qc, HighTC: []TC{tc}}
	h := Header{Version: 1 << 31, Height: 1 << 62, View: 1 << 62, Epoch: 1 << 62, TimestampMs: 1 << 62, HistoryCount: 1 << 62}
	fin := Finality{QC: qc}
	for range MaxFinalityHeaders {
		fin.Headers = append(fin.Headers, h)
	}
	for name, x := range map[string]struct{ have, limit int }{
		"vote":         {len(v.Encode()), MaxVoteBytes},
		"qc":           {len(qc.Encode()), MaxQCBytes},
		"tc":           {len(tc.Encode()), MaxTCBytes},
		"timeout":      {len(to.Encode()), MaxTimeoutBytes},
		"certificates": {len((&Certificates{QC: qc, TC: []TC{tc}}).Encode()), MaxCertificatesBytes},
		"safety":       {len(s.Encode()), MaxSafetyBytes},
		"finality":     {len(fin.Encode()), MaxFinalityBytes},
	} {
		if x.have > x.limit {
			t.Errorf("%s: %d bytes, limit %d", name, x.have, x.limit)
		}
	}
}
