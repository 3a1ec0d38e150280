package receipt_test

import (
	"testing"

	"github.com/metanode/metanode/receipt"
)

func FuzzParseReceipt(f *testing.F) {
	c, r := sealed(f)
	trust := c.trust()
	f.Add(text(f, r))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := receipt.Parse(b); err == nil {
			receipt.Verify(r, trust, nil)
			text(t, r)
		}
	})
}

func FuzzParseTrust(f *testing.F) {
	f.Add(text(f, newChain(f).trust()))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tr, err := receipt.ParseTrust(b); err == nil {
			if again, err := receipt.ParseTrust(text(t, tr)); err != nil || again.Chain != tr.Chain {
				t.Errorf("does not come back: %v", err)
			}
		}
	})
}
