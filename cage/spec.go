package cage

import (
	"errors"
	"fmt"
	"path"
	"sort"
	"strconv"
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
	ModeSealed   = "sealed"
	CPUx86_64v2  = "x86-64-v2"
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
)

// Spec is everything that decides a run. It is hashed, and nothing in it comes from the machine that runs it.
type Spec struct {
	_        struct{}      `cbor:",toarray"`
	Version  uint32        // Version
	Engine   string        // EngineNative
	Mode     string        // ModeSealed
	Image    digest.Digest // plain SHA-256 of a static x86-64 ELF program: the engine image
	Argv     []string      // Argv[0] is the program's own name; at least one
	Env      []string      // NAME=value, sorted, no name twice, none of the names that Environ sets
	Stdin    []byte        // at most MaxStdinBytes
	Inputs   []Input       // sorted by Path
	Seed     digest.Digest // of the image's own randomness
	EpochNs  uint64        // start of the virtual clock, Unix nanoseconds
	Limits   Limits
	CPUClass string // CPUx86_64v2
	Policy   digest.Digest
}

// Input is one read-only file that the program sees.
type Input struct {
	_      struct{}      `cbor:",toarray"`
	Path   string        // below /in, as "users/0.csv": clean, relative, no dot segments
	Digest digest.Digest // plain SHA-256 of the bytes
	Bytes  uint64
}

// Limits bound a run. MemoryBytes, OutputBytes, Files and Processes end in a result, the same on every machine; CPUMs
// and WallMs end in ErrNoResult.
type Limits struct {
	_           struct{} `cbor:",toarray"`
	MemoryBytes uint64   // address space; allocating past it fails inside the program. Also what /tmp may hold
	OutputBytes uint64   // stdout, stderr and files in /out together; no file at all grows past this or MemoryBytes, the larger
	Files       uint32   // open file descriptors
	Processes   uint32   // a sealed program is one process, whatever this is
	CPUMs       uint64   // processor time in ms, rounded up to whole seconds
	WallMs      uint64   // from the program's start
}

// Check refuses a spec that no engine may run. It says nothing about what this machine can give.
func (s *Spec) Check() error {
	switch {
	case s.Version != Version:
		return fmt.Errorf("cage spec: version %d is not known here; this program knows version %d", s.Version, Version)
	case s.Engine != EngineNative:
		return fmt.Errorf("cage spec: engine %.40q is not known here; want %q", s.Engine, EngineNative)
	case s.Mode != ModeSealed:
		return fmt.Errorf("cage spec: mode %.40q is not known here; want %q", s.Mode, ModeSealed)
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
	return s.Limits.check()
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
		case reservedEnv(name):
			return fmt.Errorf("cage spec: environment variable %.40q is set by the cage", name)
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
		case i > 0 && s.Inputs[i-1].Path >= in.Path:
			return fmt.Errorf("cage spec: input %.80q is out of order or there twice", in.Path)
		}
		seen[in.Path] = true
	}
	for _, in := range s.Inputs {
		for dir := path.Dir(in.Path); dir != "."; dir = path.Dir(dir) {
			if seen[dir] {
				return fmt.Errorf("cage spec: input %.80q is a file and the folder of %.80q", dir, in.Path)
			}
		}
	}
	return nil
}

// cleanPath reports whether p is a relative path of plain names.
func cleanPath(p string) bool {
	return p != "" && len(p) <= MaxPathBytes && utf8.ValidString(p) && !strings.ContainsRune(p, 0) &&
		!path.IsAbs(p) && path.Clean(p) == p && p != "." && p != ".." && !strings.HasPrefix(p, "../")
}

func (l *Limits) check() error {
	for _, b := range []struct {
		name        string
		v, min, max uint64
	}{
		{"memory bytes", l.MemoryBytes, 1 << 20, MaxMemoryBytes},
		{"output bytes", l.OutputBytes, 1, MaxOutputBytes},
		{"files", uint64(l.Files), 8, 1 << 16},
		{"processes", uint64(l.Processes), 1, 1 << 16},
		{"CPU ms", l.CPUMs, 1, 1000 * 86400 * 7},
		{"wall ms", l.WallMs, 1, 1000 * 86400 * 7},
	} {
		if b.v < b.min || b.v > b.max {
			return fmt.Errorf("cage spec: limit %s is %d; want %d to %d", b.name, b.v, b.min, b.max)
		}
	}
	return nil
}

// Digest names the spec.
func (s *Spec) Digest() digest.Digest { return digest.Sum("docklock/spec/1", canon.Must(s)) }

// Environ is the whole environment of the program, sorted: Env and what the cage sets.
func (s *Spec) Environ() []string {
	env := append(FixedEnviron(s.CPUClass),
		"DOCKLOCK_EPOCH_NS="+strconv.FormatUint(s.EpochNs, 10),
		"DOCKLOCK_SEED="+s.Seed.String())
	env = append(env, s.Env...)
	sort.Strings(env)
	return env
}

// FixedEnviron is the part of the environment that depends on the CPU class alone, sorted. It must be there when a
// program is executed: glibc chooses its variants of memcpy, exp, sin and so on before main. Some of them (those with
// fused multiply-add) round differently, so a class fixes which are chosen, whatever the CPU offers beyond it.
func FixedEnviron(cpuClass string) []string {
	env := []string{"LANG=C.UTF-8", "TZ=UTC"}
	if cpuClass == CPUx86_64v2 {
		env = append(env, "GLIBC_TUNABLES="+tunablesV2)
	}
	sort.Strings(env)
	return env
}

// tunablesV2 hides from glibc every feature that it would use beyond x86-64-v2, and the sizes of this CPU's caches.
const tunablesV2 = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX512CD,-AVX512DQ,-AVX512ER,-AVX512PF," +
	"-AVX_Fast_Unaligned_Load,-AVX2_Usable,-BMI1,-BMI2,-ERMS,-FMA,-FMA4,-FSRM,-LZCNT,-MOVBE,-RTM,-XSAVE,-XSAVEC," +
	"-Prefer_No_VZEROUPPER:glibc.cpu.x86_data_cache_size=32768:glibc.cpu.x86_shared_cache_size=1048576:" +
	"glibc.cpu.x86_non_temporal_threshold=786432"

func reservedEnv(name string) bool {
	switch name {
	case "LANG", "TZ", "GLIBC_TUNABLES":
		return true
	}
	return strings.HasPrefix(name, "DOCKLOCK_") || strings.HasPrefix(name, "LD_")
}
