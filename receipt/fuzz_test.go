package receipt_test

import (
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/receipt"
)

func FuzzParseReceipt(f *testing.F) {
	var trust []*receipt.TrustFile
	for _, s := range consensus.Schemes() {
		c, r := sealedOf(f, s, 1, func(*receipt.Placement) {})
		f.Add(text(f, r))
		trust = append(trust, c.trust())
	}
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := receipt.Parse(b); err == nil {
			for _, tr := range trust {
				receipt.Verify(r, tr, nil)
			}
			text(t, r)
		}
	})
}

func FuzzParseTrust(f *testing.F) {
	for _, s := range consensus.Schemes() {
		f.Add(text(f, newChainOf(f, s).trust()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if tr, err := receipt.ParseTrust(b); err == nil {
			if again, err := receipt.ParseTrust(text(t, tr)); err != nil || again.Chain != tr.Chain {
				t.Errorf("does not come back: %v", err)
			}
		}
	})
}
