package native_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/cagetest"
	"github.com/metanode/metanode/internal/digest"
)

func TestRecordingsOfTwoRunsAgree(t *testing.T) {
	e := strictEngine(t)
	files := hostFiles{&cagetest.Store{Dir: t.TempDir()}}
	record := func(script string) (*cage.Recording, cage.Result) {
		t.Helper()
		rec := new(cage.Recording)
		res, err := e.Record(context.Background(), strictSpec(hostRoot, "sh", "-c", script), files, t.TempDir(), rec)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := rec.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if rec, err = cage.DecodeRecording(raw); err != nil {
			t.Fatal(err)
		}
		return rec, res
	}
	const script = "for i in 1 2 3; do echo $i | cat; done; date; head -c 8 /dev/urandom | od"
	a, res := record(script)
	b, _ := record(script)
	if d, differ := cage.Compare(a, b); differ {
		t.Error(d.String())
	}
	if a.Result.Witness != res.Witness || a.Count == 0 || a.Totals.Calls == 0 || a.Totals.Spawned < 4 || a.Hints[0] != (cage.Hint{Name: "root", Path: "/"}) {
		t.Errorf("%d events, totals %+v, hints %v", a.Count, a.Totals, a.Hints)
	}
	plain, _, _ := runStrict(t, e, files, strictSpec(hostRoot, "sh", "-c", script))
	if plain.Witness != res.Witness {
		t.Error("a recorded run has another witness than one that is not recorded")
	}
	var rec cage.Recording
	sealed := cagetest.Spec(digest.Of([]byte("x")))
	if _, err := e.Record(context.Background(), sealed, files, t.TempDir(), &rec); err == nil {
		t.Error("a sealed run was recorded")
	}
}

func TestManyStrictRunsAtOnceAgree(t *testing.T) {
	e := strictEngine(t)
	files := hostFiles{&cagetest.Store{Dir: t.TempDir()}}
	spec := strictSpec(hostRoot, "sh", "-c", "for i in 1 2 3 4 5; do (echo $i; sleep $i; date) | cat > /out/$i & done; wait; cat /out/*")
	results, errs := make([]cage.Result, 24), make([]error, 24)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			results[i], errs[i] = e.Run(context.Background(), spec, files, filepath.Join(dir, fmt.Sprint(i)))
		})
	}
	wg.Wait()
	for i, res := range results {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if res.Witness != results[0].Witness || res.ExitCode != 0 || len(res.Outputs) != 7 {
			t.Errorf("run %d: %+v; want %+v", i, res, results[0])
		}
	}
}

// TestStrictOrdinaryUser runs the tests of this file as another user, and compares a witness across users.
func TestStrictOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the other tests have run as an ordinary user already; comparing needs root")
	}
	strictEngine(t)
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	self := filepath.Join(dir, "native.test")
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(self, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^(TestStrictEnds|TestStrictFiles|TestStrictProgramThatCannotStart|TestStrictLimits|TestComputeOnly|TestCancelLeavesNothing|TestStrictWitnessPrinted)$", "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "PRINT_WITNESS=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as uid 12345: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "WITNESS "+strictWitness(t)) || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("as uid 12345 the witness differs or tests were skipped:\n%s", out)
	}
}

func TestStrictWitnessPrinted(t *testing.T) {
	if os.Getenv("PRINT_WITNESS") == "" {
		t.Skip("runs below TestStrictOrdinaryUser")
	}
	t.Log("WITNESS " + strictWitness(t))
}

// strictWitness is the witness of a run that looks at what differs between users.
func strictWitness(t *testing.T) string {
	e := strictEngine(t)
	s := &cagetest.Store{Dir: t.TempDir()}
	spec := strictSpec(actorRoot(t, s), "sh", "-c", "ls -lan / /in /work; id; stat /in/a /work/b /tmp; cat /proc/self/status; touch /tmp/x; ls -la /tmp; date")
	spec.Image = hostRoot
	a, b := []byte("a"), []byte("b")
	spec.Inputs = []cage.Input{{Path: "a", Digest: s.Put(t, a), Bytes: 1}, {Path: "b", Place: cage.PlaceWork, Digest: s.Put(t, b), Bytes: 1}}
	res, out, _ := runStrict(t, e, hostFiles{s}, spec)
	if !strings.Contains(out, "uid=0(root) gid=0(root)") {
		t.Errorf("it says of itself: %s", out)
	}
	return res.Witness.String()
}
