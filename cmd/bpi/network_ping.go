package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/digest"
)

// pingCommand measures the way to a peer.
func pingCommand() *cli.Command {
	return &cli.Command{
		Name: "ping", Usage: "measure the way to a peer and back, through its API", ArgsUsage: "[PEER]",
		Description: "PEER is a name, a peer id or a prefix of one, as bpi network peers lists them, or a multiaddr; without one,\n" +
			"it is the node that other commands speak to. Another peer is reached over libp2p from here, not through the node.",
		Flags:  []cli.Flag{&cli.IntFlag{Name: "count", Aliases: []string{"n"}, Value: 4, Usage: "`NUMBER` of questions, 1 to 1000"}},
		Action: action(networkPing),
	}
}

func networkPing(c *cli.Context, e *env) error {
	if c.NArg() > 1 {
		return usageError(fmt.Errorf("bpi network ping: want one peer, have %d arguments; try: bpi network ping --help", c.NArg()))
	}
	times := c.Int("count")
	if times < 1 || times > 1000 {
		return usageError(fmt.Errorf("--count %d: want 1 to 1000", times))
	}
	ref := c.Args().First()
	if strings.HasPrefix(ref, "/") {
		n, err := e.dialPeer(c.Context, ref)
		if err != nil {
			return err
		}
		defer n.Close()
		return n.explain(pingOne(c.Context, e, n, times))
	}
	return e.withNode(c.Context, func(n *conn) error {
		if ref == "" {
			return pingOne(c.Context, e, n, times)
		}
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		addr, err := addressOf(ctx, n, ref)
		if err != nil {
			return err
		}
		other, err := e.dialPeer(c.Context, addr)
		if err != nil {
			return err
		}
		defer other.Close()
		return pingOne(c.Context, e, other, times)
	})
}

// addressOf finds the multiaddr of a peer that the node knows.
func addressOf(ctx context.Context, n *conn, ref string) (string, error) {
	s, err := n.Status(ctx)
	if err != nil {
		return "", err
	}
	if (ref == s.Name || strings.HasPrefix(s.Peer, ref) || strings.HasPrefix(s.Key.String(), ref)) && len(s.Addresses) > 0 {
		return s.Addresses[0], nil
	}
	peers, err := n.Peers(ctx)
	if err != nil {
		return "", err
	}
	var found []api.Peer
	for _, p := range peers {
		if p.Name == ref || strings.HasPrefix(p.ID, ref) || strings.HasPrefix(p.Key.String(), ref) {
			found = append(found, p)
		}
	}
	switch {
	case len(found) == 0:
		return "", fmt.Errorf("%s is connected to no peer %q; see: bpi network peers", n.where, ref)
	case len(found) > 1:
		return "", fmt.Errorf("%q begins %d peers; give more of it, see: bpi network peers", ref, len(found))
	case len(found[0].Listens) > 0: // an address of an open connection may be the far end of a dial
		return found[0].Listens[0] + "/p2p/" + found[0].ID, nil
	case len(found[0].Addresses) == 0:
		return "", fmt.Errorf("%s has no address of peer %s to reach it from here; name one with --peer", n.where, found[0].ID)
	}
	addr := found[0].Addresses[0]
	if !strings.Contains(addr, "/p2p/") {
		addr += "/p2p/" + found[0].ID
	}
	return addr, nil
}

// pingOne asks the same small question again and again. The first answer includes what it takes to connect and is told
// apart.
func pingOne(ctx context.Context, e *env, n *conn, times int) error {
	ctx, cancel := e.bounded(ctx, time.Minute)
	defer cancel()
	started := time.Now()
	s, err := n.Status(ctx)
	if err != nil {
		return err
	}
	connect := time.Since(started)
	var took []time.Duration
	for i := range times {
		started := time.Now()
		if _, err := n.ChainStatus(ctx); err != nil {
			return fmt.Errorf("%s answered %d of %d times: %w", n.where, i, times, err)
		}
		took = append(took, time.Since(started))
		if !e.json {
			fmt.Fprintf(e.out, "%d  %.2f ms\n", i+1, ms(took[i]))
		}
	}
	sorted := slices.Sorted(slices.Values(took))
	low, mid, high := sorted[0], sorted[len(sorted)/2], sorted[len(sorted)-1]
	if e.json {
		each := make([]float64, len(took))
		for i, d := range took {
			each[i] = ms(d)
		}
		return writeJSON(e.out, map[string]any{
			"peer": s.Peer, "name": s.Name, "where": n.where, "connect_ms": ms(connect), "ms": each, "min_ms": ms(low), "median_ms": ms(mid), "max_ms": ms(high),
		})
	}
	who := s.Peer
	if s.Name != "" {
		who = s.Name + " " + who
	}
	e.say("%s, height %d: %d answers, least %.2f, median %.2f, most %.2f ms; the first, with connecting, %.2f ms", clean(who), s.Head.Height, times, ms(low), ms(mid), ms(high), ms(connect))
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// service is something that a peer does for others.
type service struct {
	Service string `json:"service"`
	Peer    string `json:"peer"`
	Name    string `json:"name,omitempty"`
	Where   string `json:"where,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// networkServices lists what the mesh offers, by service.
func networkServices(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		s, err := n.Status(ctx)
		if err != nil {
			return err
		}
		peers, err := n.Peers(ctx)
		if err != nil {
			return err
		}
		executors, err := n.Executors(ctx)
		if err != nil {
			return err
		}
		list := services(&s, peers, executors)
		if e.json {
			return writeJSON(e.out, list)
		}
		t := newTable(e.out, "SERVICE", "PEER", "NAME", "WHERE", "DETAIL")
		for _, x := range list {
			t.row(x.Service, x.Peer, orDash(x.Name), orDash(x.Where), orDash(x.Detail))
		}
		return t.flush()
	})
}

// services are, in this order: bpi (ordering), sql (executing), api and gateway. A peer that the node has no connection
// to is in the list for what the chain says of it, without an address.
func services(s *api.Status, peers []api.Peer, executors []api.Executor) []service {
	where := map[string]string{s.Peer: outward(s.Addresses)}
	all := []api.Peer{{ID: s.Peer, Key: s.Key, Name: s.Name, Roles: s.Roles}}
	for _, p := range peers {
		addr := first(p.Addresses)
		if addr != "" && !strings.Contains(addr, "/p2p/") {
			addr += "/p2p/" + p.ID
		}
		where[p.ID] = addr
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b api.Peer) int { return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID) })
	list := []service{}
	for _, p := range all {
		if slices.Contains(p.Roles, "validator") {
			list = append(list, service{"bpi", p.ID, p.Name, where[p.ID], "orders commands of " + s.Chain.Name})
		}
	}
	for _, x := range executors {
		if !x.Registered {
			continue
		}
		detail := fmt.Sprintf("%d of %d slots free", x.Slots-min(x.UsedSlots, x.Slots), x.Slots)
		for _, d := range x.Engines {
			detail = "engine " + shortDigest(d) + ", " + detail
		}
		switch {
		case x.Slots == 0:
			detail = "takes no work"
			if x.Reason != "" {
				detail += ": " + x.Reason
			}
		case x.Draining:
			detail += ", draining"
		}
		list = append(list, service{"sql", x.Peer, x.Name, where[x.Peer], detail})
	}
	for _, p := range all {
		list = append(list, service{"api", p.ID, p.Name, where[p.ID], "over libp2p, for --peer"})
	}
	if s.Gateway != "" {
		list = append(list, service{"gateway", s.Peer, s.Name, "http://" + s.Gateway, "POST /submit, on that machine"})
	}
	return list
}

// outward is the address that others are most likely to reach: TCP, and not of this machine alone.
func outward(list []string) string {
	for _, a := range list {
		if strings.Contains(a, "/tcp/") && !strings.HasPrefix(a, "/ip4/127.") && !strings.HasPrefix(a, "/ip6/::1/") {
			return a
		}
	}
	return first(list)
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func shortDigest(d digest.Digest) string { return "sha256:" + d.Short() }
