package receipt

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

// ExportInToto is the receipt's DSSE envelope on its own, as in-toto tools read it. It shows what the executors signed;
// the seal, its place in the chain and the certificate are only in the receipt.
func ExportInToto(r *Receipt) ([]byte, error) { return indent(&r.Envelope) }

// sigstoreBundle is the part of sigstore's bundle (protobuf-specs, sigstore_bundle.proto) that applies to a signature
// with a plain key: there is no certificate authority and no transparency log entry, and none is made up. The chain's
// own proof of publication does not fit the format.
type sigstoreBundle struct {
	MediaType    string `json:"mediaType"`
	Verification struct {
		PublicKey struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
	} `json:"verificationMaterial"`
	Envelope Envelope `json:"dsseEnvelope"`
}

// ExportSigstoreBundles gives one sigstore bundle a line, one for each executor: a bundle holds exactly one signature.
// The hint is the executor's public key in hexadecimal. Verifiers need a policy that accepts keys without a log entry.
func ExportSigstoreBundles(r *Receipt) ([]byte, error) {
	var out bytes.Buffer
	for _, s := range r.Envelope.Signatures {
		b := sigstoreBundle{
			MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json",
			Envelope:  Envelope{Payload: r.Envelope.Payload, PayloadType: r.Envelope.PayloadType, Signatures: []EnvelopeSignature{s}},
		}
		b.Verification.PublicKey.Hint = s.KeyID.String()
		text, err := marshal(&b)
		if err != nil {
			return nil, err
		}
		out.Write(append(text, '\n'))
	}
	return out.Bytes(), nil
}

// VSAPredicateType is the predicate type of a SLSA verification summary.
const VSAPredicateType = "https://slsa.dev/verification_summary/v1"

// LevelSealed is the level that ExportVSA states: the network sealed these outputs. It says nothing about SLSA's own
// levels.
const LevelSealed = "METANODE_SEALED"

// ErrNotValid is returned where a valid report is needed.
var ErrNotValid = errors.New("receipt is not valid")

// ExportVSA states the outcome of a verification as a SLSA verification summary (slsa.dev/spec/v1.1/verification_summary):
// an in-toto statement, not signed, to be signed by whoever vouches for having verified. text is the receipt's, report
// that of Verify on it (ErrNotValid if it is not valid), at the time of verification.
func ExportVSA(text []byte, report *Report, t *TrustFile, at time.Time) ([]byte, error) {
	if !report.Valid() || report.Statement == nil {
		return nil, ErrNotValid
	}
	type sha struct {
		SHA256 digest.Digest `json:"sha256"`
	}
	type subject struct {
		Name   string `json:"name"`
		Digest sha    `json:"digest"`
	}
	type attestation struct {
		URI    string `json:"uri"`
		Digest sha    `json:"digest"`
	}
	trust, err := t.Encode()
	if err != nil {
		return nil, err
	}
	st := report.Statement
	var v struct {
		Type          string    `json:"_type"`
		Subject       []subject `json:"subject"`
		PredicateType string    `json:"predicateType"`
		Predicate     struct {
			Verifier struct {
				ID string `json:"id"`
			} `json:"verifier"`
			Time     string        `json:"timeVerified"`
			Resource string        `json:"resourceUri"`
			Policy   attestation   `json:"policy"`
			Inputs   []attestation `json:"inputAttestations"`
			Result   string        `json:"verificationResult"`
			Levels   []string      `json:"verifiedLevels"`
		} `json:"predicate"`
	}
	v.Type, v.PredicateType = StatementType, VSAPredicateType
	for _, o := range st.Outcome.Outputs {
		v.Subject = append(v.Subject, subject{o.Name, sha{o.Digest}})
	}
	p := &v.Predicate
	p.Verifier.ID = "https://metanode.dev/bpi"
	p.Time = at.UTC().Format(time.RFC3339)
	job := "metanode:" + st.ChainID.String() + ":job:" + st.Job.String()
	p.Resource = job
	p.Policy = attestation{"metanode:" + st.ChainID.String() + ":trust", sha{digest.Of(trust)}}
	p.Inputs = []attestation{{job + ":receipt", sha{digest.Of(text)}}}
	p.Result, p.Levels = "PASSED", []string{LevelSealed}
	return json.MarshalIndent(&v, "", "  ")
}
