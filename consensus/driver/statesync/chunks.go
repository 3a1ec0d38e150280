package statesync

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/sign"
)

// work is the chunks of one fetch, shared by those who ask for them.
type work struct {
	mu     sync.Mutex
	change *sync.Cond // todo or flying has changed
	todo   []int
	flying int   // asked for, and not here yet
	err    error // of this node's disk: everyone stops
}

// take gives a chunk to ask for; false when there is nothing left to do. It waits while what others ask for may come back.
func (w *work) take() (int, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.todo) == 0 && w.flying > 0 && w.err == nil {
		w.change.Wait()
	}
	if len(w.todo) == 0 || w.err != nil {
		return 0, false
	}
	i := w.todo[0]
	w.todo = w.todo[1:]
	w.flying++
	return i, true
}

// done says what became of a chunk that was taken.
func (w *work) done(i int, here bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying--
	if !here {
		w.todo = append(w.todo, i)
	}
	if err != nil && w.err == nil {
		w.err = err
	}
	w.change.Broadcast()
}

// chunks asks several nodes at once until every missing chunk is here or nobody is left to be asked.
func (f *Fetcher) chunks(ctx context.Context, p *part, missing []int, givers []sign.PublicKey) error {
	w := &work{todo: missing}
	w.change = sync.NewCond(&w.mu)
	var wg sync.WaitGroup
	var mu sync.Mutex
	lies := map[sign.PublicKey]error{}
	for _, g := range givers[:min(len(givers), maxGivers)] {
		wg.Go(func() {
			if l := f.drain(ctx, p, w, g); l != nil {
				mu.Lock()
				lies[g] = l
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for g, l := range lies {
		f.shun(g, l)
	}
	if w.err != nil {
		return w.err
	}
	if len(w.todo) > 0 {
		return errors.Join(fmt.Errorf("%d of %d chunks of block %d are missing, and none of the %d peers that offered them gives them", len(w.todo), p.snap.Chunks(), p.snap.Height(), len(givers)), ctx.Err())
	}
	return nil
}

// drain asks one node for chunk after chunk. It gives the lie that the node told, if it did.
func (f *Fetcher) drain(ctx context.Context, p *part, w *work, g sign.PublicKey) error {
	failures := 0
	for ctx.Err() == nil && failures < maxFailures {
		i, ok := w.take()
		if !ok {
			return nil
		}
		raw, err := f.request(ctx, g, request{What: askChunk, Height: p.snap.Height(), ID: p.snap.ID(), Index: uint32(i)})
		if err != nil {
			failures++
			w.done(i, false, nil)
			f.cfg.Log.Debug("a chunk did not come", "chunk", i, "peer", g.Short(), "reason", err)
			pause(ctx, time.Duration(failures)*50*time.Millisecond)
			continue
		}
		switch err = p.put(i, raw); {
		case err == nil:
			failures = 0
			f.count.chunks.Add(1)
			f.count.bytes.Add(uint64(len(raw)))
			w.done(i, true, nil)
		case errors.Is(err, snapshot.ErrInvalid):
			w.done(i, false, nil)
			return err
		default:
			w.done(i, false, err)
			return nil
		}
	}
	return nil
}

// pause lets a node that is busy get on.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
