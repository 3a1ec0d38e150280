package enc

import (
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// ReportEvidence shows that a validator broke the protocol. Anyone whom the network admits may send it: it proves itself.
// The key leaves the set with this block and never comes back, and the proof stays public.
type ReportEvidence struct {
	_        struct{} `cbor:",toarray"`
	Evidence consensus.Evidence
}

func (p *ReportEvidence) check() error {
	e := &p.Evidence
	if n := len(e.First.Data) + len(e.Second.Data); n > consensus.MaxEvidenceBytes {
		return fmt.Errorf("evidence of %d bytes: over the limit of %d", n, consensus.MaxEvidenceBytes)
	}
	if e.Key.IsZero() {
		return fmt.Errorf("evidence against no key")
	}
	return nil
}

// Conviction is a key's evidence on record.
type Conviction struct {
	_        struct{} `cbor:",toarray"`
	Evidence consensus.Evidence
	Height   uint64 // of the block that took it
	TimeMs   uint64
	Reporter sign.PublicKey
	Removed  bool // false for the only validator: a chain cannot be without one
}

// Convictions lists the evidence on record, by key.
func (s *State) Convictions() []Conviction {
	var out []Conviction
	for k := range s.m.Prefix(key(keyEvidence)) {
		if c, ok := read[Conviction](s, k); ok {
			out = append(out, *c)
		}
	}
	return out
}

// Convicted reports whether there is evidence against a key.
func (s *State) Convicted(k sign.PublicKey) bool { return s.has(key(keyEvidence, k[:])) }

// IsValidator reports whether a key is in the set in force.
func (s *State) IsValidator(k sign.PublicKey) bool {
	_, list := s.Validators()
	for _, v := range list {
		if v.Key == k {
			return true
		}
	}
	return false
}

// applyEvidence admits the reporter: a validator or an executor at once, others as clients, within their rate.
func (s *State) applyEvidence(at BlockContext, who sign.PublicKey, p *ReportEvidence, seen []byte) error {
	if _, isNode := s.Node(who); isNode || s.IsValidator(who) {
		s.mark(seen)
		return s.convict(at, who, p)
	}
	return s.applyClient(at, who, p, seen)
}

func (s *State) convict(at BlockContext, who sign.PublicKey, p *ReportEvidence) error {
	e := &p.Evidence
	r, set, ok := s.ruling()
	if !ok {
		return refusal("the chain has no validators on record")
	}
	if s.Convicted(e.Key) {
		return refusal("evidence against validator key " + e.Key.String() + " is on record already")
	}
	if _, in := set.Index(e.Key); !in {
		return refusal(fmt.Sprintf("key %s is no validator of epoch %d", e.Key, r.Epoch))
	}
	if err := e.Verify(s.chain); err != nil {
		return err
	}
	next := without(s.NextValidators(), e.Key)
	if len(next) == 0 {
		next = without(r.Validators, e.Key)
	}
	c := &Conviction{Evidence: *e, Height: at.Height, TimeMs: at.TimestampMs, Reporter: who, Removed: len(next) > 0}
	s.put(key(keyEvidence, e.Key[:]), c)
	decision := "recorded"
	if c.Removed {
		decision = "removed"
		s.closeEpoch(next)
	}
	s.emit(EventEvidence, who, EvidenceID(e), decision, fmt.Sprintf("validator key %s: %s, view %d of epoch %d", e.Key, e.Kind, e.View, e.Epoch), c)
	return nil
}

// EvidenceID names a piece of evidence.
func EvidenceID(e *consensus.Evidence) digest.Digest {
	return digest.Sum("enc/evidence/1", canon.Must(e))
}

func without(list []consensus.Validator, k sign.PublicKey) []consensus.Validator {
	var out []consensus.Validator
	for _, v := range list {
		if v.Key != k {
			out = append(out, v)
		}
	}
	return out
}
