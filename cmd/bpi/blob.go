package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/p2p/blob"
)

func blobCommand() *cli.Command {
	one := func(name, usage string, f func(n *conn) func(context.Context, string) (api.DAG, error)) *cli.Command {
		return &cli.Command{Name: name, Usage: usage, ArgsUsage: "CID", Action: action(func(c *cli.Context, e *env) error {
			return blobTell(c, e, f)
		})}
	}
	return &cli.Command{
		Name:  "blob",
		Usage: "files and folders by the hash of their content",
		Subcommands: []*cli.Command{
			{
				Name: "add", Usage: "put a file or a folder into the node's store, from where any peer fetches it by its CID", ArgsUsage: "FILE|FOLDER",
				Description: "Names, bytes and symbolic links are kept; owners, times and modes are not. The same tree has the same CID on every\n" +
					"machine. It is read twice, once for its CID and once to send it, and sent only if the node lacks it. What was\n" +
					"added is pinned until bpi blob unpin. Whoever is on the network and knows the CID can fetch it.",
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "id-only", Usage: "write only the CID"}},
				Action: action(blobAdd),
			},
			{
				Name: "get", Usage: "fetch a file or folder from the peers, and write it to a place that is not taken", ArgsUsage: "CID",
				Description: "The node keeps what has come when the fetch breaks off, and goes on there the next time. Every block is compared\n" +
					"with its name, by the node and by this program.",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "`PLACE` of the file or folder (default: its CID, here)"}},
				Action: action(blobGet),
			},
			one("pin", "keep a file or folder that the node holds", func(n *conn) func(context.Context, string) (api.DAG, error) { return n.PinDAG }),
			one("unpin", "let a file or folder go when room is needed", func(n *conn) func(context.Context, string) (api.DAG, error) { return n.UnpinDAG }),
			{Name: "list", Usage: "list what the node's store holds, and how full it is", Action: action(blobList)},
			{Name: "gc", Usage: "remove everything that is neither pinned nor in use", Action: action(blobCollect)},
			{
				Name: "export", Usage: "write a file or folder as a CAR file, for other programs and for the way by disk", ArgsUsage: "CID",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "car", Usage: "`FILE` to write (default: CID.car)"}},
				Action: action(blobExport),
			},
			{
				Name: "import", Usage: "put what a CAR file holds into the node's store, and pin it",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "car", Usage: "`FILE` to read"}, &cli.BoolFlag{Name: "id-only", Usage: "write only the CIDs"}},
				Action: action(blobImport),
			},
		},
	}
}

// blobName reads a CID, or finds the one in the node's store that begins so.
func blobName(ctx context.Context, n *conn, text string) (blob.CID, error) {
	c, err := blob.ParseCID(text)
	if err == nil {
		return c, nil
	}
	if len(text) < 8 || !strings.HasPrefix(text, "baf") {
		return c, usageError(err)
	}
	list, lerr := n.DAGs(ctx)
	if lerr != nil {
		return c, lerr
	}
	found := ""
	for _, d := range list.DAGs {
		if !strings.HasPrefix(d.CID, text) {
			continue
		}
		if found != "" {
			return c, fmt.Errorf("%s begins the CID of several blobs: %s, %s; write more of it", text, found, d.CID)
		}
		found = d.CID
	}
	if found == "" {
		return c, fmt.Errorf("%s is no whole CID, and the node holds none that begins so; see bpi blob list", text)
	}
	return blob.ParseCID(found)
}

// blobTell does one thing with one blob, and shows what it is then.
func blobTell(c *cli.Context, e *env, f func(n *conn) func(context.Context, string) (api.DAG, error)) error {
	text, err := argument(c, "CID")
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		name, err := blobName(ctx, n, text)
		if err != nil {
			return err
		}
		d, err := f(n)(ctx, name.String())
		if err != nil {
			return err
		}
		if c.Command.Name == "unpin" && len(d.Pins) > 0 {
			e.say("it is still kept for: %s", clean(strings.Join(d.Pins, ", ")))
		}
		return showBlobs(e, false, d)
	})
}

func blobList(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		list, err := n.DAGs(ctx)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, list)
		}
		if err := showBlobs(e, false, list.DAGs...); err != nil {
			return err
		}
		e.say("%s", roomTaken(list.Usage))
		return nil
	})
}

func roomTaken(u api.BlobUsage) string {
	of := "no quota"
	if u.QuotaBytes > 0 {
		of = size(u.QuotaBytes) + " of quota"
	}
	return fmt.Sprintf("%s, %s on disk, %s pinned, %s", count(u.Blobs, "blob"), size(u.UsedBytes), size(u.PinnedBytes), of)
}

func blobCollect(c *cli.Context, e *env) error {
	e.admin = true
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Hour)
		defer cancel()
		done, err := n.Collect(ctx)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, done)
		}
		fmt.Fprintf(e.out, "freed %s\n", size(done.FreedBytes))
		e.say("%s", roomTaken(done.Usage))
		return nil
	})
}

// showBlobs writes blobs as a table, as JSON or by CID alone.
func showBlobs(e *env, idOnly bool, list ...api.DAG) error {
	switch {
	case idOnly:
		for _, d := range list {
			fmt.Fprintln(e.out, d.CID)
		}
		return nil
	case e.json && len(list) == 1:
		return writeJSON(e.out, list[0])
	case e.json:
		return writeJSON(e.out, list)
	}
	t := newTable(e.out, "CID", "KIND", "SIZE", "SHA-256", "PINNED FOR")
	for _, d := range list {
		kind, bytes := d.Kind, size(d.Bytes)
		if !d.Whole {
			kind, bytes = "partly here", fmt.Sprintf("%s of %s", size(d.Fetched), size(d.Total))
			if d.Total == 0 {
				bytes = "-"
			}
		}
		t.row(d.CID, kind, bytes, orDash(d.SHA256[:min(12, len(d.SHA256))]), orDash(strings.Join(d.Pins, ", ")))
	}
	return t.flush()
}
