package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
)

// servicesEvery is how often a watching command asks for the services again.
const servicesEvery = time.Second

func servicesCommand() *cli.Command {
	return &cli.Command{
		Name: "services", Usage: "what the peers of the mesh offer each other, and where", ArgsUsage: "[SERVICE]",
		Description: "SERVICE is a name, or NAME/MAJOR. Each line is signed by the peer that it names, is in force, and agrees with the\n" +
			"chain; the node that is asked heard of it by gossip. With --search it looks for providers that it has not heard of.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "search", Usage: "look for providers of SERVICE in the whole network if the node knows none"},
			watchFlag("a line for every offer that comes, changes or goes"),
		},
		Action: action(networkServices),
	}
}

func networkServices(c *cli.Context, e *env) error {
	if c.NArg() > 1 {
		return usageError(fmt.Errorf("bpi network services: want one service, have %d arguments; try: bpi network services --help", c.NArg()))
	}
	q := api.ServiceQuery{Service: c.Args().First(), Search: c.Bool("search")}
	if q.Search && q.Service == "" {
		return usageError(errors.New("--search: name the service to look for; try: bpi network services --help"))
	}
	return e.withNode(c.Context, func(n *conn) error {
		if c.Bool("watch") {
			return watchServices(c.Context, e, n, q)
		}
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		list, err := n.Services(ctx, q)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, list)
		}
		t := newTable(e.out, "SERVICE", "PEER", "NAME", "CAPACITY", "LABELS", "ADDRESS")
		for _, s := range list {
			t.row(s.Service, s.Peer, orDash(s.Name), s.Capacity, orDash(strings.Join(s.Labels, ",")), orDash(outward(s.Addresses)))
		}
		return t.flush()
	})
}

// serviceChange is a line of --watch --json.
type serviceChange struct {
	Change string `json:"change"` // "offered", "changed" or "gone"
	api.Service
}

// watchServices writes what changes between two answers of the node, beginning with all as offered.
func watchServices(ctx context.Context, e *env, n *conn, q api.ServiceQuery) error {
	ctx, cancel := e.bounded(ctx, 0)
	defer cancel()
	tick := time.NewTicker(servicesEvery)
	defer tick.Stop()
	last := []api.Service{}
	for {
		list, err := n.Services(ctx, q)
		if ctx.Err() != nil {
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil
			}
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		for _, change := range serviceChanges(last, list) {
			if e.json {
				err = writeLine(e.out, change)
			} else {
				_, err = fmt.Fprintf(e.out, "%s  %-7s  %s  %s  capacity %d  %s\n", time.Now().UTC().Format("15:04:05Z"), change.Change, clean(change.Service.Service),
					clean(nameOr(change.Name, change.Peer)), change.Capacity, clean(strings.Join(change.Labels, ",")))
			}
			if err != nil {
				return err
			}
		}
		last = list
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// nameOr is a peer's name, or its id where it has none.
func nameOr(name, id string) string {
	if name == "" {
		return id
	}
	return name
}

// serviceChanges are what is new in list and what is gone from last. A description that only lives longer is no change.
func serviceChanges(last, list []api.Service) []serviceChange {
	type place struct{ service, peer string }
	before := map[place]api.Service{}
	for _, s := range last {
		before[place{s.Service, s.Peer}] = s
	}
	var out []serviceChange
	for _, s := range list {
		old, known := before[place{s.Service, s.Peer}]
		delete(before, place{s.Service, s.Peer})
		switch {
		case !known:
			out = append(out, serviceChange{"offered", s})
		case old.Version != s.Version || old.Capacity != s.Capacity || strings.Join(old.Labels, " ") != strings.Join(s.Labels, " "):
			out = append(out, serviceChange{"changed", s})
		}
	}
	for _, s := range last { // in the order in which they were listed
		if _, gone := before[place{s.Service, s.Peer}]; gone {
			out = append(out, serviceChange{"gone", s})
		}
	}
	return out
}

// outward is the address that others are most likely to reach: TCP, and not of this machine alone.
func outward(list []string) string {
	for _, a := range list {
		if strings.Contains(a, "/tcp/") && !strings.HasPrefix(a, "/ip4/127.") && !strings.HasPrefix(a, "/ip6/::1/") {
			return a
		}
	}
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
