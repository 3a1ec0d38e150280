package node

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// TestAChainOfOneChangesItsValidator gives the only validator another weight: an epoch ends and the next begins in one
// process, what the API hands out follows, and so does the node after a restart.
func TestAChainOfOneChangesItsValidator(t *testing.T) {
	cfg := testConfig(t)
	n, stop := startNode(t, cfg)
	await(t, n, "a first block", func(h *head) bool { return h.header.Height > 0 })
	next := append([]consensus.Validator(nil), n.genesis.Validators...)
	next[0].Weight = 5
	tx, id, err := n.command.sign(testKey, enc.KindProposeValidators, canon.Must(&enc.ProposeValidators{Next: next}), 60_000)
	if err == nil {
		err = n.driver.Submit(tx)
	}
	if err != nil {
		t.Fatal(err)
	}
	epoch1 := func(h *head) bool { return h.header.Epoch == 1 }
	await(t, n, "a block of the next epoch", epoch1)
	stop()

	n, stop = startNode(t, cfg)
	was := n.ledger.Height()
	await(t, n, "a block after the restart", func(h *head) bool { return h.header.Height > was })
	b, ctx := &backend{n}, t.Context()
	if !n.driver.Validates() {
		t.Error("the validator does not validate after the restart")
	}
	v, err := b.Validators(ctx)
	if err != nil || v.Epoch != 1 || v.Total != 5 || v.Quorum != 4 || len(v.Proposals) != 0 {
		t.Errorf("%+v, %v", v, err)
	}
	at, ok := n.ledger.command(ctx, id)
	if !ok {
		t.Fatal("the proposal is not on record")
	}
	blk, err := b.Block(ctx, at.Height)
	if err != nil || len(blk.Next) != 1 || blk.Next[0].Weight != 5 || blk.Epoch != 0 {
		t.Errorf("closing block %+v, %v", blk.Next, err)
	}
	for _, epoch := range []uint64{1, api.LatestEpoch} {
		trust, err := b.Trust(ctx, epoch)
		if err != nil || trust.Checkpoint.Epoch != 1 || trust.Checkpoint.Height != at.Height || trust.Validators[0].Weight != 5 {
			t.Errorf("trust file of epoch %d: %+v, %v", epoch, trust, err)
		}
	}
	if _, err := b.Trust(ctx, 2); !errors.Is(err, api.NotFound("", "")) {
		t.Errorf("trust file of an epoch to come: %v", err)
	}
	for _, from := range []uint64{0, at.Height + 1} {
		var log strings.Builder
		if err := b.WriteAudit(ctx, api.AuditQuery{Format: "json", From: from}, &log); err != nil {
			t.Fatal(err)
		}
		trust, err := b.Trust(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		if report := receipt.VerifyAudit(strings.NewReader(log.String()), trust); !report.Valid() {
			t.Errorf("audit from block %d: %+v", from, report.Steps)
		}
	}
	stop()
	noneLeft(t)
}

// TestEvidenceIsReportedOnce hands the node evidence twice, as two messages would: one report is ordered, the proof is
// public, and the only validator stays.
func TestEvidenceIsReportedOnce(t *testing.T) {
	n, stop := startNode(t, testConfig(t))
	await(t, n, "a first block", func(h *head) bool { return h.header.Height > 0 })
	half := func(what string) consensus.Signed {
		d := consensus.VoteData{ChainID: n.ledger.chain, View: 1 << 40, Block: digest.Of([]byte(what))}
		return consensus.Signed{Data: canon.Must(&d), Sig: consensus.NewSigner(consensus.Ed25519, testKey).Sign(d.SigningBytes())}
	}
	e := consensus.Evidence{Kind: consensus.DoubleVote, Key: testKey.Public(), View: 1 << 40, First: half("a"), Second: half("b")}
	n.accused(e)
	n.accused(e)
	await(t, n, "evidence on record", func(h *head) bool { return h.state.Convicted(testKey.Public()) })
	was := n.ledger.Height()
	await(t, n, "two more blocks", func(h *head) bool { return h.header.Height >= was+2 })
	list, err := (&backend{n}).Evidence(t.Context())
	if err != nil || len(list) != 1 || list[0].Removed || list[0].Reporter != testKey.Public() {
		t.Fatalf("%+v, %v", list, err)
	}
	reports := 0
	err = (&backend{n}).Events(context.Background(), api.EventQuery{}, func(ev api.Event) error {
		if ev.Kind == enc.EventEvidence || ev.Kind == enc.EventRefused {
			reports++
		}
		return nil
	})
	if err != nil || reports != 1 {
		t.Errorf("%d reports in the chain, %v", reports, err)
	}
	stop()
	noneLeft(t)
}
