package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
)

func imageCommand() *cli.Command {
	return &cli.Command{
		Name:  "image",
		Usage: "root file systems that programs run in, for bpi job run",
		Subcommands: []*cli.Command{
			{
				Name: "add", Usage: "pack a folder as the root file system of programs, and publish it under a name", ArgsUsage: "ROOTDIR",
				Description: "The folder holds what a program is to find below /: bin, lib, usr and so on. Device nodes, sockets and FIFOs are left\n" +
					"out, other file systems mounted in it too, and setuid bits are dropped. The same tree gives the same image on every\n" +
					"machine. Returns once as many peers hold it as asked for. Whoever runs a job in the image reads it.",
				Flags: append([]cli.Flag{
					&cli.StringFlag{Name: "name", Usage: "`NAME` of the image"},
				}, publishFlags("image")...),
				Action: action(imageAdd),
			},
			{Name: "list", Usage: "list images", Action: action(imageList)},
			{Name: "show", Usage: "show an image's digest, versions and holders", ArgsUsage: "NAME[@VERSION]", Action: action(imageShow)},
			removeCommand("image", enc.CatalogImages, func(ctx context.Context, n *conn, ref string) (api.Publication, []uint64, error) {
				d, err := n.Image(ctx, ref)
				return d.Publication, d.Versions, err
			}),
		},
	}
}

func imageList(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		list, err := n.Images(ctx)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, list)
		}
		return imageTable(e, list...)
	})
}

func imageTable(e *env, list ...api.Image) error {
	t := newTable(e.out, "NAME", "VERSION", "SIZE", "HOLDERS", "OWNER", "DIGEST")
	for _, i := range list {
		t.row(i.Name, i.Version, size(i.Bytes), fmt.Sprintf("%d/%d", len(i.Holders), i.Wanted), i.Owner.Short(), i.Digest)
	}
	return t.flush()
}

func imageShow(c *cli.Context, e *env) error {
	ref, err := argument(c, "image")
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		d, err := n.Image(ctx, ref)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, d)
		}
		t := newTable(e.out)
		t.row("image", fmt.Sprintf("%s@%d", d.Name, d.Version))
		t.row("digest", "sha256:"+d.Digest.String())
		t.row("size", size(d.Bytes))
		t.row("owner", d.Owner)
		t.row("published", fmt.Sprintf("%s, block %d", moment(d.TimeMs), d.Height))
		t.row("versions", fmt.Sprint(d.Versions))
		for i, h := range d.Holders {
			t.row(onFirst(i, fmt.Sprintf("held by (%d wanted)", d.Wanted)), h)
		}
		return t.flush()
	})
}
