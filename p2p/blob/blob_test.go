package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

func open(t *testing.T, dir string, quota uint64) *Store {
	t.Helper()
	s, err := Open(dir, quota)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *Store, b []byte) digest.Digest {
	t.Helper()
	d, n, err := s.Put(t.Context(), bytes.NewReader(b), uint64(len(b)))
	if err != nil || n != uint64(len(b)) || d != digest.Of(b) {
		t.Fatalf("Put = %s, %d, %v", d, n, err)
	}
	return d
}

// left counts the files that are no blobs and no pins.
func left(t *testing.T, s *Store) int {
	t.Helper()
	n := 0
	for _, d := range []string{"tmp", "partial"} {
		files, err := os.ReadDir(s.dir(d))
		if err != nil {
			t.Fatal(err)
		}
		n += len(files)
	}
	return n
}

func TestPutOpenAndReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	d := put(t, s, []byte("hello"))
	put(t, s, []byte("hello"))
	path, err := s.Path(d)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "blobs", d.String()[:2], d.String()); path != want {
		t.Errorf("path %s, want %s", path, want)
	}
	i, err := os.Stat(path)
	if err != nil || i.Mode().Perm() != 0o444 {
		t.Errorf("mode %v, %v", i.Mode(), err)
	}
	again := open(t, dir, 0)
	f, err := again.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	if u := again.Usage(); u.Blobs != 1 || u.UsedBytes != 5 {
		t.Errorf("usage %+v", u)
	}
	if _, err := again.Open(digest.Of([]byte("other"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("absent blob: %v", err)
	}
}

func TestBadInputLeavesNothingBehind(t *testing.T) {
	s := open(t, t.TempDir(), 0)
	if _, _, err := s.Put(t.Context(), strings.NewReader("12345"), 4); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	broken := io.MultiReader(strings.NewReader("123"), iotest.ErrReader(errors.New("cable cut")))
	if _, _, err := s.Put(t.Context(), broken, 100); err == nil || !strings.Contains(err.Error(), "cable cut") {
		t.Errorf("broken reader: %v", err)
	}
	want := digest.Of([]byte("right"))
	for _, text := range []string{"wrong", "righ", "right!"} {
		if err := s.PutExpect(t.Context(), strings.NewReader(text), want, 5); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", text, err)
		}
	}
	full := iotest.ErrReader(syscall.ENOSPC)
	if err := diskError("store blob", fmt.Errorf("write: %w", syscall.ENOSPC)); !errors.Is(err, ErrDiskFull) {
		t.Errorf("full disk: %v", err)
	}
	if _, _, err := s.Put(t.Context(), full, 100); err == nil {
		t.Error("a failing reader was stored")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Put(ctx, strings.NewReader("x"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if n := left(t, s); n != 0 || s.Usage().Blobs != 0 || s.coming != 0 {
		t.Errorf("%d files left, usage %+v, %d reserved", n, s.Usage(), s.coming)
	}
	if err := s.PutExpect(t.Context(), strings.NewReader("right"), want, 5); err != nil || !s.Has(want) {
		t.Errorf("the right bytes: %v", err)
	}
}

func TestQuotaCollectsOldestUnpinnedAndKeepsPins(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 30)
	a, b, c := put(t, s, bytes.Repeat([]byte("a"), 10)), put(t, s, bytes.Repeat([]byte("b"), 10)), put(t, s, bytes.Repeat([]byte("c"), 10))
	if err := s.Pin(a, "job 1"); err != nil {
		t.Fatal(err)
	}
	d := put(t, s, bytes.Repeat([]byte("d"), 10))
	if !s.Has(a) || s.Has(b) || !s.Has(c) || !s.Has(d) {
		t.Errorf("kept %v", s.List())
	}
	for _, x := range []digest.Digest{c, d} {
		if err := s.Pin(x, "job 1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.Put(t.Context(), strings.NewReader("more"), 4); !errors.Is(err, ErrQuota) || !strings.Contains(err.Error(), "disk quota") {
		t.Errorf("full of pins: %v", err)
	}
	if _, _, err := s.Put(t.Context(), bytes.NewReader(make([]byte, 31)), 31); !errors.Is(err, ErrQuota) {
		t.Errorf("larger than the quota: %v", err)
	}
	if left(t, s) != 0 {
		t.Error("files left")
	}
	small := open(t, dir, 10) // the quota was lowered: pins win over it
	if err := small.Unpin(d, "job 1"); err != nil {
		t.Fatal(err)
	}
	if freed, err := small.Collect(); err != nil || freed != 10 || small.Has(d) || !small.Has(a) || !small.Has(c) {
		t.Errorf("freed %d, %v, kept %v", freed, err, small.List())
	}
}

func TestPinsSurviveRestartAndTornLine(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 0)
	d, e := digest.Of([]byte("d")), digest.Of([]byte("e"))
	for _, r := range []string{"dataset \"users\"\n", "job 2"} {
		if err := s.Pin(d, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Pin(e, "x"), s.Unpin(e, "x"), s.Unpin(d, "job 2"), s.Close()); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "blobs", "pins")
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("+ " + e.String() + " \"to"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	again := open(t, dir, 0)
	if got := again.Pins(d); len(got) != 1 || got[0] != "dataset \"users\"\n" {
		t.Errorf("pins of d: %q", got)
	}
	if got := again.Pins(e); len(got) != 0 {
		t.Errorf("pins of e: %q", got)
	}
	again.Close()
	if err := again.Pin(e, "late"); err == nil {
		t.Error("pinned in a closed store")
	}
	if err := os.WriteFile(log, []byte("rubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, 0); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a log that someone wrote into: %v", err)
	}
}

func TestPartialResumesAfterRestart(t *testing.T) {
	dir := t.TempDir()
	whole := bytes.Repeat([]byte("0123456789"), 1000)
	want := digest.Of(whole)
	s := open(t, dir, 0)
	p, err := s.Resume(want, uint64(len(whole)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Resume(want, uint64(len(whole))); !errors.Is(err, ErrBusy) {
		t.Errorf("twice at once: %v", err)
	}
	if _, err := p.Write(whole[:4000]); err != nil {
		t.Fatal(err)
	}
	// The program is killed here; the store is opened again beside what it left.
	if err := os.WriteFile(filepath.Join(dir, "blobs", "tmp", "put-1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, 0)
	if files, _ := os.ReadDir(s.dir("tmp")); len(files) != 0 {
		t.Error("temporary files were not swept")
	}
	if p, err = s.Resume(want, uint64(len(whole))); err != nil || p.Offset() != 4000 {
		t.Fatalf("offset %d, %v", p.Offset(), err)
	}
	if err := p.Commit(); !errors.Is(err, ErrMismatch) {
		t.Errorf("half a blob: %v", err)
	}
	if _, err := p.Write(whole[4000:]); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write([]byte("x")); !errors.Is(err, ErrMismatch) {
		t.Errorf("one byte more: %v", err)
	}
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), want); err != nil || left(t, s) != 0 || s.coming != 0 {
		t.Errorf("%v; %d files left, %d bytes reserved", err, left(t, s), s.coming)
	}
	// One too old to go on with is swept.
	other := digest.Of([]byte("other"))
	q, err := s.Resume(other, 5)
	if err != nil {
		t.Fatal(err)
	}
	q.Suspend()
	if err := s.sweep(time.Now().Add(partialAge + time.Hour)); err != nil || left(t, s) != 0 {
		t.Errorf("old partial: %v, %d left", err, left(t, s))
	}
}

func TestVerifyRemovesWhatRotted(t *testing.T) {
	s := open(t, t.TempDir(), 0)
	d := put(t, s, []byte("hello"))
	path, _ := s.Path(d)
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("hellO"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context(), d); !errors.Is(err, ErrMismatch) {
		t.Errorf("rotten blob: %v", err)
	}
	if s.Has(d) || s.Usage().UsedBytes != 0 {
		t.Error("it is still there")
	}
	put(t, s, []byte("hello"))
	if err := s.Verify(t.Context(), d); err != nil {
		t.Error(err)
	}
}

func TestStoreIsSafeForConcurrentUse(t *testing.T) {
	s := open(t, t.TempDir(), 4096)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 20 {
				b := bytes.Repeat([]byte{byte(i % 7), byte(g % 2)}, 100)
				d, err := s.PutBytes(t.Context(), b)
				if err != nil {
					t.Error(err)
					return
				}
				if f, err := s.Open(d); err == nil {
					if have, err := io.ReadAll(f); err != nil || !bytes.Equal(have, b) {
						t.Errorf("blob %s reads otherwise: %v", d.Short(), err)
					}
					f.Close()
				} else if !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				_, err = s.Collect()
				if err := errors.Join(err, s.Pin(d, "x"), s.Unpin(d, "x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if u := s.Usage(); u.UsedBytes > 4096 || s.coming != 0 || u.UsedBytes != uint64(200*u.Blobs) {
		t.Errorf("usage %+v, %d reserved", u, s.coming)
	}
}

func FuzzParsePin(f *testing.F) {
	f.Add("+ " + digest.Of(nil).String() + ` "job 1"`)
	f.Add("- x y")
	f.Add("")
	f.Fuzz(func(t *testing.T, line string) {
		sign, d, reason, err := parsePin(line)
		if err != nil {
			return
		}
		s2, d2, r2, err := parsePin(strings.TrimSuffix(pinLine(sign, d, reason), "\n"))
		if err != nil || s2 != sign || d2 != d || r2 != reason {
			t.Fatalf("%q does not survive a round trip: %v", line, err)
		}
	})
}
