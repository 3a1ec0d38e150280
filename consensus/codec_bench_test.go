package consensus_test

import (
	"testing"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

type message struct {
	_      struct{} `cbor:",toarray"`
	Roots  [7]digest.Digest
	Key    sign.PublicKey
	Height uint64
	Sigs   []sign.Signature
}

// BenchmarkArrays is of a message that is mostly digests, keys and signatures, as headers and certificates are.
func BenchmarkArrays(b *testing.B) {
	m := &message{Height: 1 << 20, Sigs: make([]sign.Signature, 3)}
	raw := canon.Must(m)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			canon.Must(m)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var got message
			if err := canon.Unmarshal(raw, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}
