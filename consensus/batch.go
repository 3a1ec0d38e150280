package consensus

import (
	"fmt"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Bounds of a batch: a single transaction of the greatest size fits into one.
const (
	MaxBatchTxs     = 4096
	MaxBatchTxBytes = MaxTxBytes                           // of its transactions together
	MaxBatchBytes   = MaxBatchTxBytes + 5*MaxBatchTxs + 64 // encoded
)

// BatchID is the digest of a batch's bytes: the name by which an Outline calls its transactions.
type BatchID = digest.Digest

// Batch is transactions on their way to the validators, ahead of the block that will hold them. It is signed by nobody:
// what it holds is signed, and whoever names it answers for it.
type Batch struct {
	_    struct{} `cbor:",toarray"`
	Salt uint64   // tells two batches of the same transactions apart, so that gossip carries a repetition
	Txs  [][]byte
}

// Encode gives the canonical bytes.
func (b *Batch) Encode() []byte { return canon.Must(b) }

// BatchIDOf names the batch with these canonical bytes.
func BatchIDOf(raw []byte) BatchID { return digest.Sum("bpi/batch/1", raw) }

// DecodeBatch reads canonical bytes and checks the bounds. What the transactions say is for the application to judge.
func DecodeBatch(raw []byte) (*Batch, error) {
	var b Batch
	if err := decode(raw, MaxBatchBytes, "batch", &b); err != nil {
		return nil, err
	}
	if len(b.Txs) == 0 || len(b.Txs) > MaxBatchTxs {
		return nil, fmt.Errorf("batch of %d transactions: want 1 to %d", len(b.Txs), MaxBatchTxs)
	}
	total := 0
	for i, tx := range b.Txs {
		if len(tx) == 0 {
			return nil, fmt.Errorf("batch with an empty transaction at %d", i)
		}
		total += len(tx)
	}
	if total > MaxBatchTxBytes {
		return nil, fmt.Errorf("batch with %d bytes of transactions: over the limit of %d", total, MaxBatchTxBytes)
	}
	return &b, nil
}
