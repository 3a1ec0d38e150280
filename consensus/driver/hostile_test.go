package driver_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/sign"
)

func TestLyingPeerIsReported(t *testing.T) { eachScheme(t, testLyingPeerIsReported) }

func testLyingPeerIsReported(t *testing.T, scheme consensus.Scheme) {
	h, nodes := networkOf(t, scheme, 4, 100)
	for k := range 10 {
		tx := fmt.Sprintf("tx-%d", k)
		submit(t, nodes[k%4], tx)
		eventually(t, tx, allHave(nodes, tx))
	}
	h.mu.Lock()
	h.liar = nodes[1].node
	h.mu.Unlock()
	for i := 0; ; i++ {
		follower := h.newNode(10+i, t.TempDir())
		follower.start()
		eventually(t, "the history in spite of a liar", allHave([]*testNode{follower}, names("tx", 10)...))
		follower.stop()
		h.mu.Lock()
		reported, others := h.penalty[nodes[1].node], len(h.penalty)
		h.mu.Unlock()
		if others > min(reported, 1) {
			t.Fatalf("an honest node was reported: %d nodes", others)
		}
		if reported > 0 {
			break // followers ask in random order: one of them came to the liar first
		}
		if i == 50 {
			t.Fatal("the liar was never reported")
		}
	}
	stopAll(nodes)
}

func TestNodeThatComputesWronglyStops(t *testing.T) {
	_, nodes := network(t, 4, 60_000)
	submit(t, nodes[0], "before")
	eventually(t, "a block", allHave(nodes, "before"))
	nodes[3].app.lie.Store(true)
	for k := range 200 { // until the others certify a block without it
		tx := fmt.Sprintf("tx-%d", k)
		submit(t, nodes[k%3], tx)
		eventually(t, tx, allHave(nodes[:3], tx))
		if len(nodes[3].ended) > 0 {
			break
		}
	}
	if err := nodes[3].end(); err == nil || !strings.Contains(err.Error(), "another outcome") {
		t.Errorf("the node went on: %v", err)
	}
	stopAll(nodes[:3])
}

func TestForgedVoteOfAnotherIsRefusedAtOnce(t *testing.T) {
	eachScheme(t, testForgedVoteOfAnotherIsRefusedAtOnce)
}

func testForgedVoteOfAnotherIsRefusedAtOnce(t *testing.T, scheme consensus.Scheme) {
	h := newHubOf(t, scheme, 4, 60_000)
	d, err := driver.New(h.newNode(0, t.TempDir()).config())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	v := &consensus.Vote{Voter: seedKey(1).Public()}
	v.Data.ChainID, v.Data.View, v.Data.Block[0] = h.genesis.ChainID(), 1, 1
	stranger := seedKey(1002).Public()
	if got := d.Deliver(stranger, driver.Direct, driver.KindVote, v.Encode()); got != driver.Reject || h.penalty[stranger] != 1 {
		t.Errorf("forged vote: verdict %v, %d penalties", got, h.penalty[stranger])
	}
	v.Sig = consensus.NewSigner(scheme, seedKey(1)).Sign(v.Data.SigningBytes())
	if got := d.Deliver(stranger, driver.Gossiped, driver.KindVote, v.Encode()); got != driver.Accept {
		t.Errorf("relayed vote: verdict %v", got)
	}
}

func TestForeignChainIsRefused(t *testing.T) {
	h := newHub(t, 4, 60_000)
	n := h.newNode(0, t.TempDir())
	d, err := driver.New(n.config())
	if err != nil {
		t.Fatal(err)
	}
	v := &consensus.Vote{Voter: seedKey(1).Public()}
	v.Data.View, v.Data.Block[0] = 1, 1
	from := seedKey(1001).Public()
	if got := d.Deliver(from, driver.Direct, driver.KindVote, v.Encode()); got != driver.Reject {
		t.Errorf("vote of another chain: %v", got)
	}
	if h.penalty[from] != 1 {
		t.Errorf("%d penalties", h.penalty[from])
	}
	if got := d.Deliver(from, driver.Gossiped, driver.KindTx, []byte("bad")); got != driver.Reject {
		t.Errorf("bad transaction: %v", got)
	}
	if got := d.Deliver(from, driver.Gossiped, driver.KindTx, []byte("good")); got != driver.Accept {
		t.Errorf("good transaction: %v", got)
	}
	if got := d.Deliver(from, driver.Gossiped, driver.KindTx, []byte("good")); got != driver.Ignore {
		t.Errorf("known transaction: %v", got)
	}
	d.Close()

	// The folder and the store are this chain's and this key's.
	other := newHub(t, 4, 50_000)
	other.stateful = h.stateful
	if _, err := driver.New(other.newNode(0, n.dir).config()); err == nil || !strings.Contains(err.Error(), "genesis") {
		t.Errorf("store of another chain: %v", err)
	}
	if _, err := driver.New(h.newNode(1, n.dir).config()); err == nil || !strings.Contains(err.Error(), "belongs to validator key") {
		t.Errorf("folder of another key: %v", err)
	}
	c := n.config()
	c.Key = seedKey(99)
	c.Dir = t.TempDir()
	follower, err := driver.New(c) // it may be let in later
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	if follower.Validates() {
		t.Error("a key that is no validator's votes")
	}
}

func FuzzDeliver(f *testing.F) {
	h := newHub(f, 4, 60_000)
	n := h.newNode(0, f.TempDir())
	d, err := driver.New(n.config())
	if err != nil {
		f.Fatal(err)
	}
	defer d.Close()
	kinds := driver.MessageKinds()
	from := sign.PublicKey{1}
	v := &consensus.Vote{Voter: seedKey(1).Public()}
	v.Data.ChainID, v.Data.View, v.Data.Block[0] = h.genesis.ChainID(), 1, 1
	for kind, m := range map[driver.Kind]interface{ Encode() []byte }{
		driver.KindVote: v, driver.KindProposal: &consensus.Proposal{}, driver.KindTimeout: &consensus.Timeout{},
		driver.KindCertificates: &consensus.Certificates{}, driver.KindCommitted: &consensus.Finality{Headers: make([]consensus.Header, 1)},
		driver.KindBatch: &consensus.Batch{Txs: [][]byte{[]byte("tx")}}, driver.KindOutline: &consensus.Outline{Batches: make([]consensus.BatchRef, 1)},
	} {
		f.Add(uint8(slices.Index(kinds, kind)), m.Encode())
	}
	f.Add(uint8(200), []byte{0x81, 0x58})
	f.Fuzz(func(t *testing.T, k uint8, msg []byte) {
		kind := driver.Kind("unknown")
		if int(k) < len(kinds) {
			kind = kinds[k]
		}
		for _, path := range []driver.Path{driver.Direct, driver.Gossiped} {
			first := d.Deliver(from, path, kind, msg)
			if kind != driver.KindTx && first != driver.Ignore && d.Deliver(from, path, kind, msg) != first {
				t.Fatal("another verdict on the same bytes")
			}
		}
		for _, r := range driver.RequestKinds() {
			_, _ = d.Serve(t.Context(), from, r, msg)
		}
	})
}
