package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/internal/digest"
)

// rounds is of how many runs each figure is the median; the two sides take turns.
const rounds = 21

// pair is a program measured on both sides.
type pair struct {
	name  string
	goal  float64  // of the ratio caged / native; 0: none
	argv  []string // the same on both sides, in a fresh folder that it may write
	files []string // of testdata's programs and made inputs, by name: copied into that folder on both sides
}

// TestBenchStrict measures the pairs and the launches, and prints each beside its goal. It never fails for a slow
// machine: what falls short is marked. Both sides must print the same, where time and chance are not in what they print.
func TestBenchStrict(t *testing.T) {
	if os.Getenv("BPI_BENCH") == "" {
		t.Skip("figures are measured by make bench")
	}
	b := newBed(t)
	pairs := []pair{
		{"compute loop (C)", 1.05, []string{"./compute"}, []string{"compute"}},
		{"python3 start", 2, []string{"python3", "-c", "pass"}, nil},
		{"gcc -O2 of a C file of 1,500 lines", 1.5, []string{"gcc", "-O2", "-c", "-o", "mid.o", "mid.c"}, []string{"mid.c"}},
		{"sqlite3, 20,000 rows in and summed", 1.5, []string{"sqlite3", "rows.db", ".read rows.sql"}, []string{"rows.sql"}},
		{"tar of 600 files", 3, []string{"tar", "-cf", "files.tar", "-C", "/usr/include", "-T", "list"}, []string{"list"}},
		{"make -j4 of 8 small C files", 0, []string{"make", "-s", "-j4"}, append([]string{"Makefile"}, smallNames()...)},
		{"sh: 50 forks", 0, []string{"sh", "-c", "i=0; while [ $i -lt 50 ]; do /bin/true; i=$((i+1)); done"}, nil},
		{"sort of 200,000 lines in a pipe", 0, []string{"sh", "-c", "seq 200000 | sort -r | tail -1"}, nil},
	}
	fmt.Printf("\n| medians of %d, ms | native | in the cage | ratio | goal | |\n|---|---|---|---|---|---|\n", rounds)
	for _, p := range pairs {
		if _, err := exec.LookPath(p.argv[0]); err != nil && !strings.HasPrefix(p.argv[0], "./") {
			fmt.Printf("| %s | not installed here | | | | |\n", p.name)
			continue
		}
		outside, inside := b.measure(p)
		ratio := float64(inside) / float64(outside)
		fmt.Printf("| %s | %.1f | %.1f | %.2f | %s | %s |\n", p.name, ms(outside), ms(inside), ratio, limit(p.goal, "× native"), verdict(p.goal, ratio))
	}
	b.launches()
	b.calls()
}

// launches compares `true` in our cage, in bubblewrap's and in runc's, each over this machine's root.
func (b *bed) launches() {
	sides := []struct {
		name string
		run  func() error
	}{
		{"bare", func() error { return exec.Command("true").Run() }},
		{"bwrap --unshare-all", func() error {
			return exec.Command("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true").Run()
		}},
		{"runc run", b.runc()},
		{"cage, strict, from a running engine", func() error { _, err := b.cage([]string{"true"}, nil); return err }},
	}
	took := make([]time.Duration, len(sides))
	all := make([][]time.Duration, len(sides))
	for range rounds {
		for i, s := range sides {
			if s.run == nil {
				continue
			}
			begin := time.Now()
			if err := s.run(); err != nil {
				fmt.Printf("launch in %s: %v\n", s.name, err)
				sides[i].run = nil
				continue
			}
			all[i] = append(all[i], time.Since(begin))
		}
	}
	fmt.Printf("\n| launch of true, medians of %d, ms | | ratio to bwrap | goal | |\n|---|---|---|---|---|\n", rounds)
	for i, s := range sides {
		if len(all[i]) < rounds {
			fmt.Printf("| %s | not measured here | | | |\n", s.name)
			continue
		}
		took[i] = median(all[i])
		ratio := 0.0
		if took[1] > 0 {
			ratio = float64(took[i]) / float64(took[1])
		}
		goal, v := "", ""
		if i == 3 {
			goal, v = "≤ 1.2 × bwrap, below runc", verdict(1.2, ratio)
			if took[2] > 0 && took[i] >= took[2] {
				v = "**short**"
			}
		}
		fmt.Printf("| %s | %.2f | %.2f | %s | %s |\n", s.name, ms(took[i]), ratio, goal, v)
	}
}

// calls measures what an emulated call costs, as the difference of two runs.
func (b *bed) calls() {
	const few, many = 1_000, 101_000
	var each []time.Duration
	for range rounds {
		var took [2]time.Duration
		for i, n := range []int{few, many} {
			begin := time.Now()
			if _, err := b.cage([]string{"./calls", fmt.Sprint(n)}, []string{"calls"}); err != nil {
				b.t.Fatal(err)
			}
			took[i] = time.Since(begin)
		}
		each = append(each, (took[1]-took[0])/(many-few))
	}
	cost := float64(median(each)) / float64(time.Microsecond)
	fmt.Printf("\n| an emulated call (uname), median of %d over 100,000 | %.2f µs | ≤ 15 µs | %s |\n", rounds, cost, verdict(15, cost))
}

func (b *bed) measure(p pair) (outside, inside time.Duration) {
	b.t.Helper()
	var out, in []time.Duration
	var said [2][]byte
	for range rounds {
		dir := b.fresh(p.files)
		cmd := exec.Command(p.argv[0], p.argv[1:]...)
		if strings.HasPrefix(p.argv[0], "./") {
			cmd.Path = filepath.Join(dir, p.argv[0])
		}
		cmd.Dir, cmd.Env = dir, b.env
		begin := time.Now()
		stdout, err := cmd.Output()
		out = append(out, time.Since(begin))
		os.RemoveAll(dir)
		if err != nil {
			b.t.Fatalf("%s outside: %v", p.name, err)
		}
		begin = time.Now()
		caged, err := b.cage(p.argv, p.files)
		in = append(in, time.Since(begin))
		if err != nil {
			b.t.Fatalf("%s in the cage: %v", p.name, err)
		}
		said = [2][]byte{stdout, caged}
		if !bytes.Equal(stdout, caged) {
			b.t.Fatalf("%s printed %.200q outside and %.200q in the cage", p.name, said[0], said[1])
		}
	}
	return median(out), median(in)
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func limit(goal float64, unit string) string {
	if goal == 0 {
		return ""
	}
	return fmt.Sprintf("≤ %g %s", goal, unit)
}

func verdict(goal, got float64) string {
	switch {
	case goal == 0:
		return ""
	case got <= goal:
		return "ok"
	}
	return "**short**"
}

// bed is what the measurements stand on: an engine that runs already, and programs and inputs made once.
type bed struct {
	t      *testing.T
	engine *native.Engine
	store  string
	blobs  map[digest.Digest]string
	root   digest.Digest
	env    []string
	n      int
}

func newBed(t *testing.T) *bed {
	t.Helper()
	// Outputs and the native side's folders are in memory, as the cage's are.
	dir, err := os.MkdirTemp("/dev/shm", "strict-bench-")
	if err != nil {
		t.Skip("no folder in memory to measure in: ", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bed{t: t, store: dir, blobs: map[digest.Digest]string{}, root: cage.HostRoot([]byte("bench"))}
	b.engine, err = native.New(native.Config{Dir: filepath.Join(t.TempDir(), "engine")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.engine.Close() })
	if err := b.engine.ReadyFor(cage.ModeStrict); err != nil {
		t.Skip(err)
	}
	s := b.spec([]string{"true"}, nil)
	b.env = s.Environ()
	os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") // as the cage's
	b.make()
	return b
}

// make builds the programs and the inputs.
func (b *bed) make() {
	for _, name := range []string{"calls", "compute"} {
		if out, err := exec.Command("gcc", "-O2", "-o", filepath.Join(b.store, name), "testdata/"+name+".c").CombinedOutput(); err != nil {
			b.t.Fatalf("compile %s: %v\n%s", name, err, out)
		}
	}
	var c, rows, list, mk strings.Builder
	c.WriteString("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <math.h>\nstruct rec { int key; double v[8]; char name[32]; };\n")
	for i := range 75 {
		fmt.Fprintf(&c, "static int cmp%[1]d(const void *a, const void *b)\n{\n\tconst struct rec *x = a, *y = b;\n\tif (x->key %% %[2]d != y->key %% %[2]d)\n\t\treturn x->key %% %[2]d < y->key %% %[2]d ? -1 : 1;\n\treturn strcmp(x->name, y->name);\n}\n\ndouble work%[1]d(struct rec *r, int n)\n{\n\tdouble s = 0;\n\tqsort(r, n, sizeof *r, cmp%[1]d);\n\tfor (int i = 0; i < n; i++)\n\t\tfor (int k = 0; k < 8; k++)\n\t\t\ts += r[i].v[k] * sqrt(k + %[2]d.0);\n\tif (s > %[2]d)\n\t\tprintf(\"%%f\\n\", s);\n\treturn s;\n}\n\n", i, i+2)
	}
	rows.WriteString("create table t(id integer primary key, a int, b text);\nbegin;\n")
	for i := range 20_000 {
		fmt.Fprintf(&rows, "insert into t values(%d,%d,'row %x');\n", i, i*7919%10007, i*2654435761)
	}
	rows.WriteString("commit;\ncreate index ta on t(a);\nselect count(*), sum(a), min(b) from t where a > 100;\n")
	files := 0
	err := filepath.WalkDir("/usr/include", func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && files < 600 {
			rel, _ := filepath.Rel("/usr/include", p)
			list.WriteString(rel + "\n")
			files++
		}
		return nil
	})
	if err != nil || files < 600 {
		b.t.Logf("/usr/include has %d files; the tar is of those", files)
	}
	mk.WriteString("prog: s0.o s1.o s2.o s3.o s4.o s5.o s6.o s7.o main.o\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\n")
	made := map[string]string{"mid.c": c.String(), "rows.sql": rows.String(), "list": list.String(), "Makefile": mk.String(), "main.c": "int main(void) { return 0; }\n"}
	for i := range 8 {
		made[fmt.Sprintf("s%d.c", i)] = fmt.Sprintf("#include <stdio.h>\nint f%d(int x) { return printf(\"%%d\", x * %d); }\n", i, i)
	}
	for name, text := range made {
		if err := os.WriteFile(filepath.Join(b.store, name), []byte(text), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
}

func smallNames() []string {
	names := []string{"main.c"}
	for i := range 8 {
		names = append(names, fmt.Sprintf("s%d.c", i))
	}
	return names
}

// fresh is a new folder with copies of the named files.
func (b *bed) fresh(files []string) string {
	b.n++
	dir := filepath.Join(b.store, fmt.Sprintf("native-%d", b.n))
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(b.store, f))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f), raw, 0o755)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return dir
}

func (b *bed) spec(argv, files []string) cage.Spec {
	policy, _ := cage.PolicyNamed(cage.PolicyStrict)
	s := cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: cage.ModeStrict, Image: b.root, Argv: argv,
		EpochNs: 1767225600_000_000_000, Limits: cage.DefaultLimits(), CPUClass: cage.CPUx86_64v2, Policy: policy.Digest(), Workdir: "/work",
	}
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(b.store, f))
		if err != nil {
			b.t.Fatal(err)
		}
		d := digest.Of(raw)
		b.blobs[d] = filepath.Join(b.store, f)
		s.Inputs = append(s.Inputs, cage.Input{Path: f, Digest: d, Bytes: uint64(len(raw)), Place: cage.PlaceWork, Exec: true})
	}
	slices.SortFunc(s.Inputs, func(x, y cage.Input) int { return strings.Compare(x.Path, y.Path) })
	return s
}

// Path implements cage.Files.
func (b *bed) Path(d digest.Digest) (string, error) {
	if p, ok := b.blobs[d]; ok {
		return p, nil
	}
	return "", fmt.Errorf("blob %s is not here", d.Short())
}

// Root implements cage.Roots: this machine's own.
func (b *bed) Root(d digest.Digest) (string, bool) { return "/", d == b.root }

func (b *bed) cage(argv, files []string) ([]byte, error) {
	b.n++
	out := filepath.Join(b.store, fmt.Sprintf("caged-%d", b.n))
	defer os.RemoveAll(out)
	res, err := b.engine.Run(context.Background(), b.spec(argv, files), b, out)
	if err != nil {
		return nil, err
	}
	stdout, err := os.ReadFile(filepath.Join(out, cage.OutputStdout))
	if err == nil && (res.ExitCode != 0 || res.Killed != "") {
		stderr, _ := os.ReadFile(filepath.Join(out, cage.OutputStderr))
		err = fmt.Errorf("exit code %d %s: %s", res.ExitCode, res.Killed, stderr)
	}
	return stdout, err
}

// runc makes a bundle over this machine's root, and gives what runs `true` in it; nil if runc is not here.
func (b *bed) runc() func() error {
	path, err := exec.LookPath("runc")
	if err != nil {
		return nil
	}
	dir := filepath.Join(b.store, "bundle")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"usr", "proc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	for _, d := range []string{"bin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+d, filepath.Join(root, d)); err != nil {
			b.t.Fatal(err)
		}
	}
	const config = `{"ociVersion":"1.0.2","process":{"terminal":false,"user":{"uid":0,"gid":0},"args":["true"],"env":["PATH=/usr/bin:/bin"],"cwd":"/","noNewPrivileges":true},
"root":{"path":"rootfs","readonly":true},"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/usr","type":"bind","source":"/usr","options":["rbind","ro"]}],
"linux":{"namespaces":[{"type":"pid"},{"type":"ipc"},{"type":"uts"},{"type":"mount"},{"type":"network"}]}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return func() error {
		b.n++
		cmd := exec.Command(path, "--root", filepath.Join(b.store, "runc"), "run", "--bundle", dir, fmt.Sprintf("bench-%d", b.n))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %.200s", err, out)
		}
		return nil
	}
}
