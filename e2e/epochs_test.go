package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/keyfile"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// candidate makes a further peer with keys of its own, as its operator would, starts it, and writes its card.
func (n *testnet) candidate(name string) *peer {
	n.t.Helper()
	p := n.join(n.peers[0])
	p.Name = name
	n.cardOf(p)
	return p
}

// card is the peer's public keys, for a proposal.
func (p *peer) card() string { return filepath.Join(p.Dir, "card.json") }

// cardOf writes a peer's card.
func (n *testnet) cardOf(p *peer) {
	n.t.Helper()
	r := n.runWith(p.Dir, "init", "--card", "--name", p.Name)
	if r.code != 0 {
		n.t.Fatalf("card of %s: %s", p.Name, r.stderr)
	}
	if err := os.WriteFile(p.card(), []byte(r.stdout), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// validators is the set as a peer knows it.
func (n *testnet) validators(p *peer) api.Validators {
	n.t.Helper()
	v, err := n.client(p).Validators(n.t.Context())
	if err != nil {
		n.t.Fatalf("%s: %v", p.Name, err)
	}
	return v
}

// names are those of the validators, in set order.
func names(v api.Validators) string {
	var out []string
	for _, x := range v.Validators {
		out = append(out, x.Name)
	}
	return strings.Join(out, " ")
}

// change proposes by the first of the voters and approves by the others, until the epoch is closed, and waits until
// every peer is in the next.
func (n *testnet) change(voters []*peer, flags ...string) {
	n.t.Helper()
	epoch := n.validators(voters[0]).Epoch
	id := ""
	for i, p := range voters {
		args := append([]string{"chain", "validators", "propose", "--id-only"}, flags...)
		if i > 0 {
			args = []string{"chain", "validators", "approve", id}
		}
		eventually(n.t, 20*time.Second, p.Name+" knows the proposal", func() bool {
			v := n.validators(p)
			return i == 0 || v.Epoch != epoch || slices.ContainsFunc(v.Proposals, func(x api.Proposal) bool { return x.ID.String() == id })
		})
		r := n.runWith(p.Dir, args...)
		if r.code != 0 {
			n.t.Fatalf("%s: bpi %s: exit code %d\n%s", p.Name, strings.Join(args, " "), r.code, r.stderr)
		}
		if i == 0 {
			id = strings.TrimSpace(r.stdout)
		}
		if strings.Contains(r.stderr, "a quorum stands behind it") {
			break
		}
	}
	for _, p := range n.peers {
		eventually(n.t, 30*time.Second, fmt.Sprintf("%s in epoch %d", p.Name, epoch+1), func() bool {
			v, err := n.client(p).Validators(n.t.Context())
			return err == nil && v.Epoch == epoch+1
		})
	}
}

// validates reports whether a peer says of itself that it does.
func (n *testnet) validates(p *peer) bool {
	s, err := n.client(p).Status(n.t.Context())
	return err == nil && slices.Contains(s.Roles, "validator")
}

// TestAllFourValidatorsChange replaces the validators of a running network one at a time, and then all at once, under
// load, and follows the change with receipts and an audit from before, between and after.
func TestAllFourValidatorsChange(t *testing.T) {
	n := up(t, 4)
	old := slices.Clone(n.peers)
	n.users()
	var jobs []string
	seal := func() {
		t.Helper()
		job := n.job("SELECT COUNT(*) FROM users")
		if j := n.ended(n.peers[0], job, time.Minute); j.State != api.JobSealed {
			t.Fatalf("job %s: %s", job, j.State)
		}
		jobs = append(jobs, job)
	}
	seal()
	var fresh []*peer
	for i := range 4 {
		fresh = append(fresh, n.candidate(fmt.Sprintf("fresh%d", i+1)))
		n.cardOf(old[i])
	}
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	client, template := n.client(old[0]), cancelling(t, n.client(old[0]))
	load.Go(func() {
		for nonce := uint64(1); ctx.Err() == nil; nonce++ {
			if a, err := client.SubmitCommand(ctx, template(nonce)); err == nil {
				_, _ = client.CommandStatus(ctx, a.ID, time.Second)
			}
		}
	})

	voters := slices.Clone(old)
	for i := range 4 {
		n.change(voters, "--remove", old[i].Name, "--add", fresh[i].card())
		voters = append(voters[1:], fresh[i])
		eventually(t, 10*time.Second, fmt.Sprintf("%s validates, and %s does not any more", fresh[i].Name, old[i].Name), func() bool {
			return n.validates(fresh[i]) && !n.validates(old[i])
		})
	}
	if v := n.validators(old[0]); names(v) != "fresh1 fresh2 fresh3 fresh4" {
		t.Fatalf("validators %s", names(v))
	}
	raw, err := os.ReadFile(filepath.Join(old[0].Dir, "log", "node.log"))
	if err != nil || !strings.Contains(string(raw), "not in the set any more: it goes on as a follower") {
		t.Errorf("the removed validator does not say so: %v", err)
	}
	seal() // by the old ones, who are executors and followers now

	// The chain lives by the new ones alone, and one of them may be killed.
	was := n.head(fresh[3])
	n.kill(fresh[3])
	seal()
	n.restart(fresh[3])
	n.regains(fresh[3], was)
	eventually(t, 20*time.Second, "the killed validator votes again", func() bool { return n.validates(fresh[3]) })

	args := []string{}
	for i := range 4 {
		args = append(args, "--remove", fresh[i].Name, "--add", old[i].card())
	}
	n.change(fresh, args...)
	if v := n.validators(fresh[0]); names(v) != "node1 node2 node3 node4" || v.Epoch != 5 {
		t.Fatalf("validators %s of epoch %d", names(v), v.Epoch)
	}
	seal()
	stop()
	load.Wait()

	// What was sealed in any epoch verifies against the first validators.
	trust := filepath.Join(n.home, "genesis-trust.json")
	if err := os.WriteFile(trust, []byte(n.must("chain", "trust")), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, job := range jobs {
		path := filepath.Join(n.home, fmt.Sprintf("receipt%d.json", i))
		if err := os.WriteFile(path, []byte(n.must("receipt", "get", job)), 0o600); err != nil {
			t.Fatal(err)
		}
		n.must("--api", "unix:///nowhere", "receipt", "verify", path, "--trust", trust)
	}
	audit := filepath.Join(n.home, "audit.jsonl")
	if err := os.WriteFile(audit, []byte(n.must("security", "export-audit", "--format", "json")), 0o600); err != nil {
		t.Fatal(err)
	}
	n.must("security", "verify-audit", audit, "--trust", trust)
}

// TestAnEquivocatingKeyIsRemoved takes a validator's key to another machine, as a thief would, and votes twice with it.
func TestAnEquivocatingKeyIsRemoved(t *testing.T) {
	for _, scheme := range consensus.Schemes() {
		t.Run(scheme.String(), func(t *testing.T) { equivocatingKeyIsRemoved(t, scheme) })
	}
}

func equivocatingKeyIsRemoved(t *testing.T, scheme consensus.Scheme) {
	n := up(t, 4, "--signature-scheme", scheme.String())
	thief := n.peers[3]
	n.kill(thief)
	key, err := keyfile.Load(filepath.Join(thief.Dir, "keys", keyfile.Validator.FileName()), keyfile.Validator)
	if err != nil {
		t.Fatal(err)
	}
	head, err := n.client(n.peers[0]).ChainStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	topic := n.voteTopic(head.Chain.Name)
	for _, what := range []string{"one block", "another block"} {
		d := consensus.VoteData{ChainID: head.Chain.ID, View: consensus.View(head.Head.View + 3), Block: digest.Of([]byte(what))}
		v := consensus.Vote{Data: d, Voter: key.Public(), Sig: consensus.NewSigner(scheme, key).Sign(d.SigningBytes())}
		if err := topic.Publish(t.Context(), v.Encode()); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range n.peers[:3] {
		eventually(t, 60*time.Second, "the key removed on "+p.Name, func() bool {
			v := n.validators(p)
			return v.Epoch == 1 && len(v.Validators) == 3
		})
	}
	var list []api.Evidence
	if err := json.Unmarshal([]byte(n.must("--json", "chain", "evidence")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Key != key.Public() || !list[0].Removed || list[0].Kind != string(consensus.DoubleVote) {
		t.Fatalf("evidence %+v", list)
	}
	proof, err := consensus.DecodeEvidence(list[0].Proof)
	if err == nil {
		err = proof.Verify(head.Chain.ID)
	}
	if err != nil {
		t.Errorf("the public proof does not hold: %v", err)
	}
	if out := n.must("chain", "evidence"); !strings.Contains(out, "holds") {
		t.Error(out)
	}
	// The owner comes back, follows, and cannot be let in again with that key.
	n.restart(thief)
	eventually(t, 20*time.Second, "the owner's peer in the epoch, as a follower", func() bool {
		return n.validators(thief).Epoch == 1 && !n.validates(thief)
	})
	n.cardOf(thief)
	r := n.runWith(n.peers[0].Dir, "chain", "validators", "propose", "--add", thief.card())
	if r.code == 0 || !strings.Contains(r.stderr, "cannot come back") {
		t.Errorf("exit code %d, %s", r.code, r.stderr)
	}
	// The other three go on.
	was := n.height(n.peers[0])
	eventually(t, 30*time.Second, "blocks of the three", func() bool { return n.height(n.peers[0]) > was })
}

// voteTopic joins the network with a host of its own, and gives the topic of votes.
func (n *testnet) voteTopic(network string) *p2p.Topic {
	n.t.Helper()
	key, err := sign.Generate(rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	cfg := p2p.Config{Key: key, Network: network, EnableEncryption: true, ListenAddrs: []string{"127.0.0.1"}}
	for _, p := range n.peers[:3] {
		cfg.Bootstrap = append(cfg.Bootstrap, p.Address)
	}
	host, err := p2p.New(cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	kind := driver.KindVote
	topic, err := host.Join(string(kind), func(sign.PublicKey, []byte) p2p.Verdict { return p2p.Accept }, p2p.MaxBytes(kind.MaxBytes()))
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- host.Run(ctx) }()
	n.t.Cleanup(func() {
		cancel()
		_ = host.Close()
		if err := <-done; err != nil {
			n.t.Errorf("the thief's host: %v", err)
		}
	})
	eventually(n.t, 20*time.Second, "the thief in the topic of votes", func() bool { return topic.Peers() >= 3 })
	return topic
}
