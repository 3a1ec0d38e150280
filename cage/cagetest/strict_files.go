package cagetest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/digest"
)

// publicDir makes dir and the one above it, which a test makes too, open to every user, and gives it back.
func publicDir(t testing.TB, dir string) string {
	t.Helper()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if up := filepath.Dir(dir); strings.HasPrefix(filepath.Base(up), "Test") {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func folder(t testing.TB, p string) {
	t.Helper()
	if err := os.MkdirAll(p, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, p string, b []byte) {
	t.Helper()
	folder(t, filepath.Dir(p))
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func own(t testing.TB, p string, uid int) {
	t.Helper()
	if uid == os.Getuid() {
		return
	}
	if err := os.Chown(p, uid, uid); err != nil {
		t.Fatal(err)
	}
}

// copyFile copies a file and its mode, without the right to write for others.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	folder(t, filepath.Dir(to))
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, st.Mode().Perm()&0o755|0o444)
	if err == nil {
		_, err = io.Copy(out, in)
		if e := out.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// digestOfTree names a folder by the names, kinds, modes and bytes in it.
func digestOfTree(t testing.TB, dir string) digest.Digest {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p) // p is below
		fmt.Fprintf(h, "%s %o\n", rel, st.Mode())
		if st.Mode().IsRegular() {
			b, err := os.ReadFile(p)
			fmt.Fprintf(h, "%d\n%s", len(b), b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return digest.Digest(h.Sum(nil))
}

// firstDifference shows the first lines in which two texts differ.
func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d:\n  %.300s\n  %.300s", i+1, x[i], y[i])
		}
	}
	return fmt.Sprintf("%d lines and %d", len(x), len(y))
}

// tail is the end of a text, which is where a program says what is wrong.
func tail(s string) string {
	const most = 3000
	if len(s) <= most {
		return s
	}
	return "…" + s[len(s)-most:]
}
