package driver

import (
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// FuzzDecodeBatches reads what a peer answers to a request for batches.
func FuzzDecodeBatches(f *testing.F) {
	f.Add(canon.Must(&batchesAnswer{Batches: [][]byte{{1}, {2, 3}}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := decodeBatches(raw)
		if err == nil && string(canon.Must(&batchesAnswer{Batches: list})) != string(raw) {
			t.Fatal("another spelling was accepted")
		}
	})
}

// FuzzDecodeAnswer reads what a peer answers to a request for blocks.
func FuzzDecodeAnswer(f *testing.F) {
	b := consensus.Block{Txs: [][]byte{[]byte("tx")}}
	b.Header.Height, b.Header.Parent = 3, consensus.BlockID(digest.Of([]byte("parent")))
	fin := consensus.Finality{Headers: []consensus.Header{b.Header}}
	f.Add(canon.Must(&answer{Blocks: [][]byte{b.Encode()}, Finality: [][]byte{fin.Encode()}}))
	f.Add(canon.Must(&answer{Blocks: [][]byte{}, Finality: [][]byte{}}))
	f.Add(canon.Must(&answer{Blocks: [][]byte{}, Finality: [][]byte{}, Base: 7}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := decodeAnswer(raw)
		if err != nil {
			return
		}
		again := answer{Blocks: [][]byte{}, Finality: [][]byte{}, Base: a.base}
		for _, b := range a.blocks {
			again.Blocks = append(again.Blocks, b.Encode())
		}
		if a.proof != nil {
			again.Finality = append(again.Finality, a.proof.Encode())
		}
		if have := canon.Must(&again); string(have) != string(raw) {
			t.Fatal("another spelling was accepted")
		}
	})
}
