package driver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// gathering is an outline that lacks batches.
type gathering struct {
	o    consensus.VerifiedOutline
	wait time.Duration // before anything is fetched; set by the owner
	done chan struct{} // closed when nothing is missing any more, or it is given up

	// Guarded by gather.mu until done is closed, and not changed after.
	got     map[consensus.BatchID]*batch
	missing map[consensus.BatchID]struct{}
	bytes   int              // of got
	voters  []sign.PublicKey // nodes that have voted for the block, and so have everything
}

func (a *gathering) height() consensus.Height { return a.o.Outline().Header.Height }

// gather holds the outlines that lack batches: at most maxGatherings of a proposer, so that one who names what nobody
// has keeps out nobody but itself. Safe for concurrent use.
type gather struct {
	mu   sync.Mutex // guards list and what is said at gathering
	list []*gathering
}

const (
	maxGatherings = 2
	fetchAfter    = 20 * time.Millisecond  // at least: a batch is probably on its way, or its signatures are being checked
	fetchAgain    = 100 * time.Millisecond // after all were asked in vain
	fetchFor      = 10 * time.Second       // then it is given up; if the block is certified, it is fetched whole
	maxFetches    = 16
)

// add begins to gather what an outline names, with have for what is here. It reports whether everything is.
func (g *gather) add(o consensus.VerifiedOutline, have func(consensus.BatchID) *batch) (*gathering, bool) {
	a := &gathering{o: o, done: make(chan struct{}), got: map[consensus.BatchID]*batch{}, missing: map[consensus.BatchID]struct{}{}}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range o.Outline().Batches {
		id := o.Outline().Batches[i].Batch
		if b := have(id); b != nil {
			a.got[id] = b
			a.bytes += b.size
		} else {
			a.missing[id] = struct{}{}
		}
	}
	if len(a.missing) == 0 {
		close(a.done)
		return a, true
	}
	same := func(b *gathering) bool { return b.o.Outline().Header.Proposer == o.Outline().Header.Proposer }
	count := 0
	for _, b := range g.list {
		if same(b) {
			count++
		}
	}
	if count >= maxGatherings {
		g.dropLocked(slices.IndexFunc(g.list, same))
	}
	g.list = append(g.list, a)
	return a, false
}

func (g *gather) dropLocked(at int) {
	close(g.list[at].done)
	g.list = slices.Delete(g.list, at, at+1)
}

// drop gives one up.
func (g *gather) drop(a *gathering) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at := slices.Index(g.list, a); at >= 0 {
		g.dropLocked(at)
	}
}

// prune gives up those of no more use.
func (g *gather) prune(useless func(*gathering) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for at := len(g.list) - 1; at >= 0; at-- {
		if useless(g.list[at]) {
			g.dropLocked(at)
		}
	}
}

// misses reports whether an outline lacks the batch.
func (g *gather) misses(id consensus.BatchID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.list, func(a *gathering) bool { _, ok := a.missing[id]; return ok })
}

// arrived gives a batch to those that lack it, and returns the ones that are complete with it.
func (g *gather) arrived(b *batch) (complete []*gathering) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for at := len(g.list) - 1; at >= 0; at-- {
		a := g.list[at]
		if _, ok := a.missing[b.id]; !ok {
			continue
		}
		delete(a.missing, b.id)
		a.got[b.id] = b
		if a.bytes += b.size; a.bytes > consensus.MaxNamedBytes {
			g.dropLocked(at)
		} else if len(a.missing) == 0 {
			g.dropLocked(at)
			complete = append(complete, a)
		}
	}
	return complete
}

// voted notes a node that must have what a block names.
func (g *gather) voted(block consensus.BlockID, node sign.PublicKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range g.list {
		if a.o.ID() == block && !slices.Contains(a.voters, node) {
			a.voters = append(a.voters, node)
		}
	}
}

// lacks is what is missing, and who has voted.
func (g *gather) lacks(a *gathering) (missing []consensus.BatchID, voters []sign.PublicKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ref := range a.o.Outline().Batches {
		if _, ok := a.missing[ref.Batch]; ok {
			missing = append(missing, ref.Batch)
		}
	}
	return missing, slices.Clone(a.voters)
}

// onOutline takes a verified outline: filled at once if all is here, and otherwise held until it is.
func (d *Driver) onOutline(o consensus.VerifiedOutline) {
	a, complete := d.gather.add(o, d.batches.get)
	if complete {
		d.fill(a)
		return
	}
	d.checks.ripen() // perhaps what is missing is here and only waits
	d.inbox.put(item{kind: KindOutline, msg: a})
}

// fill makes the proposal of a complete outline and queues it for the owner.
func (d *Driver) fill(a *gathering) {
	o := a.o.Outline()
	err := fmt.Errorf("batches of %d bytes: at most %d", a.bytes, consensus.MaxNamedBytes)
	if a.bytes <= consensus.MaxNamedBytes {
		var p consensus.VerifiedProposal
		var ids []digest.Digest
		if p, err = a.o.Fill(func(id consensus.BatchID) [][]byte { return a.got[id].txs }); err == nil {
			for i := range o.Batches {
				for k, id := range a.got[o.Batches[i].Batch].ids {
					if !o.Batches[i].Skips(k) {
						ids = append(ids, id)
					}
				}
			}
			var rest []digest.Digest
			if rest, _, err = d.checks.run(o.Txs, true); err == nil {
				d.inbox.put(item{kind: KindProposal, msg: offer{p, append(ids, rest...)}})
				return
			}
		}
	}
	d.count.refused.Add(1)
	d.cfg.Penalise(d.term.Load().peerOf[o.Header.Proposer], fmt.Sprintf("outline of view %d: %v", o.Header.View, err))
}

// handleOutline is the owner's part with an outline that lacks batches: its certificates count already, and if the
// block would be voted for, what is missing is fetched.
func (d *Driver) handleOutline(a *gathering) error {
	for _, c := range a.o.Certificates() {
		if err := d.step(c); err != nil {
			return err
		}
	}
	if !d.count.validates.Load() {
		d.gather.drop(a) // whoever only follows fetches certified blocks, whole
		return nil
	}
	if err := d.replica.CheckOutline(a.o); err != nil {
		d.cfg.Log.Debug("batches of an outline not fetched", "view", uint64(a.o.Outline().Header.View), "reason", err)
		return nil // perhaps they come by themselves
	}
	if a.o.Outline().Header.View == d.replica.View() {
		d.pace.work(true, time.Now()) // its leader has spoken: the view must not last for ever
	}
	// Under load, when views take long, so do the batches before this one. The view's timeout is three times as much.
	a.wait = max(fetchAfter, min(d.pace.typical, d.cfg.BaseTimeout))
	select {
	case d.wanted <- a:
	default: // too many fetches: this one is left to luck, or to the block's certificate
	}
	return nil
}

// fetcher fetches the batches that outlines lack, until ctx ends.
func (d *Driver) fetcher(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxFetches)
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-d.wanted:
			select {
			case slots <- struct{}{}:
				wg.Go(func() {
					defer func() { <-slots }()
					d.fetch(ctx, a)
				})
			case <-ctx.Done():
				return
			}
		}
	}
}

// fetch asks the proposer for what an outline lacks, then those who have voted for it, then the other validators.
func (d *Driver) fetch(ctx context.Context, a *gathering) {
	wait, until := a.wait, time.Now().Add(fetchFor)
	for ctx.Err() == nil {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-a.done:
			timer.Stop()
			return
		case <-timer.C:
		}
		if time.Now().After(until) {
			d.gather.drop(a)
			return
		}
		wait = fetchAgain
		_, voters := d.gather.lacks(a)
		t := d.term.Load()
		others := slices.Clone(t.others)
		rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		asked := map[sign.PublicKey]bool{}
		for _, node := range slices.Concat([]sign.PublicKey{t.peerOf[a.o.Outline().Header.Proposer]}, voters, others) {
			if asked[node] || node.IsZero() || node == t.peerOf[d.self] {
				continue
			}
			asked[node] = true
			if err := d.fetchFrom(ctx, a, node); err != nil {
				d.cfg.Log.Debug("batches not fetched", "node", node.Short(), "reason", err)
			}
			select {
			case <-a.done:
				return
			default:
			}
		}
	}
}

// fetchFrom asks one node, as long as it has something that is missing.
func (d *Driver) fetchFrom(ctx context.Context, a *gathering, node sign.PublicKey) error {
	for ctx.Err() == nil {
		missing, _ := d.gather.lacks(a)
		if len(missing) == 0 {
			return nil
		}
		missing = missing[:min(len(missing), maxAskBatches)]
		one, cancel := context.WithTimeout(ctx, min(d.cfg.RequestWait, d.cfg.BaseTimeout))
		raw, err := d.cfg.Network.Request(one, node, KindBatches, canon.Must(&batchesRequest{Batches: missing}))
		cancel()
		if err != nil {
			return err
		}
		list, err := decodeBatches(raw)
		if err != nil {
			d.cfg.Penalise(node, err.Error())
			return err
		}
		got := 0
		for _, raw := range list {
			id := consensus.BatchIDOf(raw)
			if !slices.Contains(missing, id) {
				d.cfg.Penalise(node, "a batch that was not asked for")
				return fmt.Errorf("batch %s was not asked for", id.Short())
			}
			if err := d.admit(node, id, raw, true); err != nil { // whoever named it is at fault
				d.gather.drop(a)
				d.cfg.Penalise(d.term.Load().peerOf[a.o.Outline().Header.Proposer], err.Error())
				return err
			}
			d.count.batchesFetched.Add(1)
			got++
		}
		if got == 0 {
			return nil
		}
	}
	return ctx.Err()
}
