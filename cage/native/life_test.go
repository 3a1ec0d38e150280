package native_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/cagetest"
	"github.com/metanode/metanode/cage/native"
	"golang.org/x/sys/unix"
)

// family gives a pidfd for each process below pid: they cannot be confused with later processes.
func family(t *testing.T, pid int) map[int]int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	parent := map[int]int{}
	for _, p := range stats {
		b, err := os.ReadFile(p)
		if err != nil {
			continue // has ended
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		parent[id], _ = strconv.Atoi(f[1])
	}
	fds := map[int]int{}
	for id := range parent {
		for up := parent[id]; up > 1; up = parent[up] {
			if up == pid {
				if fd, err := unix.PidfdOpen(id, 0); err == nil {
					fds[id] = fd
				}
				break
			}
		}
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	return fds
}

// grown waits until at least n processes live below pid.
func grown(t *testing.T, pid, n int) map[int]int {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for {
		if f := family(t, pid); len(f) >= n {
			return f
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("no %d processes below %d", n, pid)
		}
	}
}

func wantGone(t *testing.T, fds map[int]int) {
	t.Helper()
	for pid, fd := range fds {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 10000)
		for err == unix.EINTR {
			n, err = unix.Poll(p, 10000)
		}
		if n != 1 {
			t.Errorf("process %d is still alive", pid)
		}
	}
}

// startSpin runs an endless program and returns when it runs, with the processes of the cage.
func startSpin(t *testing.T, e *native.Engine, s *cagetest.Store) (map[int]int, cage.Spec, chan error) {
	spec := cagetest.Spec(cagetest.Build(t, s, "zygote"), "spin")
	failed := make(chan error, 1)
	dir := t.TempDir()
	go func() {
		_, err := e.Run(context.Background(), spec, s, dir)
		failed <- err
	}()
	return grown(t, os.Getpid(), 4), spec, failed // supervisor, zygote, init of the job's namespace, program
}

func TestKilledZygoteIsTroubleAndNextRunWorks(t *testing.T) {
	s := &cagetest.Store{Dir: t.TempDir()}
	e := newEngine(t, native.Config{})
	fds, spec, failed := startSpin(t, e, s)
	for pid := range fds {
		for kid := range family(t, pid) {
			if len(family(t, kid)) > 0 { // the zygote: has a parent and children among them
				if err := unix.Kill(kid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	var none *cage.ErrNoResult
	if err := <-failed; err == nil || errors.As(err, &none) {
		t.Errorf("got %v; want trouble with this machine", err)
	}
	wantGone(t, fds)
	spec.Argv = []string{"actor", "exit", "3"}
	if res, err := e.Run(context.Background(), spec, s, t.TempDir()); err != nil || res.ExitCode != 3 {
		t.Errorf("the next run: %+v, %v", res, err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := &cagetest.Store{Dir: t.TempDir()}
	e := newEngine(t, native.Config{})
	fds, spec, failed := startSpin(t, e, s)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	wantGone(t, fds)
	if err := <-failed; err == nil {
		t.Error("a run that Close ended gave a result")
	}
	if _, err := e.Run(context.Background(), spec, s, t.TempDir()); err == nil {
		t.Error("a closed engine ran a program")
	}
}

func TestIdleZygoteEnds(t *testing.T) {
	s := &cagetest.Store{Dir: t.TempDir()}
	e := newEngine(t, native.Config{IdleAfter: 50 * time.Millisecond})
	spec := cagetest.Spec(cagetest.Build(t, s, "zygote"), "exit", "0")
	if _, err := e.Run(context.Background(), spec, s, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	wantGone(t, family(t, os.Getpid()))
	if n := e.Stats().Zygotes; n != 0 {
		t.Errorf("%d zygotes alive", n)
	}
	if _, err := e.Run(context.Background(), spec, s, t.TempDir()); err != nil {
		t.Errorf("after the zygote had ended: %v", err)
	}
	if st := e.Stats(); st.Runs != 2 || st.Started != 2 || st.Mean <= 0 {
		t.Errorf("stats %+v", st)
	}
}

// TestNodeKilledLeavesNothing kills a process that runs an engine, at once and without warning.
func TestNodeKilledLeavesNothing(t *testing.T) {
	if os.Getenv("SPIN_IN_CAGE") != "" {
		s := &cagetest.Store{Dir: t.TempDir()}
		_, _, failed := startSpin(t, newEngine(t, native.Config{}), s)
		fmt.Println("spinning")
		t.Fatal(<-failed)
	}
	newEngine(t, native.Config{}) // skips where there is no cage
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestNodeKilledLeavesNothing$")
	cmd.Env = append(os.Environ(), "SPIN_IN_CAGE=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if n, err := out.Read(b); err != nil || string(b[:n]) != "spinning" {
		t.Errorf("the node says %q, %v", b[:n], err)
	}
	fds := family(t, cmd.Process.Pid)
	if len(fds) < 4 {
		t.Errorf("only %d processes below the node", len(fds))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // was killed
	wantGone(t, fds)
	if after, err := os.ReadFile("/proc/self/mountinfo"); err != nil || string(after) != string(mounts) {
		t.Errorf("mounts differ, %v:\n%s\nwere\n%s", err, after, mounts)
	}
}

func TestMissingWallIsNamed(t *testing.T) {
	if _, err := native.New(native.Config{Dir: t.TempDir(), AllowMissing: []string{"pivot_root"}}); err == nil {
		t.Error("the cage agreed to do without pivot_root")
	}
	if _, err := native.New(native.Config{Dir: t.TempDir(), AllowMissing: []string{"moat"}}); err == nil {
		t.Error("a wall that is none was accepted")
	}
	for _, w := range newEngine(t, native.Config{}).Probe() {
		if w.Given != (w.Why == "" && w.Remedy == "") {
			t.Errorf("wall %+v says both", w)
		}
	}
}

func BenchmarkTrivialRunInZygote(b *testing.B) {
	s := &cagetest.Store{Dir: b.TempDir()}
	e := newEngine(b, native.Config{})
	spec := cagetest.Spec(cagetest.Build(b, s, "zygote"), "exit", "0")
	dir := b.TempDir()
	for b.Loop() {
		if _, err := e.Run(context.Background(), spec, s, dir); err != nil {
			b.Fatal(err)
		}
	}
}
