package native

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/metanode/metanode/cage/root"
	"github.com/metanode/metanode/internal/digest"
	"golang.org/x/sys/unix"
)

type rootFile struct {
	root.Entry
	text string
}

func packRoot(t *testing.T, files ...rootFile) string {
	t.Helper()
	var b bytes.Buffer
	w := root.NewWriter(&b)
	for _, f := range files {
		f.Size = uint64(len(f.text))
		if err := w.Add(f.Entry); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func folder(path string) rootFile {
	return rootFile{root.Entry{Path: path, Kind: root.Folder, Mode: 0o700}, ""}
}

func sampleRoot(t *testing.T) string {
	return packRoot(t,
		folder("bin"),
		rootFile{root.Entry{Path: "bin/tool", Kind: root.File, Mode: 0o700}, "#!/bin/sh"},
		rootFile{root.Entry{Path: "lib", Kind: root.Link, Mode: 0o777, To: "../../../../etc"}, ""},
		folder("locked"),
		rootFile{root.Entry{Path: "locked/secret", Kind: root.File, Mode: 0o400}, "text"})
}

func newRoots(t *testing.T) *roots {
	t.Helper()
	r, err := openRoots(filepath.Join(t.TempDir(), "roots"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// left lists what is in the folder of roots.
func (r *roots) left(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(r.dir.Name())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestRootIsUnpackedOnce(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	r, files := newRoots(t), blobs(t.TempDir())
	d := files.put(t, sampleRoot(t))
	dirs := make([]string, 10)
	var wg sync.WaitGroup
	for i := range dirs {
		wg.Go(func() {
			var err error
			if dirs[i], _, err = r.get(context.Background(), d, files); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, dir := range dirs {
		if dir != dirs[0] {
			t.Fatalf("the root is at %v", dirs)
		}
	}
	var got strings.Builder
	err := filepath.WalkDir(dirs[0], func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err == nil {
			fmt.Fprintf(&got, "%s %s\n", strings.TrimPrefix(p, dirs[0]), st.Mode())
		}
		return err
	})
	want := " drwxr-xr-x\n/bin drwxr-xr-x\n/bin/tool -rwxr-xr-x\n/lib Lrwxrwxrwx\n/locked drwxr-xr-x\n/locked/secret -r--r--r--\n"
	if err != nil || got.String() != want {
		t.Errorf("unpacked is, %v:\n%swant\n%s", err, got.String(), want)
	}
	if b, err := os.ReadFile(dirs[0] + "/locked/secret"); err != nil || string(b) != "text" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	if left := r.left(t); len(left) != 1 {
		t.Errorf("in the folder of roots are %v", left)
	}
	if err := os.Remove(filepath.Join(string(files), d.String())); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(string(files), d.String()), "nobody reads this again")
	if again, _, err := r.get(context.Background(), d, files); err != nil || again != dirs[0] {
		t.Errorf("the second time: %s, %v", again, err)
	}
}

// TestUnpackingAttacks hands over archives that would put something outside of their folder, or are not what their
// digest says. None leaves anything.
func TestUnpackingAttacks(t *testing.T) {
	victim := t.TempDir()
	// An honest archive whose names are exchanged for others of the same length, with the sums set right.
	forge := func(archive string, names ...string) string {
		b := []byte(archive)
		for i := 0; i < len(names); i += 2 {
			old, forged := []byte(names[i]), names[i+1]
			if len(old) != len(forged) {
				t.Fatalf("%q and %q", old, forged)
			}
			at := bytes.Index(b, old)
			if at < 0 {
				t.Fatalf("no %q in the archive", old)
			}
			copy(b[at:], forged)
			head := b[at/512*512:][:512]
			copy(head[148:156], "        ")
			sum := 0
			for _, c := range head {
				sum += int(c)
			}
			copy(head[148:156], fmt.Sprintf("%06o\x00 ", sum))
		}
		return string(b)
	}
	file := func(path string) rootFile {
		return rootFile{root.Entry{Path: path, Kind: root.File, Mode: 0o644}, "owned"}
	}
	way := func(path, to string) rootFile {
		return rootFile{root.Entry{Path: path, Kind: root.Link, Mode: 0o777, To: to}, ""}
	}
	abs := strings.TrimPrefix(victim, "/")
	for name, archive := range map[string]string{
		"below a link out":     packRoot(t, way("a", victim))[:512] + packRoot(t, folder("a"), file("a/owned"))[512:],
		"below a link upwards": packRoot(t, way("a", "../.."))[:512] + packRoot(t, folder("a"), file("a/owned"))[512:],
		"folder below a link":  packRoot(t, way("a", victim))[:512] + packRoot(t, folder("a"), folder("a/owned"))[512:],
		"dotted":               forge(packRoot(t, folder("aa"), file("aa/x")), "aa/x", "../x"),
		"absolute":             forge(packRoot(t, file("_"+strings.ReplaceAll(abs, "/", "_")+"_x")), "_"+strings.ReplaceAll(abs, "/", "_")+"_x", "/"+abs+"/x"),
		"link then file":       forge(packRoot(t, way("a", victim+"/x"), file("b")), "b\x00", "a\x00"),
		"hard link":            strings.Replace(packRoot(t, way("a", victim)), "2"+victim, "1"+victim, 1),
		"device":               strings.Replace(packRoot(t, file("a")), "0\x00\x00\x00\x00\x00\x00", "3\x00\x00\x00\x00\x00\x00", 1),
		"no archive":           "#!/bin/sh\necho no archive",
		"empty":                "",
		"cut off":              sampleRoot(t)[:2048],
		"something behind":     sampleRoot(t) + "x",
	} {
		r, files := newRoots(t), blobs(t.TempDir())
		dir, _, err := r.get(context.Background(), files.put(t, archive), files)
		if err == nil {
			t.Errorf("%s: unpacked to %s", name, dir)
		}
		t.Logf("%s: %v", name, err)
		if left := r.left(t); len(left) != 0 {
			t.Errorf("%s: left are %v", name, left)
		}
		if entries, err := os.ReadDir(victim); err != nil || len(entries) != 0 {
			t.Fatalf("%s: outside there are %v, %v", name, entries, err)
		}
	}
	r, files := newRoots(t), blobs(t.TempDir())
	d := digest.Of([]byte("another"))
	write(t, filepath.Join(string(files), d.String()), sampleRoot(t))
	if _, _, err := r.get(context.Background(), d, files); err == nil || !strings.Contains(err.Error(), "fetch the blob again") || len(r.left(t)) != 0 {
		t.Errorf("an archive of another digest: %v; left are %v", err, r.left(t))
	}
}

// The reader refuses these; should it ever fail to, the folder holds.
func TestUnpackingStaysBeneath(t *testing.T) {
	victim, dir := t.TempDir(), t.TempDir()
	top, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	link(t, victim, filepath.Join(dir, "out"))
	for _, p := range []string{"out/x", "../x", victim + "/x"} {
		e := root.Entry{Path: p, Kind: root.File, Mode: 0o644}
		if err := unpackFile(top, &e, strings.NewReader("")); err == nil {
			t.Errorf("a file was made at %s", p)
		}
	}
}

func TestHalfUnpackedRootsAreRemoved(t *testing.T) {
	r := newRoots(t)
	dir := r.dir.Name()
	half, whole := filepath.Join(dir, unpackedPrefix+"1"), filepath.Join(dir, strings.Repeat("ab", 32))
	write(t, half+"/a/b", "")
	write(t, whole+"/a", "")
	other, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(other.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	start := func() {
		t.Helper()
		again, err := openRoots(dir)
		if err != nil {
			t.Fatal(err)
		}
		again.close()
	}
	start()
	if _, err := os.Stat(half); err != nil {
		t.Errorf("removed while another process unpacks: %v", err)
	}
	other.Close()
	start()
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if _, err := os.Stat(whole); err != nil {
		t.Errorf("a whole root is gone: %v", err)
	}
}

func TestUnpackingEndsWithItsContext(t *testing.T) {
	r, files := newRoots(t), blobs(t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := r.get(ctx, files.put(t, sampleRoot(t)), files); !errors.Is(err, context.Canceled) || len(r.left(t)) != 0 {
		t.Errorf("got %v; left are %v", err, r.left(t))
	}
}
