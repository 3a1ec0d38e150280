package native_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/cage/root"
	"github.com/metanode/metanode/internal/digest"
)

// tree makes a root folder of all that one may hold.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	must(os.MkdirAll(filepath.Join(dir, "empty"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "bin/sh"), []byte("shell"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "bin-old"), []byte("sorts between bin and bin/sh"), 0o644))
	must(os.Link(filepath.Join(dir, "bin/sh"), filepath.Join(dir, "bin/bash")))
	must(os.Symlink("/etc/passwd", filepath.Join(dir, "out")))
	must(os.WriteFile(filepath.Join(dir, strings.Repeat("n", 200)), nil, 0o600))
	return dir
}

func pack(t *testing.T, dir string) ([]byte, native.Packed, []string) {
	t.Helper()
	var b bytes.Buffer
	var notes []string
	p, err := native.PackRoot(t.Context(), dir, &b, func(s string) { notes = append(notes, s) })
	if err != nil {
		t.Fatal(err)
	}
	if p.Bytes != uint64(b.Len()) || p.Digest != digest.Of(b.Bytes()) {
		t.Errorf("%+v does not name the %d bytes that were written", p, b.Len())
	}
	return b.Bytes(), p, notes
}

func TestPackedRootIsReadByTheReaderAndByTar(t *testing.T) {
	dir := tree(t)
	raw, p, notes := pack(t, dir)
	if len(notes) != 0 {
		t.Errorf("notes %q", notes)
	}
	r := root.NewReader(bytes.NewReader(raw))
	content := map[string]string{}
	n := 0
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		content[e.Path] = string(b) + e.To
	}
	if n != p.Entries || n != 7 || content["bin/sh"] != "shell" || content["bin/bash"] != "shell" || content["out"] != "/etc/passwd" {
		t.Errorf("%d entries: %q", n, content)
	}
	tr := tar.NewReader(bytes.NewReader(raw))
	for i := range n {
		h, err := tr.Next()
		if err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s: owner or time of this machine: %+v", h.Name, h)
		}
	}
}

func TestSameTreeGivesTheSameArchive(t *testing.T) {
	a, _, _ := pack(t, tree(t))
	b, _, _ := pack(t, tree(t)) // other times, other inodes
	if !bytes.Equal(a, b) {
		t.Error("two packings of one tree differ")
	}
}

func TestWhatAnArchiveDoesNotHoldIsNoted(t *testing.T) {
	dir := tree(t)
	want, _, _ := pack(t, dir)
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	t.Chdir(dir) // the name of a socket is short
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: "socket"}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "bin/sh"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	got, _, notes := pack(t, dir)
	if !bytes.Equal(got, want) {
		t.Error("what is left out changes the archive")
	}
	all := strings.Join(notes, "\n")
	for _, w := range []string{"pipe: left out, for it is a FIFO", "socket: left out, for it is a socket", "bin/sh: its setuid"} {
		if !strings.Contains(all, w) {
			t.Errorf("no note %q in\n%s", w, all)
		}
	}
}

func TestUnreadableFilesAreNamed(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads everything")
	}
	dir := tree(t)
	for _, name := range []string{"bin-old", "bin/sh"} {
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	_, err := native.PackRoot(t.Context(), dir, io.Discard, func(string) {})
	if err == nil || !strings.Contains(err.Error(), "bin-old") || !strings.Contains(err.Error(), "bin/sh") {
		t.Errorf("%v", err)
	}
}

func TestRootThatCannotBePackedIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	odd := t.TempDir()
	if err := os.WriteFile(filepath.Join(odd, "\xff"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		t.TempDir(): "nothing in it", filepath.Join(t.TempDir(), "none"): "no such file", file: "not a directory", odd: `"\xff"`,
	} {
		if _, err := native.PackRoot(t.Context(), dir, io.Discard, func(string) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
}

// meddler changes a file of the tree when the archive reaches it.
type meddler struct{ do func() }

func (g *meddler) Write(b []byte) (int, error) {
	if g.do != nil {
		g.do()
		g.do = nil
	}
	return len(b), nil
}

func TestFileThatChangesWhileItIsPackedIsAnError(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"grows":   func(p string) error { return os.WriteFile(p, []byte("a longer shell"), 0o755) },
		"shrinks": func(p string) error { return os.WriteFile(p, nil, 0o755) },
		"is a link now": func(p string) error {
			return errors.Join(os.Remove(p), os.Symlink("bin/sh", p))
		},
		"is a FIFO now": func(p string) error { return errors.Join(os.Remove(p), syscall.Mkfifo(p, 0o600)) },
	} {
		dir := tree(t)
		w := &meddler{do: func() {
			if err := change(filepath.Join(dir, "bin-old")); err != nil {
				t.Error(err)
			}
		}}
		if _, err := native.PackRoot(t.Context(), dir, w, func(string) {}); err == nil || !strings.Contains(err.Error(), "bin-old changed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
