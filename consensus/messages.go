package consensus

import (
	"bytes"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// VoteData is what a vote signs. CommitRef is the parent of Block if the parent's view is exactly one below View, and
// zero otherwise: a quorum on this data is by itself the proof that CommitRef is final (Jolteon, two-chain commit; our
// deviation: the reference is inside the vote, so that one certificate is enough for a light client).
type VoteData struct {
	_         struct{} `cbor:",toarray"`
	ChainID   digest.Digest
	Epoch     Epoch
	View      View
	Block     BlockID
	CommitRef BlockID
}

// SigningBytes is the domain tag and the canonical encoding.
func (d *VoteData) SigningBytes() []byte { return append([]byte("bpi/vote/1\x00"), canon.Must(d)...) }

// Vote is one validator's signature of VoteData.
type Vote struct {
	_     struct{} `cbor:",toarray"`
	Data  VoteData
	Voter sign.PublicKey
	Sig   Signature
}

// same reports whether two votes are the same, with their signatures.
func (v *Vote) same(w *Vote) bool {
	return v.Data == w.Data && v.Voter == w.Voter && bytes.Equal(v.Sig, w.Sig)
}

// QC is a quorum certificate: the same VoteData signed by validators of more than two thirds of the weight. Signers is
// a bitmap over the epoch's validators in set order (bit i of byte i/8, least significant first, no trailing zero
// byte). Under Ed25519 Sigs are theirs, in the same order; under BLS12-381 there is one, their sum. The genesis QC has view 0, the genesis block's id, and no signers.
type QC struct {
	_       struct{} `cbor:",toarray"`
	Data    VoteData
	Signers []byte
	Sigs    []Signature
}

// TimeoutData is what a timeout signs.
type TimeoutData struct {
	_         struct{} `cbor:",toarray"`
	ChainID   digest.Digest
	Epoch     Epoch
	View      View
	HighQC    View // view of the highest QC the sender knows
	LastVoted View // the view of the sender's last vote
}

// SigningBytes is the domain tag and the canonical encoding.
func (d *TimeoutData) SigningBytes() []byte {
	return append([]byte("bpi/timeout/1\x00"), canon.Must(d)...)
}

// Timeout says that its sender gave up on a view. It carries the sender's high QC, and the TC of the previous view if
// that QC is not from View-1 (DiemBFT v4, section 3.4).
type Timeout struct {
	_      struct{} `cbor:",toarray"`
	Data   TimeoutData
	Voter  sign.PublicKey
	Sig    Signature
	HighQC QC
	LastTC []TC // none or one
}

// TCEntry is one validator's part of a timeout certificate.
type TCEntry struct {
	_         struct{} `cbor:",toarray"`
	Validator uint32   // index in the epoch's set
	HighQC    View
	LastVoted View
	Sig       Signature // under BLS12-381 the first entry has the sum of all signatures, and the others have none
}

// TC is a timeout certificate: timeouts for one view by validators of more than two thirds of the weight, sorted by
// validator index, with the highest QC that any of them named.
type TC struct {
	_       struct{} `cbor:",toarray"`
	ChainID digest.Digest
	Epoch   Epoch
	View    View
	Entries []TCEntry
	HighQC  QC
}

// Proposal is a leader's block with the timeout certificate that lets it skip views, and the leader's signature of the
// block id under the tag "bpi/proposal/1".
type Proposal struct {
	_      struct{} `cbor:",toarray"`
	Block  Block
	LastTC []TC // none or one: needed if Block.Header.View is not Justify's view + 1
	Sig    sign.Signature
}

// ProposalSigningBytes is what a leader signs.
func ProposalSigningBytes(id BlockID) []byte { return append([]byte("bpi/proposal/1\x00"), id[:]...) }

// Certificates is the answer to a validator that is behind: the sender's highest certificates. Receiving it lets the
// other enter the sender's view.
type Certificates struct {
	_  struct{} `cbor:",toarray"`
	QC QC
	TC []TC // none or one
}
