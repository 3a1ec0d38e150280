package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// Act is what the chain wants of this peer for one execution.
type Act int

const (
	// ActCommit: execute the work, if that was not done yet, and commit to the statement or decline.
	ActCommit Act = iota
	// ActWait: committed; keep outcome and outputs until the round goes on.
	ActWait
	// ActReveal: open the commit.
	ActReveal
)

// Duty is one execution that the chain assigned to this peer.
type Duty struct {
	Job   digest.Digest
	Round uint32
	Act   Act
	Lease uint64       // agreed milliseconds at which the lease ends; renewed by the runner
	Work  receipt.Work // not modified
}

// Hold is one manifest whose bytes this peer is to fetch, pin and attest.
type Hold struct {
	Manifest digest.Digest
	Blobs    []enc.BlobRef // everything to hold, the manifest among it
	Held     bool          // attested already
}

// View is what the runner reads of one committed state. It is immutable and may be read by several goroutines.
type View interface {
	Height() uint64
	TimeMs() uint64 // agreed time of the block
	Duties() []Duty
	Holds() []Hold
	// Stands reports whether any data set or image of the chain stands on a manifest still.
	Stands(manifest digest.Digest) bool
	// Ended tells how a job that is no duty any more ended: sealed with this peer among the agreeing or not, and until
	// when its outputs are to be kept (agreed milliseconds). Known is false for a job that the chain does not have.
	Ended(job digest.Digest) (e End)
}

// End is the end of a job as seen by one peer.
type End struct {
	Known   bool
	Running bool   // not ended: it only is no duty of this peer
	Agreed  bool   // sealed, and this peer's statement is the sealed one
	KeepMs  uint64 // agreed time until which an agreeing peer keeps the outputs
}

// Executor executes work; node adapts the cage. It writes one file an output into dir, named by the output. A program's
// failure is an outcome. An error that is a *NoResult is declined with its reason, every other error as "trouble": the
// machine's own. It stops, and leaves no process, when ctx ends.
type Executor interface {
	Execute(ctx context.Context, job digest.Digest, w *receipt.Work, dir string) (receipt.Outcome, error)
}

// NoResult says that no statement can be made, for a reason of enc's list.
type NoResult struct {
	Reason string // enc.DeclineNoResult, enc.DeclineInputs, enc.DeclinePolicy, ...
	Detail string
}

func (e *NoResult) Error() string { return fmt.Sprintf("no result: %s: %s", e.Reason, e.Detail) }

// Blobs fetches and keeps bytes by digest.
type Blobs interface {
	// Ensure makes the bytes present and pinned under the reason, fetched from whoever has them.
	Ensure(ctx context.Context, ref enc.BlobRef, reason string) error
	// Adopt takes a local file into the store, pinned under the reason.
	Adopt(ctx context.Context, path string, ref enc.BlobRef, reason string) error
	// Put stores bytes, pinned under the reason.
	Put(ctx context.Context, b []byte, reason string) error
	// Release drops the pins under the reason.
	Release(reason string) error
	// Reasons lists the reasons with that prefix under which something is pinned.
	Reasons(prefix string) []string
}

// Commander signs a command with the node key and hands it to the network. It returns when the local peer accepted it;
// whether it is ordered is seen in a later View.
type Commander interface {
	Command(ctx context.Context, kind enc.Kind, payload []byte) error
}

// ErrStopped is the cause of an execution's context when the chain no longer wants the execution.
var ErrStopped = errors.New("the chain no longer wants this execution")
