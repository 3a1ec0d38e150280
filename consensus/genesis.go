package consensus

import (
	"errors"
	"fmt"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
)

// Genesis is the document that a chain begins with. Its digest is the chain's id and stands in everything signed.
type Genesis struct {
	_                 struct{} `cbor:",toarray"`
	Version           uint32   // ProtocolVersion
	Name              string   // network name, 1 to 32 of [a-z0-9-]
	TimestampMs       uint64   // Unix milliseconds; the genesis block's agreed time
	BlockTimeMs       uint64   // longest time between blocks when there is no work
	MaxTxsPerBlock    uint32
	MaxTimestampAhead uint64 // milliseconds a block may be ahead of a voter's clock; 500
	Validators        []Validator
	App               []byte // canonical application genesis (enc.Genesis), opaque here
	Scheme            Scheme // how validators sign votes; Ed25519 is not in the encoding
}

// The two encodings of a Genesis: an array of eight for Ed25519, and of nine for another scheme.
type (
	plainGenesis struct {
		_                 struct{} `cbor:",toarray"`
		Version           uint32
		Name              string
		TimestampMs       uint64
		BlockTimeMs       uint64
		MaxTxsPerBlock    uint32
		MaxTimestampAhead uint64
		Validators        []Validator
		App               []byte
	}
	schemeGenesis struct {
		_                 struct{} `cbor:",toarray"`
		Version           uint32
		Name              string
		TimestampMs       uint64
		BlockTimeMs       uint64
		MaxTxsPerBlock    uint32
		MaxTimestampAhead uint64
		Validators        []Validator
		App               []byte
		Scheme            Scheme
	}
)

// arrayOf8 is the first byte of an array of eight.
const arrayOf8 = 0x88

// MarshalCBOR leaves the scheme out if it is Ed25519.
func (g Genesis) MarshalCBOR() ([]byte, error) {
	if g.Scheme != Ed25519 {
		return canon.Marshal((*schemeGenesis)(&g))
	}
	return canon.Marshal(&plainGenesis{
		Version: g.Version, Name: g.Name, TimestampMs: g.TimestampMs, BlockTimeMs: g.BlockTimeMs, MaxTxsPerBlock: g.MaxTxsPerBlock,
		MaxTimestampAhead: g.MaxTimestampAhead, Validators: g.Validators, App: g.App,
	})
}

// UnmarshalCBOR reads what MarshalCBOR wrote.
func (g *Genesis) UnmarshalCBOR(raw []byte) error {
	if len(raw) > 0 && raw[0] == arrayOf8 {
		var p plainGenesis
		err := canon.Unmarshal(raw, &p)
		*g = Genesis{
			Version: p.Version, Name: p.Name, TimestampMs: p.TimestampMs, BlockTimeMs: p.BlockTimeMs, MaxTxsPerBlock: p.MaxTxsPerBlock,
			MaxTimestampAhead: p.MaxTimestampAhead, Validators: p.Validators, App: p.App,
		}
		return err
	}
	if err := canon.Unmarshal(raw, (*schemeGenesis)(g)); err != nil {
		return err
	}
	if g.Scheme == Ed25519 {
		return errors.New("genesis that names ed25519, which goes without saying")
	}
	return nil
}

// ChainID is the digest of the canonical document.
func (g *Genesis) ChainID() digest.Digest { return digest.Sum("bpi/genesis/1", canon.Must(g)) }

// DisplayName is the network's name and the first digits of the chain id: "devnet-7f3a91".
func (g *Genesis) DisplayName() string {
	id := g.ChainID()
	return g.Name + "-" + id.String()[:6]
}

// Check validates the document.
func (g *Genesis) Check() error {
	if g.Version != ProtocolVersion {
		return &VersionError{What: "genesis", Version: g.Version, Next: "get the genesis document of a newer chain, or begin one with: bpi init --new-chain"}
	}
	if len(g.Name) == 0 || len(g.Name) > 32 {
		return fmt.Errorf("genesis: network name %.40q: want 1 to 32 characters", g.Name)
	}
	for _, c := range g.Name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("genesis: network name %q: only a-z, 0-9 and - are allowed", g.Name)
		}
	}
	if g.BlockTimeMs < 10 || g.BlockTimeMs > 3600_000 {
		return fmt.Errorf("genesis: block_time_ms %d: want 10 to 3600000", g.BlockTimeMs)
	}
	if g.MaxTxsPerBlock == 0 || g.MaxTxsPerBlock > MaxBlockTxs {
		return fmt.Errorf("genesis: max_transactions_per_block %d: want 1 to %d", g.MaxTxsPerBlock, MaxBlockTxs)
	}
	if len(g.App) > 1<<20 {
		return fmt.Errorf("genesis: application part of %d bytes: at most 1 MiB", len(g.App))
	}
	if g.Scheme != Ed25519 && g.Scheme != BLS12381 {
		return fmt.Errorf("genesis: %s: this program knows ed25519 and bls12-381; use a newer bpi release", g.Scheme)
	}
	set, err := NewValidatorSet(g.Validators)
	if err != nil {
		return err
	}
	if set.Scheme() != g.Scheme {
		return fmt.Errorf("genesis: signature scheme %s, and validators with the keys of %s", g.Scheme, set.Scheme())
	}
	return nil
}

// Block is the block at height 0, which every node derives from the document. stateRoot and eventRoot come from
// executing the application's genesis.
func (g *Genesis) Block(stateRoot digest.Digest) (*Block, error) {
	set, err := StoredValidatorSet(g.Validators) // Check is for the proofs
	if err != nil {
		return nil, err
	}
	return &Block{
		Header: Header{
			Version: g.Version, ChainID: g.ChainID(), TimestampMs: g.TimestampMs,
			TxRoot: merkle.Root(nil), EventRoot: merkle.Root(nil), StateRoot: stateRoot,
			Validators: set.Digest(), NextVals: set.Digest(), HistoryRoot: merkle.Root(nil),
		},
		Justify: QC{Signers: []byte{}, Sigs: []Signature{}},
		Txs:     [][]byte{},
	}, nil
}
