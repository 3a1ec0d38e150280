package enc

import (
	"bytes"
	"testing"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

func FuzzDecodeCommand(f *testing.F) {
	c := imaged(f, 3, 2)
	for _, p := range []Payload{
		testJob(1, 3, 2), &CancelJob{Job: testBlob}, c.register(0, 1), &RenewLeases{Executions: []ExecutionRef{{Job: testBlob, Round: 1}}},
		&Commit{Job: testBlob, Round: 1, Hash: testBlob}, &Decline{Job: testBlob, Round: 1, Reason: DeclineInputs},
		&Reveal{Job: testBlob, Round: 1, Outcome: outcome("1")},
		&PublishDataset{Name: "a", Manifest: testBlob, Blobs: sortedBlobs(testBlob)}, &HoldBlobs{Manifests: []digest.Digest{testBlob}},
		nativeJob(1, 3, 2), &PublishImage{Name: "base", Image: testImage, Bytes: 10}, &Withdraw{Catalog: CatalogImages, Name: "base", Version: 1},
	} {
		f.Add(c.cmd(c.client, p).Encode())
	}
	f.Fuzz(func(t *testing.T, tx []byte) {
		cmd, err := DecodeCommand(tx)
		if err == nil && !bytes.Equal(cmd.Encode(), tx) {
			t.Fatal("a second spelling is accepted")
		}
		s := c.s.Fork()
		at := BlockContext{Height: c.at.Height + 1, TimestampMs: c.at.TimestampMs + 1}
		if _, err := s.ApplyTx(at, tx); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzPayload fuzzes the body of every kind of command, signed, so that it reaches the rules.
func FuzzPayload(f *testing.F) {
	c := imaged(f, 3, 2)
	kinds := []Kind{KindSubmitJob, KindCancelJob, KindRegisterNode, KindRenewLeases, KindCommit, KindDecline, KindReveal, KindPublishDataset, KindHoldBlobs, KindSubmitJob, KindPublishImage, KindWithdraw}
	for i, p := range []Payload{
		testJob(1, 3, 2), &CancelJob{Job: testBlob}, c.register(0, 1), &RenewLeases{Executions: []ExecutionRef{{Job: testBlob, Round: 1}}},
		&Commit{Job: testBlob, Round: 1, Hash: testBlob}, &Decline{Job: testBlob, Round: 1, Reason: DeclineInputs},
		&Reveal{Job: testBlob, Round: 1, Outcome: outcome("1")},
		&PublishDataset{Name: "a", Manifest: testBlob, Blobs: sortedBlobs(testBlob)}, &HoldBlobs{Manifests: []digest.Digest{testBlob}},
		nativeJob(1, 3, 2), &PublishImage{Name: "base", Image: testImage, Bytes: 10}, &Withdraw{Catalog: CatalogImages, Name: "base", Version: 1},
	} {
		f.Add(byte(i), canon.Must(p))
	}
	f.Fuzz(func(t *testing.T, kind byte, payload []byte) {
		b := CommandBody{ChainID: c.id, ExpiresMs: c.at.TimestampMs + 1000, Kind: kinds[int(kind)%len(kinds)], Payload: payload}
		if p, err := b.DecodePayload(); err == nil && !bytes.Equal(canon.Must(p), payload) {
			t.Fatal("a second spelling is accepted")
		}
		cmd := b.Sign(c.nodes[0])
		cmd.verified = true
		s := c.s.Fork()
		at := BlockContext{Height: c.at.Height + 1, TimestampMs: c.at.TimestampMs + 1}
		if _, err := s.Apply(at, &cmd); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			at.Height, at.TimestampMs = at.Height+1, at.TimestampMs+10
			if _, err := s.Begin(at); err != nil {
				t.Fatal(err)
			}
		}
		invariants(t, s)
	})
}

// FuzzGenesis begins a chain with a stranger's document: what Check passes, NewState takes and a block is executed on.
func FuzzGenesis(f *testing.F) {
	c := newChain(f, 3, nil)
	g := c.s.Genesis()
	f.Add(canon.Must(&g))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var g Genesis
		if canon.Unmarshal(raw, &g) != nil || g.Check() != nil {
			return
		}
		if !bytes.Equal(canon.Must(&g), raw) {
			t.Fatal("another spelling is accepted")
		}
		s, err := NewState(c.id, g, c.validators)
		if err != nil {
			t.Fatalf("checked, and refused: %v", err)
		}
		if _, err := s.Begin(BlockContext{Height: 1, TimestampMs: 1}); err != nil {
			t.Fatal(err)
		}
	})
}
