package cagetest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/metanode/metanode/internal/digest"
	"golang.org/x/sys/unix"
)

// pass is one run of all programs, in a process of its own, with surroundings of its own.
type pass struct {
	What string // in words
	Dir  string // the pass's own, with a copy of the root; on one file system or another
	Root string
	Seed uint64 // of the order in which the root and the inputs were made, and of their times

	User     bool // as an ordinary user
	Hostname string
	CPU      int // to which the process is bound; -1: none
	Burn     int // processes started before, so that numbers differ
	Load     bool
	Env      []string
}

const (
	passVariable = "CAGETEST_PASS"
	ordinaryUser = 12345
)

// passes are the ways in which the runs differ: three with -short, else five. Between any two, wall time, starting
// number of processes, and the order, inodes and times of root and inputs differ too.
func passes(t *testing.T, base string) []pass {
	t.Helper()
	root := os.Getuid() == 0
	memory := secondFileSystem(t, base)
	list := []pass{
		{What: "the first run", Dir: base, CPU: -1},
		{What: "on another file system and processor, in another environment", Dir: memory, CPU: runtime.NumCPU() - 1, Hostname: "elsewhere",
			Burn: 40, Env: []string{"LANG=de_DE.UTF-8", "TZ=Asia/Tokyo", "LD_BIND_NOW=1", "GLIBC_TUNABLES=glibc.malloc.perturb=85", "MALLOC_ARENA_MAX=1", "GOMAXPROCS=1"}},
		{What: "as an ordinary user", Dir: base, CPU: -1, User: root, Burn: 7},
		{What: "beside a busy process", Dir: memory, CPU: -1, Load: true, Hostname: "busy.example.org", Env: []string{"HOME=/nowhere", "TZ=America/Lima"}},
		{What: "as an ordinary user on another file system and the first processor", Dir: memory, CPU: 0, User: root, Burn: 100},
	}
	if testing.Short() {
		list = list[:3]
	}
	for i := range list {
		list[i].Seed = uint64(i)
		list[i].Dir = filepath.Join(list[i].Dir, fmt.Sprint("pass", i))
		list[i].Root = filepath.Join(list[i].Dir, "root")
	}
	return list
}

// secondFileSystem is a folder on another file system than base's, or base where there is none that programs may be on.
func secondFileSystem(t *testing.T, base string) string {
	t.Helper()
	const place = "/dev/shm"
	var a, b unix.Stat_t
	var f unix.Statfs_t
	if unix.Stat(base, &a) != nil || unix.Stat(place, &b) != nil || a.Dev == b.Dev ||
		unix.Statfs(place, &f) != nil || f.Flags&unix.ST_NOEXEC != 0 || f.Bavail*uint64(f.Bsize) < 256<<20 {
		return base
	}
	dir, err := os.MkdirTemp(place, "cagetest")
	if err != nil {
		return base
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return publicDir(t, dir)
}

// start makes the pass's copy of the root and runs this test's binary with the pass's surroundings.
func (s *suite) start(t *testing.T, p *pass) {
	t.Helper()
	uid := os.Getuid()
	if p.User {
		uid = ordinaryUser
	}
	order := rand.New(rand.NewPCG(p.Seed, 1))
	at := time.Unix(1_000_000_000+int64(p.Seed)*40_000_000, int64(p.Seed)*333)
	s.copyRoot(t, p.Root, order, at)
	s.putInputs(t, filepath.Join(p.Dir, "blobs"), order, at, uid)
	own(t, p.Dir, uid)
	for range p.Burn {
		if err := exec.Command("/proc/self/exe", "-test.list", "^$").Run(); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(s.self, "-test.run", "^"+regexp.QuoteMeta(t.Name())+"$", "-test.timeout", "5m")
	cmd.Dir = p.Dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + p.Dir, passVariable + "=" + string(raw)}, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if p.User {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: ordinaryUser, Gid: ordinaryUser}
	} else if os.Getuid() == 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUTS
	}
	if p.Load {
		var done atomic.Bool
		defer done.Store(true)
		go func() {
			for !done.Load() {
			}
		}()
	}
	if out, err := runBound(cmd, p.CPU); err != nil {
		t.Fatalf("%s: %v\n%s", p.What, err, out)
	}
}

// runBound runs cmd on one processor alone, which a process inherits from the thread that starts it; -1: on any.
func runBound(cmd *exec.Cmd, cpu int) ([]byte, error) {
	if cpu < 0 {
		return cmd.CombinedOutput()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	if one.Set(cpu); before.IsSet(cpu) {
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return nil, err
		}
		defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	}
	return cmd.CombinedOutput()
}

// passOfThisProcess is what start asked this process for; nil if it was started by a person.
func passOfThisProcess(t *testing.T) *pass {
	t.Helper()
	raw := os.Getenv(passVariable)
	if raw == "" {
		return nil
	}
	p := new(pass)
	if err := json.Unmarshal([]byte(raw), p); err != nil {
		t.Fatal(err)
	}
	if p.Hostname != "" && os.Getuid() == 0 { // in a namespace of its own
		if err := unix.Sethostname([]byte(p.Hostname)); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// passFiles gives an engine the root as the folder that it is, and the inputs.
type passFiles struct {
	dir, blobs string
	root       digest.Digest
}

func (p *pass) files(t *testing.T) *passFiles {
	t.Helper()
	d, err := digest.Parse(read(t, p.Dir, "root.digest"))
	if err != nil {
		t.Fatal(err)
	}
	return &passFiles{dir: p.Root, blobs: filepath.Join(p.Dir, "blobs"), root: d}
}

// Path implements cage.Files.
func (f *passFiles) Path(d digest.Digest) (string, error) {
	p := filepath.Join(f.blobs, d.String())
	_, err := os.Stat(p)
	return p, err
}

// Root implements cage.Roots.
func (f *passFiles) Root(d digest.Digest) (string, bool) { return f.dir, d == f.root }
