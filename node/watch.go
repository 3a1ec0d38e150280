package node

import (
	"context"
	"errors"
	"time"

	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/mempool"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

const (
	resendEvery = 2 * time.Second
	clockEvery  = time.Minute
	driftLimit  = 250 * time.Millisecond // half of what a voter allows a block to be ahead
)

// resend sends what waits in the outbox again until it is ordered: into the own mempool, and to each validator
// directly, because gossip passes the same bytes on only once.
func (n *Node) resend(ctx context.Context) error {
	tick := time.NewTicker(resendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		ordered := func(id digest.Digest) bool {
			_, ok := n.ledger.command(ctx, id)
			return ok
		}
		for _, tx := range n.outbox.due(ctx, n.ledger.nowMs(), uint64(resendEvery.Milliseconds()), ordered) {
			if err := n.driver.Submit(tx); err != nil && !errors.Is(err, mempool.ErrDuplicate) {
				n.log.Warn("command from the outbox not sent; tried again", "err", err)
			}
			for _, v := range n.mesh.validators() {
				if v != n.host.Self() {
					n.mesh.Send(v, driver.KindTx, tx)
				}
			}
		}
	}
}

// watchClock compares this machine's clock with its peers' and warns when they drift apart: a block from a clock that
// is 500 ms ahead gets no votes.
func (n *Node) watchClock(ctx context.Context) error {
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	warned := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			timer.Reset(clockEvery)
		}
		offset, peers, err := n.host.ClockOffset(ctx)
		if err != nil {
			continue // alone, or stopping: nothing to compare with
		}
		n.driftMs.Store(-offset.Milliseconds())
		far := offset.Abs() > driftLimit
		if far {
			n.log.Warn("this machine's clock is off; blocks it proposes may be refused", "ahead_ms", -offset.Milliseconds(), "peers", peers, "next", "run a time service such as chrony")
		} else if warned {
			n.log.Info("this machine's clock agrees with its peers' again", "ahead_ms", -offset.Milliseconds())
		}
		warned = far
	}
}

// notReady lists why the node is not doing its work yet.
func (n *Node) notReady() []string {
	var why []string
	head := n.ledger.head.Load()
	if len(n.genesis.Validators) > 1 && len(n.host.Peers()) == 0 {
		why = append(why, "no peer is connected (bpi network doctor tells why)")
	}
	if !n.driver.Stats().Recovered {
		why = append(why, "blocks of the log are committed again")
	}
	if head.header.Height == 0 {
		why = append(why, "no block is final yet")
	}
	if n.executes && n.missing == "" {
		if engine, _, ok := head.state.Engine(enc.KindSQL); ok && !n.store.Has(engine) {
			why = append(why, "the SQL engine is not here yet")
		}
		if !n.register.registered() {
			why = append(why, "the chain does not know this executor yet")
		}
	}
	return why
}

// watchReady closes Ready once there is nothing in the way any more.
func (n *Node) watchReady(ctx context.Context) {
	for len(n.notReady()) > 0 {
		_, changed := n.ledger.watch()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(200 * time.Millisecond):
		}
	}
	n.log.Info("ready", "peer", n.host.ID().String(), "chain", n.genesis.DisplayName(), "addresses", n.host.Addrs())
	close(n.ready)
}
