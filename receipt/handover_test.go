package receipt_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/receipt"
)

// later is the trust file after so many changes.
func later(t testing.TB, c *chain, n int) *receipt.TrustFile {
	t.Helper()
	var list []receipt.Handover
	for _, h := range c.handovers[:n] {
		list = append(list, receipt.NewHandover(h))
	}
	f, err := c.trust().Advance(list)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestReceiptFollowsHandovers(t *testing.T) {
	c, r := sealedLater(t, 3, func(*receipt.Placement) {})
	for epoch, words := range []string{"3, from the trust file's epoch 0 to 3", "2, from the trust file's epoch 1 to 3; 1 from before", "1, from", "none needed"} {
		trust, err := receipt.ParseTrust(text(t, later(t, c, epoch)))
		if err != nil {
			t.Fatal(err)
		}
		_, report := receipt.VerifyText(text(t, r), trust, nil)
		if !report.Valid() {
			t.Fatalf("trust file of epoch %d: %+v", epoch, report.Steps)
		}
		for _, s := range report.Steps {
			if s.Name == receipt.StepHandovers && !strings.Contains(s.Detail, words) {
				t.Errorf("trust file of epoch %d: %q, want %q", epoch, s.Detail, words)
			}
		}
	}
}

func TestEveryChangedValueOfAHandoverIsRefused(t *testing.T) {
	c, r := sealedLater(t, 2, func(*receipt.Placement) {})
	everyValue(t, c, r, ".handovers")
}

func TestHandoversMustLeadToTheBlock(t *testing.T) {
	c, r := sealedLater(t, 2, func(*receipt.Placement) {})
	h := r.Handovers
	for name, list := range map[string][]receipt.Handover{
		"none": {}, "first alone": h[:1], "second alone": h[1:], "the wrong way round": {h[1], h[0]}, "one twice": {h[0], h[0], h[1]},
		"one too many": {h[0], h[1], h[1]},
	} {
		q := *r
		q.Handovers = list
		report := receipt.Verify(&q, c.trust(), nil)
		if report.Valid() {
			t.Errorf("%s: accepted", name)
		}
		for _, s := range report.Steps {
			if s.Name == receipt.StepCertificate && s.Status != receipt.NotChecked || s.Name == receipt.StepHandovers && s.Status != receipt.Failed {
				t.Errorf("%s: step %s: %s (%s)", name, s.Name, s.Status, s.Detail)
			}
		}
	}
	// A receipt from before the trust file cannot be verified against it.
	_, old := sealed(t)
	if report := receipt.Verify(old, later(t, c, 1), nil); report.Valid() {
		t.Error("a receipt of an epoch before the trust file's was accepted")
	}
}

func TestTrustFileGoesOnByHandoversOnly(t *testing.T) {
	eachScheme(t, testTrustFileGoesOnByHandoversOnly)
}

func testTrustFileGoesOnByHandoversOnly(t *testing.T, scheme consensus.Scheme) {
	c, r := sealedOf(t, scheme, 2, func(*receipt.Placement) {})
	f := later(t, c, 2)
	if f.Checkpoint.Epoch != 2 || f.Checkpoint.Block != c.headers[2].ID() || f.Validators[0].Key != c.keys[0].Public() {
		t.Errorf("%+v", f.Checkpoint)
	}
	set, err := consensus.NewValidatorSet(c.handovers[1].Next)
	if err != nil {
		t.Fatal(err)
	}
	if direct := receipt.NewTrustFile(c.genesis, &c.headers[2], set); !bytes.Equal(text(t, direct), text(t, f)) {
		t.Error("the trust file of the closing block is another")
	}
	bad := r.Handovers[0]
	bad.Validators = append([]receipt.TrustValidator(nil), bad.Validators...)
	bad.Validators[2].Weight++
	if _, err := c.trust().Advance([]receipt.Handover{bad}); err == nil {
		t.Error("went on by a changed handover")
	}
}

// changing exports a history of two changes, from a block on.
func changing(t testing.TB, from int) (*chain, []string) {
	t.Helper()
	return changingOf(t, consensus.Ed25519, from)
}

func changingOf(t testing.TB, scheme consensus.Scheme, from int) (*chain, []string) {
	t.Helper()
	c := newChainOf(t, scheme)
	c.add(otherEvent(1))
	c.change(t) // block 2
	c.add(otherEvent(2), otherEvent(3))
	c.change(t) // block 4
	c.add(otherEvent(4))
	var b bytes.Buffer
	a, err := receipt.NewAuditWriter(&b, c.trust().Chain, uint64(from), 5)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range c.handovers {
		if int(h.Header().Height) < from {
			check(a.Handover(h))
		}
	}
	for i := from; i <= 5; i++ {
		check(a.Block(&c.headers[i], encoded(c.events[i])))
		for _, h := range c.handovers {
			if int(h.Header().Height) == i {
				check(a.Handover(h))
			}
		}
	}
	last := c.headers[5]
	check(a.Certificate(&consensus.Finality{Headers: []consensus.Header{last}, QC: c.certify(&last)}))
	check(a.End())
	return c, strings.SplitAfter(strings.TrimSuffix(b.String(), "\n"), "\n")
}

func TestAuditFollowsHandovers(t *testing.T) { eachScheme(t, testAuditFollowsHandovers) }

func testAuditFollowsHandovers(t *testing.T, scheme consensus.Scheme) {
	for from := range 6 {
		c, lines := changingOf(t, scheme, from)
		for epoch := range 3 {
			r := receipt.VerifyAudit(strings.NewReader(strings.Join(lines, "")), later(t, c, epoch))
			if !r.Valid() {
				t.Errorf("from block %d, trust file of epoch %d: %+v", from, epoch, r.Steps)
			}
		}
	}
}

func TestAuditWithHandoversRefusesChangedBytes(t *testing.T) {
	c, lines := changing(t, 3)
	raw := []byte(strings.Join(lines, ""))
	for i := range raw {
		if raw[i] == '\n' || i%3 != 0 || testing.Short() && i%13 != 0 {
			continue
		}
		raw[i] ^= 1 << (i % 7)
		if r := receipt.VerifyAudit(bytes.NewReader(raw), c.trust()); r.Valid() {
			t.Errorf("byte %d changed to %q: accepted", i, raw[i])
		}
		raw[i] ^= 1 << (i % 7)
	}
	for i := range lines {
		removed := append(append([]string{}, lines[:i]...), lines[i+1:]...)
		if r := receipt.VerifyAudit(strings.NewReader(strings.Join(removed, "")), c.trust()); r.Valid() {
			t.Errorf("without line %d: accepted", i+1)
		}
	}
}

// A trust file and a receipt of a chain of BLS12-381 hold the keys that votes are checked with: none may be changed.
func TestReceiptWithChangedBLSKeysIsRefused(t *testing.T) {
	c, r := sealedOf(t, consensus.BLS12381, 1, func(*receipt.Placement) {})
	if report := receipt.Verify(r, c.trust(), nil); !report.Valid() {
		t.Fatalf("%+v", report.Steps)
	}
	other := consensus.ProveBLS(testKey(77))
	for name, spoil := range map[string]func(k *consensus.BLSKey){
		"another key":   func(k *consensus.BLSKey) { *k = other },
		"another proof": func(k *consensus.BLSKey) { k.Proof = other.Proof },
		"another link":  func(k *consensus.BLSKey) { k.Link = other.Link },
		"no key":        func(k *consensus.BLSKey) { *k = consensus.BLSKey{} },
	} {
		trust := c.trust()
		spoil(&trust.Validators[1].BLS)
		if raw, err := trust.Encode(); err != nil {
			t.Fatal(err)
		} else if _, err := receipt.ParseTrust(raw); err == nil {
			t.Errorf("%s in the trust file: accepted", name)
		}
		bad := *r
		bad.Handovers = append([]receipt.Handover(nil), r.Handovers...)
		bad.Handovers[0].Validators = append([]receipt.TrustValidator(nil), r.Handovers[0].Validators...)
		spoil(&bad.Handovers[0].Validators[1].BLS)
		if receipt.Verify(&bad, c.trust(), nil).Valid() {
			t.Errorf("%s in a handover: accepted", name)
		}
	}
}
