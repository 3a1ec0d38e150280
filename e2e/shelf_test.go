package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// shelf is a place where containers are run: a home, and a folder to stand in.
type shelf struct {
	t         testing.TB
	home, dir string
	env       []string // besides this process's own
	uid       int      // 0: this process's own
}

// newShelf skips the test where there is no cage for the strict mode.
func newShelf(t testing.TB) *shelf {
	t.Helper()
	s := &shelf{t: t, home: filepath.Join(home(t), "home"), dir: home(t)}
	r := s.run("container", "run", "true")
	if strings.Contains(r.stderr, "does not give the cage its wall") {
		t.Skip(r.stderr)
	}
	if r.code != 0 {
		t.Fatalf("container run true: exit code %d\n%s", r.code, r.stderr)
	}
	return s
}

func (s *shelf) command(args ...string) *exec.Cmd {
	program, err := filepath.Abs(bin(s.t))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), program, args...)
	cmd.Dir = s.dir
	cmd.Env = append(append(os.Environ(), "BPI_HOME="+s.home, "BPI_API=", "BPI_PEER="), s.env...)
	if s.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.uid)}}
	}
	return cmd
}

func (s *shelf) run(args ...string) result {
	s.t.Helper()
	cmd := s.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := result{stdout: out.String(), stderr: errs.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		s.t.Fatalf("bpi %s: %v", strings.Join(args, " "), err)
	}
	return r
}

// must runs a command that ends well, and gives its standard output.
func (s *shelf) must(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	if r.code != 0 {
		s.t.Fatalf("bpi %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

func (s *shelf) write(name, text string, mode os.FileMode) {
	s.t.Helper()
	p := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shelf) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// clean complains of what runs have left: folders of theirs, half outputs, processes.
func (s *shelf) clean() {
	s.t.Helper()
	if runs, err := os.ReadDir(filepath.Join(s.home, "container", "runs")); err != nil || len(runs) > 0 {
		s.t.Errorf("folders of runs are left: %v, %v", runs, err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Error(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			s.t.Errorf("%s is left", e.Name())
		}
	}
	if left := s.processes(); len(left) > 0 {
		s.t.Errorf("processes are left: %q", left)
	}
}

// processes are those with the shelf's home in their command line.
func (s *shelf) processes() (list []string) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range all {
		if b, err := os.ReadFile(p); err == nil && bytes.Contains(b, []byte(s.home)) {
			list = append(list, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return list
}

// has skips a test of a program that is not installed.
func has(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

func seed(b string) string { return strings.Repeat(b, 32) }
