package blob

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"

	"github.com/metanode/metanode/internal/digest"
)

func TestPartIsKeptOverARestartAndForgottenWithAge(t *testing.T) {
	dir := t.TempDir()
	whole := noise(1, 3<<20)
	other := openStore(t, t.TempDir(), 0)
	root := put(t, other, whole)
	s := openStore(t, dir, 0)
	w := s.Write()
	if fresh, err := w.Resume(root.CID, 4<<20); err != nil || !fresh {
		t.Fatalf("resumes %v, %v", !fresh, err)
	}
	top, err := other.disk.Get(t.Context(), root.CID)
	if err != nil {
		t.Fatal(err)
	}
	first, err := other.disk.Get(t.Context(), Of(digest.Of(whole[:chunk])))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.PutMany(t.Context(), []blocks.Block{top, first}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Complete(t.Context(), root.CID); !errors.Is(err, ErrNotFound) {
		t.Errorf("a part is whole: %v", err)
	}
	s.Close() // as a kill: nothing was ended
	s = openStore(t, dir, 0)
	if n := blockCount(t, s); n != 2 {
		t.Errorf("%d blocks of the part were kept", n)
	}
	if s.Has(root.Digest) {
		t.Error("a part counts as whole")
	}
	if err := s.expire(time.Now().Add(partAge + time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := blockCount(t, s); n != 0 || len(s.List()) != 0 {
		t.Errorf("%d blocks of an old part are left", n)
	}
}

func TestCollectionBesideWriters(t *testing.T) {
	s := openStore(t, t.TempDir(), 64<<20)
	stop := make(chan struct{})
	var collecting sync.WaitGroup
	collecting.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := s.Empty(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	var writing sync.WaitGroup
	for g := range 3 {
		writing.Go(func() {
			for i := range 8 {
				b := append(bytes.Repeat([]byte{byte(i % 3)}, chunk), byte(g)) // the first block is everybody's
				r, err := s.Put(t.Context(), bytes.NewReader(b), uint64(len(b)), "pin")
				if err != nil {
					t.Error(err)
					return
				}
				f, err := s.Open(t.Context(), r.Digest)
				if err != nil {
					t.Error(err)
					return
				}
				if have, err := sum(f); err != nil || have != r.Digest {
					t.Errorf("a pinned blob reads otherwise: %v", err)
				}
				f.Close()
				if err := s.Unpin(r.CID, "pin"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	collecting.Wait()
	if s.coming != 0 || len(s.writers) != 0 {
		t.Errorf("%d reserved, %d writers", s.coming, len(s.writers))
	}
}

// crashDir makes this test binary a program that adds, pins and collects until it is killed.
const crashDir = "BLOB_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashLoop(dir)
	}
	os.Exit(m.Run())
}

// crashLoop writes the digest of each blob that it was told is pinned, and never ends by itself.
func crashLoop(dir string) {
	s, err := Open(filepath.Join(dir, "store"), 24<<20)
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	log, err := os.OpenFile(filepath.Join(dir, "told"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		os.Exit(1)
	}
	pinned := len(s.Reasons("")) * 2
	for i := byte(pinned); ; i++ {
		ctx := context.Background()
		b := noise(i, 2<<20+int(i))
		var reasons []string
		if i%8 == 0 && len(s.Reasons("")) < 4 {
			reasons = []string{"pin " + string('a'+rune(i/8))}
		}
		r, err := s.Put(ctx, bytes.NewReader(b), uint64(len(b)), reasons...)
		if err != nil {
			println(err.Error())
			os.Exit(1)
		}
		if reasons != nil {
			if _, err := log.WriteString(r.Digest.String() + "\n"); err != nil {
				os.Exit(1)
			}
		}
		if i%5 == 0 {
			if _, err := s.Empty(ctx); err != nil {
				println(err.Error())
				os.Exit(1)
			}
		}
		print(".")
	}
}

// TestKilledStoreKeepsWhatWasPinned kills a process that adds and collects, again and again, at points that the blocks
// written choose.
func TestKilledStoreKeepsWhatWasPinned(t *testing.T) {
	dir := t.TempDir()
	for round := range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		dots := make([]byte, 1)
		for range 9 + 5*round { // more than the quota holds, so that it collects
			if _, err := out.Read(dots); err != nil || dots[0] != '.' {
				rest := make([]byte, 500)
				n, _ := out.Read(rest)
				t.Fatalf("the process ended by itself: %s%s", dots, rest[:n])
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		s, err := Open(filepath.Join(dir, "store"), 24<<20)
		if err != nil {
			t.Fatal(err)
		}
		told, err := os.ReadFile(filepath.Join(dir, "told"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(told) {
			d, err := digest.Parse(string(bytes.TrimSpace(line)))
			if err != nil {
				continue // torn by the kill
			}
			f, err := s.Open(t.Context(), d)
			if err != nil {
				t.Fatalf("round %d: pinned blob %s: %v", round, d.Short(), err)
			}
			if have, err := sum(f); err != nil || have != d {
				t.Fatalf("round %d: pinned blob %s reads otherwise: %v", round, d.Short(), err)
			}
			f.Close()
		}
		for _, l := range s.List() { // every name has its bytes
			f, err := s.Open(t.Context(), l.Digest)
			if err != nil {
				t.Fatal(err)
			}
			if have, err := sum(f); err != nil || have != l.Digest {
				t.Fatalf("round %d: blob %s reads otherwise: %v", round, l.Digest.Short(), err)
			}
			f.Close()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if told, _ := os.ReadFile(filepath.Join(dir, "told")); len(told) == 0 {
		t.Error("nothing was pinned: the test shows nothing")
	}
}
