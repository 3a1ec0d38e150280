package consensus

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/internal/canon"
)

// Bounds on encoded messages. They are checked before anything is allocated.
const (
	MaxVoteBytes         = 512
	MaxQCBytes           = 1024 + MaxValidators*(64+2) // of Ed25519, whose certificates are the larger ones
	MaxTCBytes           = MaxQCBytes + 1024 + MaxValidators*(64+32)
	MaxTimeoutBytes      = MaxQCBytes + MaxTCBytes + 1024
	MaxCertificatesBytes = MaxQCBytes + MaxTCBytes + 64
	MaxProposalBytes     = MaxBlockBytes + MaxBlockBytes/4 + MaxTCBytes + 256
	MaxMessageBytes      = MaxProposalBytes + 1
)

// Message is what validators send each other: *Proposal, *Vote, *Timeout or *Certificates.
type Message interface {
	// Encode gives the canonical bytes without the kind.
	Encode() []byte
	kind() MessageKind
}

// MessageKind is the first byte of an encoded message.
type MessageKind byte

// The kinds of message.
const (
	KindProposal     MessageKind = 1
	KindVote         MessageKind = 2
	KindTimeout      MessageKind = 3
	KindCertificates MessageKind = 4
)

func (*Proposal) kind() MessageKind     { return KindProposal }
func (*Vote) kind() MessageKind         { return KindVote }
func (*Timeout) kind() MessageKind      { return KindTimeout }
func (*Certificates) kind() MessageKind { return KindCertificates }

// Encode gives the canonical bytes.
func (p *Proposal) Encode() []byte { return canon.Must(p) }

// Encode gives the canonical bytes.
func (v *Vote) Encode() []byte { return canon.Must(v) }

// Encode gives the canonical bytes.
func (t *Timeout) Encode() []byte { return canon.Must(t) }

// Encode gives the canonical bytes.
func (q *QC) Encode() []byte { return canon.Must(q) }

// Encode gives the canonical bytes.
func (t *TC) Encode() []byte { return canon.Must(t) }

// Encode gives the canonical bytes.
func (c *Certificates) Encode() []byte { return canon.Must(c) }

// KindOf is m's kind.
func KindOf(m Message) MessageKind { return m.kind() }

// EncodeMessage is the kind's byte and the canonical bytes.
func EncodeMessage(m Message) []byte { return append([]byte{byte(m.kind())}, m.Encode()...) }

// ErrUnknownMessage is returned for a kind that this version does not know.
var ErrUnknownMessage = errors.New("unknown kind of consensus message")

// DecodeMessage reads what EncodeMessage wrote.
func DecodeMessage(raw []byte) (Message, error) {
	if len(raw) == 0 {
		return nil, ErrUnknownMessage
	}
	body := raw[1:]
	switch MessageKind(raw[0]) {
	case KindProposal:
		return orNil(DecodeProposal(body))
	case KindVote:
		return orNil(DecodeVote(body))
	case KindTimeout:
		return orNil(DecodeTimeout(body))
	case KindCertificates:
		return orNil(DecodeCertificates(body))
	}
	return nil, fmt.Errorf("%w: %d", ErrUnknownMessage, raw[0])
}

// orNil keeps a nil pointer from becoming a non-nil Message.
func orNil[T Message](m T, err error) (Message, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}

// DecodeProposal reads canonical bytes and checks what needs no context: sizes and the transaction root.
func DecodeProposal(raw []byte) (*Proposal, error) {
	var p Proposal
	if err := decode(raw, MaxProposalBytes, "proposal", &p); err != nil {
		return nil, err
	}
	if err := p.Block.checkBody(); err != nil {
		return nil, err
	}
	if err := qcForm(&p.Block.Justify); err != nil {
		return nil, err
	}
	return checked(&p, tcsForm(p.LastTC))
}

// DecodeVote reads canonical bytes.
func DecodeVote(raw []byte) (*Vote, error) {
	var v Vote
	if err := decode(raw, MaxVoteBytes, "vote", &v); err != nil {
		return nil, err
	}
	return &v, nil
}

// DecodeTimeout reads canonical bytes.
func DecodeTimeout(raw []byte) (*Timeout, error) {
	var t Timeout
	if err := decode(raw, MaxTimeoutBytes, "timeout", &t); err != nil {
		return nil, err
	}
	if err := qcForm(&t.HighQC); err != nil {
		return nil, err
	}
	return checked(&t, tcsForm(t.LastTC))
}

// DecodeQC reads canonical bytes.
func DecodeQC(raw []byte) (*QC, error) {
	var q QC
	if err := decode(raw, MaxQCBytes, "quorum certificate", &q); err != nil {
		return nil, err
	}
	return checked(&q, qcForm(&q))
}

// DecodeTC reads canonical bytes.
func DecodeTC(raw []byte) (*TC, error) {
	var t TC
	if err := decode(raw, MaxTCBytes, "timeout certificate", &t); err != nil {
		return nil, err
	}
	return checked(&t, tcForm(&t))
}

// DecodeCertificates reads canonical bytes.
func DecodeCertificates(raw []byte) (*Certificates, error) {
	var c Certificates
	if err := decode(raw, MaxCertificatesBytes, "certificates", &c); err != nil {
		return nil, err
	}
	if err := qcForm(&c.QC); err != nil {
		return nil, err
	}
	return checked(&c, tcsForm(c.TC))
}

func checked[T any](v *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

func decode(raw []byte, limit int, what string, v any) error {
	if len(raw) > limit {
		return fmt.Errorf("%s of %d bytes: over the limit of %d", what, len(raw), limit)
	}
	return canon.Unmarshal(raw, v)
}

func qcForm(q *QC) error {
	if len(q.Sigs) > MaxValidators || len(q.Signers) > MaxValidators/8 {
		return fmt.Errorf("quorum certificate with %d signatures: over the limit of %d", len(q.Sigs), MaxValidators)
	}
	return nil
}

func tcForm(t *TC) error {
	if len(t.Entries) > MaxValidators {
		return fmt.Errorf("timeout certificate with %d entries: over the limit of %d", len(t.Entries), MaxValidators)
	}
	return qcForm(&t.HighQC)
}

func tcsForm(l []TC) error {
	if len(l) > 1 {
		return fmt.Errorf("%d timeout certificates: want none or one", len(l))
	}
	for i := range l {
		if err := tcForm(&l[i]); err != nil {
			return err
		}
	}
	return nil
}
