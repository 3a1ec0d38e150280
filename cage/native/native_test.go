package native_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/cage/cagetest"
	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/internal/digest"
)

func newEngine(t testing.TB, cfg native.Config) *native.Engine {
	t.Helper()
	cfg.Dir = t.TempDir()
	e, err := native.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := e.Ready(); err != nil {
		t.Skip(err)
	}
	return e
}

func TestSuiteExecuted(t *testing.T) {
	s := &cagetest.Store{Dir: t.TempDir()}
	image := cagetest.Build(t, s, "")
	cagetest.Suite(t, newEngine(t, native.Config{}), s, image)
}

func TestSuiteZygote(t *testing.T) {
	s := &cagetest.Store{Dir: t.TempDir()}
	image := cagetest.Build(t, s, "zygote")
	cagetest.Suite(t, newEngine(t, native.Config{}), s, image)
}

// TestOrdinaryUser runs both suites as another user, and compares witnesses across users.
func TestOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the other tests have run as an ordinary user already; comparing needs root")
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	zygote := filepath.Join(dir, "zygote")
	if err := os.CopyFS(zygote, os.DirFS("zygote")); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(dir, "native.test")
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(self, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^(TestSuiteExecuted|TestSuiteZygote|TestWitnessesPrinted)$", "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "PRINT_WITNESS=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as uid 12345: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "WITNESS "+witness(t, false)) || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("as uid 12345 the witness differs or tests were skipped:\n%s", out)
	}
}

func TestWitnessesPrinted(t *testing.T) {
	if os.Getenv("PRINT_WITNESS") == "" {
		t.Skip("runs below TestOrdinaryUser")
	}
	t.Log("WITNESS " + witness(t, false))
}

func TestColdAndZygoteAlike(t *testing.T) {
	if a, b := witness(t, true), witness(t, false); a != b {
		t.Errorf("cold run gives witness %s, zygote %s", a, b)
	}
}

// witness is the witness of a run whose image is compiled anew: same compiler, same source, same bytes.
func witness(t *testing.T, cold bool) string {
	s := &cagetest.Store{Dir: t.TempDir()}
	e := newEngine(t, native.Config{Cold: cold})
	res, err := e.Run(context.Background(), cagetest.Spec(cagetest.Build(t, s, "zygote"), "env"), s, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return res.Witness.String()
}

func TestImageMustBeItsDigest(t *testing.T) {
	s := &cagetest.Store{Dir: t.TempDir()}
	image := cagetest.Build(t, s, "")
	e := newEngine(t, native.Config{})
	if _, err := e.Run(context.Background(), cagetest.Spec(image, "exit", "0"), wrongFiles{s, image}, t.TempDir()); err == nil {
		t.Error("an image with other bytes than its digest's was executed")
	}
}

type wrongFiles struct {
	s     *cagetest.Store
	image digest.Digest
}

func (w wrongFiles) Path(d digest.Digest) (string, error) {
	p, err := w.s.Path(w.image)
	if err == nil {
		b, _ := os.ReadFile(p)
		err = os.WriteFile(p+"x", append(b, 0), 0o600)
	}
	return p + "x", err
}

var _ cage.Files = wrongFiles{}
