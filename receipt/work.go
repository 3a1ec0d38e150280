package receipt

import (
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Work is everything public about a piece of work that its statement repeats: what ran, on which inputs, under which
// limits. It is part of the signed job, so nothing in it comes from an executor. The cage's spec is built from it and
// from nothing else.
type Work struct {
	_        struct{}      `cbor:",toarray"`
	Kind     string        // "sql" or "native"; later "wasm"
	Engine   digest.Digest // for kind "sql" the SQL engine, for "native" the image in which the program runs
	Policy   digest.Digest
	CPUClass string // "x86-64-v2"
	Args     []string
	Env      []string // NAME=value, sorted, no duplicates
	Stdin    []byte   // for kind "sql", the canonical request of analytics; at most MaxStdinBytes
	Inputs   []Input  // sorted by Path
	Seed     digest.Digest
	EpochNs  uint64 // start of the virtual clock, Unix nanoseconds
	Limits   Limits
	Workdir  string   // for kind "native", where the program starts: absolute, clean; else ""
	Outs     []string // for kind "native", sorted plain names: folders in /out that are there when the program starts; else none
}

// MaxStdinBytes bounds Work.Stdin, and MaxInputs the number of input files.
const (
	MaxStdinBytes = 64 << 10
	MaxInputs     = 4096
)

// Input is one read-only file that the work sees.
type Input struct {
	_      struct{}      `cbor:",toarray"`
	Path   string        // below /in, as "users/0.csv": clean, relative, no dot segments
	Digest digest.Digest // plain SHA-256 of the bytes
	Bytes  uint64
	Origin string // what people call it: "dataset:users@3", "blob"; not read by the cage
}

// Limits bound the work. Those that end in a result are the same on every machine; wall and CPU time are not
// attestable and end in no result.
type Limits struct {
	_           struct{} `cbor:",toarray"`
	MemoryBytes uint64
	OutputBytes uint64 // stdout, stderr and every output file together
	Files       uint32 // open files
	Processes   uint32
	CPUMs       uint64
	WallMs      uint64
	Calls       uint64 // system calls that the cage answers; kind "sql": 0, as the next two
	VirtualMs   uint64 // of the virtual clock
	Spawned     uint32 // threads and processes ever started
}

// Digest names the work.
func (w *Work) Digest() digest.Digest { return digest.Sum("bpi/work/1", canon.Must(w)) }

// Outcome is what honest executors of the same work agree on.
type Outcome struct {
	_        struct{} `cbor:",toarray"`
	ExitCode int32    // the program's; 128+n if signal n ended it
	Killed   string   // "" or an attestable end that the cage brought about: "seccomp", "output", "calls", ... (Check has all)
	Outputs  []Output // sorted by Name; "stdout" and "stderr" always
	Witness  digest.Digest
}

// Output names one output of the work.
type Output struct {
	_      struct{} `cbor:",toarray"`
	Name   string
	Digest digest.Digest // plain SHA-256
	Bytes  uint64
}
