package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// spot is one validator in one view.
type spot struct {
	who  sign.PublicKey
	view consensus.View
}

// observer is a member of the mesh that hears every vote, timeout and proposal that is gossiped, and remembers what each
// validator signed in each view. The chain must run without its fast path, or votes go to the next leader alone.
type observer struct {
	heard chan spot // votes as they come; the oldest make room when nobody reads

	mu        sync.Mutex
	votes     map[spot]consensus.VoteData    // mu
	timeouts  map[spot]consensus.TimeoutData // mu
	proposals map[spot]consensus.BlockID     // mu
	faults    []string                       // mu
}

// observe joins the network of n.
func observe(t *testing.T, n *testnet) *observer {
	t.Helper()
	status, err := n.client(n.peers[0]).ChainStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	key, err := sign.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cfg := p2p.Config{Key: key, Network: status.Chain.Name, EnableEncryption: true, ListenAddrs: []string{"127.0.0.1"}}
	for _, p := range n.peers {
		cfg.Bootstrap = append(cfg.Bootstrap, p.Address)
	}
	host, err := p2p.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{
		heard: make(chan spot, 1024), votes: map[spot]consensus.VoteData{},
		timeouts: map[spot]consensus.TimeoutData{}, proposals: map[spot]consensus.BlockID{},
	}
	var topics []*p2p.Topic
	for _, kind := range driver.MessageKinds() {
		topic, err := host.Join(string(kind), func(_ sign.PublicKey, data []byte) p2p.Verdict { return o.hear(kind, data) }, p2p.MaxBytes(kind.MaxBytes()))
		if err != nil {
			t.Fatal(err)
		}
		if err := topic.Subscribe(func(sign.PublicKey, []byte) {}); err != nil {
			t.Fatal(err)
		}
		topics = append(topics, topic)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- host.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		_ = host.Close()
		if err := <-done; err != nil {
			t.Errorf("the observer: %v", err)
		}
	})
	eventually(t, 20*time.Second, "the observer in every topic of every peer", func() bool {
		for _, topic := range topics {
			if topic.Peers() < len(n.peers) {
				return false
			}
		}
		return true
	})
	return o
}

// hear takes down what a validator signed. What it did not sign proves nothing and is dropped.
func (o *observer) hear(kind driver.Kind, data []byte) p2p.Verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch kind {
	case driver.KindVote:
		v, err := consensus.DecodeVote(data)
		if err != nil || len(v.Sig) != len(sign.Signature{}) || !sign.Verify(v.Voter, v.Data.SigningBytes(), sign.Signature(v.Sig)) {
			return p2p.Reject
		}
		at := spot{v.Voter, v.Data.View}
		if first, ok := o.votes[at]; ok && first != v.Data {
			o.faults = append(o.faults, fmt.Sprintf("%s voted twice in view %d: for block %s and for block %s", v.Voter.Short(), at.view, first.Block.Short(), v.Data.Block.Short()))
		}
		o.votes[at] = v.Data
		for sent := false; !sent; {
			select {
			case o.heard <- at:
				sent = true
			default:
				select {
				case <-o.heard:
				default:
				}
			}
		}
	case driver.KindTimeout:
		x, err := consensus.DecodeTimeout(data)
		if err != nil || len(x.Sig) != len(sign.Signature{}) || !sign.Verify(x.Voter, x.Data.SigningBytes(), sign.Signature(x.Sig)) {
			return p2p.Reject
		}
		at := spot{x.Voter, x.Data.View}
		if first, ok := o.timeouts[at]; ok && first != x.Data {
			o.faults = append(o.faults, fmt.Sprintf("%s signed two timeouts of view %d: %+v and %+v", x.Voter.Short(), at.view, first, x.Data))
		}
		o.timeouts[at] = x.Data
	case driver.KindProposal:
		p, err := consensus.DecodeProposal(data)
		if err != nil {
			return p2p.Reject
		}
		id, h := p.Block.ID(), p.Block.Header
		if !sign.Verify(h.Proposer, consensus.ProposalSigningBytes(id), p.Sig) {
			return p2p.Reject
		}
		at := spot{h.Proposer, h.View}
		if first, ok := o.proposals[at]; ok && first != id {
			o.faults = append(o.faults, fmt.Sprintf("%s proposed two blocks in view %d: %s and %s", h.Proposer.Short(), at.view, first.Short(), id.Short()))
		}
		o.proposals[at] = id
	}
	return p2p.Accept
}

// judge reports every pair of signatures that no honest validator makes, in whatever order they came.
func (o *observer) judge(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.faults {
		t.Error(f)
	}
	for at, x := range o.timeouts { // whoever gives up on a view says which vote was the last, and casts none up to there any more
		for v := x.LastVoted + 1; v <= at.view; v++ {
			if vote, ok := o.votes[spot{at.who, v}]; ok {
				t.Errorf("%s gave up on view %d with its last vote in view %d, and voted in view %d for block %s", at.who.Short(), at.view, x.LastVoted, v, vote.Block.Short())
				break
			}
		}
	}
	t.Logf("heard %d votes, %d timeouts, %d proposals", len(o.votes), len(o.timeouts), len(o.proposals))
}

// after waits for some votes of a validator, any validator's if who is zero, that come from now on.
func (o *observer) after(t *testing.T, who sign.PublicKey, votes int) {
	t.Helper()
	for len(o.heard) > 0 {
		<-o.heard
	}
	late := time.NewTimer(60 * time.Second)
	defer late.Stop()
	for votes > 0 {
		select {
		case at := <-o.heard:
			if who.IsZero() || at.who == who {
				votes--
			}
		case <-late.C:
			t.Fatalf("within 60 s: %d more votes of %s were not heard", votes, who.Short())
		}
	}
}

// TestNoValidatorVotesTwice kills validators in the moment that they have voted, one at a time and all at once, under
// load and again and again, while an observer takes down all they sign.
func TestNoValidatorVotesTwice(t *testing.T) {
	path := filepath.Join(home(t), "gossip.toml")
	if err := os.WriteFile(path, []byte("[p2p]\nfast_path = false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := up(t, 4, "--config", path)
	n.users()
	o := observe(t, n)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := mrand.New(mrand.NewPCG(seed, 2))

	// Work for every block, through whoever is there.
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer stop()
	clients := make([]*api.Client, len(n.peers))
	for i, p := range n.peers {
		clients[i] = n.client(p)
	}
	template := cancelling(t, clients[0])
	load.Go(func() {
		for nonce := uint64(1); ctx.Err() == nil; nonce++ {
			c := clients[nonce%uint64(len(clients))]
			if a, err := c.SubmitCommand(ctx, template(nonce)); err == nil {
				_, _ = c.CommandStatus(ctx, a.ID, time.Second)
			}
		}
	})

	voters := map[*peer]sign.PublicKey{}
	set, err := clients[0].Validators(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range n.peers {
		s, err := clients[i].Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range set.Validators {
			if v.Peer == s.Key {
				voters[p] = v.Key
			}
		}
	}
	if len(voters) != len(n.peers) {
		t.Fatalf("%d of %d peers validate", len(voters), len(n.peers))
	}
	var jobs []string
	promise := func(p *peer, i int) {
		r := n.run("--api", "unix://"+p.Socket, "analytics", "submit", "--fresh", "--detach", "--id-only", "--dataset", "users", "--query", fmt.Sprintf("SELECT COUNT(*) + %d FROM users", i))
		if r.code != 0 {
			t.Fatalf("%s takes no job: exit code %d: %s", p.Name, r.code, r.stderr)
		}
		jobs = append(jobs, strings.TrimSpace(r.stdout))
	}
	for round := range 12 {
		p := n.peers[rnd.IntN(len(n.peers))]
		promise(p, round)
		o.after(t, voters[p], 1+rnd.IntN(5))
		was := n.head(p)
		n.kill(p)
		n.restart(p)
		n.regains(p, was)
		o.after(t, voters[p], 1) // it takes part again, and the observer hears it
	}
	for round := range 3 {
		promise(n.peers[round], 100+round)
		o.after(t, sign.PublicKey{}, 1+rnd.IntN(8))
		was := map[*peer]api.Head{}
		for _, p := range n.peers {
			was[p] = n.head(p)
		}
		for _, p := range n.peers {
			n.kill(p)
		}
		for _, p := range n.peers {
			n.start(p)
		}
		for _, p := range n.peers {
			n.ready(p)
			n.regains(p, was[p])
			o.after(t, voters[p], 1)
		}
	}
	for _, job := range jobs {
		if j := n.ended(n.peers[0], job, 90*time.Second); j.State != api.JobSealed {
			t.Errorf("job %.12s is %s: %s", job, j.State, j.Reason)
		}
	}
	o.judge(t)
}
