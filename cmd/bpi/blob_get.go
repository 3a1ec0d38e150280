package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/p2p/blob"
)

// fetchPoll is the pause between two questions after a fetch's progress.
const fetchPoll = 200 * time.Millisecond

// withBlob does something with the blob that the command's argument names, at a node.
func withBlob(c *cli.Context, e *env, do func(context.Context, *conn, blob.CID) error) error {
	text, err := argument(c, "CID")
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, 12*time.Hour)
		defer cancel()
		name, err := blobName(ctx, n, text)
		if err != nil {
			return err
		}
		return do(ctx, n, name)
	})
}

// blobHere makes a blob present at the node.
func blobHere(ctx context.Context, e *env, n *conn, c blob.CID) (api.DAG, error) {
	d, err := n.DAG(ctx, c.String())
	if err == nil && d.Whole || err != nil && !errors.Is(err, &api.Error{Code: api.CodeNotFound}) {
		return d, err
	}
	bar := e.progress("fetching "+c.String(), 0)
	defer bar.done()
	type result struct {
		d   api.DAG
		err error
	}
	done := make(chan result, 1)
	go func() {
		d, err := n.FetchDAG(ctx, c.String())
		done <- result{d, err}
	}()
	tick := time.NewTicker(fetchPoll)
	defer tick.Stop()
	for {
		select {
		case r := <-done:
			return r.d, r.err
		case <-tick.C:
			if d, err := n.DAG(ctx, c.String()); err == nil && !d.Whole {
				bar.set(d.Fetched, d.Total)
			}
		}
	}
}

func blobGet(c *cli.Context, e *env) error {
	return withBlob(c, e, func(ctx context.Context, n *conn, name blob.CID) error {
		to := c.String("out")
		if to == "" {
			to = name.String()
		}
		if info, err := os.Stat(to); err == nil && !info.IsDir() {
			return fmt.Errorf("%s is there already and is not overwritten; choose another place with -o", to)
		}
		d, err := blobHere(ctx, e, n, name)
		if err != nil {
			return err
		}
		if info, err := os.Stat(to); err == nil && info.IsDir() { // into it
			to = filepath.Join(to, name.String())
		}
		body, err := n.ExportDAG(ctx, name.String(), true)
		if err != nil {
			return err
		}
		defer body.Close()
		car, err := blob.NewCARReader(body)
		if err != nil {
			return fmt.Errorf("read what %s sends: %w", n.where, err)
		}
		bar := e.progress("writing "+filepath.Base(to), d.Bytes)
		err = blob.Extract(ctx, name, car.Source(), to, bar.add)
		bar.done()
		if errors.Is(err, blob.ErrMismatch) {
			return fail(exitInvalid, "get %s: %w; ask another peer with --peer", name, err)
		}
		if err != nil {
			return fmt.Errorf("get %s: %w", name, err)
		}
		fmt.Fprintln(e.out, to)
		return nil
	})
}

func blobExport(c *cli.Context, e *env) error {
	return withBlob(c, e, func(ctx context.Context, n *conn, name blob.CID) error {
		to := c.String("car")
		if to == "" {
			to = name.String() + ".car"
		}
		if _, err := os.Lstat(to); err == nil {
			return fmt.Errorf("%s is there already and is not overwritten; choose another file with --car", to)
		}
		d, err := blobHere(ctx, e, n, name)
		if err != nil {
			return err
		}
		if err := writeExport(ctx, e, n, name, d.Bytes, to); err != nil {
			return err
		}
		fmt.Fprintln(e.out, to)
		return nil
	})
}

// writeExport writes a CAR file, which gets its name once each of its blocks was compared with its own.
func writeExport(ctx context.Context, e *env, n *conn, c blob.CID, bytes uint64, to string) error {
	body, err := n.ExportDAG(ctx, c.String(), false)
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.CreateTemp(filepath.Dir(to), ".bpi-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once renamed
	defer f.Close()
	bar := e.progress("writing "+filepath.Base(to), bytes)
	defer bar.done()
	car, err := blob.NewCARReader(io.TeeReader(bar.reader(body), f))
	if err != nil {
		return fmt.Errorf("read what %s sends: %w", n.where, err)
	}
	if !car.Roots[0].Equals(c) {
		return fail(exitInvalid, "%s sends %s for %s", n.where, car.Roots[0], c)
	}
	for {
		if _, err = car.Next(); err != nil {
			break
		}
	}
	if err != io.EOF {
		return fmt.Errorf("export %s: %w", c, err)
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}
