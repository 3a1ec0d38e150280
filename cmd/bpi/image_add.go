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
	"github.com/metanode/metanode/p2p/blob"
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
		packed, err := sendImage(ctx, e, n, dir)
		if err != nil {
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

// sendImage packs the folder, once for the archive's name and once to send what of it the peer lacks. No copy is made here.
func sendImage(ctx context.Context, e *env, n *conn, dir string) (native.Packed, error) {
	var packed native.Packed
	notes := &noteList{e: e}
	note := notes.add
	src := source{name: "the image", build: func(ctx context.Context, put blob.Put, read func(int)) (blob.Built, error) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		r, w := io.Pipe()
		type result struct {
			packed native.Packed
			err    error
		}
		done := make(chan result, 1)
		go func() {
			p, err := native.PackRoot(ctx, dir, w, note)
			w.CloseWithError(err) // nil: the end
			done <- result{p, err}
		}()
		top, err := blob.BuildFile(ctx, io.TeeReader(r, heard(read)), put)
		r.CloseWithError(errNotTaken) // ends the packing if the blocks were not taken
		p := <-done
		switch {
		case p.err != nil && !errors.Is(p.err, errNotTaken):
			return blob.Built{}, p.err
		case err != nil:
			return blob.Built{}, err
		}
		packed, note = p.packed, func(string) {} // what is left out is told once
		return blob.Built{Root: top.Cid(), Bytes: packed.Bytes, Files: 1}, nil
	}}
	s, d, err := src.send(ctx, e, n, func(s *survey) error {
		notes.end()
		if packed.Bytes > enc.MaxImageBytes {
			return fmt.Errorf("%s makes an image of %s: over the limit of %s; leave out what no program needs", dir, size(packed.Bytes), size(enc.MaxImageBytes))
		}
		e.say("packed %s: %d entries, %s, sha256:%s", dir, packed.Entries, size(packed.Bytes), packed.Digest.Short())
		return nil
	})
	switch {
	case errors.Is(err, blob.ErrChanged):
		return packed, fmt.Errorf("%s changed while it was added; nothing is published: add it again when nothing writes to it", dir)
	case err != nil:
		return packed, err
	case d.SHA256 != packed.Digest.String():
		return packed, fail(exitInvalid, "%s says that the image is another file than the one sent", n.where)
	case len(s.lacks) > 0:
		e.say("uploaded %s", size(packed.Bytes))
	}
	return packed, nil
}

// heard is a writer that tells how many bytes come.
type heard func(int)

// Write implements io.Writer.
func (t heard) Write(b []byte) (int, error) {
	t(len(b))
	return len(b), nil
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
