package blob

import (
	"slices"
	"strings"

	"github.com/metanode/metanode/internal/digest"
)

// UnpinAll takes one reason back from every blob that has it.
func (s *Store) UnpinAll(reason string) error {
	s.mu.Lock()
	var list []digest.Digest
	for d := range s.pinned[reason] {
		list = append(list, d)
	}
	s.mu.Unlock()
	slices.SortFunc(list, digest.Digest.Compare)
	for _, d := range list {
		if err := s.Unpin(d, reason); err != nil {
			return err
		}
	}
	return nil
}

// Reasons lists the reasons that begin with prefix, in order, each once.
func (s *Store) Reasons(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{}
	for r := range s.pinned {
		if strings.HasPrefix(r, prefix) {
			out = append(out, r)
		}
	}
	slices.Sort(out)
	return out
}
