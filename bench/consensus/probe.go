package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metanode/metanode/bench/consensus/load"
	"github.com/metanode/metanode/bench/consensus/rpc"
)

// probe is what one transaction on an idle network showed. It was given to all validators at once, so the leader had it
// without a hop.
type probe struct {
	height int64
	next   int             // proposer of the block after the transaction's
	took   []time.Duration // until each validator committed it
	syncs  []int64         // of each validator's log meanwhile
}

// idleBlockTime keeps the chain still between probes.
const idleBlockTime = 10 * time.Minute

// probe sends single transactions to a network whose messages are delayed, and waits for silence between them.
func (b *bench) probe(ctx context.Context, delay time.Duration) ([]probe, error) {
	n, err := b.lab.start(ctx, bpi(4, true, delay, idleBlockTime))
	if err != nil {
		return nil, err
	}
	defer n.stop()
	p, err := newProber(ctx, n)
	if err != nil {
		return nil, err
	}
	defer p.close()
	var list []probe
	for i := range b.plan.probes + 1 { // the block after the last one's is not committed
		select {
		case <-time.After(200*time.Millisecond + 6*delay): // the block after the last one's is voted for meanwhile
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		one, err := p.one(ctx, uint32(i))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("transaction %d: %w", i, err), n.check())
		}
		list = append(list, one)
	}
	return p.follow(list)
}

// prober has a connection to submit and one to watch to every validator.
type prober struct {
	net    *network
	signer *load.Signer
	send   []*rpc.Submitter
	watch  []*rpc.Watcher
}

func newProber(ctx context.Context, n *network) (*prober, error) {
	p := &prober{net: n, signer: load.NewSigner(0, 1)}
	for _, host := range n.rpc {
		s, err := rpc.NewSubmitter(ctx, host)
		if err == nil {
			p.send = append(p.send, s)
			var w *rpc.Watcher
			if w, err = rpc.Watch(ctx, host); err == nil {
				p.watch = append(p.watch, w)
			}
		}
		if err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

func (p *prober) close() {
	for _, s := range p.send {
		s.Close()
	}
	for _, w := range p.watch {
		w.Close()
	}
}

// probeWait is how long a validator may take to commit on an idle network before that is an error.
const probeWait = 20 * time.Second

// one sends the transaction of an index and waits until every validator has committed it.
func (p *prober) one(ctx context.Context, index uint32) (probe, error) {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	top, before, err := p.level(ctx)
	if err != nil {
		return probe{}, err
	}
	tx := p.signer.Tx(index)
	begin := time.Now()
	for _, s := range p.send {
		if err := s.Submit(tx); err != nil {
			return probe{}, err
		}
	}
	var one probe
	for v, w := range p.watch {
		e, err := w.AwaitTxs(ctx, top)
		if err != nil {
			return probe{}, fmt.Errorf("validator %d: %w", v, err)
		}
		one.height = e.Height
		one.took = append(one.took, e.At.Sub(begin))
		one.syncs = append(one.syncs, e.Syncs-before[v])
	}
	return one, nil
}

// level waits until all validators stand at one height, and gives it and how often each has synced its log.
func (p *prober) level(ctx context.Context) (top int64, syncs []int64, err error) {
	for {
		same := true
		syncs = syncs[:0]
		for v, host := range p.net.rpc {
			s, err := rpc.StatusOf(ctx, host)
			if err != nil {
				return 0, nil, err
			}
			same = same && (v == 0 || s.Height == top)
			top = s.Height
			syncs = append(syncs, s.Syncs)
		}
		if same {
			return top, syncs, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return 0, nil, fmt.Errorf("the validators do not come to one height, though nothing goes on: %w", ctx.Err())
		}
	}
}

// follow finds out who proposed the block after each transaction's, and leaves the last one out, after which none was
// committed.
func (p *prober) follow(list []probe) ([]probe, error) {
	proposer := map[int64]int{}
	seen, _ := p.watch[0].Seen()
	for _, e := range seen {
		proposer[e.Height] = e.Proposer
	}
	list = list[:len(list)-1]
	for i := range list {
		next, ok := proposer[list[i].height+1]
		if !ok {
			return nil, fmt.Errorf("block %d was not announced, though later ones were", list[i].height+1)
		}
		list[i].next = next
	}
	return list, nil
}
