package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	crand "crypto/rand"

	"github.com/anishathalye/porcupine"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// chronicle is the history of all clients of a testnet.
type chronicle struct {
	begin time.Time
	chain digest.Digest
	names []string

	mu  sync.Mutex
	ops []porcupine.Operation // mu
}

// manifests is how many there are to claim names with: a few only, so that some claims find the newest bytes there already.
const manifests = 6

// publisher claims names for one of a few keys until stop closes, asking the peers from a place of its own on.
func (h *chronicle) publisher(t *testing.T, client int, key sign.PrivateKey, peers []*api.Client, seed uint64, stop <-chan struct{}) {
	rnd := rand.New(rand.NewPCG(seed, uint64(client)))
	for {
		select {
		case <-stop:
			return
		default:
		}
		manifest := digest.Of([]byte{byte(rnd.IntN(manifests))})
		c := claim{name: h.names[rnd.IntN(len(h.names))], who: key.Public().String(), bytes: manifest.String()}
		body := enc.CommandBody{ChainID: h.chain, ExpiresMs: uint64(time.Now().Add(40 * time.Second).UnixMilli()), Kind: enc.KindPublishDataset, Payload: canon.Must(&enc.PublishDataset{
			Name: c.name, Manifest: manifest, Blobs: []enc.BlobRef{{Digest: manifest, Bytes: 1}}, Holders: 1, Rows: 1,
		})}
		_, _ = crand.Read(body.Nonce[:]) // never fails
		cmd := body.Sign(key)
		from := rnd.IntN(len(peers))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		call := time.Since(h.begin)
		s, err := order(ctx, append(peers[from:len(peers):len(peers)], peers[:from]...), cmd.Encode())
		ret := time.Since(h.begin)
		cancel()
		op := porcupine.Operation{ClientId: client, Input: c, Call: int64(call), Return: int64(ret)}
		switch {
		case err != nil:
			op.Output, op.Return = claimed{}, never
			t.Logf("client %d got no answer: %v", client, err)
		case s.State == api.CommandExpired:
			continue // it was never ordered and never will be
		default:
			if op.Output, err = outcome(s); err != nil {
				t.Error(err)
				return
			}
		}
		h.mu.Lock()
		h.ops = append(h.ops, op)
		h.mu.Unlock()
	}
}

// outcome reads what became of a claim from the events that it caused.
func outcome(s api.CommandStatus) (claimed, error) {
	for _, e := range s.Events {
		switch {
		case e.Kind == enc.EventDataset:
			var p enc.Published
			if err := canon.Unmarshal(e.Body, &p); err != nil {
				return claimed{}, err
			}
			return claimed{decision: e.Decision, version: p.Version}, nil
		case e.Decision == "refused":
			_, rest, _ := strings.Cut(e.Reason, "belongs to client key ")
			owner, _, _ := strings.Cut(rest, ";")
			if owner == "" {
				return claimed{}, fmt.Errorf("a claim is refused for another reason: %s", e.Reason)
			}
			return claimed{decision: "refused", owner: owner}, nil
		}
	}
	return claimed{}, fmt.Errorf("command %s is ordered and has no outcome: %+v", s.ID.Short(), s.Events)
}

// TestHistoriesAreLinearizable lets clients of three keys fight over names through all peers, while peers are killed and
// started again, frozen and thawed, and cut off and wired again where this machine can: what they were told is what one
// register a name would have told them, at some moment of each call (nameModel).
func TestHistoriesAreLinearizable(t *testing.T) {
	var n *testnet
	bin(t)
	w, err := newWires(t, 4)
	if err == nil {
		n = w.founders(4)
	} else {
		t.Logf("nobody is cut off: %v", err)
		n, w = up(t, 4), nil
	}
	status, err := n.client(n.peers[0]).ChainStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	h := &chronicle{begin: time.Now(), chain: status.Chain.ID, names: []string{"a", "b", "c", "d", "e"}}
	var peers []*api.Client
	for _, p := range n.peers {
		peers = append(peers, n.client(p))
	}
	for i := range manifests { // so that no peer looks for them in vain
		b := []byte{byte(i)}
		for _, c := range peers {
			if _, err := c.PutBlob(t.Context(), digest.Of(b), 1, bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var keys []sign.PrivateKey
	for range 3 {
		k, err := sign.Generate(crand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 6 {
		clients.Go(func() { h.publisher(t, i, keys[i%len(keys)], peers, seed, stop) })
	}
	n.torment(w, rand.New(rand.NewPCG(seed, 1000)), 2)
	eventually(t, 60*time.Second, "calls enough to judge by", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.ops) >= 150
	})
	close(stop)
	clients.Wait()

	told := map[string]int{}
	for _, op := range h.ops {
		told[op.Output.(claimed).decision]++
	}
	t.Logf("%d calls in %.1f s: %v", len(h.ops), time.Since(h.begin).Seconds(), told)
	if told["accepted"] < 10 || told["refused"] < 10 {
		t.Errorf("too little happened to prove anything: %v", told)
	}
	switch porcupine.CheckOperationsTimeout(nameModel, h.ops, 30*time.Second) {
	case porcupine.Illegal:
		for _, op := range h.ops {
			t.Logf("%d..%d client %d: %s", op.Call, op.Return, op.ClientId, nameModel.DescribeOperation(op.Input, op.Output))
		}
		t.Error("the history is not linearizable")
	case porcupine.Unknown:
		t.Error("the history could not be judged in 30 s")
	}
	h.settled(t, n, peers)
}

// settled waits until every peer has in the end what was told last. A peer's answers to reads are of its own last final
// block and are no part of the history: they may be old, never wrong.
func (h *chronicle) settled(t *testing.T, n *testnet, peers []*api.Client) {
	newest := map[string]uint64{}
	for _, op := range h.ops {
		if out := op.Output.(claimed); out.decision == "accepted" {
			newest[op.Input.(claim).name] = max(newest[op.Input.(claim).name], out.version)
		}
	}
	for i, p := range n.peers {
		eventually(t, 30*time.Second, p.Name+" with all names", func() bool {
			list, err := peers[i].Datasets(t.Context())
			found := 0
			for _, d := range list {
				if v, ok := newest[d.Name]; ok && d.Version >= v {
					found++
				}
			}
			return err == nil && found == len(newest)
		})
	}
}

// torment lets each peer in turn suffer each fault, so many rounds, one peer at a time: a quorum is always left.
func (n *testnet) torment(w *wires, rnd *rand.Rand, rounds int) {
	n.t.Helper()
	faults := []func(i int) (over func()){
		func(i int) func() { n.kill(n.peers[i]); return func() { n.restart(n.peers[i]) } },
		func(i int) func() { return n.freeze(n.peers[i]) },
	}
	if w != nil {
		faults = append(faults, w.cut)
	}
	for range rounds {
		for _, f := range rnd.Perm(len(faults)) {
			i := rnd.IntN(len(n.peers))
			over := faults[f](i)
			time.Sleep(time.Duration(500+rnd.IntN(1000)) * time.Millisecond) // how long the fault lasts
			over()
			p := n.peers[i]
			eventually(n.t, 30*time.Second, p.Name+" caught up", func() bool {
				h := n.height(n.peers[(i+1)%len(n.peers)])
				return h > 0 && n.height(p)+2 >= h
			})
		}
	}
}
