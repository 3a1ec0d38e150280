package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/internal/digest"
)

// ends lists how an attempt may end beside saying that the cage held: killed by a limit (the name of it), or without a
// result (the reason). "" stands for saying so.
var ends = map[string][]string{
	"call-flood":       {cage.KilledCalls},
	"deadlock":         {cage.KilledDeadlock, "wall"},
	"disk-fill":        {"oom"},
	"error-flood":      {cage.KilledOutput},
	"exec-for-ever":    {cage.KilledCalls},
	"fork-bomb":        {"", cage.KilledProcesses},
	"fork-for-ever":    {cage.KilledProcesses},
	"inode-fill":       {"", cage.KilledCalls, "oom"},
	"memfd-fill":       {"", "oom"},
	"memory-by-forks":  {"", "oom"},
	"output-by-vector": {cage.KilledOutput},
	"output-deep":      {"", cage.KilledFiles},
	"output-fifos":     {cage.KilledFiles},
	"output-flood":     {cage.KilledOutput},
	"output-holes":     {cage.KilledOutput},
	"output-links":     {cage.KilledFiles},
	"output-many":      {cage.KilledFiles},
	"output-names":     {cage.KilledFiles},
	"output-place":     {cage.KilledFiles},
	"signal-flood":     {"", cage.KilledCalls},
	"sleep":            {cage.KilledTime, "wall"},
	"spin":             {"spin", "cpu"},
	"timer-flood":      {"", cage.KilledCalls, cage.KilledTime, "wall"},
	"zombies":          {"", cage.KilledProcesses},
}

// TestEscapes tries to get out of a cage, to harm what is outside and to use up the machine, in strict mode and with real
// threads. Every attempt must fail, and leave nothing.
func TestEscapes(t *testing.T) {
	program := buildEscapes(t)
	names, err := exec.Command(program, "list").Output()
	must(t, err)
	attempts := strings.Fields(string(names))
	if len(attempts) < 60 {
		t.Fatalf("only %d attempts: %v", len(attempts), attempts)
	}
	for name := range ends {
		if !slices.Contains(attempts, name) {
			t.Errorf("there is no attempt %q", name)
		}
	}
	c := place(t)
	x := newExile(t, program)
	for mode, policy := range map[string]string{cage.ModeStrict: cage.PolicyStrict, cage.ModeRelaxed: cage.PolicyRelaxed} {
		for _, name := range attempts {
			t.Run(mode+"/"+name, func(t *testing.T) {
				x.attempt(t, c, mode, policy, name)
				c.check(t)
			})
		}
	}
	x.wantNothingLeft(t)
}

// TestEscapesOfOrdinaryUser runs the attempts in a node that belongs to an ordinary user.
func TestEscapesOfOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("TestEscapes has run as an ordinary user already")
	}
	dir := t.TempDir()
	openToAll(t, dir)
	self := filepath.Join(dir, "e2e.test")
	b, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(self, b, 0o755))
	must(t, os.CopyFS(filepath.Join(dir, "testdata/escapes"), os.DirFS("testdata/escapes")))
	cmd := exec.Command(self, "-test.run", "^TestEscapes$", "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestEscapes/strict/mount-new") {
		t.Errorf("as uid 12345: %v\n%s", err, out)
	}
}

// exile is an engine with the root in which attempts are made.
type exile struct {
	engine *native.Engine
	dir    string // of the engine
	root   string
	image  digest.Digest
	inputs map[digest.Digest]string
	listed string // what was in dir when nothing had run
}

const escapeInput = "hello"

func newExile(t *testing.T, program string) *exile {
	t.Helper()
	x := &exile{dir: filepath.Join(t.TempDir(), "cage"), root: filepath.Dir(filepath.Dir(program)), image: cage.HostRoot([]byte("escapes"))}
	blob := filepath.Join(t.TempDir(), "blob")
	must(t, os.WriteFile(blob, []byte(escapeInput), 0o600))
	x.inputs = map[digest.Digest]string{digest.Of([]byte(escapeInput)): blob}
	e, err := native.New(native.Config{Dir: x.dir})
	must(t, err)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := e.Ready(); err != nil {
		t.Skip(err)
	}
	x.engine = e
	x.listed = x.list(t)
	return x
}

// Path implements cage.Files.
func (x *exile) Path(d digest.Digest) (string, error) {
	if p, ok := x.inputs[d]; ok {
		return p, nil
	}
	return "", os.ErrNotExist
}

// Root implements cage.Roots.
func (x *exile) Root(d digest.Digest) (string, bool) { return x.root, d == x.image }

func (x *exile) spec(t *testing.T, c *canaries, mode, policy, name string) cage.Spec {
	t.Helper()
	p, ok := cage.PolicyNamed(policy)
	if !ok {
		t.Fatalf("there is no policy %q", policy)
	}
	limits := cage.Limits{MemoryBytes: 64 << 20, OutputBytes: 1 << 20, Files: 64, Processes: 32, CPUMs: 10_000, WallMs: 20_000,
		Calls: 30_000, VirtualMs: 1000 * 86400, Spawned: 300}
	switch name {
	case "spin":
		limits.CPUMs = 1000
	case "exec-for-ever":
		limits.Calls = 3000
	case "deadlock", "sleep", "timer-flood":
		if mode == cage.ModeRelaxed { // where waits take their time
			limits.WallMs = 1000
		}
	}
	in := cage.Input{Path: "data/hello.txt", Digest: digest.Of([]byte(escapeInput)), Bytes: uint64(len(escapeInput))}
	work := in
	work.Path, work.Place = "given", cage.PlaceWork
	return cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: mode, Image: x.image, Argv: []string{"/opt/escape", name},
		Env: c.env(fmt.Sprint("CANARY_PROCESSES=", limits.Processes), fmt.Sprint("CANARY_MEMORY=", limits.MemoryBytes),
			fmt.Sprint("CANARY_OUTPUT=", limits.OutputBytes), fmt.Sprint("CANARY_FILES=", limits.Files)),
		Stdin: []byte("input\n"), Inputs: []cage.Input{in, work}, Seed: digest.Of([]byte("escapes")), EpochNs: 1_600_000_000_000_000_000,
		Limits: limits, CPUClass: cage.CPUx86_64v2, Policy: p.Digest(), Workdir: cage.DefaultWorkdir, Outs: []string{"result"},
	}
}

func (x *exile) attempt(t *testing.T, c *canaries, mode, policy, name string) {
	t.Helper()
	out := t.TempDir()
	res, err := x.engine.Run(context.Background(), x.spec(t, c, mode, policy, name), x, out)
	stdout, _ := os.ReadFile(filepath.Join(out, "stdout")) // none without a result
	end := res.Killed
	var none *cage.ErrNoResult
	if errors.As(err, &none) {
		end = string(none.Reason)
	} else if err != nil {
		t.Fatalf("the machine had trouble with it: %v\n%s", err, stdout)
	}
	allowed := ends[name]
	if allowed == nil {
		allowed = []string{""}
	}
	switch {
	case !slices.Contains(allowed, end):
		t.Errorf("it ended by %q; want one of %q\n%.3000s", end, allowed, stdout)
	case strings.Contains(string(stdout), "ESCAPED"):
		t.Errorf("%.3000s", stdout)
	case end == "" && (res.ExitCode != 0 || !strings.Contains(string(stdout), "held: ")):
		stderr, _ := os.ReadFile(filepath.Join(out, "stderr"))
		t.Errorf("exit code %d without a word that the cage held\n%.3000s\n%.1000s", res.ExitCode, stdout, stderr)
	}
	err = filepath.WalkDir(out, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if e.Type() != 0 || string(b) == canaryText {
			t.Errorf("output %s: a file of mode %v, with %.40q", p, e.Type(), b)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// list names all that is in the engine's folder.
func (x *exile) list(t *testing.T) string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(x.dir, func(p string, e os.DirEntry, err error) error {
		all = append(all, strings.TrimPrefix(p, x.dir))
		return err
	}))
	return strings.Join(all, "\n")
}

// wantNothingLeft looks for what runs have left in the engine's folder. It keeps the places of patched instructions.
func (x *exile) wantNothingLeft(t *testing.T) {
	t.Helper()
	for p := range strings.SplitSeq(x.list(t), "\n") {
		if !slices.Contains(strings.Split(x.listed, "\n"), p) && !strings.HasPrefix(p, "/cache/") {
			t.Errorf("%s was left", p)
		}
	}
	b, err := os.ReadFile(x.inputs[digest.Of([]byte(escapeInput))])
	if err != nil || string(b) != escapeInput {
		t.Errorf("the input holds %q, %v", b, err)
	}
}

// buildEscapes compiles the attempts to opt/escape in a folder that is the root of the cages.
func buildEscapes(t *testing.T) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc to compile the attempts with")
	}
	files, err := filepath.Glob("testdata/escapes/*.c")
	must(t, err)
	dir := t.TempDir()
	openToAll(t, dir)
	program := filepath.Join(dir, "opt/escape")
	must(t, os.Mkdir(filepath.Dir(program), 0o755))
	args := append([]string{"-O1", "-w", "-static", "-o", program}, files...)
	if out, err := exec.Command(gcc, append(args, "-pthread", "-lrt")...).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, out)
	}
	return program
}
