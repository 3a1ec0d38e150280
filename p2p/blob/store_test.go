package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

func openStore(t *testing.T, dir string, quota uint64) *Store {
	t.Helper()
	s, err := Open(dir, quota)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// noise is n bytes that are the same for the same seed and do not repeat.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func put(t *testing.T, s *Store, b []byte, reasons ...string) Root {
	t.Helper()
	r, err := s.Put(t.Context(), bytes.NewReader(b), uint64(len(b)), reasons...)
	if err != nil || r.Bytes != uint64(len(b)) || r.Digest != digest.Of(b) {
		t.Fatalf("Put = %+v, %v", r, err)
	}
	return r
}

func read(t *testing.T, s *Store, d digest.Digest) []byte {
	t.Helper()
	f, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blockCount counts blocks on disk.
func blockCount(t *testing.T, s *Store) int {
	t.Helper()
	n := 0
	if err := s.disk.each(t.Context(), func(digest.Digest) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFilesOfEverySizeComeBack(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, 0)
	var want [][]byte
	for _, n := range []int{0, 1, chunk - 1, chunk, chunk + 1, 3*chunk + 7} {
		b := noise(1, n)
		r := put(t, s, b)
		if n <= chunk && r.CID != Of(r.Digest) {
			t.Errorf("%d bytes: %s is not the block with its digest", n, r.CID)
		}
		want = append(want, b)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, 0)
	for _, b := range want {
		if !bytes.Equal(read(t, s, digest.Of(b)), b) {
			t.Errorf("%d bytes read otherwise", len(b))
		}
		path, err := s.Path(t.Context(), digest.Of(b))
		if err != nil {
			t.Fatal(err)
		}
		have, err := os.ReadFile(path)
		if i, _ := os.Stat(path); err != nil || !bytes.Equal(have, b) || i.Mode().Perm() != 0o444 {
			t.Errorf("%d bytes by path: %v", len(b), err)
		}
	}
	if _, err := s.Open(t.Context(), digest.Of([]byte("other"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("absent blob: %v", err)
	}
}

// TestNamesAreThoseOfTheProfile pins CIDs that other programs give the same bytes (unixfs-v1-2025).
func TestNamesAreThoseOfTheProfile(t *testing.T) {
	s := openStore(t, t.TempDir(), 0)
	for text, want := range map[string]string{
		"":            "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
		"hello world": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
	} {
		if r := put(t, s, []byte(text)); r.CID.String() != want {
			t.Errorf("%q is %s, want %s", text, r.CID, want)
		}
	}
}

func TestBadInputLeavesNothingBehind(t *testing.T) {
	s := openStore(t, t.TempDir(), 0)
	if _, err := s.Put(t.Context(), strings.NewReader("12345"), 4); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	broken := io.MultiReader(bytes.NewReader(noise(1, 9<<20)), iotest.ErrReader(errors.New("cable cut")))
	if _, err := s.Put(t.Context(), broken, 100<<20); err == nil || !strings.Contains(err.Error(), "cable cut") {
		t.Errorf("broken reader: %v", err)
	}
	want := digest.Of([]byte("right"))
	for _, text := range []string{"wrong", "righ", "right!"} {
		if err := s.PutExpect(t.Context(), strings.NewReader(text), want, 5); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := diskError("store blob", fmt.Errorf("write: %w", syscall.ENOSPC)); !errors.Is(err, ErrDiskFull) {
		t.Errorf("full disk: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, strings.NewReader("x"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if u := s.Usage(); u.Blobs != 0 || s.coming != 0 || len(s.writers) != 0 {
		t.Errorf("usage %+v, %d reserved, %d writers", u, s.coming, len(s.writers))
	}
	if _, err := s.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := blockCount(t, s); n != 0 {
		t.Errorf("%d blocks left", n)
	}
	if err := s.PutExpect(t.Context(), strings.NewReader("right"), want, 5); err != nil || !s.Has(want) {
		t.Errorf("the right bytes: %v", err)
	}
}

func TestQuotaTakesTheLongestUnusedAndKeepsPins(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, 9<<20)
	a, b, c := put(t, s, noise(1, 2<<20)), put(t, s, noise(2, 2<<20)), put(t, s, noise(3, 2<<20))
	for i, r := range []Root{b, c, a} { // the order of use, whatever the clock's grain
		s.roots[r.CID].used = time.Unix(int64(1000+i), 0)
	}
	if err := s.Pin(a.CID, "job 1"); err != nil {
		t.Fatal(err)
	}
	d := put(t, s, noise(4, 4<<20))
	if !s.Has(a.Digest) || s.Has(b.Digest) || !s.Has(c.Digest) || !s.Has(d.Digest) {
		t.Errorf("kept %+v", s.List())
	}
	if !bytes.Equal(read(t, s, a.Digest), noise(1, 2<<20)) {
		t.Error("what is pinned lost a block")
	}
	for _, x := range []Root{c, d} {
		if err := s.Pin(x.CID, "job 1"); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{2 << 20, 10 << 20} {
		_, err := s.Put(t.Context(), bytes.NewReader(noise(5, n)), uint64(n))
		if !errors.Is(err, ErrQuota) || !strings.Contains(err.Error(), "blob_quota_bytes") {
			t.Errorf("%d bytes into what is full of pins: %v", n, err)
		}
	}
	s.Close()
	small := openStore(t, dir, 1<<20) // the quota was lowered: pins win over it
	if err := small.Unpin(d.CID, "job 1"); err != nil {
		t.Fatal(err)
	}
	if freed, err := small.Collect(t.Context()); err != nil || freed < 4<<20 || small.Has(d.Digest) || !small.Has(a.Digest) || !small.Has(c.Digest) {
		t.Errorf("freed %d, %v, kept %+v", freed, err, small.List())
	}
}

func TestCollectorSparesWhatIsUsedAndShared(t *testing.T) {
	s := openStore(t, t.TempDir(), 0)
	shared := noise(1, chunk)
	a := put(t, s, append(bytes.Clone(shared), 'a'), "keep")
	b := put(t, s, append(bytes.Clone(shared), 'b'))
	reading := put(t, s, noise(2, 3<<20))
	f, err := s.Open(t.Context(), reading.Digest)
	if err != nil {
		t.Fatal(err)
	}
	used := put(t, s, noise(3, 3<<20))
	s.Use(used.Digest, "job/1")
	path, err := s.Path(t.Context(), used.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !s.Has(a.Digest) || s.Has(b.Digest) || !s.Has(reading.Digest) || !s.Has(used.Digest) {
		t.Errorf("kept %+v", s.List())
	}
	if !bytes.Equal(read(t, s, a.Digest), append(bytes.Clone(shared), 'a')) {
		t.Error("a block went with another that shared it")
	}
	if have, err := io.ReadAll(f); err != nil || !bytes.Equal(have, noise(2, 3<<20)) {
		t.Errorf("what was being read: %v", err)
	}
	f.Close()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	s.Unuse("job/1")
	if _, err := s.Empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil || s.Has(used.Digest) || s.Has(reading.Digest) {
		t.Error("what nobody uses any more was kept")
	}
	if n := blockCount(t, s); n != 3 { // two blocks of a and the node above them
		t.Errorf("%d blocks", n)
	}
}

func TestPinsSurviveRestartAndTornLine(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, 0)
	d, e := put(t, s, []byte("d"), "dataset \"users\"\n", "job 2"), put(t, s, []byte("e"))
	err := errors.Join(s.Pin(e.CID, "x"), s.Unpin(e.CID, "x"), s.UnpinAll("job 2"), s.Close())
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "index")
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("+ " + e.CID.String() + " \"to"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	again := openStore(t, dir, 0)
	if got := again.Pins(d.Digest); len(got) != 1 || got[0] != "dataset \"users\"\n" {
		t.Errorf("pins of d: %q", got)
	}
	if got := again.Pins(e.Digest); len(got) != 0 || !again.Has(e.Digest) {
		t.Errorf("pins of e: %q", got)
	}
	if got := again.Reasons("data"); len(got) != 1 {
		t.Errorf("reasons %q", got)
	}
	again.Close()
	if err := again.Pin(d.CID, "late"); err == nil {
		t.Error("pinned in a closed store")
	}
	if _, err := again.Put(t.Context(), strings.NewReader("late"), 4); err == nil {
		t.Error("put into a closed store")
	}
	if err := os.WriteFile(log, []byte("rubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, 0); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a log that someone wrote into: %v", err)
	}
}

func TestIndexIsWrittenAnewWhenMostOfItIsOfThePast(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, 0)
	s.compactAt = 50
	r := put(t, s, []byte("a"), "stays")
	for i := range 100 {
		reason := fmt.Sprint("job/", i)
		if err := errors.Join(s.Pin(r.CID, reason), s.Unpin(r.CID, reason)); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, "index"))
	if n := bytes.Count(raw, []byte("\n")); err != nil || n > 60 || n != s.lines {
		t.Errorf("%d lines, counted as %d, %v", n, s.lines, err)
	}
	other := put(t, s, []byte("b"), "later")
	s.Close()
	s = openStore(t, dir, 0)
	if got := s.Pins(r.Digest); len(got) != 1 || got[0] != "stays" || len(s.Pins(other.Digest)) != 1 {
		t.Errorf("pins %q", got)
	}
}

func TestRottenBlockIsRemovedAndItsBlobCountsAsAbsent(t *testing.T) {
	s := openStore(t, t.TempDir(), 0)
	b := noise(1, 3<<20)
	r := put(t, s, b, "pin")
	spoil(t, s, Of(digest.Of(b[chunk:2*chunk])))
	f, err := s.Open(t.Context(), r.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadAll(f); !errors.Is(err, ErrNotFound) {
		t.Errorf("a rotten blob reads: %v", err)
	}
	if s.Has(r.Digest) {
		t.Error("it is still there")
	}
	w := s.Write() // a fetch that brings nothing
	if fresh, err := w.Resume(r.CID, 4<<20); err != nil || fresh {
		t.Errorf("its fetch is fresh %v, %v", fresh, err)
	}
	w.Abandon()
	w.End()
	if _, err := s.Empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, s, b)
	if !bytes.Equal(read(t, s, r.Digest), b) || len(s.Pins(r.Digest)) != 1 {
		t.Error("it did not come back with its pin")
	}
}

// spoil changes a bit of a block on disk.
func spoil(t *testing.T, s *Store, c CID) {
	t.Helper()
	found := false
	err := filepath.WalkDir(filepath.Join(s.root, "blocks"), func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(p, strings.TrimPrefix(key(c).String(), "/")) {
			return err
		}
		found = true
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		b[0] ^= 1
		return errors.Join(os.Remove(p), os.WriteFile(p, b, 0o600))
	})
	if err != nil || !found {
		t.Fatalf("spoil %s: %v", c, err)
	}
}

func TestOlderStoreIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "ab"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, 0); err == nil || !strings.Contains(err.Error(), "move the folder away") {
		t.Errorf("an older folder: %v", err)
	}
}

func FuzzParseLine(f *testing.F) {
	c := Of(digest.Of(nil))
	for _, l := range []indexLine{
		{verb: "part", cid: c, bytes: 7, unix: 9}, {verb: "root", cid: c, bytes: 7, unix: 9, folder: true}, {verb: "drop", cid: c},
		{verb: "+", cid: c, reason: "job \"1\"\n"}, {verb: "-", cid: c, reason: "x"},
	} {
		f.Add(strings.TrimSuffix(l.String(), "\n"))
	}
	f.Add("+ x y")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseLine(text)
		if err != nil {
			return
		}
		again, err := parseLine(strings.TrimSuffix(l.String(), "\n"))
		if err != nil || again != l {
			t.Fatalf("%q does not survive a round trip: %+v, %v", text, again, err)
		}
	})
}

func FuzzParseCID(f *testing.F) {
	f.Add(Of(digest.Of(nil)).String())
	f.Add("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCID(text)
		if err != nil {
			return
		}
		again, err := ReadCID(c.Bytes())
		if err != nil || !again.Equals(c) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
