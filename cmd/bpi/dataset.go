package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
)

func datasetCommand() *cli.Command {
	return &cli.Command{
		Name:  "dataset",
		Usage: "add data and look at it",
		Subcommands: []*cli.Command{
			{
				Name: "add", Usage: "upload a file or a folder and publish it under a name", ArgsUsage: "FILE|FOLDER",
				Description: "Returns once as many peers hold the bytes as asked for. Whoever runs a job on the data reads it:\n" +
					"do not add what the peers of this network may not see.",
				Flags: append([]cli.Flag{
					&cli.StringFlag{Name: "name", Usage: "`NAME` of the dataset (default: the file's)"},
					&cli.StringFlag{Name: "format", Usage: "csv, parquet or ndjson (default: by the file's name)"},
					&cli.StringSliceFlag{Name: "option", Usage: "of the format, as `delim=;` or header=false; may be given more than once"},
				}, publishFlags("dataset")...),
				Action: action(datasetAdd),
			},
			{Name: "list", Usage: "list datasets", Action: action(datasetList)},
			{Name: "show", Usage: "show a dataset's schema, files and holders", ArgsUsage: "NAME[@VERSION]", Action: action(datasetShow)},
			{
				Name: "get", Usage: "download a dataset's files", ArgsUsage: "NAME[@VERSION]",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "to", Value: ".", Usage: "`FOLDER` to put them in"}},
				Action: action(datasetGet),
			},
			removeCommand("dataset", enc.CatalogDatasets, func(ctx context.Context, n *conn, ref string) (api.Publication, []uint64, error) {
				d, err := n.Dataset(ctx, ref)
				return d.Publication, d.Versions, err
			}),
		},
	}
}

func datasetList(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		list, err := n.Datasets(ctx)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, list)
		}
		t := newTable(e.out, "NAME", "VERSION", "ROWS", "SIZE", "FILES", "HOLDERS", "OWNER", "MANIFEST")
		for _, d := range list {
			t.row(d.Name, d.Version, d.Rows, size(d.Bytes), d.Files, fmt.Sprintf("%d/%d", len(d.Holders), d.Wanted), d.Owner.Short(), short(d.Manifest))
		}
		return t.flush()
	})
}

func datasetShow(c *cli.Context, e *env) error {
	ref, err := argument(c, "dataset")
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Minute)
		defer cancel()
		d, err := n.Dataset(ctx, ref)
		if err != nil {
			return err
		}
		if e.json {
			return writeJSON(e.out, d)
		}
		t := newTable(e.out)
		t.row("dataset", fmt.Sprintf("%s@%d", d.Name, d.Version))
		t.row("manifest", "sha256:"+d.Manifest.String())
		t.row("owner", d.Owner)
		t.row("published", fmt.Sprintf("%s, block %d", moment(d.TimeMs), d.Height))
		t.row("content", fmt.Sprintf("%s, %d rows, %s in %s", d.Format, d.Rows, size(d.Bytes), count(d.Files, "file")))
		for i, h := range d.Holders {
			t.row(map[bool]string{true: fmt.Sprintf("held by (%d wanted)", d.Wanted)}[i == 0], h)
		}
		if err := t.flush(); err != nil {
			return err
		}
		fmt.Fprintln(e.out)
		t = newTable(e.out, "COLUMN", "TYPE")
		for _, col := range d.Columns {
			t.row(col.Name, col.Type)
		}
		if err := t.flush(); err != nil {
			return err
		}
		fmt.Fprintln(e.out)
		t = newTable(e.out, "FILE", "SIZE", "ROWS", "SHA-256")
		for _, f := range d.FileList {
			t.row(f.Path, size(f.Bytes), f.Rows, f.Digest)
		}
		return t.flush()
	})
}

func datasetGet(c *cli.Context, e *env) error {
	ref, err := argument(c, "dataset")
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Hour)
		defer cancel()
		d, err := n.Dataset(ctx, ref)
		if err != nil {
			return err
		}
		if digest.Of(d.Encoded) != d.Manifest {
			return fail(exitInvalid, "dataset %s: %s sent a manifest with another digest; ask another peer with --peer", ref, n.where)
		}
		m, err := analytics.DecodeManifest(d.Encoded)
		if err != nil {
			return fail(exitInvalid, "dataset %s: %w", ref, err)
		}
		for _, f := range m.Files { // paths were checked to be clean and relative
			to := filepath.Join(c.String("to"), filepath.FromSlash(f.Path))
			if err := download(ctx, e, n, f.Digest, f.Bytes, to); err != nil {
				return err
			}
			fmt.Fprintln(e.out, to)
		}
		return nil
	})
}

// download fetches a blob to a new file, which gets its name only once its bytes are verified.
func download(ctx context.Context, e *env, n *conn, d digest.Digest, bytes uint64, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s is there already and is not overwritten; choose another folder with --to", to)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	body, _, err := n.GetBlob(ctx, d)
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.CreateTemp(filepath.Dir(to), ".bpi-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	bar := e.progress("fetching "+filepath.Base(to), bytes)
	got, err := io.Copy(io.MultiWriter(f, h), bar.reader(io.LimitReader(body, int64(bytes)+1)))
	bar.done()
	if err != nil {
		return fmt.Errorf("fetch %s: %w", to, err)
	}
	var sum digest.Digest
	h.Sum(sum[:0])
	if sum != d || uint64(got) != bytes {
		return fail(exitInvalid, "fetch %s: the bytes that %s sent are not those of the manifest; ask another peer with --peer", to, n.where)
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}
