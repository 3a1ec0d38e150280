package statesync

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/snapshot"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/trie"
)

// Entry is one entry of a state.
type Entry = trie.Entry

// part is a snapshot that is being fetched. Its chunks are written by several goroutines, each another one.
type part struct {
	f    *Folder
	dir  string
	snap *snapshot.Snapshot
}

// resume opens the part of a height and id, or gives nil if there is none that can be gone on with.
func (f *Folder) resume(h consensus.Height, id digest.Digest) *part {
	dir := f.pathOf(h, id) + endingPart
	s, err := f.readHead(dir)
	if err != nil || s.Height() != h || s.ID() != id {
		return nil
	}
	return &part{f, dir, s}
}

// begin starts to fetch a snapshot, in place of all others that were begun.
func (f *Folder) begin(s *snapshot.Snapshot) (*part, error) {
	if err := f.forget(nil); err != nil {
		return nil, err
	}
	p := &part{f, f.path(s) + endingPart, s}
	if err := f.disk.Mkdir(p.dir); err != nil {
		return nil, fmt.Errorf("begin to fetch a snapshot: %w", err)
	}
	if err := f.disk.Write(headPath(p.dir), s.Head().Encode()); err != nil {
		return nil, fmt.Errorf("begin to fetch a snapshot: %w", err)
	}
	return p, nil
}

// forget removes all parts but one.
func (f *Folder) forget(but *part) error {
	names, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("remove parts of snapshots: %w", err)
	}
	for _, e := range names {
		dir := filepath.Join(f.dir, e.Name())
		if !strings.HasSuffix(dir, endingPart) || but != nil && dir == but.dir {
			continue
		}
		if err := f.disk.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove parts of snapshots: %w", err)
		}
	}
	return nil
}

// missing lists the chunks that are not here, or not whole.
func (p *part) missing() []int {
	var list []int
	for i := range p.snap.Chunks() {
		raw, err := readBounded(chunkPath(p.dir, i), snapshot.MaxChunkBytes)
		if err == nil {
			_, err = p.snap.Chunk(i, raw)
		}
		if err != nil {
			list = append(list, i)
		}
	}
	return list
}

// put checks and keeps a chunk. An error that wraps snapshot.ErrInvalid is the giver's fault.
func (p *part) put(i int, raw []byte) error {
	if _, err := p.snap.Chunk(i, raw); err != nil {
		return err
	}
	if err := p.f.disk.Write(chunkPath(p.dir, i), raw); err != nil {
		return fmt.Errorf("keep chunk %d of block %d: %w", i, p.snap.Height(), err)
	}
	return nil
}

// finish makes the part a snapshot of the folder.
func (p *part) finish() error {
	if m := p.missing(); len(m) > 0 {
		return fmt.Errorf("%d chunks of the snapshot of block %d are missing", len(m), p.snap.Height())
	}
	if err := p.f.add(p.dir, p.snap); err != nil {
		return err
	}
	return p.f.forget(nil)
}
