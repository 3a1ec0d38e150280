package consensus

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// outline is the proposal of view 1 whose block holds the second transaction of one batch, all of another, and "loose".
func (l *lab) outline() (*Outline, map[BatchID][][]byte, *Proposal) {
	txs := func(s ...string) (out [][]byte) {
		for _, x := range s {
			out = append(out, []byte(x))
		}
		return out
	}
	one, two := Batch{Salt: 1, Txs: txs("a", "b", "c")}, Batch{Salt: 2, Txs: txs("d", "e")}
	batches := map[BatchID][][]byte{BatchIDOf(one.Encode()): one.Txs, BatchIDOf(two.Encode()): two.Txs}
	b := l.block(l.root, GenesisQC(l.root), 1, "outline")
	b.Txs = txs("b", "d", "e", "loose")
	b.Header.TxRoot = merkle.Root(b.Txs)
	p := l.proposal(b)
	return &Outline{
		Header: b.Header, Justify: b.Justify, LastTC: p.LastTC, Sig: p.Sig, Txs: txs("loose"),
		Batches: []BatchRef{{Batch: BatchIDOf(one.Encode()), Skip: SkipBitmap([]int{0, 2})}, {Batch: BatchIDOf(two.Encode()), Skip: SkipBitmap(nil)}},
	}, batches, p
}

func TestOutlineIsFilledToItsProposal(t *testing.T) { eachScheme(t, testOutlineIsFilledToItsProposal) }

func testOutlineIsFilledToItsProposal(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	o, batches, p := l.outline()
	dec, err := DecodeOutline(o.Encode())
	if err != nil {
		t.Fatal(err)
	}
	v, err := l.verifier.Outline(dec)
	if err != nil {
		t.Fatal(err)
	}
	full, err := v.Fill(func(id BatchID) [][]byte { return batches[id] })
	if err != nil {
		t.Fatal(err)
	}
	if full.ID() != v.ID() || !bytes.Equal(full.Proposal().Encode(), p.Encode()) {
		t.Fatal("the outline was filled to another proposal than its own")
	}
	r, _ := l.replica(l.other(1), l.fresh())
	if err := r.CheckOutline(v); err != nil {
		t.Fatal(err)
	}
	wantVote(t, l.step(r, full, nil), full.Block())

	// What any batch holds decides.
	for id := range batches {
		for _, change := range []func([][]byte) [][]byte{
			func(x [][]byte) [][]byte { return x[:len(x)-1] },
			func(x [][]byte) [][]byte { return append(slices.Clone(x), []byte("more")) },
			func(x [][]byte) [][]byte { y := slices.Clone(x); y[1] = []byte("else"); return y },
			func([][]byte) [][]byte { return nil },
		} {
			_, err := v.Fill(func(b BatchID) [][]byte {
				if b == id {
					return change(batches[b])
				}
				return batches[b]
			})
			if !errors.Is(err, ErrRefused) {
				t.Errorf("a batch with other transactions: %v, want ErrRefused", err)
			}
		}
	}
}

func TestVerifierRefusesBadOutlines(t *testing.T) { eachScheme(t, testVerifierRefusesBadOutlines) }

func testVerifierRefusesBadOutlines(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	for name, spoil := range map[string]func(o *Outline){
		"another signature":   func(o *Outline) { o.Sig[3] ^= 1 },
		"another root":        func(o *Outline) { o.Header.TxRoot[0] ^= 1 },
		"another certificate": func(o *Outline) { o.Justify.Data.Block[0] ^= 1 },
		"another view":        func(o *Outline) { o.Header.View++ },
		"another proposer":    func(o *Outline) { o.Header.Proposer = l.keys[l.other(1)].Public() },
		"a stranger's": func(o *Outline) {
			k := sign.FromSeed(make([]byte, 32))
			o.Header.Proposer = k.Public()
			o.Sig = k.Sign(ProposalSigningBytes(o.Header.ID()))
		},
		"another chain": func(o *Outline) { o.Header.ChainID[0] ^= 1 },
	} {
		o, _, _ := l.outline()
		spoil(o)
		if _, err := l.verifier.Outline(o); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
	}
	// One that has no right to the view is verified, and not worth fetching for.
	o, _, _ := l.outline()
	k := l.keys[l.other(1)]
	o.Header.Proposer = k.Public()
	o.Sig = k.Sign(ProposalSigningBytes(o.Header.ID()))
	v, err := l.verifier.Outline(o)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := l.replica(l.leader(1), l.fresh())
	if err := r.CheckOutline(v); !errors.Is(err, ErrRefused) {
		t.Errorf("outline by another than the leader: %v", err)
	}
}

func TestOutlineKeepsTheLimitsOfABlock(t *testing.T) {
	eachScheme(t, testOutlineKeepsTheLimitsOfABlock)
}

func testOutlineKeepsTheLimitsOfABlock(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4) // ten transactions a block
	for _, n := range []int{10, 11} {
		batch := Batch{}
		for i := range n {
			batch.Txs = append(batch.Txs, []byte{byte(i)})
		}
		b := l.block(l.root, GenesisQC(l.root), 1, "limits")
		b.Txs = batch.Txs
		b.Header.TxRoot = merkle.Root(b.Txs)
		p := l.proposal(b)
		v, err := l.verifier.Outline(&Outline{Header: b.Header, Justify: b.Justify, LastTC: p.LastTC, Sig: p.Sig,
			Batches: []BatchRef{{Batch: BatchIDOf(batch.Encode()), Skip: []byte{}}}, Txs: [][]byte{}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = v.Fill(func(BatchID) [][]byte { return batch.Txs }); (err == nil) != (n == 10) {
			t.Errorf("%d transactions: %v", n, err)
		}
	}
}

func TestDecodersRefuseMalformedBatchesAndOutlines(t *testing.T) {
	eachScheme(t, testDecodersRefuseMalformedBatchesAndOutlines)
}

func testDecodersRefuseMalformedBatchesAndOutlines(t *testing.T, scheme Scheme) {
	l := newLab(t, scheme, 4)
	for name, spoil := range map[string]func(o *Outline){
		"no batch":           func(o *Outline) { o.Batches = nil },
		"a batch twice":      func(o *Outline) { o.Batches[1] = o.Batches[0] },
		"a trailing zero":    func(o *Outline) { o.Batches[0].Skip = []byte{5, 0} },
		"a long skip list":   func(o *Outline) { o.Batches[0].Skip = bytes.Repeat([]byte{1}, MaxBatchTxs/8+1) },
		"two TCs":            func(o *Outline) { o.LastTC = make([]TC, 2) },
		"too many batches":   func(o *Outline) { o.Batches = make([]BatchRef, MaxOutlineBatches+1) },
		"too many signers":   func(o *Outline) { o.Justify.Sigs = make([]Signature, MaxValidators+1) },
		"a proposal in bulk": func(o *Outline) { o.Txs = [][]byte{make([]byte, MaxProposalBytes)} },
	} {
		o, _, _ := l.outline()
		spoil(o)
		if _, err := DecodeOutline(o.Encode()); err == nil {
			t.Errorf("outline with %s was read", name)
		}
	}
	for name, b := range map[string]Batch{
		"nothing":              {},
		"an empty transaction": {Txs: [][]byte{{1}, {}}},
		"too many":             {Txs: slices.Repeat([][]byte{{1}}, MaxBatchTxs+1)},
		"too large":            {Txs: [][]byte{make([]byte, MaxTxBytes), {1}}},
	} {
		if _, err := DecodeBatch(b.Encode()); err == nil {
			t.Errorf("batch with %s was read", name)
		}
	}
	for name, b := range map[string]Batch{
		"the largest transaction": {Salt: 1 << 63, Txs: [][]byte{make([]byte, MaxTxBytes)}},
		"the most transactions":   {Salt: 1 << 63, Txs: slices.Repeat([][]byte{make([]byte, MaxBatchTxBytes/MaxBatchTxs)}, MaxBatchTxs)},
	} {
		if _, err := DecodeBatch(b.Encode()); err != nil {
			t.Errorf("batch of %s: %v", name, err)
		}
	}
}

func FuzzDecodeBatch(f *testing.F) {
	fuzz(f, DecodeBatch, func(b *Batch) { BatchIDOf(b.Encode()) }, (&Batch{Salt: 7, Txs: [][]byte{{1}, {2, 3}}}).Encode())
}

func FuzzDecodeOutline(f *testing.F) {
	l := newLab(&testing.T{}, Ed25519, 4)
	o, batches, _ := l.outline()
	fuzz(f, DecodeOutline, func(o *Outline) {
		if v, err := l.verifier.Outline(o); err == nil {
			_, _ = v.Fill(func(id BatchID) [][]byte { return batches[id] })
		}
		v := VerifiedOutline{o: o, maxTxs: 10} // as if it were signed
		_, _ = v.Fill(func(BatchID) [][]byte { return [][]byte{{1}, {2}} })
	}, o.Encode())
}
