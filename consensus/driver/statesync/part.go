package statesync

import (
	"fmt"
	"slices"

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
	set  set
	snap *snapshot.Snapshot
}

// resume opens the part of a height and id, or gives nil if there is none that can be gone on with.
func (f *Folder) resume(h consensus.Height, id digest.Digest) *part {
	at := set{h, id, whoGot}
	s, err := f.readHead(at)
	if err != nil {
		return nil
	}
	return &part{f, at, s}
}

// begin starts to fetch a snapshot, in place of all others that were begun.
func (f *Folder) begin(s *snapshot.Snapshot) (*part, error) {
	if err := f.forget(); err != nil {
		return nil, err
	}
	p := &part{f, set{s.Height(), s.ID(), whoGot}, s}
	if err := f.write(p.set, headFile, s.Head().Encode()); err != nil {
		return nil, fmt.Errorf("begin to fetch a snapshot: %w", err)
	}
	return p, nil
}

// forget removes all parts that are no snapshots yet.
func (f *Folder) forget() error {
	sets, err := f.sets()
	if err != nil {
		return fmt.Errorf("remove parts of snapshots: %w", err)
	}
	for at, files := range sets {
		if at.origin != whoGot || slices.Contains(files, wholeMark) {
			continue
		}
		if err := f.remove(at); err != nil {
			return fmt.Errorf("remove parts of snapshots: %w", err)
		}
	}
	return nil
}

// missing lists the chunks that are not here, or not whole.
func (p *part) missing() []int {
	var list []int
	for i := range p.snap.Chunks() {
		raw, err := p.f.read(p.set, chunkFile(i), snapshot.MaxChunkBytes)
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
	if err := p.f.write(p.set, chunkFile(i), raw); err != nil {
		return fmt.Errorf("keep chunk %d of block %d: %w", i, p.snap.Height(), err)
	}
	return nil
}

// finish makes the part a snapshot of the folder.
func (p *part) finish() error {
	if m := p.missing(); len(m) > 0 {
		return fmt.Errorf("%d chunks of the snapshot of block %d are missing", len(m), p.snap.Height())
	}
	if err := p.f.add(p.set, p.snap); err != nil {
		return err
	}
	return p.f.forget()
}
