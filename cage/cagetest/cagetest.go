// Package cagetest is the one suite that every engine of the cage passes: what a program finds in the cage, what it
// cannot do, how its end is told, and that all of this is the same each time. The programs are small C files compiled
// by the test.
package cagetest

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

//go:embed testdata/actor.c
var sources embed.FS

// Engine is what the suite tests.
type Engine interface {
	Run(ctx context.Context, spec cage.Spec, files cage.Files, out string) (cage.Result, error)
}

// Store is a cage.Files over a folder.
type Store struct {
	Dir string
	mu  sync.Mutex
	has map[digest.Digest]string
}

// Path implements cage.Files.
func (s *Store) Path(d digest.Digest) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.has[d]; ok {
		return p, nil
	}
	return "", fmt.Errorf("blob %s is not here", d.Short())
}

// Put stores b, readable by its owner alone as a node's store does, and names it.
func (s *Store) Put(t testing.TB, b []byte) digest.Digest {
	t.Helper()
	d := digest.Of(b)
	p := filepath.Join(s.Dir, d.String())
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has == nil {
		s.has = map[digest.Digest]string{}
	}
	s.has[d] = p
	return d
}

// Build compiles the suite's program, as a zygote if zygoteDir names the folder of docklock.c, and stores it. It skips
// the test where there is no compiler.
func Build(t testing.TB, s *Store, zygoteDir string) digest.Digest {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to compile the suite's programs with")
	}
	dir := t.TempDir()
	src, err := sources.ReadFile("testdata/actor.c")
	if err != nil {
		t.Fatal(err)
	}
	c, bin := filepath.Join(dir, "actor.c"), filepath.Join(dir, "actor")
	if err := os.WriteFile(c, src, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-O1", "-w", "-static", "-o", bin, c}
	if zygoteDir != "" {
		args = append(args, "-DZYGOTE", "-I", zygoteDir, filepath.Join(zygoteDir, "docklock.c"))
	}
	if out, err := exec.Command(gcc, append(args, "-lm")...).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	b, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	return s.Put(t, b)
}

// Spec is a run of image with args behind the program's name, under ordinary limits.
func Spec(image digest.Digest, args ...string) cage.Spec {
	policy := cage.Sealed()
	return cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: cage.ModeSealed, Image: image,
		Argv: append([]string{"actor"}, args...), Seed: digest.Of([]byte("seed")), EpochNs: 1700000000000000000,
		Limits:   cage.Limits{MemoryBytes: 64 << 20, OutputBytes: 1 << 20, Files: 64, Processes: 1, CPUMs: 10000, WallMs: 30000},
		CPUClass: cage.CPUx86_64v2, Policy: policy.Digest(),
	}
}

// Suite runs the whole suite on image, a build of the suite's program in s.
func Suite(t *testing.T, e Engine, s *Store, image digest.Digest) {
	run := func(t *testing.T, spec cage.Spec) (cage.Result, string, string) {
		t.Helper()
		dir := t.TempDir()
		res, err := e.Run(context.Background(), spec, s, dir)
		if err != nil {
			t.Fatalf("run %v: %v", spec.Argv, err)
		}
		return res, read(t, dir, "stdout"), read(t, dir, "stderr")
	}
	expect := func(name, stdout string, code int32, killed string, args ...string) {
		t.Run(name, func(t *testing.T) {
			res, out, _ := run(t, withInput(t, s, Spec(image, args...)))
			if out != stdout || res.ExitCode != code || res.Killed != killed {
				t.Errorf("got exit %d, killed %q, stdout %q; want %d, %q, %q", res.ExitCode, res.Killed, out, code, killed, stdout)
			}
		})
	}
	expect("ExitCode", "", 42, "", "exit", "42")
	expect("AbortIsSignal6", "", 134, "", "abort")
	expect("SegvIsSignal11", "", 139, "", "segv")
	expect("InputReadable", "hello", 0, "", "cat", "/in/data/hello.txt")
	expect("InputAndRootReadOnly", "EROFS EROFS kept EROFS\n", 0, "", "spoil", "/in/data/hello.txt")
	expect("RootHoldsOnlyTheJob", ".\n..\nin\nout\ntmp\n", 0, "", "ls", "/")
	expect("InputsAreOnlyItsOwn", ".\n..\ndata\n", 0, "", "ls", "/in")
	expect("NoHostFiles", "ENOENT\n", 1, "", "cat", "/etc/passwd")
	expect("NoProc", "ENOENT\n", 1, "", "cat", "/proc/self/maps")
	expect("NoDevices", "ENOENT\n", 1, "", "cat", "/dev/urandom")
	expect("OnlyThreeDescriptors", "0\n1\n2\n", 0, "", "fds")
	expect("SecondProcessOfItsNamespace", "2 0 0\n", 0, "", "ids")
	expect("MemoryBound", "malloc failed\n", 5, "", "memory")
	expect("NamesMustBeText", "", 0, cage.KilledFiles, "badname")
	expect("OutputBound", strings.Repeat("x", 1<<20), 128+25, cage.KilledOutput, "flood")
	expect("CPUClassHidesFMA", "0 0 0 1.2972951118752689\n", 0, "", "class")
	for _, c := range []string{"socket", "fork", "clone", "ptrace", "mount", "unshare", "setns", "keyctl", "bpf", "io_uring",
		"kill", "chroot", "clock", "random", "sleep", "memfd", "exec", "x32", "i386", "jit"} {
		expect("Kills/"+c, "", 128+31, cage.KilledSeccomp, "call", c)
	}
	expect("RdtscFaults", "", 139, "", "call", "tsc")
	expect("VdsoFaults", "", 139, "", "call", "vdso")

	t.Run("Streams", func(t *testing.T) {
		spec := Spec(image, "streams")
		spec.Stdin = []byte("request")
		res, out, errs := run(t, spec)
		if res.ExitCode != 7 || out != "read 7: request\n" || errs != "complaint\n" {
			t.Errorf("got exit %d, stdout %q, stderr %q", res.ExitCode, out, errs)
		}
		if o := res.Outputs; len(o) != 2 || o[0].Name != "stderr" || o[1].Name != "stdout" || o[1].Digest != digest.Of([]byte(out)) {
			t.Errorf("outputs %v do not name the bytes", o)
		}
	})
	t.Run("EnvironmentExact", func(t *testing.T) {
		spec := Spec(image, "env")
		spec.Env = []string{"A=1", "B=two words"}
		_, out, _ := run(t, spec)
		want := "arg actor\narg env\nenv " + strings.Join(spec.Environ(), "\nenv ") + "\n"
		if out != want {
			t.Errorf("got %q, want %q", out, want)
		}
	})
	t.Run("OutputFiles", func(t *testing.T) {
		dir := t.TempDir()
		res, err := e.Run(context.Background(), Spec(image, "out"), s, dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, o := range res.Outputs {
			names = append(names, o.Name)
		}
		if got := strings.Join(names, " "); got != "out/a out/d/b stderr stdout" {
			t.Errorf("outputs are %s", got)
		}
		if read(t, dir, "out/a") != "ay" || read(t, dir, "out/d/b") != "bee" {
			t.Error("output files hold something else than was written")
		}
	})
	t.Run("WallLimitIsNoResult", func(t *testing.T) {
		spec := Spec(image, "spin")
		spec.Limits.WallMs = 200
		wantNoResult(t, e, s, spec, cage.ReasonWall)
	})
	t.Run("CPULimitIsNoResult", func(t *testing.T) {
		spec := Spec(image, "spin")
		spec.Limits.CPUMs = 1000
		wantNoResult(t, e, s, spec, cage.ReasonCPU)
	})
	t.Run("ContextEndsRun", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		if _, err := e.Run(ctx, Spec(image, "spin"), s, t.TempDir()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("MissingInputIsTrouble", func(t *testing.T) {
		spec := Spec(image, "exit", "0")
		spec.Inputs = []cage.Input{{Path: "gone", Digest: digest.Of([]byte("gone")), Bytes: 4}}
		var none *cage.ErrNoResult
		if _, err := e.Run(context.Background(), spec, s, t.TempDir()); err == nil || errors.As(err, &none) {
			t.Errorf("got %v; want trouble with this machine", err)
		}
	})
	t.Run("TwentyAtOnceAlike", func(t *testing.T) {
		spec := withInput(t, s, Spec(image, "cat", "/in/data/hello.txt"))
		results := make([]cage.Result, 20)
		errs := make([]error, len(results))
		dir := t.TempDir()
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				results[i], errs[i] = e.Run(context.Background(), spec, s, filepath.Join(dir, fmt.Sprint(i)))
			})
		}
		wg.Wait()
		for i := range results {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			if results[i].Witness != results[0].Witness || results[i].ExitCode != 0 {
				t.Errorf("run %d: %+v; want %+v", i, results[i], results[0])
			}
		}
	})
}

func withInput(t testing.TB, s *Store, spec cage.Spec) cage.Spec {
	b := []byte("hello")
	spec.Inputs = []cage.Input{{Path: "data/hello.txt", Digest: s.Put(t, b), Bytes: uint64(len(b))}}
	return spec
}

func wantNoResult(t *testing.T, e Engine, s *Store, spec cage.Spec, want cage.Reason) {
	t.Helper()
	var none *cage.ErrNoResult
	if res, err := e.Run(context.Background(), spec, s, t.TempDir()); !errors.As(err, &none) || none.Reason != want {
		t.Errorf("got %+v, %v; want no result (%s)", res, err, want)
	}
}

func read(t testing.TB, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
