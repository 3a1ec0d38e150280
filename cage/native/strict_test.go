package native_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/cagetest"
	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/cage/root"
	"github.com/metanode/metanode/internal/digest"
)

func strictEngine(t testing.TB) *native.Engine {
	t.Helper()
	e := newEngine(t, native.Config{})
	if err := e.ReadyFor(cage.ModeStrict); err != nil {
		t.Skip(err)
	}
	return e
}

// hostFiles also knows this machine's own root.
type hostFiles struct{ *cagetest.Store }

var hostRoot = cage.HostRoot([]byte("this machine"))

func (h hostFiles) Root(d digest.Digest) (string, bool) { return "/", d == hostRoot }

// archive packs files, by path and each with its mode, into a root and stores it.
func archive(t testing.TB, s *cagetest.Store, modes map[string]uint32, bytesOf map[string][]byte) digest.Digest {
	t.Helper()
	entries := map[string]root.Entry{}
	for name, mode := range modes {
		entries[name] = root.Entry{Path: name, Kind: root.File, Mode: mode, Size: uint64(len(bytesOf[name]))}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			entries[dir] = root.Entry{Path: dir, Kind: root.Folder, Mode: 0o755}
		}
	}
	var names []string
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	w := root.NewWriter(&b)
	for _, name := range names {
		if err := w.Add(entries[name]); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytesOf[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return s.Put(t, b.Bytes())
}

// actorRoot is a root that holds the suite's program at /bin/actor, and some that are none.
func actorRoot(t testing.TB, s *cagetest.Store) digest.Digest {
	t.Helper()
	p, err := s.Path(cagetest.Build(t, s, ""))
	if err != nil {
		t.Fatal(err)
	}
	actor, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	arm := bytes.Clone(actor)
	binary.LittleEndian.PutUint16(arm[18:], 183) // e_machine: AArch64
	old := bytes.Clone(actor)
	old[4] = 1 // 32 bits
	return archive(t, s,
		map[string]uint32{"bin/actor": 0o755, "bin/arm": 0o755, "bin/old": 0o755, "bin/text": 0o755, "bin/lost": 0o755, "bin/plain": 0o644},
		map[string][]byte{"bin/actor": actor, "bin/arm": arm, "bin/old": old, "bin/text": []byte("no program\n"), "bin/lost": []byte("#!/bin/nowhere\n"), "bin/plain": actor})
}

func strictSpec(image digest.Digest, argv ...string) cage.Spec {
	policy, _ := cage.PolicyNamed(cage.PolicyStrict)
	l := cage.DefaultLimits()
	l.MemoryBytes, l.OutputBytes, l.WallMs, l.CPUMs = 256<<20, 1<<20, 30000, 20000
	return cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: cage.ModeStrict, Image: image, Argv: argv,
		Seed: digest.Of([]byte("seed")), EpochNs: 1700000000000000000, Limits: l, CPUClass: cage.CPUx86_64v2,
		Policy: policy.Digest(), Workdir: cage.DefaultWorkdir,
	}
}

func runStrict(t testing.TB, e *native.Engine, files cage.Files, spec cage.Spec) (cage.Result, string, string) {
	t.Helper()
	dir := t.TempDir()
	res, err := e.Run(context.Background(), spec, files, dir)
	if err != nil {
		t.Fatalf("run %v: %v", spec.Argv, err)
	}
	return res, readFile(t, dir, "stdout"), readFile(t, dir, "stderr")
}

func readFile(t testing.TB, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestStrictEnds(t *testing.T) {
	e := strictEngine(t)
	s := &cagetest.Store{Dir: t.TempDir()}
	files := hostFiles{s}
	image := actorRoot(t, s)
	for _, c := range []struct {
		name   string
		image  digest.Digest
		argv   []string
		code   int32
		stdout string
		stderr string
	}{
		{"true", hostRoot, []string{"/bin/true"}, 0, "", ""},
		{"found by PATH", hostRoot, []string{"true"}, 0, "", ""},
		{"false", hostRoot, []string{"false"}, 1, "", ""},
		{"stdout", hostRoot, []string{"echo", "a", "b"}, 0, "a b\n", ""},
		{"both streams", hostRoot, []string{"sh", "-c", "echo out; echo err >&2; exit 3"}, 3, "out\n", "err\n"},
		{"pipe", hostRoot, []string{"sh", "-c", "echo through | cat | tr a-z A-Z"}, 0, "THROUGH\n", ""},
		{"working folder", hostRoot, []string{"pwd"}, 0, "/work\n", ""},
		{"kills itself", hostRoot, []string{"sh", "-c", "kill -9 $$"}, 137, "", ""},
		{"term", hostRoot, []string{"sh", "-c", "kill $$"}, 143, "", ""},
		{"static exit", image, []string{"/bin/actor", "exit", "42"}, 42, "", ""},
		{"static by PATH", image, []string{"actor", "exit", "7"}, 7, "", ""},
		{"abort", image, []string{"actor", "abort"}, 134, "", ""},
		{"segv", image, []string{"actor", "segv"}, 139, "", ""},
		{"descriptors", image, []string{"actor", "fds"}, 0, "0\n1\n2\n", ""},
		{"no host files", image, []string{"actor", "cat", "/etc/passwd"}, 1, "ENOENT\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, out, errs := runStrict(t, e, files, strictSpec(c.image, c.argv...))
			if res.ExitCode != c.code || res.Killed != "" || out != c.stdout || errs != c.stderr {
				t.Errorf("got exit code %d, killed %q, stdout %q, stderr %q; want %d, %q, %q", res.ExitCode, res.Killed, out, errs, c.code, c.stdout, c.stderr)
			}
		})
	}
}

func TestStrictProgramThatCannotStart(t *testing.T) {
	e := strictEngine(t)
	s := &cagetest.Store{Dir: t.TempDir()}
	image := actorRoot(t, s)
	elsewhere := strictSpec(image, "actor", "exit", "0")
	elsewhere.Workdir = "/nowhere"
	for name, c := range map[string]struct {
		spec cage.Spec
		code int32
		want string
	}{
		"missing":                {strictSpec(image, "/bin/none"), 127, "no such file"},
		"missing by name":        {strictSpec(image, "none"), 127, "PATH"},
		"missing folder":         {strictSpec(image, "/bin/actor/x"), 127, ""},
		"not executable":         {strictSpec(image, "/bin/plain"), 126, "permission denied"},
		"not executable by name": {strictSpec(image, "plain"), 126, "executable"},
		"a folder":               {strictSpec(image, "/bin"), 126, ""},
		"another architecture":   {strictSpec(image, "arm"), 126, "architecture"},
		"32 bits":                {strictSpec(image, "old"), 126, "architecture"},
		"no program":             {strictSpec(image, "text"), 126, ""},
		"interpreter missing":    {strictSpec(image, "lost"), 127, ""},
		"working folder missing": {elsewhere, 127, "working directory"},
	} {
		t.Run(name, func(t *testing.T) {
			var rec cage.Recording
			dir := t.TempDir()
			res, err := e.Record(context.Background(), c.spec, s, dir, &rec)
			if err != nil {
				t.Fatal(err)
			}
			errs := readFile(t, dir, "stderr")
			if res.ExitCode != c.code || res.Killed != "" || !strings.HasPrefix(errs, c.spec.Argv[0]+": ") || !strings.Contains(errs, c.want) {
				t.Errorf("got exit code %d, killed %q, stderr %q; want %d and %q", res.ExitCode, res.Killed, errs, c.code, c.want)
			}
			if rec.Start == "" || !strings.Contains(errs, rec.Start) {
				t.Errorf("the recording says %q, stderr %q", rec.Start, errs)
			}
			if _, err := rec.Encode(); err != nil {
				t.Error(err)
			}
			if again, _, _ := runStrict(t, e, s, c.spec); again.Witness != res.Witness {
				t.Error("the second time the witness is another")
			}
		})
	}
}

func TestStrictFiles(t *testing.T) {
	e := strictEngine(t)
	files := hostFiles{&cagetest.Store{Dir: t.TempDir()}}
	spec := strictSpec(hostRoot, "sh", "-c", `
		cat /in/data/a /work/src/f
		echo more >> /work/src/f && /work/run && /in/tool
		(echo x > /in/data/a) 2> /dev/null || echo kept
		(echo x > /in/new) 2> /dev/null || echo kept
		(echo x > /new) 2> /dev/null || echo kept
		cp src/f /out/result/copy; mkdir /out/result/d; echo deep > /out/result/d/f; echo top > /out/top
		for d in /tmp /work /out /root /run /var/tmp /dev/shm; do echo x > $d/x || echo $d is not writable; rm $d/x; done
		cat`)
	spec.Stdin = []byte("request\n")
	script := func(word string) []byte { return []byte("#!/bin/sh\necho " + word + "\n") }
	for _, in := range []struct {
		path, place string
		exec        bool
		b           []byte
	}{
		{"data/a", "", false, []byte("ay\n")}, {"tool", "", true, script("tool")},
		{"run", cage.PlaceWork, true, script("run")}, {"src/f", cage.PlaceWork, false, []byte("eff\n")},
	} {
		spec.Inputs = append(spec.Inputs, cage.Input{Path: in.path, Place: in.place, Exec: in.exec, Digest: files.Put(t, in.b), Bytes: uint64(len(in.b))})
	}
	spec.Outs = []string{"empty", "result"}
	dir := t.TempDir()
	res, err := e.Run(context.Background(), spec, files, dir)
	if err != nil {
		t.Fatal(err)
	}
	out, errs := readFile(t, dir, "stdout"), readFile(t, dir, "stderr")
	if want := "ay\neff\nrun\ntool\nkept\nkept\nkept\nrequest\n"; res.ExitCode != 0 || out != want || errs != "" {
		t.Errorf("got exit code %d, stdout %q, stderr %q; want %q", res.ExitCode, out, errs, want)
	}
	var names []string
	for _, o := range res.Outputs {
		names = append(names, o.Name)
	}
	if got := strings.Join(names, " "); got != "out/result/copy out/result/d/f out/top stderr stdout" {
		t.Errorf("outputs are %s", got)
	}
	if readFile(t, dir, "out/result/copy") != "eff\nmore\n" || readFile(t, dir, "out/result/d/f") != "deep\n" {
		t.Error("outputs hold something else than was written")
	}
	p, err := files.Path(spec.Inputs[3].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(p); err != nil || string(b) != "eff\n" {
		t.Errorf("the store's own file holds %q, %v", b, err)
	}
}

func TestStrictLimits(t *testing.T) {
	e := strictEngine(t)
	s := &cagetest.Store{Dir: t.TempDir()}
	files := hostFiles{s}
	image := actorRoot(t, s)
	none := func(name string, want cage.Reason, argv []string, change func(l *cage.Limits)) {
		t.Run(name, func(t *testing.T) {
			spec := strictSpec(image, argv...)
			change(&spec.Limits)
			var no *cage.ErrNoResult
			start := time.Now()
			if res, err := e.Run(context.Background(), spec, files, t.TempDir()); !errors.As(err, &no) || no.Reason != want {
				t.Errorf("got %+v, %v; want no result (%s)", res, err, want)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	none("wall", cage.ReasonWall, []string{"actor", "spin"}, func(l *cage.Limits) { l.WallMs = 300 })
	none("spin", cage.ReasonSpin, []string{"actor", "spin"}, func(l *cage.Limits) { l.CPUMs = 500 })
	killed := func(name, want string, image digest.Digest, argv []string, change func(l *cage.Limits)) cage.Result {
		var first cage.Result
		t.Run(name, func(t *testing.T) {
			spec := strictSpec(image, argv...)
			change(&spec.Limits)
			var out string
			first, out, _ = runStrict(t, e, files, spec)
			again, out2, _ := runStrict(t, e, files, spec)
			if first.Killed != want || again.Witness != first.Witness || out != out2 {
				t.Errorf("got killed %q, exit code %d, and witnesses %s and %s; want %q", first.Killed, first.ExitCode, first.Witness.Short(), again.Witness.Short(), want)
			}
		})
		return first
	}
	flood := killed("output", cage.KilledOutput, image, []string{"actor", "flood"}, func(*cage.Limits) {})
	for _, o := range flood.Outputs {
		if o.Name == "stdout" && o.Bytes != 1<<20 {
			t.Errorf("of the flood %d bytes are kept", o.Bytes)
		}
	}
	sh := func(script string) []string { return []string{"sh", "-c", script} }
	killed("files and streams together", cage.KilledOutput, hostRoot, sh("echo x; head -c 1048576 /dev/zero > /out/f"), func(*cage.Limits) {})
	killed("link as an output", cage.KilledFiles, hostRoot, sh("ln -s /etc/passwd /out/f"), func(*cage.Limits) {})
	killed("calls", cage.KilledCalls, hostRoot, sh("while :; do cd /; done"), func(l *cage.Limits) { l.Calls = 5000 })
	killed("clock", cage.KilledTime, hostRoot, sh("sleep 100"), func(l *cage.Limits) { l.VirtualMs = 99_000 })
	killed("processes ever", cage.KilledProcesses, hostRoot, sh("while :; do /bin/true; done"), func(l *cage.Limits) { l.Spawned = 20 })
	killed("deadlock", cage.KilledDeadlock, hostRoot, sh("mkfifo /tmp/f; cat /tmp/f"), func(*cage.Limits) {})
	t.Run("sleeping takes no time", func(t *testing.T) {
		start := time.Now()
		res, _, _ := runStrict(t, e, files, strictSpec(hostRoot, "sleep", "86400"))
		if took := time.Since(start); res.ExitCode != 0 || took > 10*time.Second {
			t.Errorf("exit code %d after %v", res.ExitCode, took)
		}
	})
}

func TestComputeOnly(t *testing.T) {
	e := strictEngine(t)
	policy, _ := cage.PolicyNamed(cage.PolicyComputeOnly)
	spec := strictSpec(hostRoot, "sh", "-c", `for d in /tmp /work /out /root /run /var/tmp /dev/shm /; do (echo x > $d/x) 2> /dev/null && echo wrote to $d; done; echo done`)
	spec.Policy = policy.Digest()
	// A subshell is a process: the shell says so and ends.
	if res, out, errs := runStrict(t, e, hostFiles{&cagetest.Store{Dir: t.TempDir()}}, spec); res.ExitCode == 0 || out != "" || !strings.Contains(errs, "fork") {
		t.Errorf("got exit code %d, stdout %q, stderr %q", res.ExitCode, out, errs)
	}
	spec.Argv[2] = `exec 2> /dev/null; for d in /tmp /work /root /run /var/tmp /; do echo x > $d/x && echo wrote to $d; done; echo done`
	if res, out, _ := runStrict(t, e, hostFiles{&cagetest.Store{Dir: t.TempDir()}}, spec); res.ExitCode != 0 || out != "done\n" {
		t.Errorf("got exit code %d, stdout %q", res.ExitCode, out)
	}
	spec.Outs = []string{"result"}
	if _, err := e.Run(context.Background(), spec, hostFiles{&cagetest.Store{Dir: t.TempDir()}}, t.TempDir()); err == nil {
		t.Error("an output folder where nothing can be written")
	}
}

func TestOwnPolicy(t *testing.T) {
	p, _ := cage.PolicyNamed(cage.PolicyStrict)
	p.Name = "no-folders"
	p.Calls = []cage.Call{{Name: "mkdir", Action: cage.ActionErrno, Errno: 28}, {Name: "symlink", Action: cage.ActionKill}, {Name: "symlinkat", Action: cage.ActionKill}}
	spec := strictSpec(hostRoot, "sh", "-c", "mkdir /tmp/d || echo refused; ln -s a /tmp/l; echo $?")
	spec.Policy = p.Digest()
	files := hostFiles{&cagetest.Store{Dir: t.TempDir()}}
	if _, err := strictEngine(t).Run(context.Background(), spec, files, t.TempDir()); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("a policy that nobody has given: %v", err)
	}
	e := newEngine(t, native.Config{Policies: []*cage.Policy{p}})
	if res, out, errs := runStrict(t, e, files, spec); out != "refused\n159\n" {
		t.Errorf("got exit code %d, stdout %q, stderr %q", res.ExitCode, out, errs)
	}
	spec.Argv = []string{"ln", "-s", "a", "/tmp/l"}
	if res, _, _ := runStrict(t, e, files, spec); res.Killed != cage.KilledSeccomp || res.ExitCode != 159 {
		t.Errorf("got exit code %d, killed %q", res.ExitCode, res.Killed)
	}
	spec.Mode = cage.ModeRelaxed
	if _, err := e.Run(context.Background(), spec, files, t.TempDir()); err == nil || !strings.Contains(err.Error(), "for mode") {
		t.Errorf("a policy of another mode: %v", err)
	}
}

// In relaxed mode threads run as the machine has them, and clocks and randomness are still the cage's.
func TestRelaxed(t *testing.T) {
	e := strictEngine(t)
	policy, _ := cage.PolicyNamed(cage.PolicyRelaxed)
	spec := strictSpec(hostRoot, "sh", "-c", "for i in 1 2 3 4; do (mkfifo /tmp/$i; echo $i > /tmp/$i & cat /tmp/$i) | cat > /out/$i & done; wait; sleep 1; date +%Y; head -c 8 /dev/urandom | od -An; exit 5")
	spec.Mode, spec.Policy = cage.ModeRelaxed, policy.Digest()
	files := hostFiles{&cagetest.Store{Dir: t.TempDir()}}
	res, out, errs := runStrict(t, e, files, spec)
	if res.ExitCode != 5 || !strings.HasPrefix(out, "2023\n ") || errs != "" || len(res.Outputs) != 6 {
		t.Errorf("got exit code %d, killed %q, stdout %q, stderr %q, %d outputs", res.ExitCode, res.Killed, out, errs, len(res.Outputs))
	}
	want := res
	want.Finish(&spec)
	again, _, _ := runStrict(t, e, files, spec)
	if res.Witness != want.Witness || again.Witness != res.Witness {
		t.Error("the witness does not follow from the outcome alone")
	}
}

func BenchmarkTrivialRunStrict(b *testing.B) {
	e := strictEngine(b)
	files := hostFiles{&cagetest.Store{Dir: b.TempDir()}}
	spec := strictSpec(hostRoot, "true")
	dir := b.TempDir()
	for b.Loop() {
		if _, err := e.Run(context.Background(), spec, files, dir); err != nil {
			b.Fatal(err)
		}
	}
}
