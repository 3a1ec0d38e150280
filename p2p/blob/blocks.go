package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	blockstore "github.com/ipfs/boxo/blockstore"
	dshelp "github.com/ipfs/boxo/datastore/dshelp"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
	flatfs "github.com/ipfs/go-ds-flatfs"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
	"golang.org/x/sys/unix"

	"github.com/metanode/metanode/internal/digest"
)

// disk is the blocks on disk, a file each, named by hash. What is read is compared with its name: a block that rotted, or
// was torn by a power cut before it was synced, is removed and counts as absent, so that it is fetched again rather than
// passed on. It is safe for concurrent use.
type disk struct {
	ds    *flatfs.Datastore
	dir   string
	sound *sound
}

var _ blockstore.Blockstore = disk{}

// openDisk opens the blocks below dir; what was on its way in when the program ended is swept.
func openDisk(dir string) (disk, error) {
	path := filepath.Join(dir, "blocks")
	// The sum of sizes that was written down is older than the blocks if the program was killed: it is taken anew.
	if err := os.Remove(filepath.Join(path, flatfs.DiskUsageFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return disk{}, err
	}
	ds, err := flatfs.CreateOrOpen(path, flatfs.NextToLast(shardKeyLength), false)
	if err != nil {
		return disk{}, err
	}
	return disk{ds, path, newSound()}, nil
}

func (d disk) close() error { return d.ds.Close() }

// bytes is the room that the blocks take.
func (d disk) bytes() uint64 {
	n, err := d.ds.DiskUsage(context.Background())
	if err != nil {
		return 0 // it is closed
	}
	return n
}

func key(c CID) datastore.Key { return dshelp.MultihashToDsKey(c.Hash()) }

// Has implements blockstore.Blockstore.
func (d disk) Has(ctx context.Context, c cid.Cid) (bool, error) { return d.ds.Has(ctx, key(c)) }

// GetSize implements blockstore.Blockstore.
func (d disk) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	n, err := d.ds.GetSize(ctx, key(c))
	if errors.Is(err, datastore.ErrNotFound) {
		return -1, ipld.ErrNotFound{Cid: c}
	}
	return n, err
}

// Get implements blockstore.Blockstore.
func (d disk) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if CheckCID(c) != nil {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	b, err := d.ds.Get(ctx, key(c))
	if errors.Is(err, datastore.ErrNotFound) {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	if err != nil {
		return nil, fmt.Errorf("read block %s: %w", c, err)
	}
	if digest.Of(b) != hashOf(c) {
		if err := d.ds.Delete(ctx, key(c)); err != nil {
			return nil, fmt.Errorf("remove block %s, which rotted: %w", c, err)
		}
		return nil, ipld.ErrNotFound{Cid: c}
	}
	return blocks.NewBlockWithCid(b, c)
}

// Put implements blockstore.Blockstore.
func (d disk) Put(ctx context.Context, b blocks.Block) error {
	return d.PutMany(ctx, []blocks.Block{b})
}

// PutMany implements blockstore.Blockstore. The blocks are durable once sync says so.
func (d disk) PutMany(ctx context.Context, fresh []blocks.Block) error {
	return d.putMany(ctx, fresh, func() {})
}

// putMany is PutMany with something to do while several blocks are written. They are written one after the other: files
// written at once cost the kernel twice the processor time, which the blocks' transport needs.
func (d disk) putMany(ctx context.Context, fresh []blocks.Block, meanwhile func()) error {
	if len(fresh) < 2 {
		meanwhile()
	} else {
		done := make(chan struct{})
		go func() {
			defer close(done)
			meanwhile()
		}()
		defer func() { <-done }()
	}
	for _, b := range fresh {
		if err := d.ds.Put(ctx, key(b.Cid()), b.RawData()); err != nil {
			return diskError("store block", err)
		}
		d.hasten(b)
	}
	return nil
}

// hasten lets the kernel begin to write a block to the disk, so that it has little left to do when sync waits for it, and
// notes that it is sound. It is of use alone: nothing depends on it.
func (d disk) hasten(b blocks.Block) {
	if len(b.RawData()) < hastenBytes {
		return
	}
	f, err := os.Open(d.path(b.Cid()))
	if err != nil {
		return
	}
	defer f.Close()
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	if info, err := f.Stat(); err == nil {
		if as, ok := stampIn(info); ok {
			d.sound.note(hashOf(b.Cid()), as)
		}
	}
}

// hastenBytes is the size from which on a block is worth the three calls.
const hastenBytes = 256 << 10

// shardKeyLength is the part of a block's name by which blocks are spread over folders.
const shardKeyLength = 2

// syncAlone is the number of blocks up to which each is synced by itself; beyond it the whole file system is, at once.
const syncAlone = 16

// sync makes blocks durable; nil means all.
func (d disk) sync(list []CID) error {
	if list == nil {
		f, err := os.Open(d.dir)
		if err != nil {
			return diskError("sync blocks", err)
		}
		defer f.Close()
		if err := unix.Syncfs(int(f.Fd())); err != nil {
			return diskError("sync blocks", err)
		}
		return nil
	}
	folders := map[string]bool{d.dir: true} // a folder may be new itself
	for _, c := range list {
		path := d.path(c)
		if err := syncPath(path); err != nil {
			return diskError("sync block", err)
		}
		folders[filepath.Dir(path)] = true
	}
	for path := range folders {
		if err := syncPath(path); err != nil {
			return diskError("sync blocks", err)
		}
	}
	return nil
}

// path is the file of a block, as flatfs names it.
func (d disk) path(c CID) string {
	name := strings.TrimPrefix(key(c).String(), "/")
	return filepath.Join(d.dir, name[len(name)-shardKeyLength-1:len(name)-1], name+".data")
}

// DeleteBlock implements blockstore.Blockstore.
func (d disk) DeleteBlock(ctx context.Context, c cid.Cid) error { return d.ds.Delete(ctx, key(c)) }

// AllKeysChan implements blockstore.Blockstore.
func (d disk) AllKeysChan(ctx context.Context) (<-chan cid.Cid, error) {
	out := make(chan cid.Cid, 64)
	go func() {
		defer close(out)
		_ = d.each(ctx, func(h digest.Digest) error { // a list cut short is what the interface allows
			select {
			case out <- Of(h):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return out, nil
}

// each calls f with the hash of every block, in no order, until it errs.
func (d disk) each(ctx context.Context, f func(h digest.Digest) error) error {
	list, err := d.ds.Query(ctx, query.Query{KeysOnly: true})
	if err != nil {
		return err
	}
	defer list.Close()
	for r := range list.Next() {
		if r.Error != nil {
			return r.Error
		}
		raw, err := dshelp.DsKeyToMultihash(datastore.RawKey(r.Key))
		if err != nil {
			continue // no block: someone else's file
		}
		h, err := mh.Decode(raw)
		if err != nil || h.Code != mh.SHA2_256 || h.Length != digest.Size {
			continue
		}
		if err := f(digest.Digest(h.Digest)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// isAbsent reports whether an error says that a block is not here.
func isAbsent(err error) bool { return ipld.IsNotFound(err) }

// older names what an earlier layout of this folder had, if it has.
func older(names []string) string {
	for _, n := range names {
		if n == "pins" || n == "partial" || n == "blobs" || len(n) == 2 && strings.Trim(n, "0123456789abcdef") == "" {
			return n
		}
	}
	return ""
}
