package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// rootDir makes a root file system with one static program, and the shell of this machine where there is a small one.
func rootDir(t testing.TB) (dir string, shell bool) {
	t.Helper()
	dir = filepath.Join(home(t), "root")
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("gcc", "-O2", "-static", "-o", filepath.Join(dir, "bin/program"), "testdata/program.c").CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return dir, copyShell(t, dir)
}

// copyShell puts busybox, or dash with its libraries, into a root as /bin/sh.
func copyShell(t testing.TB, dir string) bool {
	t.Helper()
	for _, shell := range []string{"/bin/busybox", "/bin/dash"} {
		if _, err := os.Stat(shell); err != nil {
			continue
		}
		files := map[string]string{shell: "/bin/sh"}
		if out, err := exec.Command("ldd", shell).Output(); err == nil { // an error: it is static
			for word := range strings.FieldsSeq(string(out)) {
				if strings.HasPrefix(word, "/") {
					files[word] = word
				}
			}
		}
		for from, to := range files {
			raw, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			to = filepath.Join(dir, to)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, raw, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return true
	}
	return false
}

// withImage is a network on which the image "base" is published, and that runs programs in images.
func withImage(t *testing.T) (*testnet, bool) {
	t.Helper()
	n := up(t, 4)
	if r := n.run("policy", "check", "strict-determinism"); r.code != 0 {
		t.Skipf("this machine gives no cage for programs in images: %s", r.stdout)
	}
	dir, shell := rootDir(t)
	if out := n.must("image", "add", dir, "--name", "base"); !strings.Contains(out, "base") || !strings.Contains(out, "3/3") {
		t.Fatalf("image add: %s", out)
	}
	return n, shell
}

// program is the end of a program as `bpi --json job run` tells it.
type program struct {
	Job      string `json:"job"`
	State    string `json:"state"`
	Agreeing int    `json:"agreeing"`
	ExitCode int    `json:"exit_code"`
	Killed   string `json:"killed"`
	Witness  string `json:"witness"`
	Stdout   string `json:"stdout"`
	Stderr   string `json:"stderr"`
	Outputs  []api.Output
}

// program runs a program in the image and wants it to end with a code of the command line's.
func (n *testnet) program(code int, args ...string) program {
	n.t.Helper()
	r := n.run(append([]string{"--json", "job", "run", "--image", "base"}, args...)...)
	if r.code != code {
		n.t.Fatalf("job run %q: exit code %d, want %d\n%s%s", args, r.code, code, r.stdout, r.stderr)
	}
	var p program
	if err := json.Unmarshal([]byte(r.stdout), &p); err != nil {
		n.t.Fatalf("job run %q: %v\n%s%s", args, err, r.stdout, r.stderr)
	}
	return p
}

// TestProgramInAnImageIsSealedAndChecked runs what prints time and random numbers, reads inputs and leaves a file.
func TestProgramInAnImageIsSealedAndChecked(t *testing.T) {
	n, shell := withImage(t)
	n.users()
	files := home(t)

	first := n.program(0, "--env", "GREETING=hello", "--", "program", "see")
	if first.State != "sealed" || first.Agreeing < 2 || !strings.HasPrefix(first.Stdout, "1767225600.") || !strings.HasSuffix(first.Stdout, " hello\n") {
		t.Errorf("%+v", first)
	}
	again := n.program(0, "--fresh", "--replicas", "4", "--quorum", "3", "--env", "GREETING=hello", "--", "program", "see")
	if again.Job == first.Job || again.Stdout != first.Stdout || again.Witness != first.Witness {
		t.Errorf("the same work on other peers:\n%+v\n%+v", first, again)
	}
	if same := n.program(0, "--env", "GREETING=hello", "--", "program", "see"); same.Job != first.Job && same.Job != again.Job {
		t.Error("an equal job was run again")
	}
	seed := strings.Repeat("2a", 32)
	if other := n.program(0, "--env", "GREETING=hello", "--seed", seed, "--", "program", "see"); other.Stdout == first.Stdout || other.Witness == first.Witness {
		t.Error("another seed, and the same randomness")
	}

	// Every peer that ran it came to the same witness.
	var diff struct {
		Dissent bool
		Rounds  []struct {
			Results []struct {
				Peers   []string
				Witness string
			}
		}
	}
	eventually(t, 10*time.Second, "all four peers revealed", func() bool {
		if err := json.Unmarshal([]byte(n.must("--json", "job", "diff", again.Job)), &diff); err != nil {
			t.Fatal(err)
		}
		return len(diff.Rounds) == 1 && len(diff.Rounds[0].Results) == 1 && len(diff.Rounds[0].Results[0].Peers) == 4
	})
	if diff.Dissent || diff.Rounds[0].Results[0].Witness != first.Witness {
		t.Errorf("%+v, want witness %s", diff, first.Witness)
	}
	if r := n.run("job", "diff", first.Job); r.code != 0 || !strings.Contains(r.stderr, "no dissent") {
		t.Errorf("job diff: %s%s", r.stdout, r.stderr)
	}

	// Inputs by a dataset's name and by a blob's digest, an output folder, and the receipt of it all, offline.
	var users api.DatasetDetail
	if err := json.Unmarshal([]byte(n.must("--json", "dataset", "show", "users")), &users); err != nil {
		t.Fatal(err)
	}
	blob := users.FileList[0].Digest.String()
	result := filepath.Join(files, "result")
	p := n.program(0, "--in", "data=users", "--in", "one=sha256:"+blob, "--out", "result="+result, "--", "program", "copy", "/in/data/users.csv", "/out/result/a.csv")
	want, err := os.ReadFile("../examples/data/users.csv")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(result, "a.csv"))
	if err != nil || string(got) != string(want) {
		t.Errorf("output: %d bytes, %v; want %d", len(got), err, len(want))
	}
	if cat := n.must("job", "run", "--image", "base@1", "--in", "one="+blob, "--", "program", "cat", "/in/one"); cat != string(want) {
		t.Errorf("standard output: %d bytes, want %d", len(cat), len(want))
	}
	n.must("job", "get", p.Job, "--out", "result="+filepath.Join(files, "later"))
	if got, err := os.ReadFile(filepath.Join(files, "later", "a.csv")); err != nil || string(got) != string(want) {
		t.Errorf("job get: %d bytes, %v", len(got), err)
	}
	if got := n.must("job", "get", p.Job, "--output", "out/result/a.csv"); got != string(want) {
		t.Errorf("job get --output: %d bytes", len(got))
	}
	trust, file := filepath.Join(files, "trust.json"), filepath.Join(files, "receipt.json")
	for path, text := range map[string]string{trust: n.must("chain", "trust"), file: n.must("receipt", "get", p.Job)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := n.runWith(home(t), "receipt", "verify", file, "--trust", trust, "--output", "out/result/a.csv="+filepath.Join(result, "a.csv"))
	if r.code != 0 || !strings.Contains(r.stdout, "outputs      ok") {
		t.Errorf("receipt verify: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	// Whoever doubts the peers runs it again; without a peer to fetch from, that is not checked, and says so.
	if r := n.run("receipt", "verify", "--job-id", p.Job, "--re-execute"); r.code != 0 || !strings.Contains(r.stdout, "re-execute   ok") {
		t.Errorf("receipt verify --re-execute: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	query := n.job("SELECT COUNT(*) FROM users")
	n.ended(n.peers[0], query, 20*time.Second)
	if r := n.run("receipt", "verify", "--job-id", query, "--re-execute"); r.code != 0 || !strings.Contains(r.stdout, "re-execute   ok") {
		t.Errorf("a query run again: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := n.runWith(home(t), "receipt", "verify", file, "--trust", trust, "--re-execute"); r.code != 0 || !strings.Contains(r.stdout, "re-execute   not checked") || !strings.Contains(r.stdout, "no node runs") {
		t.Errorf("without a peer: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if !shell {
		return
	}
	if out := n.must("job", "run", "--image", "base", "--", "sh", "-c", "program see && echo $0 $HOME $PWD"); !strings.HasSuffix(out, "\nsh /root /work\n") {
		t.Errorf("the shell wrote %q", out)
	}
}

// TestProgramThatFailsIsAResult: how a program ends is sealed, whatever it is; only what nobody can attest is not.
func TestProgramThatFailsIsAResult(t *testing.T) {
	n, _ := withImage(t)
	if p := n.program(3, "--", "program", "fail", "7"); p.State != "sealed" || p.ExitCode != 7 || p.Stderr != "as told\n" {
		t.Errorf("%+v", p)
	}
	if p := n.program(3, "--", "missing"); p.State != "sealed" || p.ExitCode != 127 || !strings.Contains(p.Stderr, "missing") {
		t.Errorf("a missing program: %+v", p)
	}
	if p := n.program(3, "--workdir", "/bin", "--", "/lib"); p.State != "sealed" || p.ExitCode != 126 && p.ExitCode != 127 {
		t.Errorf("a folder as the program: %+v", p)
	}
	if p := n.program(3, "--limit", "calls=1000", "--", "program", "ask"); p.State != "sealed" || p.Killed != "calls" {
		t.Errorf("too many calls: %+v", p)
	}
	n.refused(3, []string{"/out/none", "--out asks for"}, "job", "run", "--image", "base", "--out", "none="+filepath.Join(home(t), "none"), "--", "program", "see")
	job := strings.TrimSpace(n.must("job", "run", "--image", "base", "--detach", "--id-only", "--", "program", "fail", "9"))
	if end := n.ended(n.peers[1], job, 20*time.Second); end.State != api.JobSealed || end.ExitCode == nil || *end.ExitCode != 9 || end.Kind != api.KindNative {
		t.Errorf("%+v", end)
	}
	n.refused(4, []string{"no_result", "job describe"}, "job", "run", "--image", "base", "--limit", "wall=300ms", "--", "program", "ask")
}

// TestImagesAreRefusedInWords goes through what people get wrong with images and programs.
func TestImagesAreRefusedInWords(t *testing.T) {
	n, _ := withImage(t)
	run := func(more ...string) []string {
		return append(append([]string{"job", "run"}, more...), "--", "program", "see")
	}
	n.refused(1, []string{`image "nope"`, "not registered", "bpi image add"}, run("--image", "nope")...)
	n.refused(1, []string{"version 9", "newest is 1"}, run("--image", "base@9")...)
	n.refused(1, []string{`no policy "open"`, "bpi policy list"}, run("--image", "base", "--policy", "open")...)
	n.refused(1, []string{"sealed", "strict-determinism"}, run("--image", "base", "--policy", "sealed")...)
	n.refused(1, []string{`dataset "nope"`, "bpi dataset add"}, run("--image", "base", "--in", "data=nope")...)
	n.refused(1, []string{strings.Repeat("ab", 32), "no dataset", "bpi dataset add"}, run("--image", "base", "--in", "data="+strings.Repeat("ab", 32))...)
	n.refused(1, []string{"compute-only", "no writable folders"}, run("--image", "base", "--policy", "compute-only", "--out", "x="+filepath.Join(home(t), "x"))...)
	n.refused(1, []string{"no such file"}, "image", "add", filepath.Join(home(t), "none"), "--name", "none")
	n.refused(1, []string{"nothing in it"}, "image", "add", home(t), "--name", "none")
	n.refused(2, []string{"--name"}, "image", "add", home(t))
	n.refused(1, []string{"nope", "not registered"}, "image", "remove", "nope")

	// A name belongs to whoever gave it first, and only its owner takes it back.
	other := home(t)
	dir, _ := rootDir(t)
	if err := os.WriteFile(filepath.Join(dir, "more"), []byte("more"), 0o600); err != nil {
		t.Fatal(err)
	}
	api := "unix://" + n.peers[1].Socket
	if r := n.runWith(other, "--api", api, "image", "add", dir, "--name", "base"); r.code != 1 || !strings.Contains(r.stderr, "belongs to client key") {
		t.Errorf("another's name: %d\n%s", r.code, r.stderr)
	}
	if r := n.runWith(other, "--api", api, "image", "remove", "base"); r.code != 1 || !strings.Contains(r.stderr, "only its owner") {
		t.Errorf("another's image removed: %d\n%s", r.code, r.stderr)
	}
	if r := n.run("image", "add", dir, "--name", "base"); r.code != 0 || !strings.Contains(r.stdout, "2  ") {
		t.Errorf("a second version: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := n.run("image", "add", dir, "--name", "base"); r.code != 0 || !strings.Contains(r.stderr, "nothing is published") {
		t.Errorf("the same again: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	n.must("image", "remove", "base@2")
	if out := n.must("image", "list"); !strings.Contains(out, "base  1") {
		t.Errorf("the older version is not the newest now:\n%s", out)
	}
	n.must(run("--image", "base")...)
	n.must("image", "remove", "base")
	if out := n.must("image", "list"); strings.Contains(out, "base") {
		t.Errorf("a removed image is listed:\n%s", out)
	}
	n.refused(1, []string{`image "base"`, "not registered"}, run("--image", "base", "--fresh")...)
}
