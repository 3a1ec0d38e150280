package enc

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/metanode/metanode/receipt"
)

// The kinds of work.
const (
	KindSQL    = "sql"    // a query by the SQL engine in force
	KindNative = "native" // a Linux program in a published image
)

// Bounds of a work. MaxCommandBytes bounds the whole.
const (
	MaxArgs        = 256
	MaxPathBytes   = 512
	MaxOriginBytes = 256
	MaxOuts        = 64
	MaxOutBytes    = 255

	MaxWorkMemory    = 64 << 30
	MaxWorkOutput    = 1 << 30
	MaxWorkFiles     = 1 << 16
	MaxWorkProcesses = 1 << 10
	MaxWorkMs        = 3600_000 // CPU and wall time
	MaxWorkCalls     = 1 << 30
	MaxWorkVirtualMs = 365 * 24 * 3600_000 * 100
	MaxWorkSpawned   = 1 << 20
)

// CheckWork is what a chain asks of a work without looking at its state: form and bounds.
func CheckWork(w *receipt.Work) error {
	if w.Kind != KindSQL && w.Kind != KindNative {
		return fmt.Errorf("work of kind %.40q: this network runs %q and %q", w.Kind, KindSQL, KindNative)
	}
	if w.Engine.IsZero() || w.Policy.IsZero() {
		return fmt.Errorf("work without an engine or a policy: both are named by digest")
	}
	if w.CPUClass == "" || len(w.CPUClass) > 32 || !printable(w.CPUClass) {
		return fmt.Errorf("CPU class %.40q: want 1 to 32 printable characters", w.CPUClass)
	}
	if len(w.Stdin) > receipt.MaxStdinBytes {
		return fmt.Errorf("standard input of %d bytes: at most %d", len(w.Stdin), receipt.MaxStdinBytes)
	}
	for _, check := range []func(*receipt.Work) error{checkStrings, checkInputs, checkPlaces, checkLimits} {
		if err := check(w); err != nil {
			return err
		}
	}
	return nil
}

func checkStrings(w *receipt.Work) error {
	if len(w.Args) > MaxArgs || len(w.Env) > MaxArgs {
		return fmt.Errorf("%d arguments and %d environment variables: at most %d each", len(w.Args), len(w.Env), MaxArgs)
	}
	for i, a := range w.Args {
		if len(a) > 64<<10 || !utf8.ValidString(a) || strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %d: want at most 65536 bytes of UTF-8 without a NUL", i)
		}
	}
	last := ""
	for i, e := range w.Env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" || !utf8.ValidString(e) || strings.ContainsRune(e, 0) {
			return fmt.Errorf("environment variable %d: %.40q is not NAME=value", i, e)
		}
		if i > 0 && name <= last {
			return fmt.Errorf("environment variable %.40q: want them sorted by name, each once", name)
		}
		last = name
	}
	return nil
}

func checkInputs(w *receipt.Work) error {
	if len(w.Inputs) > receipt.MaxInputs {
		return fmt.Errorf("%d inputs: at most %d", len(w.Inputs), receipt.MaxInputs)
	}
	files := make(map[string]bool, len(w.Inputs))
	for i := range w.Inputs {
		in := &w.Inputs[i]
		files[in.Path] = true
		if !cleanPath(in.Path) {
			return fmt.Errorf("input %d: path %.80q: want a clean relative path of at most %d printable characters", i, in.Path, MaxPathBytes)
		}
		if i > 0 && w.Inputs[i-1].Path >= in.Path {
			return fmt.Errorf("input %.80q: want inputs sorted by path, each once", in.Path)
		}
		if in.Digest.IsZero() || in.Bytes > MaxBlobBytes {
			return fmt.Errorf("input %.80q: want a digest, and at most %d bytes", in.Path, uint64(MaxBlobBytes))
		}
		if err := checkText("origin of input", in.Origin, MaxOriginBytes); err != nil {
			return err
		}
	}
	for i := range w.Inputs {
		for at, c := range w.Inputs[i].Path {
			if c == '/' && files[w.Inputs[i].Path[:at]] {
				return fmt.Errorf("input %.80q lies below input %.80q, which is a file", w.Inputs[i].Path, w.Inputs[i].Path[:at])
			}
		}
	}
	return nil
}

// checkPlaces looks at the folders that only a program in an image has.
func checkPlaces(w *receipt.Work) error {
	if w.Kind != KindNative {
		if w.Workdir != "" || len(w.Outs) > 0 {
			return fmt.Errorf("work of kind %q with a working folder or folders for outputs: only kind %q has them", w.Kind, KindNative)
		}
		return nil
	}
	if len(w.Args) == 0 || w.Args[0] == "" {
		return fmt.Errorf("work of kind %q without a program: its first argument names it", w.Kind)
	}
	if w.Workdir != "/" && (!strings.HasPrefix(w.Workdir, "/") || !cleanPath(w.Workdir[1:])) {
		return fmt.Errorf("working folder %.80q: want a clean absolute path of at most %d printable characters", w.Workdir, MaxPathBytes)
	}
	if len(w.Outs) > MaxOuts {
		return fmt.Errorf("%d folders for outputs: at most %d", len(w.Outs), MaxOuts)
	}
	for i, name := range w.Outs {
		if !cleanPath(name) || strings.Contains(name, "/") || len(name) > MaxOutBytes {
			return fmt.Errorf("output %.80q: want a plain name of at most %d printable characters", name, MaxOutBytes)
		}
		if i > 0 && w.Outs[i-1] >= name {
			return fmt.Errorf("output %.80q: want outputs sorted by name, each once", name)
		}
	}
	return nil
}

func checkLimits(w *receipt.Work) error {
	l := &w.Limits
	for _, x := range []struct {
		what      string
		have, max uint64
	}{
		{"memory", l.MemoryBytes, MaxWorkMemory}, {"output", l.OutputBytes, MaxWorkOutput},
		{"open files", uint64(l.Files), MaxWorkFiles}, {"processes", uint64(l.Processes), MaxWorkProcesses},
		{"CPU milliseconds", l.CPUMs, MaxWorkMs}, {"wall milliseconds", l.WallMs, MaxWorkMs},
		{"calls", l.Calls, tracedOnly(w, MaxWorkCalls)}, {"virtual milliseconds", l.VirtualMs, tracedOnly(w, MaxWorkVirtualMs)},
		{"threads and processes ever", uint64(l.Spawned), tracedOnly(w, MaxWorkSpawned)},
	} {
		switch {
		case x.max == 0 && x.have != 0:
			return fmt.Errorf("limit of %s %d: work of kind %q has no such limit; want 0", x.what, x.have, w.Kind)
		case x.have > x.max || x.have == 0 && x.max != 0:
			return fmt.Errorf("limit of %s %d: want 1 to %d", x.what, x.have, x.max)
		}
	}
	return nil
}

// tracedOnly is limit for work whose calls the cage counts, and 0 for other.
func tracedOnly(w *receipt.Work, limit uint64) uint64 {
	if w.Kind == KindNative {
		return limit
	}
	return 0
}
