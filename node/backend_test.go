package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// startNode runs a whole node; the function that it gives stops it and returns when everything of it has ended.
func startNode(t *testing.T, cfg configs.Config) (*Node, func()) {
	t.Helper()
	n, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return n, stop
}

// await waits for a state of the chain that satisfies a condition.
func await(t *testing.T, n *Node, what string, cond func(*head) bool) {
	t.Helper()
	late := time.After(30 * time.Second)
	for {
		h, changed := n.ledger.watch()
		if cond(h) {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("at block %d still not: %s", h.header.Height, what)
		}
	}
}

// cancelOfNothing is a valid command, which the chain orders and then refuses: there is no such job.
func cancelOfNothing(n *Node, key sign.PrivateKey, nonce byte, lifeMs uint64) enc.Command {
	return enc.CommandBody{
		ChainID: n.ledger.chain, ExpiresMs: n.ledger.nowMs() + lifeMs, Nonce: [16]byte{nonce}, Kind: enc.KindCancelJob,
		Payload: canon.Must(&enc.CancelJob{Job: digest.Of([]byte("nothing"))}),
	}.Sign(key)
}

// TestCommandInTheOutboxIsOrderedByTheNextProcess leaves a command on disk, as a process that was killed right after it
// had answered for it, and starts a node on that folder.
func TestCommandInTheOutboxIsOrderedByTheNextProcess(t *testing.T) {
	cfg := testConfig(t)
	killed, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := cancelOfNothing(killed, testKey, 1, 60_000)
	if err := killed.outbox.add(t.Context(), c.ID(), c.Encode(), c.Body.ExpiresMs, killed.ledger.nowMs()); err != nil {
		t.Fatal(err)
	}
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	n, _ := startNode(t, cfg)
	await(t, n, "the command is ordered", func(*head) bool {
		_, ok := n.ledger.command(t.Context(), c.ID())
		return ok
	})
	st, err := (&backend{n}).CommandStatus(t.Context(), c.ID(), 0)
	if err != nil || st.State != api.CommandOrdered || len(st.Events) != 1 || st.Events[0].Reason == "" {
		t.Errorf("%+v, %v; want one event that says why it was refused", st, err)
	}
}

// TestBackendAnswersForARunningNode asks a node through what its API calls.
func TestBackendAnswersForARunningNode(t *testing.T) {
	n, stop := startNode(t, testConfig(t))
	b, ctx := &backend{n}, t.Context()

	t.Run("commands", func(t *testing.T) {
		c := cancelOfNothing(n, testKey, 1, 60_000)
		if got, err := b.SubmitCommand(ctx, c.Encode()); err != nil || got.ID != c.ID() {
			t.Fatalf("%+v, %v", got, err)
		}
		st, err := b.CommandStatus(ctx, c.ID(), 20*time.Second)
		if err != nil || st.State != api.CommandOrdered {
			t.Fatalf("%+v, %v", st, err)
		}
		other := cancelOfNothing(n, testKey, 2, 60_000)
		other.Body.ChainID = digest.Of([]byte("elsewhere"))
		other = other.Body.Sign(testKey)
		forged := cancelOfNothing(n, testKey, 3, 60_000)
		forged.Sig[5] ^= 1
		late := cancelOfNothing(n, testKey, 4, 60_000)
		late.Body.ExpiresMs = n.ledger.nowMs() - 1
		late = late.Body.Sign(testKey)
		for name, x := range map[string]struct {
			tx   []byte
			want error
		}{
			"replayed":      {c.Encode(), api.Replay("", "")},
			"garbage":       {[]byte("garbage"), api.Malformed("", "")},
			"another chain": {other.Encode(), api.WrongChain("", "")},
			"forged":        {forged.Encode(), api.BadSignature("", "")},
			"expired":       {late.Encode(), api.Expired("", "")},
		} {
			if _, err := b.SubmitCommand(ctx, x.tx); !errors.Is(err, x.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := b.CommandStatus(ctx, digest.Of([]byte("unknown")), 0); !errors.Is(err, api.NotFound("", "")) {
			t.Errorf("an unknown command: %v", err)
		}
	})

	t.Run("chain", func(t *testing.T) {
		raw, err := b.Genesis(ctx)
		var g consensus.Genesis
		if err != nil || canon.Unmarshal(raw, &g) != nil || g.ChainID() != n.ledger.chain {
			t.Errorf("genesis: %d bytes, %v", len(raw), err)
		}
		trust, err := b.Trust(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		text, err := trust.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := receipt.ParseTrust(text); err != nil || again.Chain.ID != n.ledger.chain {
			t.Errorf("the trust file does not read: %v", err)
		}
		v, err := b.Validators(ctx)
		if err != nil || len(v.Validators) != 1 || v.Validators[0].Key != testKey.Public() {
			t.Errorf("validators %+v, %v", v, err)
		}
		if blk, err := b.Block(ctx, 1); err != nil || blk.Height != 1 {
			t.Errorf("block 1: %+v, %v", blk, err)
		}
		if _, err := b.Block(ctx, 1<<40); !errors.Is(err, api.NotFound("", "")) {
			t.Errorf("a block above the head: %v", err)
		}
		if _, err := b.Job(ctx, strings.Repeat("ab", 32)); !errors.Is(err, api.NotFound("", "")) {
			t.Errorf("an unknown job: %v", err)
		}
		if _, err := b.Dataset(ctx, "nothing"); err == nil {
			t.Error("an unknown dataset was found")
		}
	})

	t.Run("registration follows the machine", func(t *testing.T) {
		self := testKey.Public()
		await(t, n, "the chain knows this executor", func(h *head) bool {
			x, ok := h.state.Node(self)
			return ok && x.Registered
		})
		for _, on := range []bool{true, false} {
			if _, err := b.Drain(ctx, on); err != nil {
				t.Fatal(err)
			}
			await(t, n, "the chain knows whether it takes work", func(h *head) bool {
				x, ok := h.state.Node(self)
				return ok && x.Draining == on
			})
		}
		if list, err := b.Executors(ctx); err != nil || len(list) != 1 || list[0].Key != self || list[0].Draining {
			t.Errorf("executors %+v, %v", list, err)
		}
	})

	t.Run("audit", func(t *testing.T) {
		trust, err := b.Trust(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		if err := b.WriteAudit(ctx, api.AuditQuery{Format: "json"}, &log); err != nil {
			t.Fatal(err)
		}
		if report := receipt.VerifyAudit(strings.NewReader(log.String()), trust); !report.Valid() {
			t.Errorf("%+v", report)
		}
	})
	stop()
	noneLeft(t)
}
