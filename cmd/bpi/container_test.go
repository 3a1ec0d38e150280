package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

func TestContainerFlagsAreRead(t *testing.T) {
	def := cage.DefaultLimits()
	l, err := parseLimits(def, []string{"cpu=10s,mem=1g", "wall=2h", "time=500ms,out=64k,files=9,procs=3,started=5,calls=77"})
	want := def
	want.CPUMs, want.MemoryBytes, want.WallMs, want.VirtualMs, want.OutputBytes = 10_000, 1<<30, 7_200_000, 500, 64<<10
	want.Files, want.Processes, want.Spawned, want.Calls = 9, 3, 5, 77
	if err != nil || l != want {
		t.Errorf("limits %+v, %v", l, err)
	}
	for in, want := range map[string]uint64{
		"": 1767225600e9, "2026-01-01T00:00:00Z": 1767225600e9, "1": 1e9, "1970-01-01T01:00:00.5+01:00": 5e8, "0": 0,
	} {
		if got, err := parseEpoch(in); err != nil || got != want {
			t.Errorf("epoch %q: %d, %v; want %d", in, got, err, want)
		}
	}
	if d, err := parseSeed(""); err != nil || d != (digest.Digest{}) {
		t.Errorf("no seed: %v, %v", d, err)
	}
	if d, err := parseSeed(strings.Repeat("2A", 32)); err != nil || d[0] != 0x2a || d[31] != 0x2a {
		t.Errorf("seed: %v, %v", d, err)
	}
	t.Setenv("CONTAINER_TEST", "here")
	if env, err := parseEnv([]string{"B=1", "A=x=y", "CONTAINER_TEST", "B=2"}); err != nil || !reflect.DeepEqual(env, []string{"A=x=y", "B=2", "CONTAINER_TEST=here"}) {
		t.Errorf("environment %q, %v", env, err)
	}
	ins, err := parseIn([]string{"data=./logs", "/a/b.txt", "./x=y", "c=d=e"})
	if err != nil || !reflect.DeepEqual(ins, []place{{"data", "./logs"}, {"b.txt", "/a/b.txt"}, {"x=y", "./x=y"}, {"c", "d=e"}}) {
		t.Errorf("inputs %v, %v", ins, err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	outs, err := parseOut([]string{"z=/tmp/z", "result", "a,b=c", "/tmp/d=e/"})
	if err != nil || !reflect.DeepEqual(outs, []place{{"a,b", filepath.Join(dir, "c")}, {"d=e", "/tmp/d=e"}, {"result", filepath.Join(dir, "result")}, {"z", "/tmp/z"}}) {
		t.Errorf("outputs %v, %v", outs, err)
	}
	for in, want := range map[string]string{"": "/work", "/": "/", "src/a": "/work/src/a", "/tmp/../usr/": "/usr", "..": "/"} {
		if got, err := parseWorkdir(in); err != nil || got != want {
			t.Errorf("workdir %q: %q, %v", in, got, err)
		}
	}
}

func TestContainerRunRefusesWithTheNextStep(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("full/file", "x")
	write("bad.json", "{}\n")
	write("long", strings.Repeat("x", cage.MaxStdinBytes+1))
	strict, _ := cage.PolicyNamed(cage.PolicyStrict)
	write("small.json", strings.NewReplacer(`"strict-determinism"`, `"small"`, `"writable": true`, `"writable": true, "limits": {"max": {"cpu_ms": 1000}}`).Replace(string(strict.Marshal())))
	if err := os.Mkdir("empty", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"links/out": "/etc/passwd", "none/gone": "nothing", "folders/d": "sub"} {
		if err := os.MkdirAll(filepath.Join(filepath.Dir(name), "sub"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"run", exitUsage, "no program; try: bpi container run -- date"},
		{"run --", exitUsage, "no program"},
		{"run --nosuch true", exitUsage, "has no flag --nosuch"},
		{"run --policy nosuch true", exitUsage, `there is no policy "nosuch"; see: bpi policy list`},
		{"run --policy sealed true", exitUsage, "--policy strict-determinism"},
		{"run --policy none.json true", exitFailure, "there is no such file; begin one with"},
		{"run --policy bad.json true", exitFailure, `bad.json:1:1: the policy lacks the member "name"`},
		{"run --seed 2a2a true", exitUsage, "--seed has 4 digits; want 64 hexadecimal digits"},
		{"run --seed " + strings.Repeat("zz", 32) + " true", exitUsage, "want 64 hexadecimal digits"},
		{"run --epoch tomorrow true", exitUsage, `--epoch "tomorrow": want a moment as 2026-01-01T00:00:00Z`},
		{"run --epoch -1 true", exitUsage, "want a moment from 1970 to 2115"},
		{"run --epoch 3000-01-01T00:00:00Z true", exitUsage, "want a moment from 1970"},
		{"run --limit cpu=0 true", exitUsage, "a limit of 0 leaves nothing to run with; want a time such as 500ms"},
		{"run --limit mem=0g true", exitUsage, "a limit of 0"},
		{"run --limit cpu=10 true", exitUsage, "want a time such as 500ms, 10s, 5m or 2h"},
		{"run --limit mem=1x true", exitUsage, "want a size such as 4096, 64k"},
		{"run --limit mem=99999999999t true", exitUsage, "too large"},
		{"run --limit files=1k true", exitUsage, "want a whole number"},
		{"run --limit cpu true", exitUsage, "want NAME=VALUE"},
		{"run --limit speed=1 true", exitUsage, "with a name of cpu, wall, time, mem, out, files, procs, started, calls"},
		{"run --limit cpu=1s --limit cpu=2s true", exitUsage, "--limit cpu is given twice"},
		{"run --limit mem=1k true", exitUsage, "limit memory bytes is 1024"},
		{"run --limit files=4294967297 true", exitUsage, "limit files is 4294967295"},
		{"run --policy small.json --limit cpu=2s true", exitUsage, "allows at most 1000 for the limit cpu_ms"},
		{"run --env =x true", exitUsage, "want NAME=VALUE"},
		{"run --env NOT_SET_ANYWHERE true", exitUsage, "--env NOT_SET_ANYWHERE=VALUE"},
		{"run --env LD_PRELOAD=x true", exitUsage, `"LD_PRELOAD" is kept by the cage for itself`},
		{"run --in a/b=.. true", exitFailure, "input b=..: there is no file or folder a/b=.."},
		{"run --in .=full true", exitUsage, "NAME is one plain name"},
		{"run --in full --in full=empty true", exitUsage, "there is another input called full; give it another name"},
		{"run --in nowhere true", exitFailure, "input nowhere: there is no file or folder nowhere"},
		{"run --in empty true", exitFailure, "input empty: there is no file in the folder empty"},
		{"run --in links true", exitFailure, "leads out of the folder, to /etc/passwd; put the file itself there"},
		{"run --in none true", exitFailure, "leads nowhere; remove it or repair it"},
		{"run --in folders true", exitFailure, "leads to a folder"},
		{"run --in x=/dev/null true", exitFailure, "/dev/null is no regular file"},
		{"run --work nowhere true", exitFailure, "there is no file or folder nowhere"},
		{"run --work full/file true", exitFailure, "is no folder; give the folder that is to be at /work"},
		{"run --out full true", exitFailure, "is not empty; --force replaces it"},
		{"run --out o=full/file true", exitFailure, "is there and is no folder"},
		{"run --out o=nowhere/deep true", exitFailure, "mkdir -p "},
		{"run --out o --out o=p true", exitUsage, "the output o goes to"},
		{"run --out o=p --out q=p true", exitUsage, "the output o goes to"},
		{"run --out .. true", exitUsage, "NAME is one plain name"},
		{"run --out nowhere/b true", exitFailure, "output b: there is no folder"},
		{"run --policy compute-only --out o true", exitUsage, `there can be no output "o"`},
		{"run --policy compute-only --work full true", exitUsage, "no copy at /work/file"},
		{"run --witness nowhere/w.cbor true", exitFailure, "there is no folder nowhere; make it first"},
		{"run --witness empty true", exitFailure, "is a folder; name a file"},
		{"run --stdin nowhere true", exitFailure, "--stdin"},
		{"run --stdin long true", exitFailure, "give it as a file: --in data=FILE"},
		{"run --host-root --rootfs full true", exitUsage, "want one of --host-root, --rootfs DIR and --image NAME"},
		{"run --image x --rootfs full true", exitUsage, "want one of --host-root"},
		{"run --image x@sha256:12 true", exitUsage, "want 64 hexadecimal digits"},
		{"run --image x true", exitFailure, "bpi devnet up"},
		{"run --rootfs nowhere true", exitFailure, "root nowhere"},
		{"run --rootfs full/file true", exitFailure, "is no folder; give one that holds bin, lib, usr"},
		{"verify", exitUsage, "want one recording"},
		{"verify nowhere.cbor", exitFailure, "bpi container run --witness nowhere.cbor -- CMD"},
		{"verify long", exitInvalid, "long is no whole recording"},
		{"verify long --rootfs x --host-root", exitUsage, "want one of"},
		{"diff long", exitUsage, "want two recordings, have 1 argument"},
		{"diff long long", exitInvalid, "long is no whole recording"},
		{"inspect nowhere.cbor", exitFailure, "there is no such file"},
	} {
		code, out, errs := bpi(t, filepath.Join(dir, "home"), append([]string{"container"}, strings.Fields(tt.line)...)...)
		if code == exitFailure && strings.Contains(errs, "does not give the cage its wall") {
			t.Logf("container %s: not tried, this machine has no cage", tt.line)
			continue
		}
		if code != tt.code || out != "" || !strings.HasPrefix(errs, "bpi: ") || !strings.Contains(errs, tt.want) {
			t.Errorf("container %s: exit code %d, %q, %q; want %d and %q", tt.line, code, out, errs, tt.code, tt.want)
		}
	}
	// --passthrough-exit keeps the program's codes apart from bpi's own.
	if code, _, errs := bpi(t, dir, "container", "run", "--passthrough-exit", "--seed", "2a", "true"); code != exitPassthrough || !strings.Contains(errs, "--seed has 2 digits") {
		t.Errorf("exit code %d, %q; want %d", code, errs, exitPassthrough)
	}
}

func TestTooManyInputsAreNamed(t *testing.T) {
	dir := t.TempDir()
	for i := range cage.MaxInputs + 1 {
		if err := os.WriteFile(filepath.Join(dir, "f"+strings.Repeat("x", i%200)+time.Duration(i).String()), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var l localInputs
	if err := l.add(cage.PlaceIn, "many", dir); err == nil || !strings.Contains(err.Error(), "more than 4096 files") || !strings.Contains(err.Error(), "tar -cf") {
		t.Errorf("%v", err)
	}
}

func TestInputsAreListedWithModesAndOrder(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"b/prog": 0o755, "a": 0o600, "b/out/made": 0o600, "b/deep/x": 0o444} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "b", "nothing"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../a", filepath.Join(dir, "b", "link")); err != nil {
		t.Fatal(err)
	}
	l := localInputs{skip: map[string]bool{realPath(filepath.Join(dir, "b/out")): true}}
	for _, err := range []error{l.add(cage.PlaceWork, "", dir), l.add(cage.PlaceIn, "one", filepath.Join(dir, "a"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	list, err := l.hash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in := func(place, name, text string, exec bool) cage.Input {
		return cage.Input{Path: name, Digest: digest.Of([]byte(text)), Bytes: uint64(len(text)), Place: place, Exec: exec}
	}
	want := []cage.Input{
		in(cage.PlaceIn, "one", "a", false), in(cage.PlaceWork, "a", "a", false), in(cage.PlaceWork, "b/deep/x", "b/deep/x", false),
		in(cage.PlaceWork, "b/link", "a", false), in(cage.PlaceWork, "b/prog", "b/prog", true),
	}
	if !reflect.DeepEqual(list, want) || l.empty != 1 {
		t.Errorf("inputs %+v, %d empty folders", list, l.empty)
	}
	if err := l.unchanged(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.unchanged(); err == nil || !strings.Contains(err.Error(), "changed while it was used") {
		t.Errorf("%v", err)
	}
}

func TestOutputsAreDeliveredWholeOrNotAtAll(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "from"), t.TempDir()
	if err := os.MkdirAll(filepath.Join(from, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "sub", "new"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := place{"o", filepath.Join(to, "o")}
	if err := deliver(from, o, false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.path, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := deliver(from, o, false); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a folder that is not empty was replaced: %v", err)
	}
	if err := deliver(from, o, true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(o.path, "old")); !os.IsNotExist(err) {
		t.Errorf("what was there before is there still: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(o.path, "sub", "new")); err != nil || string(b) != "new" {
		t.Errorf("%q, %v", b, err)
	}
	if err := deliver(filepath.Join(from, "missing"), o, true); err == nil {
		t.Error("nothing was delivered, and nobody complains")
	}
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) != 1 {
		t.Errorf("something is left beside the output: %v, %v", entries, err)
	}
}

func TestRunFoldersOfTheDeadAreSwept(t *testing.T) {
	runs := t.TempDir()
	live, lock, err := newRun(runs)
	if err != nil {
		t.Fatal(err)
	}
	dead, other, err := newRun(runs)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dead, "left"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other.Close() // as a process that ends does
	if err := sweepRuns(runs); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the folder of a dead run is still there: %v", err)
	}
	if _, err := os.Stat(live); err != nil {
		t.Errorf("the folder of a live run was removed: %v", err)
	}
	lock.Close()
}

func TestFingerprintIsOfWhatIsInstalled(t *testing.T) {
	top := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fingerprint := func() string {
		t.Helper()
		b, err := fingerprintOf(top)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if _, err := fingerprintOf(top); err == nil {
		t.Error("a root without programs has a fingerprint")
	}
	write("usr/bin/prog", "1")
	bare := fingerprint()
	write("usr/bin/prog", "22")
	if fingerprint() == bare {
		t.Error("without packages, another program is not seen")
	}
	const a = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n"
	const b = "Package: b\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2\nDescription: x\n Version: 9\n"
	const gone = "Package: c\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 3\n"
	write("var/lib/dpkg/status", a+"\n"+b)
	first := fingerprint()
	write("var/lib/dpkg/status", b+"\n"+gone+"\n"+a)
	if fingerprint() != first {
		t.Error("the order of packages, or one that is removed, makes another fingerprint")
	}
	write("var/lib/dpkg/status", a+"\n"+strings.Replace(b, "2", "3", 1))
	if fingerprint() == first {
		t.Error("another version makes the same fingerprint")
	}
	write("var/lib/dpkg/status", a+"\n"+b)
	write("etc/os-release", "ID=x\n")
	if fingerprint() == first {
		t.Error("another system makes the same fingerprint")
	}
}
