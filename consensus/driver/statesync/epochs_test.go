package statesync

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/consensus/snapshot/snapshottest"
	"github.com/metanode/metanode/internal/canon"
)

// learner knows epochs from handovers.
type learner struct {
	chain *snapshottest.Chain

	mu   sync.Mutex // guards what follows
	list []*consensus.Handover
	v    *consensus.Verifier
}

func newLearner(t *testing.T, c *snapshottest.Chain, handovers []*consensus.Handover) *learner {
	t.Helper()
	v, err := consensus.NewVerifier(c.Genesis, c.Blocks[0].ID())
	if err != nil {
		t.Fatal(err)
	}
	l := &learner{chain: c, v: v}
	for _, h := range handovers {
		if err := l.Adopt(h); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *learner) Known() consensus.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.v.Epoch()
}

func (l *learner) Handover(e consensus.Epoch) (*consensus.Handover, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list[e-1], nil
}

func (l *learner) Adopt(h *consensus.Handover) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := h.Verify(l.chain.Genesis.ChainID(), l.v.Epoch(), l.v.Set())
	var next *consensus.Verifier
	if err == nil {
		next, err = l.v.After(h)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", snapshot.ErrInvalid, err)
	}
	l.list, l.v = append(l.list, h), next
	return nil
}

// check checks with the verifier of the last epoch that is known.
func (l *learner) check(h *snapshot.Head) (*snapshot.Snapshot, error) {
	e, err := h.Epoch()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e != l.v.Epoch() {
		return nil, fmt.Errorf("epoch %d: %w", e, ErrEpoch)
	}
	return h.Check(l.v)
}

// TestFetchFollowsTheHandovers fetches a snapshot of an epoch far from the first, from an honest node and from some that
// lie about the validators in between, or withhold them.
func TestFetchFollowsTheHandovers(t *testing.T) {
	w := newWorld(t, 20)
	w.chain = snapshottest.New(1)
	const epochs = 270 // more than one answer holds
	for i := range epochs {
		w.chain.Extend(2*i+1, w.state.Root())
		w.chain.Close(w.state.Root())
	}
	w.chain.Extend(2*epochs+20, w.state.Root())
	height := 2*epochs + 10
	add := func(i int, lie func(r request, raw []byte) []byte) {
		l := newLearner(t, w.chain, w.chain.Handovers)
		f, err := OpenFolder(driver.SystemDisk(), t.TempDir(), 2, l.check, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Save(t.Context(), w.chain.Head(height, w.state), w.state.All()); err != nil {
			t.Fatal(err)
		}
		serve := NewServer(f, l).Serve
		w.nodes[key(i)] = func(ctx context.Context, req []byte) ([]byte, error) {
			var r request
			if err := canon.Unmarshal(req, &r); err != nil {
				return nil, err
			}
			raw, err := serve(ctx, req)
			if err == nil && lie != nil && r.What == askHandovers {
				raw = lie(r, bytes.Clone(raw))
			}
			return raw, err
		}
	}
	add(0, nil)
	add(1, func(_ request, raw []byte) []byte { raw[len(raw)/2] ^= 1; return raw })
	add(2, func(r request, _ []byte) []byte { return canon.Must([][]byte{w.chain.Handovers[r.Epoch].Encode()}) }) // one left out
	add(3, func(request, []byte) []byte { return canon.Must([][]byte{}) })                                        // none: no lie
	found := map[int]bool{}
	for round := 0; !found[1] || !found[2]; round++ {
		if round == 60 {
			t.Fatalf("not all liars were found: %v", found)
		}
		l := newLearner(t, w.chain, nil)
		f, err := OpenFolder(driver.SystemDisk(), t.TempDir(), 2, l.check, quiet)
		if err != nil {
			t.Fatal(err)
		}
		fetcher := NewFetcher(FetchConfig{Folder: f, Epochs: l, Network: w, Log: quiet, Wait: 5 * time.Second, Penalise: w.penalise})
		s, _, err := fetcher.Fetch(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		w.same(f, s)
		for i := range 4 {
			if w.blame[key(i)] > 0 {
				found[i] = true
			}
		}
	}
	if found[0] || found[3] {
		t.Errorf("who did not lie was blamed: %v", found)
	}
}
