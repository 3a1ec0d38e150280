package blob

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/metanode/metanode/internal/digest"
)

// served is the blocks as other peers get them, who compare what they get themselves. A block that was compared or written
// lately, and whose file has not changed since, is not compared again: within minutes the bytes come from memory, not from
// where they could have rotted. Everything else is as on disk.
type served struct{ disk }

const (
	soundTime = 5 * time.Minute // a block is believed for at most twice that
	maxSound  = 1 << 14         // blocks remembered for each half of it
)

// Get implements blockstore.Blockstore.
func (s served) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if CheckCID(c) != nil {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	now, ok := stampOf(s.path(c))
	if !ok || !s.sound.has(hashOf(c), now) {
		b, err := s.disk.Get(ctx, c)
		if err == nil && ok {
			s.sound.note(hashOf(c), now)
		}
		return b, err
	}
	b, err := s.ds.Get(ctx, key(c))
	if errors.Is(err, datastore.ErrNotFound) {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid(b, c)
}

// stamp tells a block's file from any other that was ever in its place.
type stamp struct {
	inode        uint64
	size, change int64
}

func stampOf(path string) (stamp, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, false
	}
	return stampIn(info)
}

func stampIn(info os.FileInfo) (stamp, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, false
	}
	return stamp{s.Ino, s.Size, s.Mtim.Nano()}, true
}

// sound remembers which blocks were compared with their names, or written by those who had compared them, and when: in
// one of two halves of the time. It is safe for concurrent use.
type sound struct {
	mu     sync.Mutex
	newer  map[digest.Digest]stamp
	older  map[digest.Digest]stamp
	turned time.Time
}

func newSound() *sound { return &sound{newer: map[digest.Digest]stamp{}} }

func (s *sound) note(h digest.Digest, as stamp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(time.Now())
	s.newer[h] = as
}

func (s *sound) has(h digest.Digest, as stamp) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(time.Now())
	have, ok := s.newer[h]
	if !ok {
		have, ok = s.older[h]
	}
	return ok && have == as
}

// turn begins another half when one is full or over. The caller holds the lock.
func (s *sound) turn(now time.Time) {
	past := now.Sub(s.turned)
	if past < soundTime && len(s.newer) < maxSound {
		return
	}
	s.older, s.newer, s.turned = s.newer, map[digest.Digest]stamp{}, now
	if past >= 2*soundTime {
		s.older = nil
	}
}
