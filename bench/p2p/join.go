package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/bench/measure"
)

const joinGoal = time.Second

// joined is when a fresh peer was how far, from the start of its process.
type joined struct{ answers, connected, knows, served time.Duration }

// join starts fresh peers of a network of four, one after another, and asks each for a service as soon as it can be asked.
func (b *bench) join(ctx context.Context) error {
	net, err := b.devnet(ctx, 4)
	if err != nil {
		return err
	}
	defer net.stop()
	var all []joined
	for i := range b.plan.joins {
		by := net.nodes[i%len(net.nodes)]
		s, err := by.client.Status(ctx)
		if err != nil {
			return err
		}
		j, err := b.joinOnce(ctx, filepath.Join(by.dir, "genesis.cbor"), s.Addresses[0])
		if err != nil {
			return err
		}
		all = append(all, j)
	}
	b.print(joinTable(all))
	return nil
}

// joinOnce makes a peer's folder, which is not timed, and runs it until a service has answered through it.
func (b *bench) joinOnce(ctx context.Context, genesis, bootstrap string) (j joined, err error) {
	home, err := b.home("join")
	if err != nil {
		return j, err
	}
	if _, err := b.bpiCommand(ctx, home, "init", "--genesis", genesis, "--bootstrap", bootstrap, "--listen-port", "0"); err != nil {
		return j, err
	}
	begin := time.Now()
	n, err := b.startNode(home)
	if err != nil {
		return j, err
	}
	defer n.stop()
	// Every look is a request to the peer that is timed, so they are few at first: a file, then a status.
	const every = 2 * time.Millisecond
	err = poll(ctx, time.Minute, time.Millisecond, "a socket of a fresh peer", func() (bool, error) {
		_, err := os.Stat(n.socket)
		return err == nil, n.proc.Ended()
	})
	if err != nil {
		return j, err
	}
	err = poll(ctx, time.Minute, every, "a fresh peer with a connection", func() (bool, error) {
		s, err := n.client.Status(ctx)
		if err == nil && j.answers == 0 {
			j.answers = time.Since(begin)
		}
		return err == nil && s.Peers > 0, n.proc.Ended()
	})
	j.connected = time.Since(begin)
	if err != nil {
		return j, err
	}
	err = poll(ctx, time.Minute, every, "a fresh peer that knows a service", func() (bool, error) {
		list, err := n.client.Services(ctx, api.ServiceQuery{Service: "api/1"})
		return len(list) > 0, err
	})
	j.knows = time.Since(begin)
	if err != nil {
		return j, err
	}
	r, err := n.client.SendToService(ctx, api.ServiceMessage{Service: "api/1", Body: []byte("GET /v1/chain HTTP/1.1\r\nHost: peer\r\n\r\n")})
	j.served = time.Since(begin)
	if err == nil && !bytes.HasPrefix(r.Answer, []byte("HTTP/1.1 200 ")) {
		err = fmt.Errorf("a service answers %.60q", r.Answer)
	}
	return j, err
}

func joinTable(all []joined) measure.Table {
	pick := func(f func(joined) time.Duration) times {
		var l times
		for _, j := range all {
			l = append(l, f(j))
		}
		return l
	}
	t := measure.Table{Head: []string{fmt.Sprintf("a fresh bpi joins a network of four, p50 of %d", len(all)), "measured", "goal"}}
	told(&t, "process starts → its API answers", show(pick(func(j joined) time.Duration { return j.answers }).p50()))
	told(&t, "→ first connection", show(pick(func(j joined) time.Duration { return j.connected - j.answers }).p50()))
	told(&t, "→ it knows a service", show(pick(func(j joined) time.Duration { return j.knows - j.connected }).p50()))
	told(&t, "→ the service has answered", show(pick(func(j joined) time.Duration { return j.served - j.knows }).p50()))
	served := pick(func(j joined) time.Duration { return j.served })
	within(&t, "process starts → the service has answered", served.p50(), joinGoal)
	told(&t, "the same, the slowest", show(served.quantile(1)))
	return t
}
