package receipt

import (
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// MaxTrustBytes bounds a trust file.
const MaxTrustBytes = 256 << 10

// TrustVersion is the version of the trust file's form.
const TrustVersion = 1

// TrustFile is what a verifier believes beforehand; everything in a receipt or an audit file is checked against it.
// It is to be got over a channel that is trusted, and once. Its checkpoint may be newer than genesis, and should be
// where validators have left: the keys of long-removed validators are not guarded any more, and whoever collects
// enough of them could sign another history from the old set onwards.
type TrustFile struct {
	Version    uint32           `json:"version"`
	Chain      ChainRef         `json:"chain"`
	Protocol   uint32           `json:"protocol"`
	Checkpoint Checkpoint       `json:"checkpoint"`
	Validators []TrustValidator `json:"validators"`
}

// ChainRef names a chain. The id is the digest of its genesis document (consensus.Genesis.ChainID).
type ChainRef struct {
	ID   digest.Digest `json:"id"`
	Name string        `json:"name"`
}

// DisplayName is the network's name and the first digits of the chain id, as consensus.Genesis has it.
func (c ChainRef) DisplayName() string { return fmt.Sprintf("%.40s-%s", c.Name, c.ID.String()[:6]) }

// Checkpoint is a block that the verifier takes for final, and the epoch of the validators in the file. For an epoch after
// the first the block is the one that closed the epoch before.
type Checkpoint struct {
	Height uint64        `json:"height"`
	Block  digest.Digest `json:"block"`
	Epoch  uint64        `json:"epoch"`
}

// TrustValidator is one validator, in set order.
type TrustValidator struct {
	Key    sign.PublicKey   `json:"key"`
	Weight uint64           `json:"weight"`
	Peer   sign.PublicKey   `json:"peer"`
	Name   string           `json:"name"`
	BLS    consensus.BLSKey `json:"bls,omitzero"` // of all validators, if the chain's signature scheme is bls12-381
}

// NewTrustFile makes the trust file of a chain at a final block that is followed by the validators set: genesis, or the
// closing block of an epoch, or any block of theirs.
func NewTrustFile(g *consensus.Genesis, at *consensus.Header, set *consensus.ValidatorSet) *TrustFile {
	t := &TrustFile{
		Version: TrustVersion, Chain: ChainRef{ID: g.ChainID(), Name: g.Name}, Protocol: g.Version,
		Checkpoint: Checkpoint{Height: uint64(at.Height), Block: at.ID(), Epoch: uint64(at.NextEpoch())},
		Validators: trustValidators(set.All()),
	}
	return t
}

// Set is the validator set of the file's epoch.
func (t *TrustFile) Set() (*consensus.ValidatorSet, error) {
	set, err := consensus.NewValidatorSet(validatorsOf(t.Validators))
	if err != nil {
		return nil, fmt.Errorf("trust file: %w", err)
	}
	return set, nil
}

// Check validates the file's own form.
func (t *TrustFile) Check() error {
	if t.Version != TrustVersion {
		return fmt.Errorf("trust file of version %d: this program reads version %d", t.Version, TrustVersion)
	}
	if t.Protocol != consensus.ProtocolVersion {
		return &consensus.VersionError{What: "the trust file", Version: t.Protocol, Next: "write one for a newer chain with: bpi chain trust"}
	}
	if t.Chain.ID.IsZero() || t.Checkpoint.Block.IsZero() {
		return fmt.Errorf("trust file without a chain id or a checkpoint: write a new one with: bpi chain trust > trust.json")
	}
	if t.Chain.Name == "" || !isText(t.Chain.Name, 32) {
		return fmt.Errorf("trust file: chain name %.40q: want 1 to 32 bytes of text", t.Chain.Name)
	}
	if len(t.Validators) > consensus.MaxValidators {
		return fmt.Errorf("trust file with %d validators: over the limit of %d", len(t.Validators), consensus.MaxValidators)
	}
	_, err := t.Set()
	return err
}

// Encode gives the file's text.
func (t *TrustFile) Encode() ([]byte, error) { return indent(t) }

// ParseTrust reads a trust file: strictly, as unmarshal does, and checked.
func ParseTrust(b []byte) (*TrustFile, error) {
	var t TrustFile
	if err := unmarshal(b, &t, "trust file", MaxTrustBytes); err != nil {
		return nil, err
	}
	if err := t.Check(); err != nil {
		return nil, err
	}
	return &t, nil
}
