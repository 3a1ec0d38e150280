package receipt_test

import (
	"testing"

	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// TestQuorumMustBeOfDistinctOperators verifies receipts of which everything else is right: the certificate and the
// inclusion vouch for a placement that no honest validator would have written.
func TestQuorumMustBeOfDistinctOperators(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*receipt.Placement)
		valid  bool
	}{
		"as placed":                     {func(*receipt.Placement) {}, true},
		"a dissenter of the same owner": {func(p *receipt.Placement) { p.Peers[2].Operator = p.Peers[0].Operator }, true},
		"both signers of one operator":  {func(p *receipt.Placement) { p.Peers[1].Operator = p.Peers[0].Operator }, false},
		"a signer of nobody":            {func(p *receipt.Placement) { p.Peers[1].Operator = sign.PublicKey{} }, false},
		"a peer assigned twice": {func(p *receipt.Placement) {
			p.Peers = append(p.Peers, receipt.Assigned{Peer: p.Peers[0].Peer, Operator: testKey(50).Public(), Round: 2})
		}, false},
		"a signer not assigned":     {func(p *receipt.Placement) { p.Peers = p.Peers[1:] }, false},
		"half is no majority":       {func(p *receipt.Placement) { p.R = 4 }, false},
		"no quorum":                 {func(p *receipt.Placement) { p.Q = 0 }, false},
		"nobody asked":              {func(p *receipt.Placement) { p.R = 0 }, false},
		"more wanted than signed":   {func(p *receipt.Placement) { p.Q = 3 }, false},
		"a majority that overflows": {func(p *receipt.Placement) { p.Q, p.R = 1<<31, 1<<32-1 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, r := sealedOn(t, x.change)
			report := receipt.Verify(r, c.trust(), nil)
			if report.Valid() != x.valid {
				t.Fatalf("valid %v, want %v: %+v", report.Valid(), x.valid, report.Steps)
			}
			for _, s := range report.Steps {
				if bad := s.Status == receipt.Failed; bad != (!x.valid && s.Name == receipt.StepSignatures) {
					t.Errorf("step %s: %s (%s)", s.Name, s.Status, s.Detail)
				}
			}
		})
	}
}
