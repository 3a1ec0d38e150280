package snapshot

import (
	"fmt"
	"iter"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/trie"
)

// MaxChunks bounds the chunks of a snapshot: each has a part at least.
const MaxChunks = trie.MaxParts

// Chunk decodes chunk i, in range, and checks it against the head: whatever it gives is under the state root. Every error
// wraps ErrInvalid.
func (s *Snapshot) Chunk(i int, raw []byte) ([]trie.Entry, error) {
	if len(raw) > MaxChunkBytes {
		return nil, fmt.Errorf("%w: chunk %d of %d bytes: over the limit of %d", ErrInvalid, i, len(raw), MaxChunkBytes)
	}
	var entries []trie.Entry
	if err := canon.Unmarshal(raw, &entries); err != nil {
		return nil, fmt.Errorf("%w: chunk %d: %w", ErrInvalid, i, err)
	}
	if err := s.head.State.CheckParts(s.runs[i][0], s.runs[i][1], entries); err != nil {
		return nil, fmt.Errorf("%w: chunk %d: %w", ErrInvalid, i, err)
	}
	return entries, nil
}

// Split encodes the chunks of all entries of the state, which come in key order. It yields an index and the chunk's bytes.
func (s *Snapshot) Split(entries iter.Seq2[[]byte, []byte]) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		next, stop := iter.Pull2(entries)
		defer stop()
		for i, run := range s.runs {
			var list []trie.Entry
			for _, p := range s.head.State.Parts[run[0]:run[1]] {
				for range p.Entries {
					k, v, ok := next()
					if !ok {
						break // an entry too few: the chunk does not check
					}
					list = append(list, trie.Entry{Key: k, Value: v})
				}
			}
			if !yield(i, canon.Must(list)) {
				return
			}
		}
	}
}
