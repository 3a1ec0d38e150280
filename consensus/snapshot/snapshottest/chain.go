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
	Genesis   *consensus.Genesis
	Verifier  *consensus.Verifier   // of the present epoch
	Blocks    []*consensus.Block    // by height
	Handovers []*consensus.Handover // by the epoch that they end

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
		h, _ := c.next()
		h.EventRoot, h.StateRoot = merkle.Root(nil), state
		c.append(h)
	}
}

// next is the header of the next block, without roots of events and state.
func (c *Chain) next() (consensus.Header, *consensus.ProposeRequest) {
	parent := c.Blocks[len(c.Blocks)-1]
	q := &consensus.ProposeRequest{View: parent.Header.View + 1, Parent: parent, Justify: c.qc}
	h := q.Header(c.Verifier, c.keys[int(q.View)%len(c.keys)].Public())
	h.TimestampMs, h.TxRoot, h.HistoryRoot = parent.Header.TimestampMs+1, merkle.Root(nil), c.History(len(c.Blocks)).Root()
	return h, q
}

func (c *Chain) append(h consensus.Header) {
	b := &consensus.Block{Header: h, Justify: c.qc, Txs: [][]byte{}}
	c.Blocks = append(c.Blocks, b)
	c.qc = c.certify(&h)
}

// Close ends the epoch: the validators stay, and each weighs one more.
func (c *Chain) Close(state digest.Digest) {
	next := append([]consensus.Validator(nil), c.Verifier.Set().All()...)
	for i := range next {
		next[i].Weight++
	}
	set, err := consensus.NewValidatorSet(next)
	if err != nil {
		panic(err)
	}
	h, _ := c.next()
	h.EventRoot, h.StateRoot, h.NextVals = merkle.Root([][]byte{[]byte("change")}), state, set.Digest()
	c.append(h)
	closing := c.Blocks[len(c.Blocks)-1]
	t, q := c.next()
	trailing := q.Trailing(c.Verifier, t.Proposer)
	trailing.TimestampMs, trailing.HistoryRoot = t.TimestampMs, t.HistoryRoot
	o := &consensus.Handover{Finality: consensus.Finality{Headers: []consensus.Header{closing.Header}, QC: c.certify(&trailing)}, Next: next}
	if c.Verifier, err = c.Verifier.After(o); err != nil {
		panic(err)
	}
	c.Handovers, c.qc = append(c.Handovers, o), consensus.RootQC(closing)
}

// certify signs a block of the present epoch for every validator.
func (c *Chain) certify(h *consensus.Header) consensus.QC {
	d := consensus.VoteData{ChainID: h.ChainID, Epoch: h.Epoch, View: h.View, Block: h.ID(), CommitRef: h.Parent}
	qc := consensus.QC{Data: d, Signers: make([]byte, (len(c.keys)+7)/8)}
	for i := range c.keys {
		k := c.keys[i]
		at, _ := c.Verifier.Set().Index(k.Public())
		qc.Signers[at/8] |= 1 << (at % 8)
	}
	for _, v := range c.Verifier.Set().All() {
		for _, k := range c.keys {
			if k.Public() == v.Key {
				qc.Sigs = append(qc.Sigs, consensus.NewSigner(consensus.Ed25519, k).Sign(d.SigningBytes()))
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
