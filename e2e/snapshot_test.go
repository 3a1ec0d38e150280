package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
	"github.com/metanode/metanode/receipt"
)

// longChain is how many blocks the chain has when the late one joins, and snapshotGap the distance of snapshots.
const (
	longChain   = 1600
	snapshotGap = 400
)

// fill makes the state large: jobs that ask for more peers than there are wait in the queue with all their bytes.
func (n *testnet) fill(jobs int) {
	n.t.Helper()
	c := n.client(n.peers[0])
	s, err := c.Status(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	x, err := c.Executors(n.t.Context())
	if err != nil || len(x) == 0 || len(x[0].Policies) == 0 {
		n.t.Fatalf("%d executors: %v", len(x), err)
	}
	key, err := sign.Generate(rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	for i := range jobs {
		b := enc.CommandBody{
			ChainID: s.Chain.ID, ExpiresMs: s.Head.TimeMs + 600_000, Nonce: [16]byte{byte(i), byte(i >> 8)}, Kind: enc.KindSubmitJob,
			Payload: canon.Must(&enc.SubmitJob{Work: receipt.Work{
				Kind: enc.KindSQL, Engine: s.Engine.Digest, Policy: cage.Sealed().Digest(), CPUClass: x[0].CPUClass,
				Stdin:  bytes.Repeat([]byte(fmt.Sprintf("%08d", i)), 60<<10/8),
				Limits: receipt.Limits{MemoryBytes: 64 << 20, OutputBytes: 1 << 20, Files: 10, Processes: 2, CPUMs: 1000, WallMs: 5000},
			}, R: enc.MaxPeersPerRound, Q: enc.MaxPeersPerRound}),
		}
		cmd := b.Sign(key)
		if _, err := c.SubmitCommand(n.t.Context(), cmd.Encode()); err != nil {
			n.t.Fatalf("job %d: %v", i, err)
		}
	}
}

// liar is a member of the network that passes requests for snapshots on to an honest peer and gives every chunk with one
// bit changed.
type liar struct {
	host   *p2p.Host
	chunks atomic.Int64 // given
}

func (n *testnet) liar(of *peer) *liar {
	n.t.Helper()
	s, err := n.client(of).Status(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	key, err := sign.Generate(rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	cfg := p2p.Config{Key: key, Network: s.Chain.Name, EnableEncryption: true, ListenAddrs: []string{"127.0.0.1"}, DHTServer: true}
	for _, p := range n.peers {
		cfg.Bootstrap = append(cfg.Bootstrap, p.Address)
	}
	l := &liar{}
	if l.host, err = p2p.New(cfg); err != nil {
		n.t.Fatal(err)
	}
	l.host.Handle("bpi/snapshot/1", p2p.Limits{}, func(ctx context.Context, _ sign.PublicKey, req []byte) ([]byte, error) {
		var r struct {
			_      struct{} `cbor:",toarray"`
			What   uint8
			Height uint64
			ID     digest.Digest
			Index  uint32
			Epoch  uint64
		}
		if err := canon.Unmarshal(req, &r); err != nil {
			return nil, err
		}
		raw, err := l.host.Call(ctx, s.Key, "bpi/snapshot/1", req)
		if err == nil && r.What == 3 {
			raw[len(raw)/2] ^= 1
			l.chunks.Add(1)
		}
		return raw, err
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.host.Run(ctx) }()
	n.t.Cleanup(func() {
		cancel()
		_ = l.host.Close()
		if err := <-done; err != nil {
			n.t.Errorf("the liar: %v", err)
		}
	})
	eventually(n.t, 20*time.Second, "the liar connected to every peer", func() bool { return len(l.host.Peers()) >= len(n.peers) })
	return l
}

// TestLateJoinerOfAPrunedChain lets a peer join a chain whose first blocks nobody has any more, by a peer that lies.
func TestLateJoinerOfAPrunedChain(t *testing.T) {
	path := filepath.Join(home(t), "short.toml")
	text := fmt.Sprintf("[consensus]\nblock_time_ms = 10\n[storage]\nsnapshot_interval = %d\nretain_blocks = 64\n", snapshotGap)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n := up(t, 4, "--config", path)
	n.users()
	first := n.peers[0]
	var jobs []string
	for i := range 3 {
		jobs = append(jobs, strings.TrimSpace(n.must("analytics", "submit", "--fresh", "--id-only", "--dataset", "users", "--query", fmt.Sprintf("SELECT COUNT(*) + %d FROM users", i))))
	}
	trust := filepath.Join(n.home, "trust.json")
	if err := os.WriteFile(trust, []byte(n.must("chain", "trust")), 0o600); err != nil {
		t.Fatal(err)
	}
	n.fill(100)
	status := func(p *peer) (s api.ChainStatus) {
		s, _ = n.client(p).ChainStatus(t.Context()) // a peer that is not up yet has nothing
		return s
	}
	eventually(t, 5*time.Minute, "a long chain, pruned on every peer", func() bool {
		for _, p := range n.peers {
			s := status(p)
			if s.Head.Height < longChain || s.Base < longChain-3*snapshotGap || len(s.Snapshots) < 2 {
				return false
			}
		}
		return true
	})
	s := status(first)
	if last := s.Snapshots[len(s.Snapshots)-1]; last.Chunks < 5 {
		t.Fatalf("a state of %d bytes in %d chunks is too small for this test", last.Bytes, last.Chunks)
	}
	if out := n.must("chain", "status"); !strings.Contains(out, "from block") || !strings.Contains(out, "chunks") {
		t.Errorf("chain status does not say what is kept:\n%s", out)
	}

	// On a peer that was there: the block is gone, and says so; the receipt stays; the history is whole from the base on.
	n.refused(1, []string{"block 5 is not kept here", "--peer"}, "chain", "block", "5")
	receiptFile := filepath.Join(n.home, "receipt.json")
	if err := os.WriteFile(receiptFile, []byte(n.must("receipt", "get", jobs[0])), 0o600); err != nil {
		t.Fatal(err)
	}
	n.must("receipt", "verify", "--trust", trust, receiptFile)
	export := n.run("security", "export-audit")
	if export.code != 0 || !strings.Contains(export.stderr, "complete from there") {
		t.Fatalf("export-audit: exit code %d\n%s", export.code, export.stderr)
	}
	audit := filepath.Join(n.home, "audit.json")
	if err := os.WriteFile(audit, []byte(export.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	n.must("security", "verify-audit", "--trust", trust, audit)
	var head struct{ From uint64 }
	if err := json.Unmarshal([]byte(export.stdout[:strings.IndexByte(export.stdout, '\n')]), &head); err != nil || head.From == 0 {
		t.Errorf("the audit begins with block %d: %v", head.From, err)
	}
	n.refused(1, []string{"block 5 is not kept here"}, "security", "export-audit", "--from", "5")

	// The late one knows the liar alone at first, and finds the others through it.
	l := n.liar(first)
	own := home(t)
	address := ""
	for _, a := range l.host.Addrs() {
		if strings.Contains(a, "/tcp/") {
			address = a
		}
	}
	if r := n.runWith(own, "init", "--genesis", filepath.Join(first.Dir, "genesis.cbor"), "--bootstrap", address, "--listen-port", "0"); r.code != 0 {
		t.Fatalf("init: %s", r.stderr)
	}
	late := &peer{Name: "late", Dir: own, Socket: filepath.Join(own, "api.sock")}
	n.start(late)
	n.peers = append(n.peers, late)
	eventually(t, 2*time.Minute, "the late one at the head", func() bool {
		h := n.height(first)
		return h > 0 && n.height(late)+20 >= h
	})
	if l.chunks.Load() == 0 {
		t.Error("nobody asked the liar for a chunk")
	}
	log, err := os.ReadFile(filepath.Join(own, "log", "node.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"joined by snapshot", "a peer gives a false snapshot and is left"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("the late one's log does not tell: %s", want)
		}
	}
	if s := status(late); s.Base <= longChain-2*snapshotGap || len(s.Snapshots) == 0 {
		t.Errorf("the late one keeps blocks from %d on, with %d snapshots", s.Base, len(s.Snapshots))
	}
	joiner := func(args ...string) result {
		return n.runWith(own, append([]string{"--api", "unix://" + late.Socket}, args...)...)
	}
	// A receipt from before it joined comes from its peers, and verifies with no network at all.
	r := joiner("receipt", "get", jobs[1])
	if r.code != 0 {
		t.Fatalf("receipt get through the late one: %s", r.stderr)
	}
	if err := os.WriteFile(receiptFile, []byte(r.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	n.must("receipt", "verify", "--trust", trust, receiptFile)
	if r := joiner("chain", "block", "5"); r.code != 1 || !strings.Contains(r.stderr, "not kept here") {
		t.Errorf("chain block: exit code %d\n%s", r.code, r.stderr)
	}
	if r := joiner("analytics", "submit", "--fresh", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users"); r.code != 0 || !strings.Contains(r.stdout, "1000") {
		t.Errorf("a job through the late one: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}

	// It is killed, stays away until what it would need next is pruned, and comes back by the next snapshot.
	n.kill(late)
	was := n.height(first)
	eventually(t, 3*time.Minute, "pruned past the one that is away", func() bool { return status(first).Base > was+20 })
	n.start(late)
	eventually(t, 2*time.Minute, "back at the head", func() bool {
		h := n.height(first)
		return h > 0 && n.height(late)+20 >= h
	})
	if s := status(late); s.Base <= was {
		t.Errorf("it came back with blocks from %d on; nobody had them from %d", s.Base, was)
	}
}
