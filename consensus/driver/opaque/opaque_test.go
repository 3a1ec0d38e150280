package opaque

import (
	"bytes"
	"testing"

	"github.com/metanode/metanode/internal/sign"
)

func TestCheckFindsEveryOffender(t *testing.T) {
	var txs [][]byte
	for i := range 40 {
		txs = append(txs, Sign(sign.FromSeed(bytes.Repeat([]byte{byte(i % 3)}, 32)), uint64(i), 256))
	}
	bad := map[int]bool{0: true, 7: true, 8: true, 39: true, 20: true}
	for i := range bad {
		txs[i] = bytes.Clone(txs[i])
		txs[i][len(txs[i])-1] ^= 1
	}
	txs[20] = txs[20][:MinBytes-1]
	for i, err := range Check(txs) {
		if (err != nil) != bad[i] {
			t.Errorf("transaction %d: %v", i, err)
		}
	}
	if errs := Check(nil); len(errs) != 0 {
		t.Error("verdicts on nothing")
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(Sign(sign.FromSeed(make([]byte, 32)), 1, 0), []byte("short"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		both := Check([][]byte{a, b})
		if (both[0] == nil) != (Check([][]byte{a})[0] == nil) || (both[1] == nil) != (Check([][]byte{b})[0] == nil) {
			t.Fatal("a verdict depends on the company")
		}
	})
}
