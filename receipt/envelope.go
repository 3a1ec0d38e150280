package receipt

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/internal/sign"
)

// Envelope is a DSSE envelope (github.com/secure-systems-lab/dsse, envelope.md).
type Envelope struct {
	Payload     []byte              `json:"payload"`
	PayloadType string              `json:"payloadType"`
	Signatures  []EnvelopeSignature `json:"signatures"`
}

// EnvelopeSignature is one executor's signature. KeyID is its node's public key in hexadecimal: it says which key to
// try, and here also which key it must be.
type EnvelopeSignature struct {
	KeyID sign.PublicKey `json:"keyid"`
	Sig   []byte         `json:"sig"`
}

// MaxSignatures bounds the signatures of an envelope.
const MaxSignatures = 64

// NewEnvelope wraps a statement in the executors' signatures, given as keys[i]'s sigs[i] and put in order of key.
func NewEnvelope(s Statement, keys []sign.PublicKey, sigs []sign.Signature) (*Envelope, error) {
	e, err := AssembleEnvelope(s, keys, sigs)
	if err != nil {
		return nil, err
	}
	if _, err := e.verify(); err != nil {
		return nil, err
	}
	return e, nil
}

// AssembleEnvelope is NewEnvelope for signatures that were verified before, as those of a sealed job were by Apply.
func AssembleEnvelope(s Statement, keys []sign.PublicKey, sigs []sign.Signature) (*Envelope, error) {
	if len(keys) != len(sigs) {
		return nil, fmt.Errorf("envelope: %d keys for %d signatures", len(keys), len(sigs))
	}
	e := &Envelope{Payload: s.Payload(), PayloadType: PayloadType, Signatures: []EnvelopeSignature{}}
	for i, k := range keys {
		e.Signatures = append(e.Signatures, EnvelopeSignature{KeyID: k, Sig: append([]byte(nil), sigs[i][:]...)})
	}
	sortByKey(e.Signatures, func(s EnvelopeSignature) sign.PublicKey { return s.KeyID })
	return e, nil
}

var errEmptyEnvelope = errors.New("envelope without signatures")

// verify checks every signature, by both rules of Ed25519, and gives the distinct keys in rising order.
func (e *Envelope) verify() ([]sign.PublicKey, error) {
	if e.PayloadType != PayloadType {
		return nil, fmt.Errorf("envelope of type %.80q: want %q", e.PayloadType, PayloadType)
	}
	if len(e.Signatures) == 0 {
		return nil, errEmptyEnvelope
	}
	if len(e.Signatures) > MaxSignatures {
		return nil, fmt.Errorf("envelope with %d signatures: over the limit of %d", len(e.Signatures), MaxSignatures)
	}
	msg := PAE(e.PayloadType, e.Payload)
	keys := make([]sign.PublicKey, 0, len(e.Signatures))
	for i, s := range e.Signatures {
		if i > 0 && compareKeys(keys[i-1], s.KeyID) >= 0 {
			return nil, fmt.Errorf("envelope: key %s is not above the one before it: want distinct keys in order", s.KeyID.Short())
		}
		var sig sign.Signature
		if len(s.Sig) != len(sig) {
			return nil, fmt.Errorf("envelope: signature of %s has %d bytes: want %d", s.KeyID.Short(), len(s.Sig), len(sig))
		}
		copy(sig[:], s.Sig)
		if !sign.VerifyBoth(s.KeyID, msg, sig) {
			return nil, fmt.Errorf("envelope: %s did not sign this statement", s.KeyID.Short())
		}
		keys = append(keys, s.KeyID)
	}
	return keys, nil
}
