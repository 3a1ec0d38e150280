package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestContainerSameLineSameBytes runs one line in surroundings that differ, and as another user.
func TestContainerSameLineSameBytes(t *testing.T) {
	has(t, "python3")
	line := []string{"--", "python3", "-c", "import random,time,uuid,os; print(random.random(), time.time(), uuid.uuid4(), os.getpid(), sorted(os.environ), os.getcwd())"}
	var first, witness string
	surroundings := []*shelf{newShelf(t), newShelf(t), newShelf(t)}
	surroundings[1].env = []string{"TZ=Asia/Tokyo", "LANG=de_DE.UTF-8", "PYTHONHASHSEED=7", "HOME=/nowhere"}
	if os.Geteuid() == 0 {
		s := newShelf(t)
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
		} else {
			surroundings = append(surroundings, s)
		}
	}
	for i, s := range surroundings {
		got := s.must(append([]string{"container", "run", "--witness", "w.cbor"}, line...)...)
		var v struct{ Witness string }
		if err := json.Unmarshal([]byte(s.must("--json", "container", "inspect", "w.cbor")), &v); err != nil || v.Witness == "" {
			t.Fatal(err)
		}
		if i == 0 {
			first, witness = got, v.Witness
		}
		if got != first || v.Witness != witness {
			t.Errorf("surroundings %d: %s, %s\nwant %s, %s", i, got, v.Witness, first, witness)
		}
		s.clean()
	}
	s := surroundings[0]
	if other := s.must(append([]string{"container", "run", "--seed", seed("2a")}, line...)...); other == first {
		t.Error("another seed gives the same line")
	}
	later := s.must(append([]string{"container", "run", "--epoch", "2030-05-06T07:08:09Z"}, line...)...)
	if !strings.Contains(later, " 1904281689.") {
		t.Errorf("--epoch is not the program's clock: %s", later)
	}
}

// TestContainerFilesGoInAndOut: inputs, a working copy, outputs, standard input.
func TestContainerFilesGoInAndOut(t *testing.T) {
	s := newShelf(t)
	var lines strings.Builder
	for i := range 500 {
		fmt.Fprintln(&lines, i)
	}
	s.write("logs/a.txt", lines.String(), 0o644)
	pick := []string{"container", "run", "--in", "data=./logs", "--out", "result", "--", "sh", "-c", "sort -R /in/data/a.txt | head -3 > /out/result/pick.txt"}
	s.must(pick...)
	first := s.read("result/pick.txt")
	if strings.Count(first, "\n") != 3 {
		t.Fatalf("picked %q", first)
	}
	if r := s.run(pick...); r.code != 1 || !strings.Contains(r.stderr, "is not empty; --force replaces it") || s.read("result/pick.txt") != first {
		t.Errorf("over an output: exit code %d, %s", r.code, r.stderr)
	}
	s.write("result/old", "", 0o644)
	s.must(append([]string{"container", "run", "--force"}, pick[2:]...)...)
	if again := s.read("result/pick.txt"); again != first {
		t.Errorf("picked %q, then %q", first, again)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "result/old")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("--force left an old file: %v", err)
	}
	// The outputs of the last run are no inputs of the next.
	s.must("container", "run", "--force", "--work", ".", "--out", "result", "--witness", "w.cbor", "--", "sh", "-c", "ls -A > /out/result/ls; echo x > logs/a.txt")
	if got := s.read("result/ls"); got != "logs\n" {
		t.Errorf("the working copy holds %q", got)
	}
	if s.read("logs/a.txt") != lines.String() {
		t.Error("a program wrote to what it got a copy of")
	}
	s.write("in.txt", "from a file\n", 0o600)
	if got := s.must("container", "run", "--stdin", "in.txt", "cat"); got != "from a file\n" {
		t.Errorf("standard input is %q", got)
	}
	if r := s.run("container", "run", "--in", "in.txt", "--", "sh", "-c", "echo x > /in/in.txt"); r.code != 3 || !strings.Contains(r.stderr, "Read-only") {
		t.Errorf("writing to an input: exit code %d, %s", r.code, r.stderr)
	}
	if got := s.must("container", "run", "--env", "A=b c", "--workdir", "/tmp", "--", "sh", "-c", "echo $A; pwd"); got != "b c\n/tmp\n" {
		t.Errorf("environment and folder: %q", got)
	}
	var v struct {
		Stdout  string
		Stderr  string
		Outputs []struct{ Name, Path string }
	}
	out := s.must("--json", "container", "run", "--out", "o=made", "--", "sh", "-c", "echo 1; echo 2 >&2; mkdir /out/o/d; echo 3 > /out/o/d/f")
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Stdout != "1\n" || v.Stderr != "2\n" || len(v.Outputs) != 3 || v.Outputs[0].Path != filepath.Join(s.dir, "made/d/f") {
		t.Errorf("%v\n%s", err, out)
	}
	s.clean()
}

// TestContainerVerifyAndDiff: a recording is confirmed, and what has changed is named.
func TestContainerVerifyAndDiff(t *testing.T) {
	s := newShelf(t)
	s.write("data/a.txt", "one\n", 0o644)
	s.write("moved/a.txt", "one\n", 0o644)
	prog := []string{"--in", "data", "--", "sh", "-c", "od -An -tx1 -N4 /dev/urandom; cat /in/data/a.txt; date"}
	s.must(append([]string{"container", "run", "--witness", "w1.cbor"}, prog...)...)
	s.must(append([]string{"container", "run", "--witness", "w2.cbor"}, prog...)...)
	s.must(append([]string{"container", "run", "--witness", "w3.cbor", "--seed", seed("01")}, prog...)...)
	if out := s.must("container", "diff", "w1.cbor", "w2.cbor"); !strings.HasPrefix(out, "ok: same witness ") {
		t.Errorf("diff: %s", out)
	}
	if out := s.must("container", "verify", "w1.cbor"); !strings.HasPrefix(out, "ok: same witness ") {
		t.Errorf("verify: %s", out)
	}
	r := s.run("container", "diff", "w1.cbor", "w3.cbor")
	if r.code != 5 || !strings.Contains(r.stdout, "seed") || !strings.Contains(r.stdout, "stdout") {
		t.Errorf("diff: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	r = s.run("--json", "container", "diff", "w1.cbor", "w3.cbor")
	var v struct {
		Same         bool
		Spec, Result []struct{ What string }
	}
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || r.code != 5 || v.Same || len(v.Spec) != 1 || len(v.Result) == 0 {
		t.Errorf("diff --json: exit code %d, %v\n%s", r.code, err, r.stdout)
	}
	for _, want := range []string{"execute /", "od", "date", "to stdout"} {
		if out := s.must("container", "inspect", "w1.cbor", "--events"); !strings.Contains(out, want) {
			t.Errorf("the events lack %q:\n%s", want, out)
		}
	}
	s.write("data/a.txt", "two\n", 0o644)
	r = s.run("container", "verify", "w1.cbor")
	if r.code != 1 || !strings.Contains(r.stderr, "input /in/data/a.txt has changed") || !strings.Contains(r.stderr, "--in data=PATH") {
		t.Errorf("a changed input: exit code %d, %s", r.code, r.stderr)
	}
	s.must("container", "verify", "w1.cbor", "--in", "data=moved")
	if r := s.run("container", "verify", "w1.cbor", "--in", "other=moved"); r.code != 2 || !strings.Contains(r.stderr, "it has: data") {
		t.Errorf("an input that is none: exit code %d, %s", r.code, r.stderr)
	}
	// A recording in which one bit has changed is none.
	raw := []byte(s.read("w1.cbor"))
	for i := 0; i < len(raw); i += 1 + len(raw)/150 {
		raw[i] ^= 1
		s.write("bad.cbor", string(raw), 0o644)
		raw[i] ^= 1
		if r := s.run("container", "inspect", "bad.cbor"); r.code != 6 && !hintOnly(s, r) {
			t.Errorf("byte %d changed: exit code %d\n%s%s", i, r.code, r.stdout, r.stderr)
		}
	}
	s.clean()
}

// hintOnly reports whether a spoilt recording still has the witness of w1.cbor: places on this machine, and how often
// what was called, are not part of it.
func hintOnly(s *shelf, r result) bool {
	witness := func(text string) string {
		_, w, _ := strings.Cut(text, "\nwitness")
		return strings.TrimSpace(w)
	}
	return r.code == 0 && witness(r.stdout) == witness(s.must("container", "inspect", "w1.cbor"))
}

// TestContainerVerifyTellsWhatDiffers changes something of the host's root that its name does not cover.
func TestContainerVerifyTellsWhatDiffers(t *testing.T) {
	dir, err := os.MkdirTemp("/opt", "bpi-e2e-")
	if err != nil {
		t.Skipf("no folder of the root can be changed: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := newShelf(t)
	file := filepath.Join(dir, "words")
	set := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	set("one\n")
	s.must("container", "run", "--witness", "w.cbor", "--", "sh", "-c", "date; cat "+file+"; date")
	s.must("container", "verify", "w.cbor")
	set("two\n")
	r := s.run("container", "verify", "w.cbor")
	for _, want := range []string{"The first event that differs is event", "write 4 bytes to stdout", "w.cbor:", "this run:", "output stdout"} {
		if r.code != 5 || !strings.Contains(r.stdout, want) {
			t.Errorf("exit code %d, want 5 and %q:\n%s%s", r.code, want, r.stdout, r.stderr)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if r := s.run("container", "verify", "w.cbor"); r.code != 5 || !strings.Contains(r.stdout, "open "+file+" for reading → ENOENT") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	s.clean()
}

// TestContainerFailuresAreTold: each end has its exit code, its words and its next step, and leaves nothing.
func TestContainerFailuresAreTold(t *testing.T) {
	s := newShelf(t)
	s.write("noexec", "#!/bin/sh\n", 0o644)
	s.write("foreign", "\x7fELF\x01\x01\x01"+strings.Repeat("\x00", 60), 0o755)
	s.write("garbage", "\x00\x01\x02", 0o755)
	s.write("rules.json", strings.NewReplacer(`"strict-determinism"`, `"no-links"`, `"syscalls": []`,
		`"syscalls": [{"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}, {"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}]`).
		Replace(s.must("--json", "policy", "show", "strict-determinism")), 0o644)
	busy := "i=0; while [ $i -lt 100000000 ]; do i=$((i+1)); done"
	for _, tt := range []struct {
		args       []string
		code, pass int // without and with --passthrough-exit
		want       string
	}{
		{[]string{"nosuchprogram"}, 2, 127, "no such program in the folders of PATH"},
		{[]string{"/nowhere/at/all"}, 2, 127, "/nowhere/at/all"},
		{[]string{"--work", ".", "./noexec"}, 2, 126, "not executable"},
		{[]string{"--work", ".", "./foreign"}, 2, 126, "cannot start"},
		{[]string{"--work", ".", "./garbage"}, 2, 126, "cannot start"},
		{[]string{"sh", "-c", "exit 7"}, 3, 7, "program exited with 7"},
		{[]string{"sh", "-c", "kill -SEGV $$"}, 3, 139, "SIGSEGV"},
		{[]string{"--out", "o", "true"}, 3, 125, "the program left no file in /out/o, the output o; let it write one there"},
		{[]string{"--out", "o", "false"}, 3, 1, "program exited with 1"},
		{[]string{"--limit", "out=10", "--", "sh", "-c", "echo 0123456789abc"}, 3, 153, "--limit out=SIZE"},
		{[]string{"--limit", "time=5s", "sleep", "6"}, 3, 137, "--limit time=TIME"},
		{[]string{"--limit", "calls=50", "--", "sh", "-c", "while :; do echo x; done"}, 3, 137, "--limit calls=NUMBER"},
		{[]string{"--limit", "started=3", "--", "sh", "-c", "for i in 1 2 3 4; do date; done"}, 3, 137, "--limit started=NUMBER"},
		{[]string{"--limit", "cpu=1s", "--", "sh", "-c", busy}, 4, 125, "no result ("},
		{[]string{"--limit", "wall=1s", "--", "sh", "-c", busy}, 4, 125, "no result (wall)"},
		{[]string{"--policy", "compute-only", "--", "sh", "-c", "(true); echo not reached"}, 3, 2, "fork"},
		{[]string{"--policy", "compute-only", "--", "sh", "-c", "echo x > /tmp/x"}, 3, 2, "Read-only"},
		{[]string{"--policy", "rules.json", "--", "ln", "-s", "a", "b"}, 3, 1, "Function not implemented"},
		{[]string{"--policy", "rules.json", "mkdir", "d"}, 3, 159, "bpi policy show rules.json"},
	} {
		for _, passthrough := range []bool{false, true} {
			args, code := append([]string{"container", "run"}, tt.args...), tt.code
			if passthrough {
				args, code = append([]string{"container", "run", "--passthrough-exit"}, tt.args...), tt.pass
			}
			if r := s.run(args...); r.code != code || !strings.Contains(r.stderr, tt.want) {
				t.Errorf("bpi %s: exit code %d, want %d and %q:\n%s", strings.Join(args, " "), r.code, code, tt.want, r.stderr)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "o")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an output that was not made is there: %v", err)
	}
	s.clean()
}

// TestContainerEndsWithItsCommand: Ctrl-C, SIGTERM and --timeout end the cage; after SIGKILL the next run removes what is left.
func TestContainerEndsWithItsCommand(t *testing.T) {
	s := newShelf(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		cmd := s.command("container", "run", "--out", "o", "--", "sh", "-c", "echo x > /out/o/x; while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "a run", func() bool {
			return slices.ContainsFunc(s.processes(), func(line string) bool { return strings.Contains(line, "tracer") && strings.Contains(line, " run ") })
		})
		group := -cmd.Process.Pid // as a terminal does it
		if sig == syscall.SIGKILL {
			group = cmd.Process.Pid
		}
		if err := syscall.Kill(group, sig); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if sig != syscall.SIGKILL && (cmd.ProcessState.ExitCode() != 1 || !strings.Contains(errs.String(), "interrupted: the program was ended")) {
			t.Errorf("%v: exit code %d, %s", sig, cmd.ProcessState.ExitCode(), errs.String())
		}
		eventually(t, 10*time.Second, "the end of the cage", func() bool { return len(s.processes()) == 0 })
		if _, err := os.Stat(filepath.Join(s.dir, "o")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v: there is an output: %v", sig, err)
		}
		if sig == syscall.SIGKILL {
			s.must("container", "run", "true")
		}
		s.clean()
	}
	if r := s.run("--timeout", "1s", "container", "run", "--", "sh", "-c", "while :; do :; done"); r.code != 4 || !strings.Contains(r.stderr, "--timeout") {
		t.Errorf("--timeout: exit code %d, %s", r.code, r.stderr)
	}
	s.clean()
}

// TestContainerInAFolderRoot packs a root, runs in it at once from several processes with a home that is new, and elsewhere.
func TestContainerInAFolderRoot(t *testing.T) {
	has(t, "gcc")
	s := newShelf(t)
	s.write("hello.c", "#include <stdio.h>\n#include <time.h>\nint main(void) { printf(\"hello at %ld\\n\", (long)time(0)); return 0; }\n", 0o644)
	if err := os.MkdirAll(filepath.Join(s.dir, "rootfs/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-static", "-o", filepath.Join(s.dir, "rootfs/bin/hello"), filepath.Join(s.dir, "hello.c")).CombinedOutput(); err != nil {
		t.Skipf("gcc: %v\n%s", err, out)
	}
	s.write("rootfs/etc/name", "here", 0o600)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			if r := s.run("container", "run", "--rootfs", "rootfs", "--witness", fmt.Sprintf("w%d.cbor", i), "hello"); r.code != 0 || r.stdout != "hello at 1767225600\n" {
				t.Errorf("exit code %d, %q, %s", r.code, r.stdout, r.stderr)
			}
		})
	}
	all.Wait()
	for i := 1; i < 4; i++ {
		s.must("container", "diff", "w0.cbor", fmt.Sprintf("w%d.cbor", i))
	}
	if err := os.CopyFS(filepath.Join(s.dir, "copy"), os.DirFS(filepath.Join(s.dir, "rootfs"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(s.dir, "copy/etc/name"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.write("rootfs/etc/name", "there", 0o600)
	s.must("container", "verify", "w0.cbor") // the old one is unpacked here
	if err := os.RemoveAll(filepath.Join(s.home, "container", "roots")); err != nil {
		t.Fatal(err)
	}
	r := s.run("container", "verify", "w0.cbor")
	if r.code != 1 || !strings.Contains(r.stderr, "is not that of the recording") || !strings.Contains(r.stderr, "--rootfs DIR") {
		t.Errorf("a changed root: exit code %d, %s", r.code, r.stderr)
	}
	s.must("container", "verify", "w0.cbor", "--rootfs", "copy")
	if r := s.run("container", "run", "--rootfs", "rootfs", "sh"); r.code != 2 || !strings.Contains(r.stderr, "program sh cannot start") {
		t.Errorf("a program that the root lacks: exit code %d, %s", r.code, r.stderr)
	}
	s.clean()
}

// TestContainerBuilds runs make with four jobs on a copy of a folder, twice.
func TestContainerBuilds(t *testing.T) {
	has(t, "make", "gcc")
	s := newShelf(t)
	s.write("src/Makefile", "prog: a.o b.o c.o d.o\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n", 0o644)
	for _, name := range []string{"b", "c", "d"} {
		s.write("src/"+name+".c", "const char *"+name+"(void) { return __DATE__ \" \" __TIME__; }\n", 0o644)
	}
	s.write("src/a.c", "#include <stdio.h>\nconst char *b(void), *c(void), *d(void);\nint main(void) { printf(\"%s, %s, %s\\n\", b(), c(), d()); return 0; }\n", 0o644)
	for _, name := range []string{"one", "two"} {
		s.must("container", "run", "--work", "src", "--out", "bin="+name, "--witness", name+".cbor", "--", "sh", "-c", "make -j4 && cp prog /out/bin && ./prog > /out/bin/says")
	}
	if s.read("one/prog") != s.read("two/prog") || !strings.HasPrefix(s.read("one/says"), "Jan  1 2026 00:00:0") {
		t.Errorf("two builds differ, or the clock is none of ours: %s", s.read("one/says"))
	}
	s.must("container", "diff", "one.cbor", "two.cbor")
	s.must("container", "verify", "one.cbor")
	s.clean()
}
