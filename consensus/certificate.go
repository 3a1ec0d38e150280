package consensus

import (
	"fmt"
	"math/bits"

	"github.com/metanode/metanode/internal/digest"
)

// GenesisQC is the certificate that the children of the genesis block carry: view 0, the block's id, no signers.
func GenesisQC(genesis *Block) QC { return RootQC(genesis) }

// signerIndexes reads a bitmap strictly: no bit past the set, no trailing zero byte.
func signerIndexes(bitmap []byte, n int) ([]int, error) {
	if len(bitmap) > (n+7)/8 {
		return nil, fmt.Errorf("signers bitmap of %d bytes for a set of %d", len(bitmap), n)
	}
	if len(bitmap) > 0 && bitmap[len(bitmap)-1] == 0 {
		return nil, fmt.Errorf("signers bitmap ends in a zero byte")
	}
	var out []int
	for i, b := range bitmap {
		for ; b != 0; b &= b - 1 {
			k := 8*i + bits.TrailingZeros8(b)
			if k >= n {
				return nil, fmt.Errorf("signer %d in a set of %d", k, n)
			}
			out = append(out, k)
		}
	}
	return out, nil
}

// signerBitmap is the bitmap of rising indexes.
func signerBitmap(at []int) []byte {
	if len(at) == 0 {
		return []byte{}
	}
	b := make([]byte, at[len(at)-1]/8+1)
	for _, i := range at {
		b[i/8] |= 1 << (i % 8)
	}
	return b
}

// qcClaims checks all of qc but its signatures, which it returns. The genesis QC is not for it.
func qcClaims(qc *QC, chain digest.Digest, epoch Epoch, set *ValidatorSet) ([]claim, error) {
	d := &qc.Data
	switch {
	case d.ChainID != chain:
		return nil, fmt.Errorf("quorum certificate of chain %s, not %s", d.ChainID.Short(), chain.Short())
	case d.Epoch != epoch:
		return nil, fmt.Errorf("quorum certificate of epoch %d, not %d", d.Epoch, epoch)
	case d.View == 0:
		return nil, fmt.Errorf("quorum certificate of view 0")
	case d.Block.IsZero():
		return nil, fmt.Errorf("quorum certificate of no block")
	}
	at, err := signerIndexes(qc.Signers, set.Len())
	if err != nil {
		return nil, fmt.Errorf("quorum certificate of view %d: %w", d.View, err)
	}
	rules := set.scheme.rules()
	if rules.count(len(at)) != len(qc.Sigs) {
		return nil, fmt.Errorf("quorum certificate of view %d: %d signers, %d signatures", d.View, len(at), len(qc.Sigs))
	}
	var weight uint64
	for _, k := range at {
		weight += set.list[k].Weight
	}
	if !set.IsQuorum(weight) {
		return nil, fmt.Errorf("quorum certificate of view %d: weight %d of %d is no quorum", d.View, weight, set.Total())
	}
	return rules.claims(set, at, always(d.SigningBytes()), qc.Sigs), nil
}

func checkQC(qc *QC, chain digest.Digest, epoch Epoch, set *ValidatorSet, known *signatures) error {
	claims, err := qcClaims(qc, chain, epoch, set)
	if err != nil {
		return err
	}
	if !known.check(claims...) {
		return fmt.Errorf("quorum certificate of view %d: a signature is not valid", qc.Data.View)
	}
	return nil
}

// tcClaims checks all of tc but the signatures: entries rise, none names a QC above the one carried, the highest names
// exactly that one, and the weight is a quorum. The carried QC is checked apart.
func tcClaims(tc *TC, chain digest.Digest, epoch Epoch, set *ValidatorSet) ([]claim, error) {
	switch {
	case tc.ChainID != chain:
		return nil, fmt.Errorf("timeout certificate of chain %s, not %s", tc.ChainID.Short(), chain.Short())
	case tc.Epoch != epoch:
		return nil, fmt.Errorf("timeout certificate of epoch %d, not %d", tc.Epoch, epoch)
	case tc.View == 0:
		return nil, fmt.Errorf("timeout certificate of view 0")
	case len(tc.Entries) > set.Len():
		return nil, fmt.Errorf("timeout certificate of view %d: %d entries for a set of %d", tc.View, len(tc.Entries), set.Len())
	case tc.HighQC.Data.View >= tc.View:
		return nil, fmt.Errorf("timeout certificate of view %d carries a certificate of view %d", tc.View, tc.HighQC.Data.View)
	}
	var weight uint64
	var high View
	at := make([]int, len(tc.Entries))
	for i := range tc.Entries {
		e := &tc.Entries[i]
		if int64(e.Validator) >= int64(set.Len()) || i > 0 && e.Validator <= tc.Entries[i-1].Validator {
			return nil, fmt.Errorf("timeout certificate of view %d: entries are not rising validators of the set", tc.View)
		}
		if e.LastVoted > tc.View {
			return nil, fmt.Errorf("timeout certificate of view %d: an entry voted in view %d", tc.View, e.LastVoted)
		}
		high = max(high, e.HighQC)
		at[i] = int(e.Validator)
		weight += set.list[e.Validator].Weight
	}
	if !set.IsQuorum(weight) {
		return nil, fmt.Errorf("timeout certificate of view %d: weight %d of %d is no quorum", tc.View, weight, set.Total())
	}
	if high != tc.HighQC.Data.View {
		return nil, fmt.Errorf("timeout certificate of view %d: its entries name view %d, it carries the certificate of view %d", tc.View, high, tc.HighQC.Data.View)
	}
	rules := set.scheme.rules()
	sigs := make([]Signature, rules.count(len(at)))
	for i := range tc.Entries {
		e := &tc.Entries[i]
		if i < len(sigs) {
			sigs[i] = e.Sig
		} else if len(e.Sig) > 0 {
			return nil, fmt.Errorf("timeout certificate of view %d: a signature in entry %d, where there should be none", tc.View, i)
		}
	}
	return rules.claims(set, at, tc.signed, sigs), nil
}

// signed is what the signer of an entry signed.
func (t *TC) signed(entry int) []byte {
	e := &t.Entries[entry]
	d := TimeoutData{ChainID: t.ChainID, Epoch: t.Epoch, View: t.View, HighQC: e.HighQC, LastVoted: e.LastVoted}
	return d.SigningBytes()
}

func always(msg []byte) func(int) []byte { return func(int) []byte { return msg } }

// NewQC makes the certificate of a quorum's valid signatures of d: sigs[k] is validator at[k]'s, in set order. The error
// means that the signatures cancel each other out, which those of honest validators never do.
func NewQC(set *ValidatorSet, d VoteData, at []int, sigs []Signature) (*QC, error) {
	sums, ok := set.scheme.rules().sum(sigs)
	if !ok {
		return nil, fmt.Errorf("quorum certificate of view %d: the signatures do not add up to one", d.View)
	}
	return &QC{Data: d, Signers: signerBitmap(at), Sigs: sums}, nil
}

// newTC makes the certificate of a quorum's valid timeouts of one view: list[k] is validator at[k]'s, in set order. The error
// is NewQC's.
func newTC(set *ValidatorSet, at []int, list []*Timeout) (*TC, error) {
	first := list[0]
	tc := &TC{ChainID: first.Data.ChainID, Epoch: first.Data.Epoch, View: first.Data.View, HighQC: first.HighQC}
	sigs := make([]Signature, len(list))
	for k, t := range list {
		if t.Data.HighQC > tc.HighQC.Data.View {
			tc.HighQC = t.HighQC
		}
		sigs[k] = t.Sig
		tc.Entries = append(tc.Entries, TCEntry{Validator: uint32(at[k]), HighQC: t.Data.HighQC, LastVoted: t.Data.LastVoted})
	}
	sums, ok := set.scheme.rules().sum(sigs)
	if !ok {
		return nil, fmt.Errorf("timeout certificate of view %d: the signatures do not add up to one", tc.View)
	}
	for i, s := range sums {
		tc.Entries[i].Sig = s
	}
	return tc, nil
}
