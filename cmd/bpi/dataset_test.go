package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListFilesLeavesOutWhatToolsLeaveBehind(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"a.csv", "k=1/b.csv", "_SUCCESS", ".hidden.csv", "_tmp/c.csv", ".git/d.csv"} {
		path := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x\n1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := listFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range list {
		names = append(names, f.name)
	}
	if got := strings.Join(names, " "); got != "a.csv k=1/b.csv" {
		t.Errorf("files: %s", got)
	}
	if _, err := listFiles(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no files") {
		t.Errorf("an empty folder: %v", err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "null.csv")); err != nil {
		t.Fatal(err)
	}
	if list, err := listFiles(filepath.Join(dir, "null.csv")); err == nil {
		t.Errorf("a device is taken for a file: %+v", list)
	}
}
