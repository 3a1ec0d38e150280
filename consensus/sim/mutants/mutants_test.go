package mutants

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// scenarios is how many scenarios of Twins a mutant may survive.
const scenarios = 300

// packages are the folders of the tests that catch mutants, and what they say when they have.
var packages = map[string]struct{ dir, verdict string }{
	twins: {"..", "safety violated"},
	model: {"../model", "the model"},
}

// TestMutantsAreCaught compiles the tests over each mutant, and demands that those named for it fail, for a reason of
// their own.
func TestMutantsAreCaught(t *testing.T) {
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range All {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			overlay, err := m.Overlay(source, dir)
			if err != nil {
				t.Fatal(err)
			}
			if m.Name == Unchanged {
				for name := range packages {
					if out, passed := run(t, name, overlay, dir); !passed {
						t.Fatalf("%s fails over the source as it is:\n%s", name, out)
					}
				}
				return
			}
			for _, name := range m.By {
				out, passed := run(t, name, overlay, dir)
				if passed {
					t.Fatalf("%s does not notice", name)
				}
				i := strings.Index(out, packages[name].verdict)
				if i < 0 {
					t.Fatalf("%s fails for another reason:\n%s", name, out)
				}
				t.Logf("%s: %s", name, line(out, i))
			}
		})
	}
}

// run compiles the test's package over the overlay and reports what the test prints and whether it passes.
func run(t *testing.T, name, overlay, dir string) (string, bool) {
	t.Helper()
	binary := filepath.Join(dir, name)
	build := exec.Command("go", "test", "-c", "-overlay", overlay, "-o", binary, packages[name].dir)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not compile: %v\n%s", err, out)
	}
	test := exec.Command(binary, "-test.run", "^"+name+"$")
	for _, e := range os.Environ() { // a long run of the suite is not one of every mutant
		if !strings.HasPrefix(e, "BPI_") {
			test.Env = append(test.Env, e)
		}
	}
	test.Env = append(test.Env, "BPI_TWINS="+strconv.Itoa(scenarios))
	out, err := test.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), err == nil
}

// line is the line of text around position i.
func line(text string, i int) string {
	from := strings.LastIndexByte(text[:i], '\n') + 1
	to := i + strings.IndexByte(text[i:]+"\n", '\n')
	return strings.TrimSpace(text[from:to])
}

func TestEditThatNoLongerFitsIsReported(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("one two two"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{"two", "three"} {
		m := Mutant{Name: "x", Edits: []Edit{{"a.go", old, ""}}}
		if _, err := m.Overlay(dir, t.TempDir()); err == nil || !strings.Contains(err.Error(), "rewrite the mutant") {
			t.Errorf("edit of %q: %v", old, err)
		}
	}
}
