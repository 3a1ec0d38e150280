package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// tool is a program that people use, with what it is given to do. It finds testdata/programs in /in/programs.
type tool struct {
	name  string
	needs []string // programs of this machine; without one of them it is skipped
	probe string   // a line for sh that must succeed on this machine, or it is skipped
	flags []string // further ones of container run
	argv  []string
	code  int      // with --passthrough-exit
	want  []string // regular expressions for what it prints, to standard output and then to standard error
}

// surrounding is where programs run that must not notice it.
type surrounding struct {
	*shelf
	name string
	cpu  int // the only processor that is given to it; -1: all
	busy bool
}

// TestProgramsRunAlike runs each program as root and not, on one processor or another, with another environment, with the
// machine idle or busy, and at other times of the day: output, exit code and witness are the same.
func TestProgramsRunAlike(t *testing.T) {
	places := surroundings(t)
	inputs, err := filepath.Abs("testdata/programs")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("all", func(t *testing.T) {
		for i := range programs {
			p := &programs[i]
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				has(t, p.needs...)
				if p.probe != "" {
					if out, err := exec.Command("sh", "-c", p.probe).CombinedOutput(); err != nil {
						t.Skipf("this machine's cannot: %s: %v\n%s", p.probe, err, out)
					}
				}
				var first result
				for k := range places {
					s := places[k]
					args := append([]string{"container", "run", "--passthrough-exit", "--witness", p.name + ".cbor", "--in", "programs=" + inputs}, p.flags...)
					r := s.runHere(append(append(args, "--"), p.argv...)...)
					if k == 0 {
						first = r
						told(t, p, &r)
						continue
					}
					if r != first {
						t.Fatalf("%s:\nexit code %d\n%s%s\n%s:\nexit code %d\n%s%s", places[0].name, first.code, first.stdout, first.stderr, s.name, r.code, r.stdout, r.stderr)
					}
					if r := places[0].run("container", "diff", p.name+".cbor", filepath.Join(s.dir, p.name+".cbor")); r.code != 0 {
						t.Errorf("%s and %s: %s%s", places[0].name, s.name, r.stdout, r.stderr)
					}
				}
			})
		}
	})
	for _, s := range places {
		s.clean()
	}
}

// told complains of what a program should have said.
func told(t *testing.T, p *tool, r *result) {
	t.Helper()
	if r.code != p.code {
		t.Errorf("exit code %d, want %d", r.code, p.code)
	}
	for _, want := range p.want {
		if !regexp.MustCompile("(?m)" + want).MatchString(r.stdout + r.stderr) {
			t.Errorf("nothing matches %q", want)
		}
	}
	if t.Failed() {
		t.Logf("%s%s", r.stdout, r.stderr)
	}
}

func surroundings(t *testing.T) []*surrounding {
	t.Helper()
	var allowed unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		t.Fatal(err)
	}
	first, last := -1, -1
	for cpu := range 1024 {
		if allowed.IsSet(cpu) {
			if last = cpu; first < 0 {
				first = cpu
			}
		}
	}
	list := []*surrounding{
		{shelf: newShelf(t), name: "as it is", cpu: -1},
		{shelf: newShelf(t), name: "elsewhere and busy", cpu: first, busy: true},
	}
	list[1].env = []string{"TZ=Asia/Tokyo", "LANG=de_DE.UTF-8", "LC_ALL=C", "PYTHONHASHSEED=7", "PERL_HASH_SEED=7", "GOMAXPROCS=1", "HOME=/nowhere", "MAKEFLAGS=-j9", "SOURCE_DATE_EPOCH=5"}
	if os.Geteuid() != 0 {
		return append(list, &surrounding{shelf: newShelf(t), name: "another processor", cpu: last})
	}
	s, name := newShelf(t), "ordinary user on another processor"
	s.uid = 65534
	for _, dir := range []string{filepath.Dir(s.home), s.home, s.dir} {
		if err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(p, s.uid, s.uid))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := exec.Command("setpriv", "--reuid", "65534", "test", "-x", s.command().Path).Run(); err != nil {
		t.Logf("not tried as an ordinary user, who cannot execute %s: %v", s.command().Path, err)
		s.uid, name = 0, "another processor"
	}
	return append(list, &surrounding{shelf: s, name: name, cpu: last})
}

// runHere is run, with the surrounding as it should be. The command inherits the processors of the thread that starts it.
func (s *surrounding) runHere(args ...string) result {
	s.t.Helper()
	if s.busy {
		var done atomic.Bool
		defer done.Store(true)
		go func() {
			for !done.Load() {
			}
		}()
	}
	if s.cpu >= 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var before, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &before); err != nil {
			s.t.Fatal(err)
		}
		one.Set(s.cpu)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			s.t.Fatal(err)
		}
		defer func() {
			if err := unix.SchedSetaffinity(0, &before); err != nil {
				s.t.Error(err)
			}
		}()
	}
	return s.run(args...)
}

// sh is a script for bash, which is to end well.
func sh(script string) []string { return []string{"bash", "-c", strings.TrimSpace(script)} }
