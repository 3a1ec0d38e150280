package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/bls"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// What chains of Ed25519 hash, sign and send is what it was before there was another scheme, but for the number of the
// protocol's version in it.
func TestEd25519EncodingsAreWhatTheyWere(t *testing.T) {
	l := newLab(t, Ed25519, 4)
	if got := l.genesis.ChainID().String(); got != "b6513b9f552aa0fa157476f56fe3bd60b82475a76356297ba1fe9fca66dd3e2d" {
		t.Errorf("chain id %s", got)
	}
	if got := l.verifier.set.Digest().String(); got != "eb9bb7b3607be3fb970f4a713a4d41b898921165ae7d09a28155e0f6d548efaf" {
		t.Errorf("validator set %s", got)
	}
	want := []string{
		"8b6e7012774dddef42cdf8ef53f1d78af17b2ee61afe490e88c101662dc02a4a", "21c1a9148f21fc6b8b31cc64b17acf5ab62209d6064b57aed403c56c8ffbe39e",
		"d3663ed781e553a1530f095337eda6833c6acf2d299deee21a7a33f0ee654766", "b9b3aa0696179aad9b0d65c551dbcf5a0660c0e884ce5badf5937fec46c100f2",
		"766970de035440b0b4e158c7a898578a5d00d328bb35bc7834fd43767870210c", "f80f15ef25acc62d1606dfb7c1dc3e8f848e9dd3c996392a058eb48000e39d8f",
	}
	proofs := []string{
		"5d43fa853302fc5f27010c8ecc91c64cea85d2634f0018859afda3affe38d9be", "9044d65f7e4ddf0cb2b86997b9e81203e8b5d955bd117e2e7d5bf5f11d9efa05",
		"960b28b335dbf20ab4d02c7db09c441bc5348b5caf33e58915ec0fe8ba8409e9",
	}
	for i, e := range l.proofs() {
		if got := digest.Of(e.Encode()).String(); got != proofs[i] {
			t.Errorf("evidence of %s: %s", e.Kind, got)
		}
	}
	for i, m := range samples()[0].msgs {
		if got := digest.Of(EncodeMessage(m)).String(); got != want[i] {
			t.Errorf("message %d: %s", i, got)
		}
	}
}

func TestSchemeIsPartOfTheChain(t *testing.T) {
	for _, s := range Schemes() {
		if again, err := ParseScheme(s.String()); err != nil || again != s {
			t.Errorf("%s: read back as %s, %v", s, again, err)
		}
		l := newLab(t, s, 4)
		raw := canon.Must(l.genesis)
		var g Genesis
		if err := canon.Unmarshal(raw, &g); err != nil || g.Scheme != s || g.Check() != nil || g.ChainID() != l.genesis.ChainID() {
			t.Errorf("%s: genesis read back of scheme %s, %v", s, g.Scheme, err)
		}
		if l.verifier.set.Scheme() != s {
			t.Errorf("%s: the set is of %s", s, l.verifier.set.Scheme())
		}
	}
	if _, err := ParseScheme("ed448"); err == nil {
		t.Error("an unknown scheme was read")
	}
	l := newLab(t, BLS12381, 4)
	g := *l.genesis
	for name, s := range map[string]Scheme{"another": Ed25519, "an unknown one": 2} {
		g.Scheme = s
		if err := g.Check(); err == nil {
			t.Errorf("genesis with %s than its validators' keys: accepted", name)
		}
	}
	// Under one scheme nothing is spelt in the other's way.
	long := canon.Must(&schemeGenesis{Version: 1, Name: "x", Validators: []Validator{}})
	if canon.Unmarshal(long, new(Genesis)) == nil {
		t.Error("a genesis that names ed25519 is a second spelling")
	}
	v := canon.Must(&blsValidator{Weight: 1})
	if canon.Unmarshal(v, new(Validator)) == nil {
		t.Error("a validator with an empty bls key is a second spelling")
	}
}

func TestSetsRefuseKeysThatAreNotProven(t *testing.T) {
	l := newLab(t, BLS12381, 4)
	for name, c := range map[string]struct {
		spoil func(list []Validator)
		says  string
	}{
		"another's proof": {func(v []Validator) { v[1].BLS.Proof = v[2].BLS.Proof }, "proof of possession"},
		"no proof":        {func(v []Validator) { clear(v[1].BLS.Proof[:]) }, "proof of possession"},
		"no point":        {func(v []Validator) { v[1].BLS.Key[0] = 0; v[1].BLS.Link = l.keys[1].Sign(linkBytes(v[1].BLS.Key)) }, "not a point"},
		"another's key":   {func(v []Validator) { v[1].BLS, v[2].BLS = v[2].BLS, v[1].BLS }, "does not own"},
		"no link":         {func(v []Validator) { clear(v[1].BLS.Link[:]) }, "does not own"},
		"a key twice":     {func(v []Validator) { v[1].BLS = v[2].BLS }, "stands twice"},
		"a key too few":   {func(v []Validator) { v[1].BLS = BLSKey{} }, "3 of 4 members"},
		"infinity for a key": {func(v []Validator) {
			v[1].BLS.Key = bls.PublicKey{0: 0xc0}
			v[1].BLS.Link = l.keys[1].Sign(linkBytes(v[1].BLS.Key))
		}, "not a point"},
	} {
		list := l.verifier.set.All()
		c.spoil(list)
		if _, err := NewValidatorSet(list); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		g := *l.genesis
		g.Validators = list
		if g.Check() == nil {
			t.Errorf("%s: genesis passes", name)
		}
	}
}

// A handover hands the chain to validators of its own scheme, whose keys are proven.
func TestHandoverKeepsTheScheme(t *testing.T) {
	for name, c := range map[string]struct {
		scheme Scheme
		spoil  func(l *lab, next []Validator)
	}{
		"to bls12-381": {Ed25519, func(l *lab, next []Validator) {
			for i := range next {
				next[i].BLS = ProveBLS(l.keys[i])
			}
		}},
		"to ed25519": {BLS12381, func(l *lab, next []Validator) {
			for i := range next {
				next[i].BLS = BLSKey{}
			}
		}},
		"to an unproven key": {BLS12381, func(l *lab, next []Validator) { next[3].BLS.Proof = next[2].BLS.Proof }},
	} {
		l := newLab(t, c.scheme, 4)
		next, _ := l.nextSet(2, 4) // the first two of them stay
		c.spoil(l, next)
		set, err := StoredValidatorSet(next)
		if err != nil {
			t.Fatal(err)
		}
		b := l.block(l.root, GenesisQC(l.root), 1, "closing")
		b.Header.NextVals, b.Header.EventRoot = set.Digest(), digest.Sum("lab/events")
		child := l.trailing(b, l.qc(b, l.root), 2)
		h := &Handover{Finality: Finality{Headers: []Header{b.Header}, QC: l.qc(child, b)}, Next: next}
		if err := h.Finality.Verify(l.verifier.chain, l.verifier.set); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Verify(l.verifier.chain, 0, l.verifier.set); !errors.Is(err, ErrNotFinal) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := l.verifier.After(h); err == nil {
			t.Errorf("%s: a verifier of the next epoch was made", name)
		}
	}
}

func TestValidatorWithAnotherBLSKeyDoesNotStart(t *testing.T) {
	l := newLab(t, BLS12381, 4)
	list := l.verifier.set.All()
	strange := bls.FromSeed(make([]byte, 32), "another way to derive it").Prove()
	list[1].BLS = BLSKey{Key: strange.Key, Proof: strange.Proof, Link: l.keys[1].Sign(linkBytes(strange.Key))}
	l.genesis.Validators = list
	root, err := l.genesis.Block(digest.Sum("lab/state"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(l.genesis, root.ID())
	if err != nil {
		t.Fatal(err)
	}
	rec := Recovery{Safety: FreshSafety(root), Root: root, RootQC: GenesisQC(root)}
	if _, err := New(Config{Key: l.keys[1], Verifier: v}, rec); err == nil || !strings.Contains(err.Error(), "bls key") {
		t.Fatalf("a validator starts whose votes nobody would count: %v", err)
	}
	if _, err := New(Config{Key: l.keys[2], Verifier: v}, rec); err != nil {
		t.Fatal(err)
	}
}

// One certificate has one spelling: of the same votes everybody makes the same bytes, and no other bytes verify.
func TestSummedCertificateIsOfAllItsSigners(t *testing.T) {
	l := newLab(t, BLS12381, 7)
	a := l.block(l.root, GenesisQC(l.root), 1, "a")
	d := l.voteData(a, l.root)
	five, seven := l.qcBy(d, 0, 1, 2, 3, 4), l.qcBy(d, 0, 1, 2, 3, 4, 5, 6)
	for name, q := range map[string]QC{"five": five, "seven": seven} {
		if len(q.Sigs) != 1 {
			t.Fatalf("%s signers: %d signatures", name, len(q.Sigs))
		}
		if _, err := l.verifier.QC(&q); err != nil {
			t.Errorf("%s signers: %v", name, err)
		}
	}
	more, fewer := five, seven
	more.Signers, fewer.Signers = seven.Signers, five.Signers
	for name, q := range map[string]QC{"signers who did not sign": more, "signers left out": fewer} {
		if _, err := l.verifier.QC(&q); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if again := l.qcBy(d, 0, 1, 2, 3, 4); !bytes.Equal(again.Encode(), five.Encode()) {
		t.Error("the same votes made another certificate")
	}
}

// BenchmarkCertificate is what a certificate of the smallest quorum weighs, and what it takes to verify one that was never
// seen, and to make it of votes that came; and what it takes to check a set of validators.
func BenchmarkCertificate(b *testing.B) {
	for _, scheme := range Schemes() {
		for _, n := range []int{4, 16, 100} {
			l := newLab(&testing.T{}, scheme, n)
			a := l.block(l.root, GenesisQC(l.root), 1, "a")
			d := l.voteData(a, l.root)
			qc, tc := l.qc(a, l.root), l.tc(2, GenesisQC(l.root))
			name := func(s string) string { return fmt.Sprintf("%s/n=%d/%s", scheme, n, s) }
			b.Run(name("qc"), func(b *testing.B) {
				for b.Loop() {
					if err := checkQC(&qc, l.verifier.chain, 0, l.verifier.set, nil); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(qc.Encode())), "bytes")
			})
			b.Run(name("tc"), func(b *testing.B) {
				for b.Loop() {
					claims, err := tcClaims(&tc, l.verifier.chain, 0, l.verifier.set)
					if err != nil || !(*signatures)(nil).check(claims...) {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(tc.Encode())), "bytes")
			})
			var cast []CheckedVote
			for i := range 2*n/3 + 1 {
				cv, err := l.verifier.Vote(l.vote(i, d))
				if err != nil {
					b.Fatal(err)
				}
				cast = append(cast, cv)
			}
			b.Run(name("votes"), func(b *testing.B) {
				for b.Loop() {
					vs := &votes{set: l.verifier.set, byView: make(map[View]map[int]*ballot)}
					var qc *QC
					for _, cv := range cast {
						qc = vs.add(cv, false, &Output{})
					}
					if qc == nil {
						b.Fatal("no certificate")
					}
				}
			})
			b.Run(name("set"), func(b *testing.B) {
				list := l.verifier.set.All()
				for b.Loop() {
					if _, err := NewValidatorSet(list); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
