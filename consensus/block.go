package consensus

import (
	"fmt"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// View numbers the attempts to extend the chain; each has one leader. The genesis block has view 0.
type View uint64

// Height numbers the blocks of the chain; genesis is 0.
type Height uint64

// Epoch numbers the validator sets. The first is 0.
type Epoch uint64

// BlockID is the digest of a block's header. It commits to everything in the block and before it.
type BlockID = digest.Digest

// Limits that a decoder enforces before it allocates, and that an honest proposer keeps.
const (
	MaxBlockBytes = 4 << 20
	MaxTxBytes    = 256 << 10
	MaxBlockTxs   = 20000
)

// Header is what validators certify. Its digest is the block's id.
type Header struct {
	_            struct{} `cbor:",toarray"`
	Version      uint32
	ChainID      digest.Digest // digest of the genesis document
	Parent       BlockID
	Height       Height
	View         View
	Epoch        Epoch
	Proposer     sign.PublicKey
	TimestampMs  uint64        // agreed time: Unix milliseconds, above the parent's
	TxRoot       digest.Digest // RFC 6962 over the transactions' bytes
	EventRoot    digest.Digest // RFC 6962 over the canonical events of executing this block
	StateRoot    digest.Digest // after executing this block
	Validators   digest.Digest // ValidatorSet.Digest of this epoch
	NextVals     digest.Digest // of the next block's set; differs only in an epoch-closing block
	HistoryRoot  digest.Digest // RFC 6962 frontier digest over the ids of all blocks before this one
	HistoryCount uint64        // number of ids under HistoryRoot; equals Height
}

// ID is the digest of the header under its domain tag.
func (h *Header) ID() BlockID { return digest.Sum("bpi/block/1", canon.Must(h)) }

// Block is a header, the certificate that justifies extending its parent, and opaque transactions. Consensus never
// learns what a transaction means.
type Block struct {
	_       struct{} `cbor:",toarray"`
	Header  Header
	Justify QC // certifies Header.Parent; for children of genesis, the genesis QC
	Txs     [][]byte
}

// ID is the header's id.
func (b *Block) ID() BlockID { return b.Header.ID() }

// Encode gives the canonical bytes.
func (b *Block) Encode() []byte { return canon.Must(b) }

// DecodeBlock reads canonical bytes and checks what can be checked without context: sizes and the transaction root.
func DecodeBlock(raw []byte) (*Block, error) {
	if len(raw) > MaxBlockBytes+MaxBlockBytes/4 {
		return nil, fmt.Errorf("block of %d bytes: over the limit of %d", len(raw), MaxBlockBytes+MaxBlockBytes/4)
	}
	var b Block
	if err := canon.Unmarshal(raw, &b); err != nil {
		return nil, err
	}
	if err := b.checkBody(); err != nil {
		return nil, err
	}
	return checked(&b, qcForm(&b.Justify))
}

// checkBody checks the transactions against the limits and the header's root.
func (b *Block) checkBody() error {
	if len(b.Txs) > MaxBlockTxs {
		return fmt.Errorf("block with %d transactions: over the limit of %d", len(b.Txs), MaxBlockTxs)
	}
	total := 0
	for i, tx := range b.Txs {
		if len(tx) > MaxTxBytes {
			return fmt.Errorf("transaction %d of %d bytes: over the limit of %d", i, len(tx), MaxTxBytes)
		}
		total += len(tx)
	}
	if total > MaxBlockBytes {
		return fmt.Errorf("block with %d bytes of transactions: over the limit of %d", total, MaxBlockBytes)
	}
	if merkle.Root(b.Txs) != b.Header.TxRoot {
		return fmt.Errorf("block %s: transactions do not hash to the header's root", b.ID().Short())
	}
	return nil
}
