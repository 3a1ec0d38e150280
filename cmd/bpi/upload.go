package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/p2p/blob"
)

// source is something to upload: it is read at least twice, and has to be the same each time.
type source struct {
	name  string // for people
	total uint64 // bytes; 0 if that is not known before
	build func(ctx context.Context, put blob.Put, read func(int)) (blob.Built, error)
}

// treeSource is a file or folder; total is as in source.
func treeSource(at string, total uint64) source {
	return source{filepath.Base(at), total, func(ctx context.Context, put blob.Put, read func(int)) (blob.Built, error) {
		return blob.BuildTree(ctx, at, put, read)
	}}
}

// survey is what the first reading of a file or folder finds: its CID, and which of its blocks the node lacks. The second
// reading sends those, so an upload that broke off goes on where it was.
type survey struct {
	blob.Built
	sum    digest.Digest // of the bytes of all files, one after another: of a file alone, its digest
	length uint64        // of the CAR file with the blocks that are lacking
	lacks  []uint64      // a bit for each block, in the order of the reading
	blocks int
}

// survey reads a source. Unless all is set it asks the node about every block.
func (src source) survey(ctx context.Context, e *env, n *conn, all bool) (*survey, error) {
	s := &survey{}
	var head counter
	if _, err := blob.NewCARWriter(&head, blob.Of(digest.Digest{})); err != nil { // as long whatever the CID in it is
		return nil, err
	}
	s.length = uint64(head)
	bar := e.progress("reading "+src.name, src.total)
	defer bar.done()
	h := sha256.New()
	var names []string
	var sizes []uint64
	ask := func() error {
		missing, err := n.MissingBlocks(ctx, names)
		if err != nil {
			return err
		}
		for _, i := range missing {
			s.mark(s.blocks-len(names)+i, sizes[i])
		}
		names, sizes = names[:0], sizes[:0]
		return nil
	}
	put := func(_ context.Context, b ipld.Node) error {
		if b.Cid().Type() == blob.Raw {
			h.Write(b.RawData()) // the blocks of a file come in its order
		}
		size := sectionBytes(b)
		s.blocks++
		if all {
			s.mark(s.blocks-1, size)
			return nil
		}
		names, sizes = append(names, b.Cid().String()), append(sizes, size)
		if len(names) < api.MaxBlocksAsked {
			return nil
		}
		return ask()
	}
	var err error
	if s.Built, err = src.build(ctx, put, bar.add); err != nil {
		return nil, err
	}
	if len(names) > 0 {
		if err := ask(); err != nil {
			return nil, err
		}
	}
	s.sum = digest.Digest(h.Sum(nil))
	return s, nil
}

// mark notes that the node lacks a block.
func (s *survey) mark(i int, bytes uint64) {
	for len(s.lacks) <= i/64 {
		s.lacks = append(s.lacks, 0)
	}
	s.lacks[i/64] |= 1 << (i % 64)
	s.length += bytes
}

func (s *survey) lacking(i int) bool {
	return i/64 < len(s.lacks) && s.lacks[i/64]&(1<<(i%64)) != 0
}

// sectionBytes is the room of a block in a CAR file.
func sectionBytes(b ipld.Node) uint64 {
	n := uint64(b.Cid().ByteLen() + len(b.RawData()))
	return uint64(len(binary.AppendUvarint(nil, n))) + n
}

// send makes a source present at the node: read once to name it, and once to send what the node lacks, if check finds
// nothing wrong with it; check may be nil.
func (src source) send(ctx context.Context, e *env, n *conn, check func(*survey) error) (*survey, api.DAG, error) {
	for all := false; ; all = true {
		s, err := src.survey(ctx, e, n, all)
		if err != nil {
			return nil, api.DAG{}, err
		}
		if check != nil && !all {
			if err := check(s); err != nil {
				return nil, api.DAG{}, err
			}
		}
		d, err := n.DAG(ctx, s.Root.String())
		if err == nil && d.Whole {
			return s, d, nil
		}
		if err != nil && !errors.Is(err, &api.Error{Code: api.CodeNotFound}) {
			return nil, d, err
		}
		d, err = s.send(ctx, e, n, src)
		if err == nil || all || !errors.Is(err, &api.Error{Code: api.CodeNotFound}) {
			return s, d, err
		}
		// A block was there when it was asked for, and was collected before the last one came.
	}
}

func (s *survey) send(ctx context.Context, e *env, n *conn, src source) (api.DAG, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r, w := io.Pipe()
	type result struct {
		built blob.Built
		err   error
	}
	done := make(chan result, 1)
	go func() {
		again, err := s.write(ctx, e, src, w)
		w.CloseWithError(err) // nil: the end
		done <- result{again, err}
	}()
	list, err := n.ImportDAGs(ctx, r, s.length)
	r.CloseWithError(errNotTaken) // ends the reading if the node took less than all
	again := <-done
	switch {
	case again.err == nil && again.built != s.Built:
		return api.DAG{}, fmt.Errorf("%s %w", src.name, blob.ErrChanged)
	case again.err != nil && !errors.Is(again.err, errNotTaken):
		return api.DAG{}, again.err
	case err != nil:
		return api.DAG{}, fmt.Errorf("send %s: %w", src.name, err)
	case len(list) != 1 || list[0].CID != s.Root.String():
		return api.DAG{}, fail(exitInvalid, "%s answers with another CID than %s", n.where, s.Root)
	}
	return list[0], nil
}

// write reads again, and writes what is lacking as a CAR file.
func (s *survey) write(ctx context.Context, e *env, src source, w io.Writer) (blob.Built, error) {
	bar := e.progress("sending "+src.name, s.Bytes)
	defer bar.done()
	car, err := blob.NewCARWriter(w, s.Root)
	if err != nil {
		return blob.Built{}, err
	}
	i := -1
	return src.build(ctx, func(ctx context.Context, b ipld.Node) error {
		if i++; !s.lacking(i) {
			return nil
		}
		return car.Put(ctx, b)
	}, bar.add)
}
