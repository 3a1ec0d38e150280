package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/metanode/metanode/bench/measure"
)

const (
	rawGoal  = 0.5
	kuboGoal = 1.5
	manyGoal = 1.0
)

// fetches is how fast a blob of one size came from where.
type fetches struct {
	bytes           int64
	raw, one, three times
	kubo, kuboOwn   times  // of the same DAG, and of what kubo makes of the same file by default
	noKubo          string // why there are none
}

// blobs fetches random bytes: over a raw stream, from one peer, from three, and from kubo to kubo. All take turns, round
// after round; each fetch begins with an empty store and ends when the blob is durable.
func (b *bench) blobs(ctx context.Context) error {
	net, err := b.devnet(ctx, 4)
	if err != nil {
		return err
	}
	defer net.stop()
	src, err := b.startSource(ctx)
	if err != nil {
		return err
	}
	defer src.stop()
	var pair [2]*daemon
	noKubo := ""
	if _, err := os.Stat(b.kubo); err != nil {
		noKubo = fmt.Sprintf("no program %q: make bench-p2p builds it, where there is a network", b.kubo)
	}
	for i := range pair {
		if noKubo != "" {
			break
		}
		if pair[i], err = b.startKubo(ctx); err != nil {
			return err
		}
		defer pair[i].stop()
	}
	if noKubo == "" {
		if err := pair[1].dial(ctx, pair[0]); err != nil {
			return err
		}
	}
	for _, size := range b.plan.blobs {
		f := fetches{bytes: int64(size) << 20, noKubo: noKubo}
		if err := b.fetchRounds(ctx, &f, net, src, pair); err != nil {
			return err
		}
		b.print(blobTable(f))
	}
	return nil
}

func (b *bench) fetchRounds(ctx context.Context, f *fetches, net *network, src *source, pair [2]*daemon) error {
	for round := range b.plan.rounds {
		file := filepath.Join(b.dir, "blob")
		if err := writeNoise(file, f.bytes, uint64(round)); err != nil {
			return err
		}
		took, err := src.fetch(ctx, f.bytes)
		if err != nil {
			return err
		}
		f.raw = append(f.raw, took)
		if err := b.fetchOwn(ctx, f, net, file); err != nil {
			return err
		}
		if f.noKubo == "" {
			// The profile makes the DAG that we make: blocks of 1 MiB, raw leaves, CIDv1.
			if err := b.fetchKubo(ctx, &f.kubo, f.bytes, pair, file, "--chunker=size-1048576", "--raw-leaves", "--cid-version=1"); err != nil {
				return err
			}
			if err := b.fetchKubo(ctx, &f.kuboOwn, f.bytes, pair, file); err != nil {
				return err
			}
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// fetchOwn fetches a file to the last peer while one has it, and again when three have.
func (b *bench) fetchOwn(ctx context.Context, f *fetches, net *network, file string) error {
	first, last := net.nodes[0], net.nodes[3]
	cid, err := b.bpiCommand(ctx, net.home, "--api", "unix://"+first.socket, "blob", "add", "--id-only", file)
	if err != nil {
		return err
	}
	kept := b.profile(ctx, f.bytes, first, last)
	took, err := fetch(ctx, last, cid, f.bytes)
	if err != nil {
		return err
	}
	kept()
	f.one = append(f.one, took)
	for _, n := range net.nodes[1:3] {
		if _, err := fetch(ctx, n, cid, f.bytes); err != nil {
			return err
		}
	}
	if _, err := last.client.Collect(ctx); err != nil {
		return err
	}
	if took, err = fetch(ctx, last, cid, f.bytes); err != nil {
		return err
	}
	f.three = append(f.three, took)
	if _, err := first.client.UnpinDAG(ctx, cid); err != nil {
		return err
	}
	for _, n := range net.nodes {
		if _, err := n.client.Collect(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fetch makes a node fetch a DAG that it does not have.
func fetch(ctx context.Context, n *node, cid string, bytes int64) (time.Duration, error) {
	begin := time.Now()
	d, err := n.client.FetchDAG(ctx, cid)
	took := time.Since(begin)
	if err == nil && (!d.Whole || d.Bytes != uint64(bytes)) {
		err = fmt.Errorf("%s has %d bytes, whole: %t; want %d", cid, d.Bytes, d.Whole, bytes)
	}
	return took, err
}

func (b *bench) fetchKubo(ctx context.Context, to *times, bytes int64, pair [2]*daemon, file string, flags ...string) error {
	cid, err := b.kuboCommand(ctx, pair[0].repo, append([]string{"add", "-Q", file}, flags...)...)
	if err != nil {
		return err
	}
	took, err := pair[1].take(ctx, cid)
	if err != nil {
		return err
	}
	*to = append(*to, took)
	for _, d := range pair {
		if err := d.drop(ctx, cid); err != nil {
			return err
		}
	}
	return nil
}

// writeNoise writes a file that does not repeat itself.
func writeNoise(path string, bytes int64, seed uint64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	noise := rand.NewChaCha8([32]byte{1, byte(seed), byte(bytes >> 20), byte(bytes >> 28)})
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(noise, bytes), make([]byte, 1<<20))
	return err
}

// profile takes a profile of each node's processor until kept is called, if the folder for them is given.
func (b *bench) profile(ctx context.Context, bytes int64, nodes ...*node) (kept func()) {
	if b.profiles == "" {
		return func() {}
	}
	var done sync.WaitGroup
	for i, n := range nodes {
		done.Go(func() {
			path := filepath.Join(b.profiles, fmt.Sprintf("fetch-%dMiB-%d.prof", bytes>>20, i))
			if err := n.save(ctx, "/debug/pprof/profile?seconds=2", path); err != nil {
				fmt.Fprintln(b.out, "profile not kept:", err)
			}
		})
	}
	return done.Wait
}

// save writes what a node's unix socket gives at a path to a file.
func (n *node) save(ctx context.Context, from, to string) error {
	raw, err := n.read(ctx, from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, raw, 0o600)
}

// read gets a page of the node's unix socket.
func (n *node) read(ctx context.Context, from string) ([]byte, error) {
	var d net.Dialer
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", n.socket) }}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", from, resp.Status)
	}
	return raw, err
}

func blobTable(f fetches) measure.Table {
	t := measure.Table{Head: []string{fmt.Sprintf("a blob of %d MiB, p50 of %d", f.bytes>>20, len(f.raw)), "MB/s", "goal"}}
	at := func(l times) float64 { return rate(f.bytes, l.p50()) }
	told(&t, "raw stream over Noise, memory to memory", measure.Number(at(f.raw)))
	told(&t, "from one peer", measure.Number(at(f.one)))
	one := at(f.one) / at(f.raw)
	atLeast(&t, "from one peer, to the raw stream", one, rawGoal, timesAs(one), fmt.Sprintf("× %g", rawGoal))
	told(&t, "from three peers", measure.Number(at(f.three)))
	three := at(f.three) / at(f.one)
	atLeast(&t, "from three peers, to one", three, manyGoal, timesAs(three), fmt.Sprintf("× %g", manyGoal))
	if f.noKubo != "" {
		t.Add(false, "kubo to kubo", f.noKubo, fmt.Sprintf("≥ × %g", kuboGoal))
		return t
	}
	told(&t, "kubo to kubo, the same blocks of 1 MiB", measure.Number(at(f.kubo)))
	told(&t, "kubo to kubo, its own blocks of 256 KiB", measure.Number(at(f.kuboOwn)))
	beside := at(f.one) / max(at(f.kubo), at(f.kuboOwn))
	atLeast(&t, "from one peer, to the faster of these", beside, kuboGoal, timesAs(beside), fmt.Sprintf("× %g", kuboGoal))
	return t
}
