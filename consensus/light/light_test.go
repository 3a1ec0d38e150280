package light_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/light"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

var chainID = digest.Of([]byte("light"))

func key(i int) sign.PrivateKey {
	d := digest.Sum("light/key", fmt.Append(nil, i))
	return sign.FromSeed(d[:])
}

// eachScheme runs a test under every signature scheme.
func eachScheme(t *testing.T, test func(*testing.T, chain)) {
	for _, s := range consensus.Schemes() {
		t.Run(s.String(), func(t *testing.T) { test(t, chain{s}) })
	}
}

// chain makes the proofs of a chain whose validators sign by scheme.
type chain struct{ scheme consensus.Scheme }

// members are n validators from number from on, weights 1 to 3 in turn.
func (c chain) members(from, n int) []consensus.Validator {
	var list []consensus.Validator
	for i := from; i < from+n; i++ {
		v := consensus.Validator{Key: key(i).Public(), Weight: uint64(1 + i%3), Peer: key(1000 + i).Public(), Name: fmt.Sprintf("validator-%d", i)}
		if c.scheme == consensus.BLS12381 {
			v.BLS = consensus.ProveBLS(key(i))
		}
		list = append(list, v)
	}
	return list
}

func setOf(t testing.TB, list []consensus.Validator) *consensus.ValidatorSet {
	t.Helper()
	s, err := consensus.NewValidatorSet(list)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// final makes a header of an epoch final: by the first validators who are a quorum. next is not nil for a closing block.
func (c chain) final(t testing.TB, epoch consensus.Epoch, from int, list, next []consensus.Validator) *consensus.Finality {
	t.Helper()
	set := setOf(t, list)
	h := consensus.Header{
		Version: consensus.ProtocolVersion, ChainID: chainID, Parent: digest.Of([]byte{byte(epoch)}), Height: consensus.Height(100*epoch + 7), View: consensus.View(130*epoch + 9),
		Epoch: epoch, Proposer: list[0].Key, TimestampMs: 1, TxRoot: merkle.Root(nil), EventRoot: digest.Of([]byte("events")),
		StateRoot: digest.Of([]byte("state")), Validators: set.Digest(), NextVals: set.Digest(), HistoryCount: uint64(100*epoch + 7),
	}
	if next != nil {
		h.NextVals = setOf(t, next).Digest()
	}
	d := consensus.VoteData{ChainID: chainID, Epoch: epoch, View: h.View + 1, Block: digest.Of([]byte("child")), CommitRef: h.ID()}
	var weight uint64
	var at []int
	var sigs []consensus.Signature
	for i := 0; !set.IsQuorum(weight); i++ {
		at = append(at, i)
		sigs = append(sigs, consensus.NewSigner(c.scheme, key(from+i)).Sign(d.SigningBytes()))
		weight += list[i].Weight
	}
	qc, err := consensus.NewQC(set, d, at, sigs)
	if err != nil {
		t.Fatal(err)
	}
	return &consensus.Finality{Headers: []consensus.Header{h}, QC: *qc}
}

// proof leads over k changes of all n validators to a header.
func (c chain) proof(t testing.TB, n, k int) (*light.Client, *light.Proof) {
	t.Helper()
	p := &light.Proof{Handovers: []consensus.Handover{}}
	for e := range k {
		from, next := c.members(e*n, n), c.members((e+1)*n, n)
		p.Handovers = append(p.Handovers, consensus.Handover{Finality: *c.final(t, consensus.Epoch(e), e*n, from, next), Next: next})
	}
	p.Finality = *c.final(t, consensus.Epoch(k), k*n, c.members(k*n, n), nil)
	return light.New(chainID, 0, setOf(t, c.members(0, n))), p
}

func TestHeaderIsBelievedOverHandovers(t *testing.T) {
	eachScheme(t, testHeaderIsBelievedOverHandovers)
}

func testHeaderIsBelievedOverHandovers(t *testing.T, x chain) {
	for _, k := range []int{0, 1, 3} {
		c, p := x.proof(t, 4, k)
		again, err := light.DecodeProof(p.Encode())
		if err != nil {
			t.Fatal(err)
		}
		h, err := c.Verify(again)
		if err != nil || h.Epoch != consensus.Epoch(k) || c.Epoch() != h.Epoch {
			t.Fatalf("%d handovers: %v", k, err)
		}
		if c.Set().At(0).Key != x.members(4*k, 4)[0].Key {
			t.Errorf("%d handovers: the client holds another set", k)
		}
	}
}

func TestHandoversMustBeCompleteAndInOrder(t *testing.T) {
	eachScheme(t, testHandoversMustBeCompleteAndInOrder)
}

func testHandoversMustBeCompleteAndInOrder(t *testing.T, x chain) {
	_, p := x.proof(t, 4, 3)
	for name, edit := range map[string]func(*light.Proof){
		"first missing":  func(p *light.Proof) { p.Handovers = p.Handovers[1:] },
		"middle missing": func(p *light.Proof) { p.Handovers = append(p.Handovers[:1:1], p.Handovers[2:]...) },
		"last missing":   func(p *light.Proof) { p.Handovers = p.Handovers[:2] },
		"one too many": func(p *light.Proof) {
			p.Handovers = append(p.Handovers[:3:3], p.Handovers[2])
		},
		"in another order": func(p *light.Proof) {
			p.Handovers = []consensus.Handover{p.Handovers[1], p.Handovers[0], p.Handovers[2]}
		},
		"another next set": func(p *light.Proof) {
			p.Handovers = append([]consensus.Handover(nil), p.Handovers...)
			p.Handovers[1].Next = x.members(77, 4)
		},
		"of a block that closes nothing": func(p *light.Proof) {
			p.Handovers = append([]consensus.Handover(nil), p.Handovers...)
			p.Handovers[0].Finality = *x.final(t, 0, 0, x.members(0, 4), nil)
		},
	} {
		q := *p
		edit(&q)
		c, _ := x.proof(t, 4, 0)
		if _, err := c.Verify(&q); !errors.Is(err, consensus.ErrNotFinal) {
			t.Errorf("%s: %v", name, err)
		}
		if c.Epoch() != 0 {
			t.Errorf("%s: the client moved", name)
		}
	}
}

// Two epochs may have the same set; a header of the one is still none of the other.
func TestEpochsOfTheSameSetAreKeptApart(t *testing.T) {
	eachScheme(t, testEpochsOfTheSameSetAreKeptApart)
}

func testEpochsOfTheSameSetAreKeptApart(t *testing.T, x chain) {
	c, _ := x.proof(t, 4, 0)
	f := x.final(t, 2, 0, x.members(0, 4), nil)
	if err := c.Check(f); !errors.Is(err, consensus.ErrNotFinal) {
		t.Fatalf("a header of epoch 2 in epoch 0: %v", err)
	}
}

func TestEveryChangedByteIsRefused(t *testing.T) { eachScheme(t, testEveryChangedByteIsRefused) }

func testEveryChangedByteIsRefused(t *testing.T, x chain) {
	start, p := x.proof(t, 4, 2)
	raw := p.Encode()
	step := 1
	if x.scheme == consensus.BLS12381 {
		step = 13 // each takes many milliseconds
	}
	for i := 0; i < len(raw); i += step {
		bad := bytes.Clone(raw)
		bad[i] ^= 1 << (i % 8)
		q, err := light.DecodeProof(bad)
		if err != nil {
			continue
		}
		c := *start
		if _, err := c.Verify(q); err == nil {
			t.Errorf("byte %d of %d changed: accepted", i, len(raw))
		}
	}
}

func FuzzProof(f *testing.F) {
	var start []*light.Client
	for _, s := range consensus.Schemes() {
		c, p := chain{s}.proof(f, 4, 1)
		f.Add(p.Encode())
		start = append(start, c)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := light.DecodeProof(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(p.Encode(), raw) {
			t.Fatal("another spelling is accepted")
		}
		for _, s := range start {
			c := *s
			_, _ = c.Verify(p)
		}
	})
}

// BenchmarkProof prints what a light client pays: for a header of the set that it knows, and for one behind a change of
// all validators.
func BenchmarkProof(b *testing.B) {
	for _, s := range consensus.Schemes() {
		for _, n := range []int{4, 16, 100} {
			for _, k := range []int{0, 1} {
				b.Run(fmt.Sprintf("%s/n=%d/handovers=%d", s, n, k), func(b *testing.B) {
					c, p := chain{s}.proof(b, n, k)
					raw := p.Encode()
					for b.Loop() {
						q, err := light.DecodeProof(raw)
						if err != nil {
							b.Fatal(err)
						}
						at := *c
						if _, err := at.Verify(q); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(len(raw)), "bytes")
				})
			}
		}
	}
}
