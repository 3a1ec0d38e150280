package receipt_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/receipt"
)

// dsseOf verifies an envelope with nothing but the standard library, as another implementation would.
func dsseOf(t *testing.T, text []byte) int {
	t.Helper()
	var e struct {
		Payload     []byte
		PayloadType string
		Signatures  []struct {
			KeyID string
			Sig   []byte
		}
	}
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	msg := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.PayloadType), e.PayloadType, len(e.Payload), e.Payload)
	for _, s := range e.Signatures {
		var key []byte
		if _, err := fmt.Sscanf(s.KeyID, "%x", &key); err != nil {
			t.Fatal(err)
		}
		if !ed25519.Verify(key, msg, s.Sig) {
			t.Errorf("signature of %s does not verify", s.KeyID)
		}
	}
	return len(e.Signatures)
}

func TestInTotoExportVerifiesElsewhere(t *testing.T) {
	_, r := sealed(t)
	b, err := receipt.ExportInToto(r)
	if err != nil {
		t.Fatal(err)
	}
	if n := dsseOf(t, b); n != 2 {
		t.Errorf("%d signatures, want 2", n)
	}
}

func TestSigstoreExportIsOneBundleASigner(t *testing.T) {
	_, r := sealed(t)
	b, err := receipt.ExportSigstoreBundles(r)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("%d bundles, want 2", len(lines))
	}
	for _, l := range lines {
		var v struct {
			MediaType    string
			DSSEEnvelope json.RawMessage
		}
		if err := json.Unmarshal(l, &v); err != nil {
			t.Fatal(err)
		}
		if n := dsseOf(t, v.DSSEEnvelope); n != 1 || !strings.Contains(v.MediaType, "bundle.v0.3") {
			t.Errorf("%d signatures in a bundle of type %s", n, v.MediaType)
		}
	}
}

func TestVSAIsOnlyForValidReceipts(t *testing.T) {
	c, r := sealed(t)
	at := time.Unix(1_700_000_000, 0)
	b, err := receipt.ExportVSA(text(t, r), receipt.Verify(r, c.trust(), nil), c.trust(), at)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"verificationResult": "PASSED"`, `"timeVerified": "2023-11-14T22:13:20Z"`, receipt.LevelSealed} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in\n%s", want, b)
		}
	}
	r.Chain.Name = "other"
	if _, err := receipt.ExportVSA(text(t, r), receipt.Verify(r, c.trust(), nil), c.trust(), at); !errors.Is(err, receipt.ErrNotValid) {
		t.Errorf("%v, want ErrNotValid", err)
	}
}
