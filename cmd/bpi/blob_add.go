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
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/p2p/blob"
)

func blobAdd(c *cli.Context, e *env) error {
	at, err := argument(c, "file or folder")
	if err != nil {
		return err
	}
	if _, err := os.Stat(at); err != nil {
		return fmt.Errorf("blob: %w; give a file or a folder", err)
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, 12*time.Hour)
		defer cancel()
		if _, err := n.Status(ctx); err != nil { // before minutes of work
			return err
		}
		// The CAR file that is sent is as long whatever the CID in its header is.
		var length counter
		built, err := writeTree(ctx, e, "reading "+filepath.Base(at), at, blob.Of(digest.Digest{}), &length, 0)
		if err != nil {
			return err
		}
		d, err := n.DAG(ctx, built.Root.String())
		switch {
		case err == nil && d.Whole:
		case err == nil || errors.Is(err, &api.Error{Code: api.CodeNotFound}):
			if d, err = sendTree(ctx, e, n, at, built, uint64(length)); err != nil {
				return err
			}
		default:
			return err
		}
		if d, err = pinBlob(ctx, e, n, d); err != nil {
			return err
		}
		return showBlobs(e, c.Bool("id-only"), d)
	})
}

// writeTree writes a file or folder as a CAR file.
func writeTree(ctx context.Context, e *env, what, at string, root blob.CID, w io.Writer, total uint64) (blob.Built, error) {
	bar := e.progress(what, total)
	defer bar.done()
	car, err := blob.NewCARWriter(w, root)
	if err != nil {
		return blob.Built{}, err
	}
	return blob.BuildTree(ctx, at, car.Put, bar.add)
}

// sendTree reads a file or folder once more, to the node. One that changed in between is refused.
func sendTree(ctx context.Context, e *env, n *conn, at string, built blob.Built, length uint64) (api.DAG, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r, w := io.Pipe()
	type result struct {
		built blob.Built
		err   error
	}
	done := make(chan result, 1)
	go func() {
		again, err := writeTree(ctx, e, "sending "+filepath.Base(at), at, built.Root, w, built.Bytes)
		w.CloseWithError(err) // nil: the end
		done <- result{again, err}
	}()
	list, err := n.ImportDAGs(ctx, r, length)
	r.CloseWithError(errNotTaken) // ends the reading if the node took less than all
	again := <-done
	switch {
	case again.err == nil && again.built != built:
		return api.DAG{}, fmt.Errorf("%s changed while it was added; add it again when nothing writes to it", at)
	case again.err != nil && !errors.Is(again.err, errNotTaken):
		return api.DAG{}, again.err
	case err != nil:
		return api.DAG{}, fmt.Errorf("send %s: %w", at, err)
	case len(list) != 1 || list[0].CID != built.Root.String():
		return api.DAG{}, fail(exitInvalid, "%s answers with another CID than %s", n.where, built.Root)
	}
	return list[0], nil
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
