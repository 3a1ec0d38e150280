package cage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Values of Result.Killed: ends that the cage brought about and that every machine would bring about.
const (
	KilledSeccomp   = "seccomp"   // a system call outside the policy
	KilledMemory    = "memory"    // reserved for engines that account memory; native lets the allocation fail instead
	KilledOutput    = "output"    // wrote more than Limits.OutputBytes
	KilledFiles     = "files"     // left something in /out that cannot be an output: too many files, a name not UTF-8
	KilledCalls     = "calls"     // made more system calls than Limits.Calls
	KilledTime      = "time"      // its clock went past Limits.VirtualMs
	KilledProcesses = "processes" // started more threads and processes than Limits.Spawned
	KilledDeadlock  = "deadlock"  // all of its threads waited for what could no longer come
)

// Names of the outputs that every result has. A file DIR/NAME left in /out is the output "out/DIR/NAME".
const (
	OutputStdout = "stdout"
	OutputStderr = "stderr"
	OutputPrefix = "out/"
)

// Result is what every machine of the spec's CPU class finds when it runs the spec.
type Result struct {
	_        struct{} `cbor:",toarray"`
	ExitCode int32    // the program's; 128+n if signal n ended it
	Killed   string   // "" or one of the Killed constants
	Outputs  []Output // sorted by Name; "stdout" and "stderr" always
	Witness  digest.Digest
}

// Output names one output.
type Output struct {
	_      struct{}      `cbor:",toarray"`
	Name   string        // "stdout", "stderr", "out/NAME"
	Digest digest.Digest // plain SHA-256
	Bytes  uint64
}

// Finish sorts r's outputs and sets its witness root for spec: H(h0 ‖ exit code ‖ killed ‖ outputs), where h0 covers
// the cage's version, the architecture and the whole spec. It is for runs of which nothing in between is attested: sealed
// ones, where nothing is recorded, and relaxed ones, whose order of events is the machine's. A strict run is finished by
// its Chain.
func (r *Result) Finish(spec *Spec) {
	r.sortOutputs()
	r.Witness = r.root(spec)
}

// Check refuses what cannot be a result of spec. It says nothing about the witness.
func (r *Result) Check(spec *Spec) error {
	if r.ExitCode < 0 || r.ExitCode > 255 {
		return fmt.Errorf("cage result: exit code %d; want 0 to 255", r.ExitCode)
	}
	switch r.Killed {
	case "", KilledSeccomp, KilledMemory, KilledOutput, KilledFiles, KilledCalls, KilledTime, KilledProcesses, KilledDeadlock:
	default:
		return fmt.Errorf("cage result: it was killed by %.40q, which is no such end", r.Killed)
	}
	if len(r.Outputs) > MaxOutputFiles+2 {
		return fmt.Errorf("cage result: %d outputs are over the limit of %d", len(r.Outputs), MaxOutputFiles+2)
	}
	streams, left := 0, spec.Limits.OutputBytes
	for i, o := range r.Outputs {
		name, file := strings.CutPrefix(o.Name, OutputPrefix)
		switch {
		case file && !cleanPath(name), !file && name != OutputStdout && name != OutputStderr:
			return fmt.Errorf("cage result: %.80q is no name of an output", o.Name)
		case i > 0 && r.Outputs[i-1].Name >= o.Name:
			return fmt.Errorf("cage result: output %.80q is out of order or there twice", o.Name)
		case o.Bytes > left:
			return fmt.Errorf("cage result: the outputs are over the limit of %d bytes", spec.Limits.OutputBytes)
		}
		left -= o.Bytes
		if !file {
			streams++
		}
	}
	if streams != 2 {
		return errors.New("cage result: stdout or stderr is missing among the outputs")
	}
	return nil
}

func (r *Result) root(spec *Spec) digest.Digest {
	h0 := spec.Genesis()
	return digest.Sum("docklock/witness/sealed/1", h0[:], r.code(), []byte(r.Killed), canon.Must(r.Outputs))
}

func (r *Result) sortOutputs() {
	sort.Slice(r.Outputs, func(i, j int) bool { return r.Outputs[i].Name < r.Outputs[j].Name })
}

func (r *Result) code() []byte { return binary.BigEndian.AppendUint32(nil, uint32(r.ExitCode)) }

// Genesis is h0, the witness before anything has happened.
func (s *Spec) Genesis() digest.Digest {
	d := s.Digest()
	return digest.Sum("docklock/h0/1", []byte{Version}, []byte("x86_64"), d[:])
}

// Reason says which unattestable limit ended a run.
type Reason string

// The reasons for ErrNoResult.
const (
	ReasonWall Reason = "wall" // Limits.WallMs passed
	ReasonCPU  Reason = "cpu"  // Limits.CPUMs used up
	ReasonOOM  Reason = "oom"  // the machine ran out of memory and killed the program
	ReasonSpin Reason = "spin" // Limits.CPUMs used up by a thread that waits for another without a system call
)

// ErrNoResult is returned by an engine when a run ended in a way that other machines need not see. Test for it with
// errors.As. It must never become a statement.
type ErrNoResult struct {
	Reason Reason
	Detail string
}

func (e *ErrNoResult) Error() string {
	return fmt.Sprintf("no result (%s): %s", e.Reason, e.Detail)
}

// Exit codes of a program that could not be started, as a shell gives them.
const (
	ExitNotExecutable = 126
	ExitNotFound      = 127
)

// ErrCannotStart says that the spec's program cannot start on any machine: it is missing from the root, is not
// executable, or is for another architecture. On the network that is a failure of the program like any other.
type ErrCannotStart struct {
	ExitCode int32 // ExitNotExecutable or ExitNotFound
	Detail   string
}

func (e *ErrCannotStart) Error() string { return "the program cannot start: " + e.Detail }

// Files gives an engine the bytes of images and inputs. Safe for concurrent use.
type Files interface {
	// Path is the absolute path of a local file that holds exactly the bytes named d, already verified, and that
	// keeps its content and place until the run has ended.
	Path(d digest.Digest) (string, error)
}

// Roots is what a Files may also be: one that knows folders which hold a root already.
type Roots interface {
	// Root is the absolute path of a folder that is the root d, unpacked, and keeps its content until the run has ended;
	// false if the root must be fetched as an archive. "/" is the host's own root: only its folders of programs and
	// their settings are shown.
	Root(d digest.Digest) (dir string, ok bool)
}
