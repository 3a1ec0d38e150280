// Package snapshottest makes certified chains by hand, for tests of what verifies and carries snapshots.
package snapshottest

import (
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/internal/trie"
)

// Chain is a chain of empty blocks in consecutive views, each certified by all validators.
type Chain struct {
	Genesis  *consensus.Genesis
	Verifier *consensus.Verifier
	Blocks   []*consensus.Block // by height

	keys []sign.PrivateKey
	qc   consensus.QC // of the last block
}

// New begins a chain of n validators.
func New(n int) *Chain {
	c := &Chain{Genesis: &consensus.Genesis{
		Version: consensus.ProtocolVersion, Name: "test", TimestampMs: 1, BlockTimeMs: 1000, MaxTxsPerBlock: 10, MaxTimestampAhead: 500,
	}}
	for i := range n {
		s := digest.Sum("snapshottest/key", []byte{byte(i)})
		c.keys = append(c.keys, sign.FromSeed(s[:]))
		c.Genesis.Validators = append(c.Genesis.Validators, consensus.Validator{Key: c.keys[i].Public(), Weight: 1, Name: fmt.Sprint(i)})
	}
	root, err := c.Genesis.Block(new(trie.Map).Root())
	if err == nil {
		c.Verifier, err = consensus.NewVerifier(c.Genesis, root.ID())
	}
	if err != nil {
		panic(err)
	}
	c.Blocks, c.qc = []*consensus.Block{root}, consensus.GenesisQC(root)
	return c
}

// Extend adds blocks with a state root until the chain has a height.
func (c *Chain) Extend(to int, state digest.Digest) {
	for len(c.Blocks) <= to {
		parent := c.Blocks[len(c.Blocks)-1]
		view := parent.Header.View + 1
		q := consensus.ProposeRequest{View: view, Parent: parent, Justify: c.qc}
		h := q.Header(c.Verifier, c.keys[int(view)%len(c.keys)].Public())
		h.TimestampMs = parent.Header.TimestampMs + 1
		h.TxRoot, h.EventRoot, h.StateRoot = merkle.Root(nil), merkle.Root(nil), state
		h.HistoryRoot = c.History(len(c.Blocks)).Root()
		b := &consensus.Block{Header: h, Justify: c.qc, Txs: [][]byte{}}
		c.Blocks = append(c.Blocks, b)
		c.qc = c.certify(consensus.VoteData{ChainID: h.ChainID, View: view, Block: b.ID(), CommitRef: parent.ID()})
	}
}

// certify signs for every validator.
func (c *Chain) certify(d consensus.VoteData) consensus.QC {
	qc := consensus.QC{Data: d, Signers: make([]byte, (len(c.keys)+7)/8)}
	for i := range c.keys {
		k := c.keys[i]
		at, _ := c.Verifier.Set().Index(k.Public())
		qc.Signers[at/8] |= 1 << (at % 8)
	}
	for _, v := range c.Verifier.Set().All() {
		for _, k := range c.keys {
			if k.Public() == v.Key {
				qc.Sigs = append(qc.Sigs, k.Sign(d.SigningBytes()))
			}
		}
	}
	return qc
}

// History is the log of the ids of the blocks below a height.
func (c *Chain) History(height int) *merkle.Frontier {
	f := &merkle.Frontier{}
	for _, b := range c.Blocks[:height] {
		id := b.ID()
		f.Append(id[:])
	}
	return f
}

// Finality proves a block below the last two final.
func (c *Chain) Finality(height int) *consensus.Finality {
	return &consensus.Finality{Headers: []consensus.Header{c.Blocks[height].Header}, QC: c.Blocks[height+2].Justify}
}

// Recent are the headers that a snapshot at a height must have.
func (c *Chain) Recent(height int) []consensus.Header {
	at, window := &c.Blocks[height].Header, consensus.LeaderWindow(c.Verifier.Set().Len())
	list := []consensus.Header{}
	for h := height - 1; h > 0; h-- {
		list = append([]consensus.Header{c.Blocks[h].Header}, list...)
		if snapshot.Complete(at, &list[0], window) {
			break
		}
	}
	return list
}

// Head is a snapshot's head of a state at a height: extend the chain with the state's root to two blocks more.
func (c *Chain) Head(height int, state *trie.Map) *snapshot.Head {
	o, err := state.Outline(snapshot.PartBytes)
	if err != nil {
		panic(err)
	}
	return snapshot.Make(c.Blocks[height], c.Finality(height), c.History(height), c.Recent(height), o)
}
