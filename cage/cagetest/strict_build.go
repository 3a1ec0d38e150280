package cagetest

import (
	"debug/elf"
	"embed"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

//go:embed testdata/strict
var strictSources embed.FS

// suite holds what is made once for all passes: the programs and the root that they stand in.
type suite struct {
	base    string // a folder that every user can read
	self    string // this test's binary, where every user can execute it
	root    string // of which each pass gets a copy
	digest  digest.Digest
	mu      sync.Mutex
	missing map[string]string // file relative to the root, and why it could not be had
}

// tools are programs of this machine that the suite's scripts use.
var tools = []string{"sh", "awk", "cat", "cksum", "cp", "date", "df", "diff", "du", "env", "find", "grep", "head", "hostname", "id", "ls", "ln", "mkdir",
	"chmod", "mkfifo", "mktemp", "nproc", "od", "sed", "seq", "shuf", "sleep", "sort", "stat", "tee", "timeout", "touch", "tr", "tty", "uname", "wc", "xargs", "yes"}

// build makes the root: the programs under /opt/strict, a shell with its tools and their libraries, and a folder of 2,000
// entries at /data. It skips the test where there is no compiler for C.
func (s *suite) build(t *testing.T) {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to compile the suite's programs with")
	}
	s.missing = map[string]string{}
	s.root = filepath.Join(s.base, "template")
	s.self = filepath.Join(s.base, "self.test")
	copyFile(t, "/proc/self/exe", s.self)
	src := filepath.Join(s.base, "src")
	sub, err := fs.Sub(strictSources, "testdata/strict")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(src, sub); err != nil {
		t.Fatal(err)
	}
	s.programs(t, gcc, src)
	s.scripts(t, src)
	for i := range 2000 {
		name := filepath.Join(s.root, "data", "many", fmt.Sprint("e", i))
		if i%9 == 0 {
			folder(t, name)
		} else {
			write(t, name, []byte(fmt.Sprint("entry ", i)))
		}
	}
	write(t, filepath.Join(s.root, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"))
	write(t, filepath.Join(s.root, "etc/group"), []byte("root:x:0:\n"))
	s.digest = digestOfTree(t, s.root)
}

// programs compiles those in C, linked both ways where that matters, and the one in Go. What cannot be compiled here,
// such as a static program without the library for it, is left out with the compiler's words.
func (s *suite) programs(t *testing.T, gcc, src string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(src, "*.c"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no programs in %s: %v", src, err)
	}
	folder(t, filepath.Join(s.root, "opt/strict/dynamic"))
	folder(t, filepath.Join(s.root, "opt/strict/static"))
	places := make(chan struct{}, 2)
	var wg sync.WaitGroup
	compile := func(to string, cmd *exec.Cmd) {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			if out, err := cmd.CombinedOutput(); err != nil {
				s.lack(to, fmt.Sprintf("%s cannot be built here: %v\n%s", to, err, out))
			}
		})
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".c")
		to := "opt/strict/dynamic/" + name
		compile(to, exec.Command(gcc, "-O1", "-Wall", "-Wextra", "-Werror", "-o", filepath.Join(s.root, to), f, "-pthread", "-lm"))
		if slices.Contains(alsoStatic, name) {
			to := "opt/strict/static/" + name
			compile(to, exec.Command(gcc, "-O1", "-w", "-static", "-o", filepath.Join(s.root, to), f, "-pthread", "-lm"))
		}
	}
	to := "opt/strict/static/gosrc"
	if tool, err := exec.LookPath("go"); err != nil {
		s.missing[to] = "no go tool to compile the suite's Go program with"
	} else {
		cmd := exec.Command(tool, "build", "-trimpath", "-o", filepath.Join(s.root, to), filepath.Join(src, "gosrc/main.go"))
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
		compile(to, cmd)
	}
	wg.Wait()
	for _, f := range files { // the libraries are the same for all of them
		program := filepath.Join(s.root, "opt/strict/dynamic", strings.TrimSuffix(filepath.Base(f), ".c"))
		if _, err := os.Stat(program); err == nil {
			s.libraries(t, program)
		}
	}
}

// lack notes that a case's file is not there and why.
func (s *suite) lack(file, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missing[file] = why
}

// scripts puts the shell, its tools and the scripts into the root.
func (s *suite) scripts(t *testing.T, src string) {
	t.Helper()
	why := ""
	for _, name := range tools {
		p, err := exec.LookPath(name)
		if err == nil {
			p, err = filepath.EvalSymlinks(p)
		}
		if err != nil {
			why = fmt.Sprintf("this machine has no %q for the suite's scripts", name)
			continue
		}
		to := filepath.Join(s.root, "usr/bin", name)
		copyFile(t, p, to)
		s.libraries(t, to)
	}
	if err := os.Symlink("usr/bin", filepath.Join(s.root, "bin")); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob(filepath.Join(src, "scripts/*.sh"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts in %s: %v", src, err)
	}
	for _, f := range scripts {
		to := "opt/strict/" + filepath.Base(f)
		copyFile(t, f, filepath.Join(s.root, to))
		if why != "" {
			s.missing[to] = why
		}
	}
}

// libraries copies the loader of a program and the libraries that it needs to where the loader looks for them.
func (s *suite) libraries(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		return // a script
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		loader := strings.TrimRight(string(b), "\x00")
		s.library(t, loader, loader)
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	for _, name := range names {
		for _, dir := range []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
			if _, err := os.Stat(path.Join(dir, name)); err == nil {
				s.library(t, path.Join(dir, name), path.Join("/lib64", name))
				break
			}
		}
	}
}

func (s *suite) library(t *testing.T, from, place string) {
	t.Helper()
	to := filepath.Join(s.root, place)
	if _, err := os.Stat(to); err == nil {
		return
	}
	copyFile(t, from, to)
	s.libraries(t, to)
	// The loader of one distribution looks in another folder than that of another.
	if path.Dir(place) == "/lib64" {
		for _, dir := range []string{"lib/x86_64-linux-gnu", "usr/lib64"} {
			folder(t, filepath.Join(s.root, dir))
			_ = os.Symlink(path.Join("/lib64", path.Base(place)), filepath.Join(s.root, dir, path.Base(place)))
		}
	}
}

// copyRoot copies the root to a folder: the entries in another order, and with other times.
func (s *suite) copyRoot(t *testing.T, to string, order *rand.Rand, at time.Time) {
	t.Helper()
	var folders, rest []string
	err := filepath.WalkDir(s.root, func(p string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(s.root, p) // p is below
		if e != nil && e.IsDir() {
			folders = append(folders, rel)
		} else {
			rest = append(rest, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// A folder is made when something in it is.
	all := append(slices.Clone(folders), rest...)
	order.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i, rel := range all {
		from, p := filepath.Join(s.root, rel), filepath.Join(to, rel)
		st, err := os.Lstat(from)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case st.IsDir():
			folder(t, p)
			continue
		case st.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(from)
			folder(t, filepath.Dir(p))
			if err == nil {
				err = os.Symlink(link, p)
			}
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		copyFile(t, from, p)
		if err := os.Chtimes(p, at, at.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	for i, rel := range folders {
		if err := os.Chtimes(filepath.Join(to, rel), at, at.Add(-time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(filepath.Dir(to), "root.digest"), []byte(s.digest.String()))
}

// putInputs stores the inputs as a node's store does: readable by its owner alone, in some order.
func (s *suite) putInputs(t *testing.T, dir string, order *rand.Rand, at time.Time, uid int) {
	t.Helper()
	folder(t, dir)
	own(t, dir, uid)
	for _, i := range order.Perm(len(strictInputs)) {
		b := []byte(strictInputs[i].content)
		p := filepath.Join(dir, digest.Of(b).String())
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		own(t, p, uid)
		if err := os.Chtimes(p, at, at.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}
