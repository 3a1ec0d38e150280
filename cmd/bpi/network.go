package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
)

func networkCommand() *cli.Command {
	return &cli.Command{
		Name:  "network",
		Usage: "look at the mesh, and say who may enter it",
		Subcommands: []*cli.Command{
			createCommand(), inviteCommand(), joinCommand(), revokeCommand(),
			{Name: "members", Usage: "who may be on a private network, and by what", Action: action(networkMembers)},
			{Name: "guests", Usage: "the foreign peers, kubo for one, with which the node exchanges blobs", Action: action(networkGuests)},
			{Name: "resources", Usage: "what the mesh holds, refused and dropped, in words", Action: action(networkResources)},
			networkDoctorCommand(),
			{Name: "peers", Usage: "the peers that the node knows", Action: action(listPeers)},
			servicesCommand(), sendCommand(),
			pingCommand(),
		},
	}
}

func listPeers(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		list, err := n.Peers(ctx)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, list)
		}
		t := newTable(e.out, "PEER", "NAME", "LINK", "LATENCY", "ROLES", "ADDRESS")
		for _, p := range list {
			link := "-"
			if p.Connected {
				link = "connected " + p.Direction
			}
			addr := "-"
			if len(p.Addresses) > 0 {
				addr = p.Addresses[0]
			}
			t.row(p.ID, orDash(p.Name), link, fmt.Sprintf("%.1f ms", p.LatencyMs), orDash(strings.Join(p.Roles, ",")), addr)
		}
		return t.flush()
	})
}

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "what an id, or a prefix of one, names: a job, a dataset, an image, a peer", ArgsUsage: "[ID]",
		Action: action(func(c *cli.Context, e *env) error {
			if c.NArg() == 0 {
				return nodeStatus(c, e)
			}
			ref, err := argument(c, "id")
			if err != nil {
				return err
			}
			return e.withNode(c.Context, func(n *conn) error {
				ctx, cancel := e.bounded(c.Context, time.Minute)
				defer cancel()
				job, err := n.Job(ctx, ref)
				if err == nil {
					if e.json {
						return writeJSON(e.out, map[string]any{"kind": "job", "job": job})
					}
					fmt.Fprintf(e.out, "job %s: %s %s\n", job.ID, job.State, clean(job.Reason))
					return nil
				}
				if !errors.Is(err, &api.Error{Code: api.CodeNotFound}) && !errors.Is(err, &api.Error{Code: api.CodeMalformed}) {
					return err
				}
				sets, err := n.Datasets(ctx)
				if err != nil {
					return err
				}
				for _, d := range sets {
					if d.Name == ref || strings.HasPrefix(d.Manifest.String(), strings.TrimPrefix(ref, "sha256:")) {
						if e.json {
							return writeJSON(e.out, map[string]any{"kind": "dataset", "dataset": d})
						}
						fmt.Fprintf(e.out, "dataset %s@%d: %d rows, held by %d of %d\n", d.Name, d.Version, d.Rows, len(d.Holders), d.Wanted)
						return nil
					}
				}
				images, err := n.Images(ctx)
				if err != nil {
					return err
				}
				for _, i := range images {
					if i.Name == ref || strings.HasPrefix(i.Digest.String(), strings.TrimPrefix(ref, "sha256:")) {
						if e.json {
							return writeJSON(e.out, map[string]any{"kind": "image", "image": i})
						}
						fmt.Fprintf(e.out, "image %s@%d: %s, held by %d of %d\n", i.Name, i.Version, size(i.Bytes), len(i.Holders), i.Wanted)
						return nil
					}
				}
				peers, err := n.Peers(ctx)
				if err != nil {
					return err
				}
				for _, p := range peers {
					if strings.HasPrefix(p.ID, ref) || strings.HasPrefix(p.Key.String(), ref) {
						if e.json {
							return writeJSON(e.out, map[string]any{"kind": "peer", "peer": p})
						}
						fmt.Fprintf(e.out, "peer %s: connected %v\n", p.ID, p.Connected)
						return nil
					}
				}
				return fmt.Errorf("%q names no job, dataset, image or peer that %s knows; see: bpi job list", ref, n.where)
			})
		}),
	}
}
