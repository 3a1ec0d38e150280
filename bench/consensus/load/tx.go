package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/metanode/metanode/internal/sign"
)

// A transaction is text, so that CometBFT's kvstore takes it as a pair too: the key is what stands before the one '='.
//
//	kv1. RUN(8) INDEX(8) = FILLER(43) KEY(64) SIGNATURE(128)
//
// RUN tells one run's transactions from another's and INDEX counts them; both, KEY and SIGNATURE are hexadecimal digits.
// The signature is Ed25519 over all that stands before it.
const (
	TxBytes  = 256
	KeyBytes = 20

	tag      = "kv1."
	keyAt    = 64
	signedTo = 128
)

// Signer makes the transactions of one run. Safe for concurrent use.
type Signer struct {
	run  string
	keys []sign.PrivateKey
}

// NewSigner makes the keys of a number of clients, who take turns. Runs on one chain must differ in run.
func NewSigner(run uint32, clients int) *Signer {
	s := &Signer{run: fmt.Sprintf("%08x", run)}
	for i := range max(1, clients) {
		seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("bench client"), uint64(i)))
		s.keys = append(s.keys, sign.FromSeed(seed[:]))
	}
	return s
}

// Tx is the transaction of an index.
func (s *Signer) Tx(index uint32) []byte {
	key := s.keys[int(index)%len(s.keys)]
	public := key.Public()
	tx := make([]byte, 0, TxBytes)
	tx = append(tx, tag...)
	tx = append(tx, s.run...)
	tx = fmt.Appendf(tx, "%08x=", index)
	tx = append(tx, bytes.Repeat([]byte("x"), keyAt-len(tx))...)
	tx = hex.AppendEncode(tx, public[:])
	sig := key.Sign(tx)
	return hex.AppendEncode(tx, sig[:])
}

// Index is the index of a transaction of this run; false if it is of another.
func (s *Signer) Index(tx []byte) (uint32, bool) {
	if len(tx) != TxBytes || !bytes.HasPrefix(tx, []byte(tag+s.run)) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(tx[len(tag)+8:KeyBytes]), 16, 32)
	return uint32(n), err == nil
}

// ErrForm says that a transaction is none of this package's.
var ErrForm = errors.New("transaction is not of the form kv1.RUN INDEX = FILLER KEY SIGNATURE")

// Parts takes a transaction apart without verifying it: who signed, what was signed, and the signature.
func Parts(tx []byte) (key sign.PublicKey, signed []byte, sig sign.Signature, err error) {
	if len(tx) != TxBytes || !bytes.HasPrefix(tx, []byte(tag)) || tx[KeyBytes] != '=' {
		return key, nil, sig, ErrForm
	}
	if err := key.UnmarshalText(tx[keyAt:signedTo]); err != nil {
		return key, nil, sig, fmt.Errorf("%w: %w", ErrForm, err)
	}
	if err := sig.UnmarshalText(tx[signedTo:]); err != nil {
		return key, nil, sig, fmt.Errorf("%w: %w", ErrForm, err)
	}
	return key, tx[:signedTo], sig, nil
}

// Check verifies a transaction and says who signed it.
func Check(tx []byte) (sign.PublicKey, error) {
	key, signed, sig, err := Parts(tx)
	if err == nil && !sign.Verify(key, signed, sig) {
		err = fmt.Errorf("transaction %s: the signature is not %s's", tx[:KeyBytes], key.Short())
	}
	return key, err
}

// CheckAll is Check for many transactions, whose signatures are verified together, and one by one only if one of them is
// not valid.
func CheckAll(txs [][]byte) []error {
	errs := make([]error, len(txs))
	batch := sign.NewBatch()
	for i, tx := range txs {
		key, signed, sig, err := Parts(tx)
		if errs[i] = err; err == nil {
			batch.Add(key, signed, sig)
		}
	}
	if batch.Verify() {
		return errs
	}
	for i, tx := range txs {
		_, errs[i] = Check(tx)
	}
	return errs
}
