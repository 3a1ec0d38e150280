package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
)

func blobAdd(c *cli.Context, e *env) error {
	at, err := argument(c, "file or folder")
	if err != nil {
		return err
	}
	info, err := os.Stat(at)
	if err != nil {
		return fmt.Errorf("blob: %w; give a file or a folder", err)
	}
	total := uint64(0) // of a folder it is not known before
	if info.Mode().IsRegular() {
		total = uint64(info.Size())
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, 12*time.Hour)
		defer cancel()
		if _, err := n.Status(ctx); err != nil { // before minutes of work
			return err
		}
		_, d, err := treeSource(at, total).send(ctx, e, n, nil)
		if err != nil {
			return err
		}
		if d, err = pinBlob(ctx, e, n, d); err != nil {
			return err
		}
		return showBlobs(e, c.Bool("id-only"), d)
	})
}

// pinBlob pins what was added. A node elsewhere does not let strangers pin.
func pinBlob(ctx context.Context, e *env, n *conn, d api.DAG) (api.DAG, error) {
	pinned, err := n.PinDAG(ctx, d.CID)
	if errors.Is(err, &api.Error{Code: api.CodeForbidden}) {
		e.say("note: it is not pinned there, and goes when that peer needs the room: pinning is for callers on the node's own machine")
		return d, nil
	}
	return pinned, err
}

// counter is a writer that counts.
type counter uint64

// Write implements io.Writer.
func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

func blobImport(c *cli.Context, e *env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	path := c.String("car")
	if path == "" {
		return usageError(errors.New("bpi blob import: no file; give one with --car FILE"))
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("blob: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("blob: %s is no file", path)
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, 12*time.Hour)
		defer cancel()
		bar := e.progress("sending "+filepath.Base(path), uint64(info.Size()))
		list, err := n.ImportDAGs(ctx, bar.reader(f), uint64(info.Size()))
		bar.done()
		if err != nil {
			return fmt.Errorf("import %s: %w", path, err)
		}
		for i := range list {
			if list[i], err = pinBlob(ctx, e, n, list[i]); err != nil {
				return err
			}
		}
		return showBlobs(e, c.Bool("id-only"), list...)
	})
}
