package enc

import (
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// Status is where a job stands.
type Status string

// A job goes from StatusPending (ordered, its seed not yet known) over StatusQueued (waiting for peers, for the reasons
// in Job.Reasons), StatusRunning, StatusCommitting (a first commit is there) and StatusRevealing to StatusSealed, or
// back to StatusQueued for another round. The last five are final.
const (
	StatusPending    Status = "pending"
	StatusQueued     Status = "queued"
	StatusRunning    Status = "running"
	StatusCommitting Status = "committing"
	StatusRevealing  Status = "revealing"
	StatusSealed     Status = "sealed"
	StatusFailed     Status = "failed"
	StatusCancelled  Status = "cancelled"
	StatusExpired    Status = "expired"
)

// Final reports whether the job has ended.
func (s Status) Final() bool {
	switch s {
	case StatusSealed, StatusFailed, StatusCancelled, StatusExpired:
		return true
	}
	return false
}

// Why a job failed: Job.Failure.
const (
	FailNoQuorum         = "no_quorum"
	FailNondeterministic = "nondeterministic"
	FailUnavailable      = "unavailable"
	FailNoResult         = "no_result"
)

// Reasons of a Decline. A peer that declines for DeclineNoResult hit a limit that cannot be attested.
const (
	DeclineInputs   = "inputs-unavailable"
	DeclineNoResult = "no-result"
	DeclinePolicy   = "policy-not-offered"
	DeclineEngine   = "engine-not-available"
	DeclineTrouble  = "trouble-on-this-machine"
)

// Observed is what the chain has seen of an execution.
type Observed string

// An execution is assigned, running (its peer has renewed the lease), committed, declined, revealed; after the verdict
// matched, mismatched, lost (silent past its lease or a window) or stopped.
const (
	ObservedAssigned   Observed = "assigned"
	ObservedRunning    Observed = "running"
	ObservedCommitted  Observed = "committed"
	ObservedDeclined   Observed = "declined"
	ObservedRevealed   Observed = "revealed"
	ObservedMatched    Observed = "matched"
	ObservedMismatched Observed = "mismatched"
	ObservedLost       Observed = "lost"
	ObservedStopped    Observed = "stopped"
)

// MaxPeersPerRound bounds R, and the peers of any round.
const MaxPeersPerRound = 7

// Execution is one peer's part in a job. A peer that is assigned again, after a decline or a loss, keeps its entry.
type Execution struct {
	_          struct{} `cbor:",toarray"`
	Peer       sign.PublicKey
	Operator   sign.PublicKey
	Added      uint32 // the round that added it
	Round      uint32 // the round it takes part in; below Job.Round: it no longer does
	Attempt    uint32 // how often it was assigned
	Observed   Observed
	LeaseMs    uint64         // agreed time until which the peer must have renewed, committed or declined
	Hash       digest.Digest  // commit of this round
	Statement  digest.Digest  // revealed in this round
	Sig        sign.Signature // DSSE signature of Statement
	Reason     string         // of the decline
	Detail     string
	HoldsSlot  bool // counts against the node's capacity
	LateReveal bool // revealed after the seal
}

// NodeReason is the first reason for which placement passed a node over.
type NodeReason struct {
	_      struct{} `cbor:",toarray"`
	Peer   sign.PublicKey
	Reason string
}

// Job is everything the chain keeps about a job but its work, which Work returns.
type Job struct {
	_           struct{} `cbor:",toarray"`
	ID          digest.Digest
	Client      sign.PublicKey
	OnBehalf    string
	Note        string
	WorkDigest  digest.Digest
	Kind        string        // of the work
	Engine      digest.Digest // of the work, for placement
	Policy      digest.Digest
	CPUClass    string
	Memory      uint64
	WallMs      uint64
	Manifests   []digest.Digest // of its inputs, sorted: what makes a peer near to the data
	R, Q        uint32          // as submitted
	Priority    uint32
	Height      uint64 // block that ordered it
	Index       uint32 // its place among that block's commands
	SubmittedMs uint64 // agreed time
	Status      Status
	Waiting     string       // why it waits, in a sentence; empty if it does not
	Reasons     []NodeReason // while it waits: each node's first reason, by peer
	Round       uint32       // 0 until the first placement, then 1...
	RoundR      uint32       // peers of this round
	RoundQ      uint32       // equal statements that seal this round
	NextR       uint32       // while it waits for a round: peers wanted
	Dissented   bool         // while it waits for a round: the last one ended in different statements
	Unfillable  bool         // no other node could take a lost execution of this round
	Executions  []Execution  // in the order of assignment
	PlacedAt    uint64       // height of this round's first placement
	PlacedSeed  digest.Digest
	PlacedMs    uint64
	QueueEndMs  uint64 // while it waits: then it expires
	RoundEndMs  uint64 // the round's last moment for commits, however often leases are renewed
	CommitEndMs uint64 // 0 until the first commit
	RevealEndMs uint64 // 0 until the reveal window opens
	Replaced    uint32 // executions assigned in place of lost ones, in the whole job
	Declines    uint32 // rounds that ended in declines
	EndedMs     uint64 // agreed time of the end
	Failure     string // why it failed
	FailDetail  string // for people
	Statement   digest.Digest
	Keyed       digest.Digest     // of the sealed statement
	Outcome     []receipt.Outcome // one once sealed
	WakeMs      uint64            // the time under which a deadline entry stands; 0: none
	QueueKey    []byte            // the entry in the queue; empty: none
}

// JobID names a job.
func JobID(work digest.Digest, client sign.PublicKey, salt [16]byte) digest.Digest {
	return digest.Sum("enc/job/1", work[:], client[:], salt[:])
}

// Execution is the entry of peer, nil if it has none. It points into the job.
func (j *Job) Execution(peer sign.PublicKey) *Execution {
	for i := range j.Executions {
		if j.Executions[i].Peer == peer {
			return &j.Executions[i]
		}
	}
	return nil
}

// Placement is what a seal says about where the current round ran.
func (j *Job) Placement() receipt.Placement {
	p := receipt.Placement{Height: j.PlacedAt, Seed: j.PlacedSeed, R: j.RoundR, Q: j.RoundQ, Peers: []receipt.Assigned{}}
	for _, x := range j.Executions {
		p.Peers = append(p.Peers, receipt.Assigned{Peer: x.Peer, Operator: x.Operator, Round: x.Added})
	}
	return p
}

// Assignment is an execution that a peer is to keep running, for enc/runner.
type Assignment struct {
	Job        digest.Digest
	Round      uint32 // to commit or decline for
	Status     Status // of the job: in StatusRevealing a committed peer reveals
	Observed   Observed
	LeaseMs    uint64        // agreed time: renew or answer before it
	Work       *receipt.Work // not modified
	WorkDigest digest.Digest
	Memory     uint64
	WallMs     uint64
	Hash       digest.Digest // the commit that the chain holds for this round, if any
}
