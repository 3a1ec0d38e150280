package e2e

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReceiptExports reads what bpi receipt export writes as the tools that it is meant for do.
func TestReceiptExports(t *testing.T) {
	n := up(t, 4)
	job := strings.TrimSpace(n.must("analytics", "submit", "--id-only", "--query", "SELECT 1"))
	file, trust := filepath.Join(n.home, "r.json"), filepath.Join(n.home, "trust.json")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, n.must("receipt", "get", job))
	write(trust, n.must("chain", "trust"))
	n.must("devnet", "down")

	type envelope struct {
		Payload     string `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			KeyID string `json:"keyid"`
			Sig   string `json:"sig"`
		} `json:"signatures"`
	}
	var dsse envelope
	if err := json.Unmarshal([]byte(n.must("receipt", "export", file)), &dsse); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(dsse.Payload)
	if err != nil || dsse.PayloadType != "application/vnd.in-toto+json" || len(dsse.Signatures) < 2 || !strings.Contains(string(payload), job) {
		t.Errorf("intoto: %v, type %q, %d signatures, payload %s", err, dsse.PayloadType, len(dsse.Signatures), payload)
	}

	lines := strings.Split(strings.TrimSpace(n.must("receipt", "export", "--format", "sigstore", file)), "\n")
	if len(lines) != len(dsse.Signatures) {
		t.Errorf("sigstore: %d bundles of %d signatures", len(lines), len(dsse.Signatures))
	}
	for i, l := range lines {
		var b struct {
			MediaType string   `json:"mediaType"`
			Envelope  envelope `json:"dsseEnvelope"`
			Material  struct {
				Key struct {
					Hint string `json:"hint"`
				} `json:"publicKey"`
			} `json:"verificationMaterial"`
		}
		if err := json.Unmarshal([]byte(l), &b); err != nil {
			t.Fatal(err)
		}
		if len(b.Envelope.Signatures) != 1 || b.Envelope.Payload != dsse.Payload || b.Material.Key.Hint != dsse.Signatures[i].KeyID || !strings.Contains(b.MediaType, "sigstore.bundle") {
			t.Errorf("bundle %d: %+v", i, b)
		}
	}

	// The kept copy serves a job's id when the network is gone.
	var vsa struct {
		Type      string `json:"predicateType"`
		Predicate struct {
			Result string `json:"verificationResult"`
		} `json:"predicate"`
	}
	if err := json.Unmarshal([]byte(n.must("receipt", "export", "--format", "slsa-vsa", "--trust", trust, job[:12])), &vsa); err != nil {
		t.Fatal(err)
	}
	if vsa.Type != "https://slsa.dev/verification_summary/v1" || vsa.Predicate.Result != "PASSED" {
		t.Errorf("slsa-vsa: %+v", vsa)
	}

	// Nobody vouches for a receipt that does not hold.
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(n.home, "forged.json")
	write(forged, strings.Replace(string(raw), `"sig": "`, `"sig": "A`, 1))
	if r := n.run("receipt", "export", "--format", "slsa-vsa", "--trust", trust, forged); r.code != 6 || r.stdout != "" {
		t.Errorf("a forged receipt: exit code %d, %q, %q", r.code, r.stdout, r.stderr)
	}
}
