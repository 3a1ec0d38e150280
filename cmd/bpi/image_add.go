package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/enc"
)

// maxNotes bounds what is told of things that were left out.
const maxNotes = 20

func imageAdd(c *cli.Context, e *env) error {
	dir, err := argument(c, "root folder")
	if err != nil {
		return err
	}
	name := c.String("name")
	if name == "" {
		return usageError(errors.New("bpi image add: no name; give one with --name"))
	}
	if err := enc.CheckName("image", name); err != nil {
		return usageError(err)
	}
	key, err := e.clientKey()
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Hour)
		defer cancel()
		if _, _, err := n.chainNow(ctx); err != nil { // before a minute's work
			return err
		}
		// The folder is read twice: once for the archive's name, which the peer is told first, and once to send it. No copy
		// is made here.
		notes := &noteList{e: e}
		packed, err := native.PackRoot(ctx, dir, io.Discard, notes.add)
		if err != nil {
			return err
		}
		notes.end()
		if packed.Bytes > enc.MaxImageBytes {
			return fmt.Errorf("%s makes an image of %s: over the limit of %s; leave out what no program needs", dir, size(packed.Bytes), size(enc.MaxImageBytes))
		}
		e.say("packed %s: %d entries, %s, sha256:%s", dir, packed.Entries, size(packed.Bytes), packed.Digest.Short())
		if err := sendImage(ctx, e, n, dir, packed); err != nil {
			return err
		}
		err = n.publish(ctx, e, key, enc.KindPublishImage, &enc.PublishImage{
			Name: name, Image: packed.Digest, Bytes: packed.Bytes, Holders: uint32(c.Uint("holders")),
		}, "published "+name)
		if err != nil {
			return err
		}
		ref := name + "@sha256:" + packed.Digest.String()
		var d api.ImageDetail
		err = awaitHolders(ctx, e, "image", ref, c.Bool("detach"), func() (p api.Publication, err error) {
			d, err = n.Image(ctx, ref)
			return d.Publication, err
		})
		switch {
		case err != nil:
			return err
		case c.Bool("id-only"):
			fmt.Fprintln(e.out, ref)
			return nil
		case e.json:
			return writeJSON(e.out, d)
		}
		return imageTable(e, d.Image)
	})
}

// sendImage packs the folder once more, to the peer, unless it has the archive.
func sendImage(ctx context.Context, e *env, n *conn, dir string, packed native.Packed) error {
	if have, err := n.StatBlob(ctx, packed.Digest); err == nil && have == packed.Bytes {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r, w := io.Pipe()
	type result struct {
		packed native.Packed
		err    error
	}
	done := make(chan result, 1)
	go func() {
		p, err := native.PackRoot(ctx, dir, w, func(string) {})
		w.CloseWithError(err) // nil: the end
		done <- result{p, err}
	}()
	bar := e.progress("sending the image", packed.Bytes)
	_, err := n.PutBlob(ctx, packed.Digest, packed.Bytes, bar.reader(r))
	bar.done()
	r.CloseWithError(errNotTaken) // ends the packing if the peer took less than all
	again := <-done
	switch {
	case again.err == nil && again.packed != packed:
		return fmt.Errorf("%s changed while it was added; nothing is published: add it again when nothing writes to it", dir)
	case again.err != nil && !errors.Is(again.err, errNotTaken):
		return again.err
	case err != nil:
		return fmt.Errorf("upload the image: %w", err)
	}
	e.say("uploaded %s", size(packed.Bytes))
	return nil
}

var errNotTaken = errors.New("the peer takes no more")

// noteList tells of the first things that were left out, and of the number of the others.
type noteList struct {
	e    *env
	told int
	more int
}

func (l *noteList) add(note string) {
	if l.told == maxNotes {
		l.more++
		return
	}
	l.told++
	l.e.say("note: %s", clean(note))
}

func (l *noteList) end() {
	if l.more > 0 {
		l.e.say("note: and %s of the kind", fmt.Sprint(l.more, " more"))
	}
}
