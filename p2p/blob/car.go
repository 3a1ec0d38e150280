package blob

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	blocks "github.com/ipfs/go-block-format"
	ipld "github.com/ipfs/go-ipld-format"
	car "github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/storage"

	"github.com/metanode/metanode/internal/digest"
)

// MaxCARRoots bounds the DAGs that a CAR file may name.
const MaxCARRoots = 64

// maxCARHeader bounds the header of a CAR file.
const maxCARHeader = 8 << 10

// CARWriter writes a CAR file, version 1, block by block.
type CARWriter struct {
	w    io.Writer
	Sent uint64 // bytes of blocks
}

// NewCARWriter writes the header.
func NewCARWriter(w io.Writer, root CID) (*CARWriter, error) {
	if _, err := storage.NewWritable(onlyWriter{w}, []CID{root}, car.WriteAsCarV1(true)); err != nil {
		return nil, err
	}
	return &CARWriter{w: w}, nil
}

// onlyWriter hides what else a file can do, so that the header is all that is written.
type onlyWriter struct{ io.Writer }

// Put writes a block.
func (c *CARWriter) Put(_ context.Context, b ipld.Node) error { return c.write(b.Cid(), b.RawData()) }

func (c *CARWriter) write(name CID, raw []byte) error {
	id := name.Bytes()
	head := binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(id)), uint64(len(id)+len(raw)))
	if _, err := c.w.Write(append(head, id...)); err != nil {
		return err
	}
	_, err := c.w.Write(raw)
	c.Sent += uint64(len(raw))
	return err
}

// WriteCAR writes the DAG at c, depth first. A block that occurs again is written once, unless repeats: then a reader
// that walks along needs to keep none.
func WriteCAR(ctx context.Context, w io.Writer, c CID, from Source, repeats bool) error {
	out, err := NewCARWriter(w, c)
	if err != nil {
		return err
	}
	if repeats {
		return Unpack(ctx, c, func(ctx context.Context, c CID) (blocks.Block, error) {
			b, err := from(ctx, c)
			if err == nil {
				err = out.write(c, b.RawData())
			}
			return b, err
		}, discard{})
	}
	return writeOnce(ctx, out, c, from, map[digest.Digest]bool{}, 0)
}

func writeOnce(ctx context.Context, out *CARWriter, c CID, from Source, seen map[digest.Digest]bool, depth int) error {
	if h := hashOf(c); seen[h] {
		return nil
	} else {
		seen[h] = true
	}
	if depth > MaxDepth {
		return fmt.Errorf("%s: %w: more than %d layers", c, ErrDAG, MaxDepth)
	}
	b, err := from(ctx, c)
	if err != nil {
		return err
	}
	n, err := decodeNode(b)
	if err != nil {
		return err
	}
	if err := out.write(c, b.RawData()); err != nil {
		return err
	}
	for _, l := range n.links {
		if err := writeOnce(ctx, out, l.cid, from, seen, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// CARReader reads a CAR file of version 1 or 2. It is sure of each block that it gives.
type CARReader struct {
	Roots []CID
	r     *car.BlockReader
}

// NewCARReader reads the header.
func NewCARReader(r io.Reader) (*CARReader, error) {
	br, err := car.NewBlockReader(bufio.NewReaderSize(r, 256<<10), car.MaxAllowedHeaderSize(maxCARHeader), car.MaxAllowedSectionSize(MaxBlock+maxCIDBytes), car.WithTrustedCAR(true))
	if err != nil {
		return nil, fmt.Errorf("not a CAR file: %w", noEOF(err))
	}
	if len(br.Roots) == 0 || len(br.Roots) > MaxCARRoots {
		return nil, fmt.Errorf("a CAR file that names %d DAGs: want 1 to %d", len(br.Roots), MaxCARRoots)
	}
	for _, c := range br.Roots {
		if err := CheckCID(c); err != nil {
			return nil, err
		}
	}
	return &CARReader{Roots: br.Roots, r: br}, nil
}

// Next is the next block; io.EOF after the last one.
func (c *CARReader) Next() (blocks.Block, error) {
	b, err := c.r.Next()
	if err == io.EOF {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("the CAR file breaks off or is damaged: %w", err)
	}
	if err := CheckCID(b.Cid()); err != nil {
		return nil, err
	}
	if digest.Of(b.RawData()) != hashOf(b.Cid()) {
		return nil, fmt.Errorf("block %s of the CAR file: %w", b.Cid(), ErrMismatch)
	}
	return b, nil
}

// Source gives the blocks in the order of the file, which must be the one in which they are asked for.
func (c *CARReader) Source() Source {
	return func(_ context.Context, want CID) (blocks.Block, error) {
		b, err := c.Next()
		if err != nil {
			return nil, noEOF(err)
		}
		if !b.Cid().Equals(want) {
			return nil, fmt.Errorf("%w: block %s, where %s should be", ErrMismatch, b.Cid(), want)
		}
		return b, nil
	}
}

// Import stores the DAGs of a CAR file. Each must be whole. Errors: ErrNotFound for one that is not, ErrDAG, ErrMismatch,
// ErrQuota, ErrDiskFull, or r's own.
func (s *Store) Import(ctx context.Context, r io.Reader) ([]Root, error) {
	in, err := NewCARReader(ctxReader{ctx, r})
	if err != nil {
		return nil, err
	}
	w := s.Write()
	defer w.End()
	for {
		b, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		w.batch = append(w.batch, b)
		if w.bytes += len(b.RawData()); w.bytes >= batchBytes {
			if err := w.flush(ctx); err != nil {
				return nil, err
			}
		}
	}
	if err := w.flush(ctx); err != nil {
		return nil, err
	}
	roots := make([]Root, len(in.Roots))
	for i, c := range in.Roots {
		if roots[i], err = w.Complete(ctx, c); err != nil {
			return nil, err
		}
	}
	for _, r := range roots {
		if err := w.Keep(r); err != nil {
			return nil, err
		}
	}
	return roots, nil
}

// Export writes the DAG of a root as a CAR file. The root stays while it is written.
func (s *Store) Export(ctx context.Context, w io.Writer, c CID, repeats bool) error {
	release, ok := s.Hold(c)
	if !ok {
		return fmt.Errorf("%s: %w", c, ErrNotFound)
	}
	defer release()
	return WriteCAR(ctx, w, c, s.disk.Get, repeats)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
