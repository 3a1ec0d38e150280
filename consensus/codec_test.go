package consensus

import (
	"bytes"
	"testing"

	"github.com/metanode/metanode/internal/canon"
)

// FuzzDecodeX: what is decoded encodes to the same bytes, and the Verifier judges it without a panic.

// sample is a lab under one scheme with one of everything.
type sample struct {
	l      *lab
	msgs   []Message
	final  *Finality
	safety *SafetyData
}

// samples are of every scheme.
func samples() []sample {
	var out []sample
	for _, scheme := range Schemes() {
		l := newLab(&testing.T{}, scheme, 4)
		g := GenesisQC(l.root)
		a := l.block(l.root, g, 1, "a")
		qa := l.qc(a, l.root)
		b := l.block(a, qa, 3, "b")
		tc := l.tc(2, qa)
		s := FreshSafety(l.root)
		s.LastVote = []Vote{*l.vote(0, l.voteData(a, l.root))}
		s.LastTimeout = []Timeout{*l.timeout(0, 3, g, tc)}
		out = append(out, sample{l, []Message{
			l.proposal(a), l.proposal(b, tc), l.vote(1, l.voteData(a, l.root)),
			l.timeout(2, 1, g), l.timeout(2, 3, qa, tc), &Certificates{QC: qa, TC: []TC{tc}},
		}, &Finality{Headers: []Header{l.root.Header}, QC: qa}, &s})
	}
	return out
}

func FuzzDecodeMessage(f *testing.F) {
	all := samples()
	for _, s := range all {
		for _, m := range s.msgs {
			f.Add(EncodeMessage(m))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := DecodeMessage(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(EncodeMessage(m), raw) {
			t.Fatal("another spelling was accepted")
		}
		for _, s := range all {
			switch m := m.(type) {
			case *Proposal:
				s.l.verifier.Proposal(m)
			case *Vote:
				if v, err := s.l.verifier.Vote(m); err == nil {
					s.l.verifier.Signed(v)
				}
			case *Timeout:
				s.l.verifier.Timeout(m)
			case *Certificates:
				s.l.verifier.Certificates(m)
			}
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

// fuzzSamples runs one decoder, from seeds of every scheme, and judges what it gives under every scheme.
func fuzzSamples[T interface{ Encode() []byte }](f *testing.F, decode func([]byte) (T, error), use func(*Verifier, T), pick func(sample) []T) {
	var seeds [][]byte
	all := samples()
	for _, s := range all {
		for _, v := range pick(s) {
			seeds = append(seeds, v.Encode())
		}
	}
	fuzz(f, decode, func(v T) {
		for _, s := range all {
			use(s.l.verifier, v)
		}
	}, seeds...)
}

func FuzzDecodeProposal(f *testing.F) {
	fuzzSamples(f, DecodeProposal, func(v *Verifier, p *Proposal) { v.Proposal(p) },
		func(s sample) []*Proposal { return []*Proposal{s.msgs[0].(*Proposal), s.msgs[1].(*Proposal)} })
}

func FuzzDecodeVote(f *testing.F) {
	fuzzSamples(f, DecodeVote, func(v *Verifier, x *Vote) {
		if c, err := v.Vote(x); err == nil {
			v.Signed(c)
		}
	}, func(s sample) []*Vote { return []*Vote{s.msgs[2].(*Vote)} })
}

func FuzzDecodeTimeout(f *testing.F) {
	fuzzSamples(f, DecodeTimeout, func(v *Verifier, t *Timeout) { v.Timeout(t) },
		func(s sample) []*Timeout { return []*Timeout{s.msgs[3].(*Timeout), s.msgs[4].(*Timeout)} })
}

func FuzzDecodeQC(f *testing.F) {
	fuzzSamples(f, DecodeQC, func(v *Verifier, q *QC) { v.QC(q) },
		func(s sample) []*QC { return []*QC{&s.msgs[5].(*Certificates).QC} })
}

func FuzzDecodeTC(f *testing.F) {
	fuzzSamples(f, DecodeTC, func(v *Verifier, t *TC) { v.TC(t) },
		func(s sample) []*TC { return []*TC{&s.msgs[5].(*Certificates).TC[0]} })
}

func FuzzDecodeCertificates(f *testing.F) {
	fuzzSamples(f, DecodeCertificates, func(v *Verifier, c *Certificates) { v.Certificates(c) },
		func(s sample) []*Certificates { return []*Certificates{s.msgs[5].(*Certificates)} })
}

// FuzzGenesis reads the document that a newcomer is given by a stranger: Check passes only what everything built on it
// may rely on.
func FuzzGenesis(f *testing.F) {
	for _, s := range samples() {
		f.Add(canon.Must(s.l.genesis))
	}
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
	fuzzSamples(f, DecodeBlock, func(v *Verifier, b *Block) { v.Block(b, b.ID()) },
		func(s sample) []*Block { return []*Block{&s.msgs[0].(*Proposal).Block, s.l.root} })
}

func FuzzDecodeFinality(f *testing.F) {
	fuzzSamples(f, DecodeFinality, func(v *Verifier, x *Finality) { v.Finality(x) },
		func(s sample) []*Finality { return []*Finality{s.final} })
}

// FuzzVerifyFinality changes a proof that holds: what still verifies proves the same block.
func FuzzVerifyFinality(f *testing.F) {
	all := samples()
	for _, s := range all {
		if err := s.final.Verify(s.l.verifier.ChainID(), s.l.verifier.Set()); err != nil {
			f.Fatal(err)
		}
		f.Add(s.final.Encode())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := DecodeFinality(raw)
		if err != nil {
			return
		}
		for _, s := range all {
			if x.Verify(s.l.verifier.ChainID(), s.l.verifier.Set()) == nil && x.Header().ID() != s.final.Header().ID() {
				t.Fatalf("a proof for block %d that nobody voted for", x.Header().Height)
			}
		}
	})
}

func FuzzDecodeSafety(f *testing.F) {
	fuzzSamples(f, DecodeSafety, func(*Verifier, *SafetyData) {},
		func(s sample) []*SafetyData { return []*SafetyData{s.safety} })
}

// The limits on bytes hold for the largest set, or an honest message would be refused.
func TestLargestMessagesFitTheirLimits(t *testing.T) {
	eachScheme(t, testLargestMessagesFitTheirLimits)
}

func testLargestMessagesFitTheirLimits(t *testing.T, scheme Scheme) {
	sig := make(Signature, scheme.rules().size())
	qc := QC{Data: VoteData{Epoch: 1 << 62, View: 1 << 62}, Signers: bytes.Repeat([]byte{255}, MaxValidators/8)}
	for range scheme.rules().count(MaxValidators) {
		qc.Sigs = append(qc.Sigs, sig)
	}
	tc := TC{Epoch: 1 << 62, View: 1 << 62, HighQC: qc}
	for i := range MaxValidators {
		e := TCEntry{Validator: uint32(i), HighQC: 1 << 62, LastVoted: 1 << 62}
		if i < scheme.rules().count(MaxValidators) {
			e.Sig = sig
		}
		tc.Entries = append(tc.Entries, e)
	}
	next := []Validator{}
	for range MaxValidators {
		v := Validator{Weight: 1 << 32, Name: string(make([]byte, 64))}
		if scheme == BLS12381 {
			v.BLS.Key[0] = 1
		}
		next = append(next, v)
	}
	v := Vote{Data: qc.Data, Sig: sig}
	to := Timeout{Sig: sig, Data: TimeoutData{Epoch: 1 << 62, View: 1 << 62, HighQC: 1 << 62, LastVoted: 1 << 62}, HighQC: qc, LastTC: []TC{tc}}
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
		"handover":     {len((&Handover{Finality: fin, Next: next}).Encode()), MaxHandoverBytes},
	} {
		if x.have > x.limit {
			t.Errorf("%s: %d bytes, limit %d", name, x.have, x.limit)
		}
	}
}
