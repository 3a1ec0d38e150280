package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	blocks "github.com/ipfs/go-block-format"

	"github.com/metanode/metanode/internal/digest"
)

// Bounds of a follower.
const (
	heldBytes  = 32 << 20 // of blocks that came before their turn; more are read from the disk when it is theirs
	readAtOnce = 16       // blocks read from the disk between two batches; the rest waits for the end
)

// follower finds the digest of a file while its blocks come: as far as they are here in order. So the bytes are hashed
// while they are in memory, and while others are on their way, and not after the last one has come. It belongs to a Writer
// and is used by the same goroutine.
type follower struct {
	w    *Writer
	top  CID
	file *fileReader // nil until the top is here
	hash hash.Hash
	done uint64 // bytes that went into hash
	here uint64 // bytes of the blocks that came
	held map[digest.Digest]blocks.Block
	size int // of what is held
	read int // blocks that may still be read from the disk now
	ends bool
	err  error // why there will be no digest
}

// errNotYet is a source's answer for a block that may come.
var errNotYet = errors.New("not here yet")

// Follow says which file is about to be written, so that its digest is found on the way. If it is none, or does not come,
// nothing is lost.
func (w *Writer) Follow(c CID) {
	w.follow = &follower{w: w, top: c, hash: sha256.New(), held: map[digest.Digest]blocks.Block{}}
}

// take hears of blocks that have come, and goes on as far as it can.
func (f *follower) take(ctx context.Context, list []blocks.Block) {
	if f.err != nil || f.ends {
		return
	}
	for _, b := range list {
		h, n := hashOf(b.Cid()), len(b.RawData())
		f.here += uint64(n)
		if f.held[h] == nil && f.size+n <= heldBytes {
			f.held[h] = b
			f.size += n
		}
	}
	f.read = readAtOnce
	f.err = f.advance(ctx, f.source)
	if f.err != nil {
		clear(f.held)
	}
}

// source gives a block if it is here. A block that was written by this Writer or looked at by it is on the disk.
func (f *follower) source(ctx context.Context, c CID) (blocks.Block, error) {
	h := hashOf(c)
	if b := f.held[h]; b != nil {
		delete(f.held, h)
		f.size -= len(b.RawData())
		return blocks.NewBlockWithCid(b.RawData(), c) // it may be named as another kind of block here
	}
	if !f.w.own[mark(h)] || f.read == 0 {
		return nil, errNotYet
	}
	f.read--
	return f.w.s.disk.Get(ctx, c)
}

// advance hashes what is here in order. A file that repeats itself beyond reason is left to the end, which refuses it.
func (f *follower) advance(ctx context.Context, from Source) error {
	if f.file == nil {
		r, _, err := readFile(ctx, f.top, from)
		if errors.Is(err, errNotYet) {
			return nil
		}
		if err != nil {
			return err
		}
		f.file = r
	}
	f.file.ctx, f.file.from = ctx, from
	for {
		f.hash.Write(f.file.buf)
		f.done += uint64(len(f.file.buf))
		f.file.buf = nil
		if beyondReason(f.done, f.here) {
			return nil
		}
		switch err := f.file.step(); {
		case errors.Is(err, errNotYet):
			return nil
		case err == io.EOF:
			f.ends = true
			return nil
		case err != nil:
			return err
		}
	}
}

// finish goes through what is left, from the disk, and gives the digest; false if it has to be found by reading the whole.
func (f *follower) finish(ctx context.Context, here uint64) (digest.Digest, bool) {
	if f.err != nil || f.file == nil {
		return digest.Digest{}, false
	}
	f.here = here
	if !f.ends {
		f.read = -1 // as many as there are
		f.err = f.advance(ctx, f.source)
	}
	if f.err != nil || !f.ends {
		return digest.Digest{}, false
	}
	return digest.Digest(f.hash.Sum(nil)), true
}

// beyondReason reports whether a file is so much larger than its blocks that nobody has to read it.
func beyondReason(file, blocks uint64) bool { return file > 16*blocks+64<<20 }
