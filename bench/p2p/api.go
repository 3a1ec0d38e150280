package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/metanode/metanode/bench/measure"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

const (
	apiGoal  = 1.5
	atOnce   = 16
	apiRoute = "/v1/chain"
)

// way is one of the ways to the API of a node: what was found of it, one at a time and several at once.
type way struct {
	client   *http.Client
	base     string
	one, lot costs
}

// costs are of requests. Processor time is of both ends.
type costs struct {
	took times
	cpu  time.Duration
}

func (c costs) perRequest() time.Duration {
	if len(c.took) == 0 {
		return 0
	}
	return c.cpu / time.Duration(len(c.took))
}

// api asks a node the same question over TCP and over libp2p streams (Noise), connections kept alive on both. The ways
// take turns. A node lets one caller have so many requests a second and twice that in a burst: a round stays below the
// burst, and the next begins when it may.
func (b *bench) api(ctx context.Context) error {
	n, err := b.solitary(ctx)
	if err != nil {
		return err
	}
	defer n.stop()
	s, err := n.client.Status(ctx)
	if err != nil {
		return err
	}
	noise, h, err := overNoise(ctx, s.Chain.Name, s.Addresses[0])
	if err != nil {
		return err
	}
	defer h.Close()
	var d net.Dialer
	tcp := &way{base: "http://" + s.API, client: &http.Client{Transport: keepAlive(func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", s.API) })}}
	ways := []*way{tcp, noise}
	for _, w := range ways { // connections are made, and caches filled
		if _, err := ask(ctx, w, n, 4*atOnce, atOnce); err != nil {
			return err
		}
	}
	for range b.plan.rounds {
		for _, callers := range []int{1, atOnce} {
			refilled := time.After(2 * time.Second) // at 1000 a second
			for _, w := range ways {
				c, err := ask(ctx, w, n, b.plan.requests, callers)
				if err != nil {
					return err
				}
				sum := &w.one
				if callers > 1 {
					sum = &w.lot
				}
				sum.took, sum.cpu = append(sum.took, c.took...), sum.cpu+c.cpu
			}
			<-refilled
		}
	}
	b.print(apiTable(tcp, noise))
	return nil
}

// keepAlive is the transport of the product's own client.
func keepAlive(dial func(context.Context) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:  func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConns: 2 * atOnce, MaxIdleConnsPerHost: 2 * atOnce, DisableCompression: true,
	}
}

// overNoise is the way of --peer: a host that only dials, and a libp2p stream in place of a connection.
func overNoise(ctx context.Context, network, address string) (*way, *p2p.Host, error) {
	cfg, err := hostConfig(network)
	if err != nil {
		return nil, nil, err
	}
	cfg.Client = true
	h, err := p2p.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	var to sign.PublicKey
	if to, err = h.Connect(ctx, address); err != nil {
		h.Close()
		return nil, nil, err
	}
	t := keepAlive(func(ctx context.Context) (net.Conn, error) { return h.DialStream(ctx, to, "api/1") })
	return &way{base: "http://node", client: &http.Client{Transport: t}}, h, nil
}

// ask sends requests from so many callers, and counts the time of each and the processor time of all.
func ask(ctx context.Context, w *way, n *node, requests, callers int) (c costs, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	before, err := bothEnds(n)
	if err != nil {
		return c, err
	}
	all := make([]times, callers)
	var next atomic.Int64
	var done sync.WaitGroup
	for i := range callers {
		done.Go(func() {
			for int(next.Add(1)) <= requests {
				begin := time.Now()
				if err := get(ctx, w); err != nil {
					cancel(err)
					return
				}
				all[i] = append(all[i], time.Since(begin))
			}
		})
	}
	done.Wait()
	if err := context.Cause(ctx); err != nil {
		return c, err
	}
	after, err := bothEnds(n)
	for _, l := range all {
		c.took = append(c.took, l...)
	}
	c.cpu = after - before
	return c, err
}

func get(ctx context.Context, w *way) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+apiRoute, nil)
	if err != nil {
		return err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", apiRoute, resp.Status)
	}
	return nil
}

// bothEnds is the processor time of this process and the node's.
func bothEnds(n *node) (time.Duration, error) {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return 0, err
	}
	theirs, err := n.proc.CPU()
	return time.Duration(own.Utime.Nano()+own.Stime.Nano()) + theirs, err
}

func apiTable(tcp, noise *way) measure.Table {
	t := measure.Table{Head: []string{fmt.Sprintf("GET %s of a node, %d requests each", apiRoute, len(tcp.one.took)), "plain TCP", "Noise", "ratio", "goal"}}
	row := func(what string, plain, sealed time.Duration) {
		r := float64(sealed) / float64(plain)
		t.Add(r <= apiGoal, what, show(plain), show(sealed), timesAs(r), fmt.Sprintf("≤ × %g", apiGoal))
	}
	row("one at a time: p50", tcp.one.took.p50(), noise.one.took.p50())
	row("processor time a request, both ends", tcp.one.perRequest(), noise.one.perRequest())
	row(fmt.Sprintf("%d at once: p50", atOnce), tcp.lot.took.p50(), noise.lot.took.p50())
	row("processor time a request, both ends", tcp.lot.perRequest(), noise.lot.perRequest())
	t.Add(true, fmt.Sprintf("%d at once: p95", atOnce), show(tcp.lot.took.p95()), show(noise.lot.took.p95()), timesAs(float64(noise.lot.took.p95())/float64(tcp.lot.took.p95())), "")
	return t
}
