package load

import (
	"bytes"
	"testing"
)

func TestEveryByteOfATransactionIsSigned(t *testing.T) {
	s := NewSigner(0xabcdef01, 3)
	tx := s.Tx(77)
	if len(tx) != TxBytes {
		t.Fatalf("%d bytes: want %d", len(tx), TxBytes)
	}
	key, err := Check(tx)
	if err != nil || key != s.keys[77%3].Public() {
		t.Fatalf("key %s, %v", key.Short(), err)
	}
	for i := range tx {
		bad := bytes.Clone(tx)
		bad[i] ^= 1
		if _, err := Check(bad); err == nil {
			t.Errorf("byte %d changed: accepted", i)
		}
	}
	if _, err := Check(tx[1:]); err == nil {
		t.Error("a byte is missing: accepted")
	}
}

func TestTransactionsAreNamedByTheirRun(t *testing.T) {
	s, other := NewSigner(1, 2), NewSigner(2, 2)
	for _, i := range []uint32{0, 1, 4_000_000_000} {
		if got, ok := s.Index(s.Tx(i)); !ok || got != i {
			t.Errorf("index %d, %v: want %d", got, ok, i)
		}
		if _, ok := s.Index(other.Tx(i)); ok {
			t.Errorf("transaction %d of another run is one of this", i)
		}
	}
}

// CometBFT's kvstore takes KEY=VALUE with one '=', no ':', and neither part empty.
func TestTransactionsArePairsForTheKVStore(t *testing.T) {
	tx := NewSigner(3, 1).Tx(5)
	if bytes.Count(tx, []byte("=")) != 1 || bytes.Count(tx, []byte(":")) != 0 || bytes.IndexByte(tx, '=') != KeyBytes {
		t.Fatalf("%s", tx)
	}
}

func TestAllAreJudgedAsEachAlone(t *testing.T) {
	s := NewSigner(9, 3)
	var txs [][]byte
	for i := range 6 {
		txs = append(txs, s.Tx(uint32(i)))
	}
	for name, spoil := range map[string]func(){"all good": func() {}, "one forged": func() { txs[1][100] ^= 1 }, "one malformed": func() { txs[3] = []byte("short") }} {
		spoil()
		for i, err := range CheckAll(txs) {
			if _, alone := Check(txs[i]); (err == nil) != (alone == nil) {
				t.Errorf("%s: transaction %d: %v together, %v alone", name, i, err, alone)
			}
		}
	}
}
