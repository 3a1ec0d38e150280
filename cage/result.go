package cage

import (
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
)

// Values of Result.Killed: ends that the cage brought about and that every machine would bring about.
const (
	KilledSeccomp = "seccomp" // a system call outside the policy
	KilledMemory  = "memory"  // reserved for engines that account memory; native lets the allocation fail instead
	KilledOutput  = "output"  // wrote more than Limits.OutputBytes
	KilledFiles   = "files"   // left something in /out that cannot be an output: too many files, a name not UTF-8
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
// the cage's version, the architecture and the whole spec. A sealed run records nothing in between.
func (r *Result) Finish(spec *Spec) {
	sort.Slice(r.Outputs, func(i, j int) bool { return r.Outputs[i].Name < r.Outputs[j].Name })
	h0 := spec.Genesis()
	var code [4]byte
	binary.BigEndian.PutUint32(code[:], uint32(r.ExitCode))
	r.Witness = digest.Sum("docklock/witness/sealed/1", h0[:], code[:], []byte(r.Killed), canon.Must(r.Outputs))
}

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

// Files gives an engine the bytes of images and inputs. Safe for concurrent use.
type Files interface {
	// Path is the absolute path of a local file that holds exactly the bytes named d, already verified, and that
	// keeps its content and place until the run has ended.
	Path(d digest.Digest) (string, error)
}
