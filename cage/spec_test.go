package cage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

func good() cage.Spec {
	policy := cage.Sealed()
	return cage.Spec{
		Version: 1, Engine: "native", Mode: "sealed", Image: digest.Of([]byte("image")), Argv: []string{"a"},
		Env:      []string{"A=1", "B=2"},
		Inputs:   []cage.Input{{Path: "d/a", Digest: digest.Of(nil)}, {Path: "d/b", Digest: digest.Of(nil)}},
		Limits:   cage.Limits{MemoryBytes: 1 << 26, OutputBytes: 1, Files: 16, Processes: 1, CPUMs: 1, WallMs: 1},
		CPUClass: "x86-64-v2", Policy: policy.Digest(),
	}
}

func TestCheckRefuses(t *testing.T) {
	s := good()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*cage.Spec){
		"version":            func(s *cage.Spec) { s.Version = 2 },
		"engine":             func(s *cage.Spec) { s.Engine = "vm" },
		"mode":               func(s *cage.Spec) { s.Mode = "open" },
		"class":              func(s *cage.Spec) { s.CPUClass = "x86-64-v9" },
		"no image":           func(s *cage.Spec) { s.Image = digest.Digest{} },
		"no policy":          func(s *cage.Spec) { s.Policy = digest.Digest{} },
		"no arguments":       func(s *cage.Spec) { s.Argv = nil },
		"zero byte":          func(s *cage.Spec) { s.Argv = []string{"a\x00b"} },
		"long arguments":     func(s *cage.Spec) { s.Argv = []string{strings.Repeat("a", cage.MaxArgBytes)} },
		"env unsorted":       func(s *cage.Spec) { s.Env = []string{"B=1", "A=1"} },
		"env twice":          func(s *cage.Spec) { s.Env = []string{"A=1", "A=2"} },
		"env without =":      func(s *cage.Spec) { s.Env = []string{"A"} },
		"env of the cage":    func(s *cage.Spec) { s.Env = []string{"TZ=Asia/Tokyo"} },
		"env of the linker":  func(s *cage.Spec) { s.Env = []string{"LD_PRELOAD=x"} },
		"long stdin":         func(s *cage.Spec) { s.Stdin = make([]byte, cage.MaxStdinBytes+1) },
		"absolute input":     func(s *cage.Spec) { s.Inputs[0].Path = "/etc/passwd" },
		"input upwards":      func(s *cage.Spec) { s.Inputs[0].Path = "../x" },
		"input with dots":    func(s *cage.Spec) { s.Inputs[0].Path = "d/./a" },
		"inputs unsorted":    func(s *cage.Spec) { s.Inputs[0], s.Inputs[1] = s.Inputs[1], s.Inputs[0] },
		"file and folder":    func(s *cage.Spec) { s.Inputs[0].Path = "d" },
		"input of no digest": func(s *cage.Spec) { s.Inputs[0].Digest = digest.Digest{} },
		"no memory":          func(s *cage.Spec) { s.Limits.MemoryBytes = 0 },
		"no output":          func(s *cage.Spec) { s.Limits.OutputBytes = 0 },
		"few files":          func(s *cage.Spec) { s.Limits.Files = 3 },
		"no wall":            func(s *cage.Spec) { s.Limits.WallMs = 0 },
		"endless":            func(s *cage.Spec) { s.Limits.CPUMs = 1 << 60 },
		"sealed workdir":     func(s *cage.Spec) { s.Workdir = "/work" },
		"sealed outs":        func(s *cage.Spec) { s.Outs = []string{"a"} },
		"sealed place":       func(s *cage.Spec) { s.Inputs[1].Place = cage.PlaceWork },
		"sealed program":     func(s *cage.Spec) { s.Inputs[1].Exec = true },
		"sealed calls":       func(s *cage.Spec) { s.Limits.Calls = 1 },
		"sealed clock":       func(s *cage.Spec) { s.Limits.VirtualMs = 1 },
		"sealed spawned":     func(s *cage.Spec) { s.Limits.Spawned = 1 },
	} {
		s := good()
		spoil(&s)
		if s.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCheckRefusesInStrictMode(t *testing.T) {
	for _, mode := range []string{cage.ModeStrict, cage.ModeRelaxed} {
		s, _ := strict(t)
		s.Mode = mode
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
	}
	for name, spoil := range map[string]func(*cage.Spec){
		"no workdir":           func(s *cage.Spec) { s.Workdir = "" },
		"relative workdir":     func(s *cage.Spec) { s.Workdir = "work" },
		"workdir with dots":    func(s *cage.Spec) { s.Workdir = "/work/.." },
		"workdir with a slash": func(s *cage.Spec) { s.Workdir = "/work/" },
		"workdir of two":       func(s *cage.Spec) { s.Workdir = "//work" },
		"out of two":           func(s *cage.Spec) { s.Outs[0] = "a/b" },
		"out upwards":          func(s *cage.Spec) { s.Outs[0] = ".." },
		"out of no name":       func(s *cage.Spec) { s.Outs[0] = "" },
		"long out":             func(s *cage.Spec) { s.Outs[1] = strings.Repeat("b", 256) },
		"outs unsorted":        func(s *cage.Spec) { s.Outs[0], s.Outs[1] = "b", "a" },
		"out twice":            func(s *cage.Spec) { s.Outs[1] = "a" },
		"many outs": func(s *cage.Spec) {
			s.Outs = nil
			for i := range cage.MaxOuts + 1 {
				s.Outs = append(s.Outs, fmt.Sprintf("%03d", i))
			}
		},
		"unknown place":       func(s *cage.Spec) { s.Inputs[1].Place = "home" },
		"places unsorted":     func(s *cage.Spec) { s.Inputs[0], s.Inputs[1] = s.Inputs[1], s.Inputs[0] },
		"one place twice":     func(s *cage.Spec) { s.Inputs[0].Place = cage.PlaceWork },
		"file and folder":     func(s *cage.Spec) { s.Inputs = append(s.Inputs, s.Inputs[1]); s.Inputs[2].Path = "d/a/b" },
		"no calls":            func(s *cage.Spec) { s.Limits.Calls = 0 },
		"too many calls":      func(s *cage.Spec) { s.Limits.Calls = cage.MaxCalls + 1 },
		"no virtual time":     func(s *cage.Spec) { s.Limits.VirtualMs = 0 },
		"endless clock":       func(s *cage.Spec) { s.Limits.VirtualMs = cage.MaxVirtualMs + 1 },
		"far epoch":           func(s *cage.Spec) { s.EpochNs = cage.MaxEpochNs + 1 },
		"nobody spawned":      func(s *cage.Spec) { s.Limits.Spawned = 0 },
		"env of the CPU":      func(s *cage.Spec) { s.Env = []string{"GLIBC_TUNABLES=x"} },
		"env of the linker":   func(s *cage.Spec) { s.Env = []string{"LD_PRELOAD=x"} },
		"env of sealed cages": func(s *cage.Spec) { s.Env = []string{"DOCKLOCK_SEED=x"} },
	} {
		s, _ := strict(t)
		spoil(&s)
		if s.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestStrictClockStaysIn63Bits: the tracer counts in signed nanoseconds.
func TestStrictClockStaysIn63Bits(t *testing.T) {
	if end := uint64(cage.MaxEpochNs) + 1e6*uint64(cage.MaxVirtualMs); end >= 1<<63 {
		t.Errorf("the last clock ends at %d", end)
	}
}

func TestWitnessCoversSpecAndResult(t *testing.T) {
	seen := map[digest.Digest]string{}
	try := func(name string, spoil func(*cage.Spec, *cage.Result)) {
		s, r := good(), cage.Result{Outputs: []cage.Output{{Name: "stdout"}, {Name: "stderr"}}}
		spoil(&s, &r)
		r.Finish(&s)
		if other, ok := seen[r.Witness]; ok {
			t.Errorf("%s and %s have one witness", name, other)
		}
		seen[r.Witness] = name
		if r.Outputs[0].Name != "stderr" {
			t.Error("outputs are not sorted")
		}
	}
	try("as is", func(*cage.Spec, *cage.Result) {})
	try("seed", func(s *cage.Spec, _ *cage.Result) { s.Seed[0]++ })
	try("epoch", func(s *cage.Spec, _ *cage.Result) { s.EpochNs++ })
	try("stdin", func(s *cage.Spec, _ *cage.Result) { s.Stdin = []byte{1} })
	try("input", func(s *cage.Spec, _ *cage.Result) { s.Inputs[0].Digest[0]++ })
	try("limit", func(s *cage.Spec, _ *cage.Result) { s.Limits.WallMs++ })
	try("exit code", func(_ *cage.Spec, r *cage.Result) { r.ExitCode = -1 })
	try("killed", func(_ *cage.Spec, r *cage.Result) { r.Killed = cage.KilledOutput })
	try("output", func(_ *cage.Spec, r *cage.Result) { r.Outputs[0].Digest[0]++ })
}

func TestEnvironIsSorted(t *testing.T) {
	s := good()
	env := s.Environ()
	if !slices.IsSorted(env) || !slices.Contains(env, "TZ=UTC") || !slices.Contains(env, "A=1") {
		t.Errorf("environment %q", env)
	}
}

func FuzzSpec(f *testing.F) {
	s := good()
	f.Add(canon.Must(&s))
	run, _ := strict(f)
	f.Add(canon.Must(&run))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s cage.Spec
		if canon.Unmarshal(b, &s) == nil && s.Check() == nil {
			s.Environ()
			s.Digest()
		}
	})
}
