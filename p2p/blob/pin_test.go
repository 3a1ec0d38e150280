package blob

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

func TestPinnedListsWhatWasUsedLastFirst(t *testing.T) {
	s, err := Open(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var want []CID
	for i := range byte(3) {
		r, err := s.Put(t.Context(), bytes.NewReader([]byte{i}), 1, "user")
		if err != nil {
			t.Fatal(err)
		}
		s.roots[r.CID].used = time.Unix(int64(i), 0)
		want = append([]CID{r.CID}, want...)
	}
	if _, err := s.Put(t.Context(), bytes.NewReader([]byte("other")), 5, "job/1"); err != nil {
		t.Fatal(err)
	}
	equal := func(a, b CID) bool { return a.Equals(b) }
	if got := s.Pinned("user", 9); !slices.EqualFunc(got, want, equal) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := s.Pinned("user", 2); !slices.EqualFunc(got, want[:2], equal) {
		t.Errorf("of two: %v, want %v", got, want[:2])
	}
	if err := s.Unpin(want[0], "user"); err != nil {
		t.Fatal(err)
	}
	if got := s.Pinned("user", 9); !slices.EqualFunc(got, want[1:], equal) {
		t.Errorf("after one was unpinned: %v, want %v", got, want[1:])
	}
	if got := s.Pinned("nobody", 9); len(got) != 0 {
		t.Errorf("for another reason: %v", got)
	}
}
