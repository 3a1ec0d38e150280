package cage

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Version is the version of the cage's rules that Spec.Check accepts, and part of every witness.
const Version = 1

// Names of the engines, modes and CPU classes known so far.
const (
	EngineNative = "native"
	// ModeSealed is for images that bring their own clock and randomness: one process, a short list of calls, no tracing.
	ModeSealed = "sealed"
	// ModeStrict is for any Linux program: the cage answers what a machine would decide, and records a witness of events.
	ModeStrict = "strict"
	// ModeRelaxed is strict with the machine's own scheduling: what depends on the order of threads is not repeatable.
	ModeRelaxed = "relaxed"
	CPUx86_64v2 = "x86-64-v2"
)

// DefaultWorkdir is where a program of the strict and relaxed modes starts unless the spec says otherwise.
const DefaultWorkdir = "/work"

// Values of Input.Place.
const (
	PlaceIn   = ""     // read-only, at /in/PATH
	PlaceWork = "work" // a copy that the program may write, at /work/PATH
)

// Bounds of a Spec, checked by Check before anything is allocated or run.
const (
	MaxStdinBytes  = 64 << 10
	MaxInputs      = 4096
	MaxPathBytes   = 1024
	MaxArgs        = 256
	MaxArgBytes    = 64 << 10 // Argv and Env together
	MaxMemoryBytes = 1 << 40
	MaxOutputBytes = 1 << 34
	MaxOutputFiles = 1024
	MaxOuts        = 64
	MaxNameBytes   = 255     // of one name in /out
	MaxEpochNs     = 1 << 62 // in the year 2116; sealed: none
)

// Spec is everything that decides a run. It is hashed, and nothing in it comes from the machine that runs it.
type Spec struct {
	_       struct{} `cbor:",toarray"`
	Version uint32   // Version
	Engine  string   // EngineNative
	Mode    string   // one of the modes
	// Image names what the program is: sealed, the plain SHA-256 of a static x86-64 ELF program (the engine image);
	// otherwise the plain SHA-256 of a root archive, or a HostRoot.
	Image    digest.Digest
	Argv     []string      // Argv[0] is the program; at least one
	Env      []string      // NAME=value, sorted, no name twice, none that the cage keeps for itself
	Stdin    []byte        // at most MaxStdinBytes
	Inputs   []Input       // sorted by Place, then Path
	Seed     digest.Digest // of the run's randomness
	EpochNs  uint64        // start of the virtual clock, Unix nanoseconds
	Limits   Limits
	CPUClass string // CPUx86_64v2
	Policy   digest.Digest
	Workdir  string   // where the program starts: absolute and clean; sealed: empty
	Outs     []string // sorted plain names: the folder /out/NAME is there, writable, when the program starts; sealed: none
}

// Input is one file that the program sees.
type Input struct {
	_      struct{}      `cbor:",toarray"`
	Path   string        // below its place, as "users/0.csv": clean, relative, no dot segments
	Digest digest.Digest // plain SHA-256 of the bytes
	Bytes  uint64
	Place  string // PlaceIn or PlaceWork; sealed: PlaceIn
	Exec   bool   // may be executed: mode 0555 in /in, 0755 in /work, where others have 0444 and 0644; sealed: false
}

// Check refuses a spec that no engine may run. It says nothing about what this machine can give.
func (s *Spec) Check() error {
	switch {
	case s.Version != Version:
		return fmt.Errorf("cage spec: version %d is not known here; this program knows version %d", s.Version, Version)
	case s.Engine != EngineNative:
		return fmt.Errorf("cage spec: engine %.40q is not known here; want %q", s.Engine, EngineNative)
	case s.Mode != ModeSealed && s.Mode != ModeStrict && s.Mode != ModeRelaxed:
		return fmt.Errorf("cage spec: mode %.40q is not known here; want %q, %q or %q", s.Mode, ModeSealed, ModeStrict, ModeRelaxed)
	case s.CPUClass != CPUx86_64v2:
		return fmt.Errorf("cage spec: CPU class %.40q is not known here; want %q", s.CPUClass, CPUx86_64v2)
	case s.Image.IsZero():
		return errors.New("cage spec: no image is named")
	case s.Policy.IsZero():
		return errors.New("cage spec: no policy is named")
	case len(s.Stdin) > MaxStdinBytes:
		return fmt.Errorf("cage spec: stdin of %d bytes is over the limit of %d", len(s.Stdin), MaxStdinBytes)
	}
	if err := s.checkStrings(); err != nil {
		return err
	}
	if err := s.checkInputs(); err != nil {
		return err
	}
	if err := s.checkPlaces(); err != nil {
		return err
	}
	return s.Limits.check(s.Mode)
}

// checkPlaces looks at what only the strict and relaxed modes have.
func (s *Spec) checkPlaces() error {
	if s.Mode == ModeSealed {
		if s.Workdir != "" || len(s.Outs) > 0 {
			return fmt.Errorf("cage spec: mode %q has no working folder and no folders for outputs", s.Mode)
		}
		return nil
	}
	if s.EpochNs > MaxEpochNs {
		return fmt.Errorf("cage spec: the clock begins at %d ns; want at most %d", s.EpochNs, uint64(MaxEpochNs))
	}
	if w := s.Workdir; !strings.HasPrefix(w, "/") || w != "/" && !cleanPath(w[1:]) {
		return fmt.Errorf("cage spec: working folder %.80q is not a clean absolute path; the usual one is %q", w, DefaultWorkdir)
	}
	if len(s.Outs) > MaxOuts {
		return fmt.Errorf("cage spec: %d folders for outputs are over the limit of %d", len(s.Outs), MaxOuts)
	}
	for i, name := range s.Outs {
		switch {
		case !cleanPath(name) || strings.Contains(name, "/") || len(name) > MaxNameBytes:
			return fmt.Errorf("cage spec: output %.80q is not a plain name", name)
		case i > 0 && s.Outs[i-1] >= name:
			return fmt.Errorf("cage spec: output %.80q is out of order or there twice", name)
		}
	}
	return nil
}

func (s *Spec) checkStrings() error {
	if len(s.Argv) == 0 || len(s.Argv) > MaxArgs || len(s.Env) > MaxArgs {
		return fmt.Errorf("cage spec: %d arguments and %d variables; want 1 to %d arguments, at most %d variables",
			len(s.Argv), len(s.Env), MaxArgs, MaxArgs)
	}
	total := 0
	for _, list := range [][]string{s.Argv, s.Env} {
		for _, v := range list {
			total += len(v) + 1
			if total > MaxArgBytes {
				return fmt.Errorf("cage spec: arguments and environment are over %d bytes", MaxArgBytes)
			}
			if strings.ContainsRune(v, 0) || !utf8.ValidString(v) {
				return fmt.Errorf("cage spec: %.40q holds a zero byte or is not UTF-8", v)
			}
		}
	}
	last := ""
	for _, v := range s.Env {
		name, _, ok := strings.Cut(v, "=")
		switch {
		case !ok || name == "":
			return fmt.Errorf("cage spec: environment %.40q is not NAME=value", v)
		case name <= last:
			return fmt.Errorf("cage spec: environment variable %.40q is out of order or there twice", name)
		case reservedEnv(s.Mode, name):
			return fmt.Errorf("cage spec: environment variable %.40q is kept by the cage for itself; leave it out", name)
		}
		last = name
	}
	return nil
}

func (s *Spec) checkInputs() error {
	if len(s.Inputs) > MaxInputs {
		return fmt.Errorf("cage spec: %d inputs are over the limit of %d", len(s.Inputs), MaxInputs)
	}
	seen := make(map[string]bool, len(s.Inputs))
	for i, in := range s.Inputs {
		switch {
		case !cleanPath(in.Path):
			return fmt.Errorf("cage spec: input path %.80q is not a clean relative path", in.Path)
		case in.Digest.IsZero():
			return fmt.Errorf("cage spec: input %.80q has no digest", in.Path)
		case in.Place != PlaceIn && in.Place != PlaceWork:
			return fmt.Errorf("cage spec: input %.80q has place %.40q; want %q or %q", in.Path, in.Place, PlaceIn, PlaceWork)
		case s.Mode == ModeSealed && (in.Place != PlaceIn || in.Exec):
			return fmt.Errorf("cage spec: input %.80q is writable or a program, which mode %q does not have", in.Path, s.Mode)
		case i > 0 && !s.Inputs[i-1].before(&in):
			return fmt.Errorf("cage spec: input %.80q is out of order or there twice", in.Path)
		}
		seen[in.At()] = true
	}
	for _, in := range s.Inputs {
		for dir := path.Dir(in.At()); dir != "/"; dir = path.Dir(dir) {
			if seen[dir] {
				return fmt.Errorf("cage spec: input %.80q is a file and the folder of %.80q", dir, in.At())
			}
		}
	}
	return nil
}

// At is the absolute path at which the program finds the input.
func (in *Input) At() string {
	if in.Place == PlaceWork {
		return DefaultWorkdir + "/" + in.Path
	}
	return "/in/" + in.Path
}

func (in *Input) before(next *Input) bool {
	if in.Place != next.Place {
		return in.Place < next.Place
	}
	return in.Path < next.Path
}

// cleanPath reports whether p is a relative path of plain names.
func cleanPath(p string) bool {
	return p != "" && len(p) <= MaxPathBytes && utf8.ValidString(p) && !strings.ContainsRune(p, 0) &&
		!path.IsAbs(p) && path.Clean(p) == p && p != "." && p != ".." && !strings.HasPrefix(p, "../")
}

// Digest names the spec.
func (s *Spec) Digest() digest.Digest { return digest.Sum("docklock/spec/1", canon.Must(s)) }
