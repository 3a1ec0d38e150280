package blob

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/metanode/metanode/internal/digest"
)

func TestPeersGetNoBlockWhoseFileHasChanged(t *testing.T) {
	s := openStore(t, t.TempDir(), 0)
	for name, n := range map[string]int{"a large block, noted when it was written": chunk, "a small one": 100} {
		b := noise(byte(n>>8), n)
		c := put(t, s, b).CID
		for range 2 {
			got, err := s.Blocks().Get(t.Context(), c)
			if err != nil || !bytes.Equal(got.RawData(), b) {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if as, ok := stampOf(s.disk.path(c)); !ok || !s.disk.sound.has(hashOf(c), as) {
			t.Errorf("%s: it would be compared again", name)
		}
		spoil(t, s, c)
		if _, err := s.Blocks().Get(t.Context(), c); !ipld.IsNotFound(err) {
			t.Errorf("%s, spoiled: %v", name, err)
		}
		if _, err := s.Blocks().Get(t.Context(), c); !ipld.IsNotFound(err) {
			t.Errorf("%s, removed: %v", name, err)
		}
	}
}

func TestSoundBlocksAreBelievedForMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSound()
		h := digest.Of([]byte("x"))
		as := stamp{1, 2, 3}
		if s.has(h, as) {
			t.Error("a block that nobody compared is sound")
		}
		s.note(h, as)
		if !s.has(h, as) || s.has(h, stamp{1, 2, 4}) {
			t.Error("a block is sound with its stamp, and no other")
		}
		time.Sleep(soundTime - time.Second)
		if !s.has(h, as) {
			t.Error("forgotten too early")
		}
		time.Sleep(soundTime + 2*time.Second)
		if s.has(h, as) {
			t.Errorf("still believed after %s", 2*soundTime)
		}
	})
}

func TestSoundBlocksAreBounded(t *testing.T) {
	s := newSound()
	for i := range 5 * maxSound {
		s.note(digest.Of([]byte{byte(i), byte(i >> 8), byte(i >> 16)}), stamp{})
		if n := len(s.newer) + len(s.older); n > 2*maxSound {
			t.Fatalf("%d are remembered", n)
		}
	}
}
