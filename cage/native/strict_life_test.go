package native_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/cagetest"
	"github.com/metanode/metanode/cage/native"
)

// nothingLeft runs f, and fails the test if it leaves processes below this one, mounts, or files in dir.
func nothingLeft(t *testing.T, dir string, f func()) {
	t.Helper()
	mounts := readFile(t, "/proc/self", "mountinfo")
	f()
	for pid := range family(t, os.Getpid()) {
		t.Errorf("process %d is left", pid)
	}
	if after := readFile(t, "/proc/self", "mountinfo"); after != mounts {
		t.Errorf("mounts differ:\n%s\nwere\n%s", after, mounts)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left in %s: %v, %v", dir, entries, err)
	}
}

// startStrictSpin runs script, which is to print a line and go on for ever, and returns when its processes are there.
func startStrictSpin(t *testing.T, ctx context.Context, e *native.Engine, script string, processes int) (map[int]int, chan error) {
	t.Helper()
	failed := make(chan error, 1)
	files, dir := hostFiles{&cagetest.Store{Dir: t.TempDir()}}, t.TempDir()
	go func() {
		_, err := e.Run(ctx, strictSpec(hostRoot, "sh", "-c", script), files, dir)
		failed <- err
	}()
	return grown(t, os.Getpid(), processes), failed
}

func TestCancelLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	e, err := native.New(native.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.ReadyFor(cage.ModeStrict); err != nil {
		t.Skip(err)
	}
	for name, script := range map[string]string{
		"spinning":      "while :; do :; done",
		"many":          "for i in 1 2 3; do (while :; do cd /; done) & done; wait",
		"deaf":          "trap '' TERM INT HUP; while :; do :; done",
		"own sessions":  "setsid sh -c 'while :; do :; done' & while :; do :; done",
		"kept stopping": "(while :; do kill -STOP $$; kill -CONT $$; done) & while :; do :; done",
	} {
		t.Run(name, func(t *testing.T) {
			nothingLeft(t, filepath.Join(dir, "stage"), func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				fds, failed := startStrictSpin(t, ctx, e, script, 3) // tracer, init, program
				cancel()
				if err := <-failed; !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				wantGoneNow(t, fds)
			})
		})
	}
	t.Run("at once", func(t *testing.T) {
		nothingLeft(t, filepath.Join(dir, "stage"), func() {
			for wait := range 12 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(wait*wait)*100*time.Microsecond)
				_, err := e.Run(ctx, strictSpec(hostRoot, "sh", "-c", "while :; do :; done"), hostFiles{&cagetest.Store{Dir: t.TempDir()}}, t.TempDir())
				cancel()
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
			}
		})
	})
}

// wantGoneNow fails the test if one of the processes has not ended already.
func wantGoneNow(t *testing.T, fds map[int]int) {
	t.Helper()
	for pid := range fds {
		if err := syscall.Kill(pid, 0); err == nil {
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(b), ") Z ") {
				t.Errorf("process %d is still there: %s", pid, b)
			}
		}
	}
}

func TestCloseEndsStrictRuns(t *testing.T) {
	e := strictEngine(t)
	fds, failed := startStrictSpin(t, context.Background(), e, "while :; do :; done", 3)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	wantGoneNow(t, fds)
	if err := <-failed; err == nil {
		t.Error("a run that Close ended gave a result")
	}
}

func TestKilledTracerIsTrouble(t *testing.T) {
	e := strictEngine(t)
	fds, failed := startStrictSpin(t, context.Background(), e, "while :; do :; done", 3)
	for pid := range fds {
		if len(family(t, pid)) > 0 {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	var none *cage.ErrNoResult
	if err := <-failed; err == nil || errors.As(err, &none) {
		t.Errorf("got %v; want trouble with this machine", err)
	}
	wantGoneNow(t, fds)
	if res, _, _ := runStrict(t, e, hostFiles{&cagetest.Store{Dir: t.TempDir()}}, strictSpec(hostRoot, "true")); res.ExitCode != 0 {
		t.Errorf("the next run: %+v", res)
	}
}

// TestNodeKilledLeavesNoStrictCage kills a process that runs an engine, at once and without warning.
func TestNodeKilledLeavesNoStrictCage(t *testing.T) {
	if os.Getenv("SPIN_IN_STRICT_CAGE") != "" {
		_, failed := startStrictSpin(t, context.Background(), strictEngine(t), "(while :; do :; done) & while :; do :; done", 4)
		fmt.Println("spinning")
		t.Fatal(<-failed)
	}
	strictEngine(t) // skips where there is no cage
	mounts := readFile(t, "/proc/self", "mountinfo")
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestNodeKilledLeavesNoStrictCage$")
	cmd.Env = append(os.Environ(), "SPIN_IN_STRICT_CAGE=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if _, err := io.ReadFull(out, b); err != nil || string(b) != "spinning" {
		t.Errorf("the node says %q, %v", b, err)
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
	if after := readFile(t, "/proc/self", "mountinfo"); after != mounts {
		t.Errorf("mounts differ:\n%s\nwere\n%s", after, mounts)
	}
}
