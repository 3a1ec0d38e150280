package snapshot_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/consensus/snapshot/snapshottest"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/trie"
)

// stateOf has n entries of some size.
func stateOf(n, size int) *trie.Map {
	m := new(trie.Map)
	for i := range n {
		k := digest.Sum("key", []byte(fmt.Sprint(i)))
		m.Set(append([]byte("jobs/"), k[:]...), bytes.Repeat([]byte{byte(i)}, size))
	}
	return m
}

// chainWith is a chain whose block at height has the state.
func chainWith(validators, height int, m *trie.Map) *snapshottest.Chain {
	c := snapshottest.New(validators)
	c.Extend(height+2, m.Root())
	return c
}

func TestSnapshotGivesTheStateBack(t *testing.T) {
	for _, n := range []int{0, 1, 7, 3000} {
		m := stateOf(n, 1000)
		c := chainWith(4, 150, m)
		h, err := snapshot.DecodeHead(c.Head(150, m).Encode())
		if err != nil {
			t.Fatal(err)
		}
		s, err := h.Check(c.Verifier)
		if err != nil {
			t.Fatal(err)
		}
		if s.Height() != 150 || s.History.Root() != c.History(151).Root() || len(s.Recent) == 0 {
			t.Fatalf("height %d with %d headers before it", s.Height(), len(s.Recent))
		}
		restored := new(trie.Map)
		chunks := 0
		for i, raw := range s.Split(m.All()) {
			entries, err := s.Chunk(i, raw)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				restored.Set(e.Key, e.Value)
			}
			chunks++
		}
		if chunks != s.Chunks() || restored.Root() != m.Root() {
			t.Errorf("%d entries: %d chunks of %d, root %s, want %s", n, chunks, s.Chunks(), restored.Root().Short(), m.Root().Short())
		}
	}
}

func TestEveryLieInAHeadIsFound(t *testing.T) {
	m := stateOf(500, 1000)
	c := chainWith(4, 150, m)
	other := chainWith(4, 150, stateOf(400, 1000))
	otherVals := chainWith(5, 150, m)
	lies := map[string]func(h *snapshot.Head){
		"another version":     func(h *snapshot.Head) { h.Version++ },
		"another block":       func(h *snapshot.Head) { h.Block = c.Blocks[149].Encode() },
		"no block":            func(h *snapshot.Head) { h.Block = nil },
		"the genesis block":   func(h *snapshot.Head) { h.Block = c.Blocks[0].Encode() },
		"another certificate": func(h *snapshot.Head) { h.Finality = c.Finality(149).Encode() },
		"no certificate":      func(h *snapshot.Head) { h.Finality = (&consensus.Finality{}).Encode() },
		"a history too long":  func(h *snapshot.Head) { h.History = c.History(151).Encode() },
		"another history":     func(h *snapshot.Head) { h.History = other.History(150).Encode() },
		"no headers before":   func(h *snapshot.Head) { h.Recent = []consensus.Header{} },
		"a header left out":   func(h *snapshot.Head) { h.Recent = append(h.Recent[:3:3], h.Recent[4:]...) },
		"the first left out":  func(h *snapshot.Head) { h.Recent = h.Recent[1:] },
		"one header too many": func(h *snapshot.Head) {
			h.Recent = append([]consensus.Header{c.Blocks[h.Recent[0].Height-1].Header}, h.Recent...)
		},
		"a header changed": func(h *snapshot.Head) {
			h.Recent = append([]consensus.Header{}, h.Recent...)
			h.Recent[0].TimestampMs++
		},
		"another state":  func(h *snapshot.Head) { h.State = other.Head(150, stateOf(400, 1000)).State },
		"an empty state": func(h *snapshot.Head) { h.State = trie.Outline{} },
		"a block of no validator": func(h *snapshot.Head) {
			h.Block, h.Finality, h.History = otherVals.Blocks[150].Encode(), otherVals.Finality(150).Encode(), otherVals.History(150).Encode()
		},
		"a certificate of too few": func(h *snapshot.Head) {
			f := *c.Finality(150)
			f.QC.Signers, f.QC.Sigs = []byte{3}, f.QC.Sigs[:2]
			h.Finality = f.Encode()
		},
	}
	if _, err := c.Head(150, m).Check(c.Verifier); err != nil {
		t.Fatal(err)
	}
	for name, lie := range lies {
		h := c.Head(150, m)
		lie(h)
		if _, err := h.Check(c.Verifier); !errors.Is(err, snapshot.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := snapshot.DecodeHead(make([]byte, snapshot.MaxHeadBytes+1)); !errors.Is(err, snapshot.ErrInvalid) {
		t.Errorf("a head that is too long: %v", err)
	}
}

func TestEveryLieInAChunkIsFound(t *testing.T) {
	m := stateOf(3000, 1000)
	c := chainWith(1, 3, m)
	s, err := c.Head(3, m).Check(c.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	var chunks [][]byte
	for _, raw := range s.Split(m.All()) {
		chunks = append(chunks, raw)
	}
	if len(chunks) < 2 {
		t.Fatalf("%d chunks", len(chunks))
	}
	bad := map[string][]byte{
		"another chunk": chunks[1], "nothing": {}, "an empty list": {0x80}, "one byte less": chunks[0][:len(chunks[0])-1],
		"one byte more": append(bytes.Clone(chunks[0]), 0), "too long": make([]byte, snapshot.MaxChunkBytes+1),
	}
	for _, at := range []int{0, 1, 5, 60, len(chunks[0]) / 2, len(chunks[0]) - 1} {
		b := bytes.Clone(chunks[0])
		b[at] ^= 0x10
		bad[fmt.Sprintf("byte %d changed", at)] = b
	}
	for name, raw := range bad {
		if _, err := s.Chunk(0, raw); !errors.Is(err, snapshot.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSnapshotOfALaterEpochNeedsItsValidators takes a snapshot soon after a change of the validators, and none of the block
// that makes the change.
func TestSnapshotOfALaterEpochNeedsItsValidators(t *testing.T) {
	m := stateOf(50, 1000)
	c := snapshottest.New(4)
	c.Extend(100, m.Root())
	old := c.Verifier
	c.Close(m.Root())
	c.Extend(120, m.Root())
	h := c.Head(110, m)
	if first := h.Recent[0]; first.Epoch != 0 || len(h.Recent) != 9 {
		t.Errorf("%d headers, the first of epoch %d: want those of the epoch and the one before", len(h.Recent), first.Epoch)
	}
	if e, err := h.Epoch(); err != nil || e != 1 {
		t.Errorf("epoch %d: %v", e, err)
	}
	if _, err := h.Check(c.Verifier); err != nil {
		t.Error(err)
	}
	if _, err := h.Check(old); !errors.Is(err, snapshot.ErrInvalid) {
		t.Errorf("with the validators of the epoch before: %v", err)
	}
	short := c.Head(110, m)
	short.Recent = short.Recent[1:]
	if _, err := short.Check(c.Verifier); !errors.Is(err, snapshot.ErrInvalid) {
		t.Errorf("without the header before the epoch: %v", err)
	}
	o, err := m.Outline(snapshot.PartBytes)
	if err != nil {
		t.Fatal(err)
	}
	closing := snapshot.Make(c.Blocks[101], &c.Handovers[0].Finality, c.History(101), c.Recent(101), o)
	if _, err := closing.Check(old); !errors.Is(err, snapshot.ErrInvalid) {
		t.Errorf("a snapshot of the closing block: %v", err)
	}
}

// TestFalseSizesMakeAnotherSnapshot: what an outline claims of its parts is not under the root, so it must be in the id.
func TestFalseSizesMakeAnotherSnapshot(t *testing.T) {
	m := stateOf(500, 1000)
	c := chainWith(1, 3, m)
	a, err := c.Head(3, m).Check(c.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	h := c.Head(3, m)
	h.State.Parts[0].Bytes++
	b, err := h.Check(c.Verifier)
	if err == nil && a.ID() == b.ID() {
		t.Error("two outlines, one id")
	}
}

func FuzzHead(f *testing.F) {
	m := stateOf(200, 2000)
	c := chainWith(1, 3, m)
	f.Add(c.Head(3, m).Encode())
	f.Add(c.Head(2, m).Encode())
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := snapshot.DecodeHead(raw)
		if err != nil {
			return
		}
		s, err := h.Check(c.Verifier)
		if err != nil {
			return
		}
		if s.Height() > 4 || s.Block.ID() != c.Blocks[s.Height()].ID() {
			t.Fatal("a head that the chain does not have was taken")
		}
		if s.History.Root() != c.History(int(s.Height())+1).Root() {
			t.Fatal("a history that the chain does not have was taken")
		}
	})
}

func FuzzChunk(f *testing.F) {
	m := stateOf(200, 2000)
	c := chainWith(1, 3, m)
	s, err := c.Head(3, m).Check(c.Verifier)
	if err != nil {
		f.Fatal(err)
	}
	var first []byte
	for _, raw := range s.Split(m.All()) {
		first = raw
		break
	}
	f.Add(first)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := s.Chunk(0, raw); err == nil && !bytes.Equal(raw, first) {
			t.Fatal("other bytes than the chunk's were taken for it")
		}
	})
}
