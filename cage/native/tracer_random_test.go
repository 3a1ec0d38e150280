package native

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// runTracerTest compiles a program of tracer/testdata, which checks a part of the tracer by itself, with the sources that
// it needs, and runs it.
func runTracerTest(t *testing.T, name string, sources ...string) {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc here to compile a part of the tracer with")
	}
	program := filepath.Join(t.TempDir(), name)
	args := []string{"-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, "tracer/testdata/" + name + ".c"}
	if out, err := exec.Command(gcc, append(args, sources...)...).CombinedOutput(); err != nil {
		t.Fatalf("compile tracer/testdata/%s.c: %v\n%s", name, err, out)
	}
	if out, err := exec.Command(program).CombinedOutput(); err != nil {
		t.Fatalf("tracer/testdata/%s.c: %v\n%s", name, err, out)
	}
}

// TestTracerRandomIsChaCha20 checks the blocks against the vectors of RFC 8439, how streams are made of them, and what
// getrandom answers.
func TestTracerRandomIsChaCha20(t *testing.T) {
	runTracerTest(t, "random")
}
