package api

import (
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// States of a job, as ENC names them.
const (
	JobPending    = "pending"
	JobQueued     = "queued"
	JobRunning    = "running"
	JobCommitting = "committing"
	JobRevealing  = "revealing"
	JobSealed     = "sealed"
	JobFailed     = "failed"
	JobCancelled  = "cancelled"
	JobExpired    = "expired"
)

// Ended reports whether a job in that state will not change any more.
func Ended(state string) bool {
	return state == JobSealed || state == JobFailed || state == JobCancelled || state == JobExpired
}

// Kinds of job.
const (
	KindSQL    = "sql"    // a query
	KindNative = "native" // a program in an image
)

// JobQuery pages through jobs, newest first. Limit 0 means 50; at most 500. Cursor is JobList.Next of the page before.
// State "" means any, and so does Kind.
type JobQuery struct {
	Limit  int
	Cursor string
	State  string
	Kind   string
}

// JobList is one page of jobs.
type JobList struct {
	Jobs []JobSummary `json:"jobs"`
	Next string       `json:"next,omitempty"` // "" on the last page
}

// JobSummary is a job in a list.
type JobSummary struct {
	ID       digest.Digest  `json:"id"`
	State    string         `json:"state"`
	Reason   string         `json:"reason,omitempty"` // of a failure or an end: "no_quorum", ...; of a queued job: what it waits for
	Kind     string         `json:"kind"`             // "sql" or "native"
	Note     string         `json:"note,omitempty"`
	Client   sign.PublicKey `json:"client"`
	OnBehalf string         `json:"on_behalf,omitempty"` // who asked the gateway that signed
	Height   uint64         `json:"height"`              // block that ordered it
	TimeMs   uint64         `json:"time_ms"`             // that block's agreed time
	EndedMs  uint64         `json:"ended_ms,omitempty"`  // agreed time of the end
	ExitCode *int32         `json:"exit_code,omitempty"` // when sealed
}

// Job is everything the chain says about a job.
type Job struct {
	JobSummary
	WorkDigest digest.Digest `json:"work_digest"`
	Work       []byte        `json:"work"` // canonical CBOR of receipt.Work
	R          uint32        `json:"r"`
	Q          uint32        `json:"q"`
	Priority   uint32        `json:"priority"`
	Round      uint32        `json:"round"`
	Executions []Execution   `json:"executions"`
	Waiting    []Waiting     `json:"waiting,omitempty"` // why it is not placed, a line a node
	Outputs    []Output      `json:"outputs,omitempty"` // when sealed
	Statement  digest.Digest `json:"statement"`         // zeros until sealed
	SealHeight uint64        `json:"seal_height,omitempty"`
}

// Execution is one attempt of a job on one peer.
type Execution struct {
	Peer     sign.PublicKey `json:"peer"`
	Operator sign.PublicKey `json:"operator"`
	Round    uint32         `json:"round"`
	State    string         `json:"state"` // assigned, running, committed, declined, revealed, matched, mismatched, lost, stopped
	Reason   string         `json:"reason,omitempty"`
	LeaseMs  uint64         `json:"lease_until_ms,omitempty"` // agreed time
}

// Waiting says why one node was not chosen.
type Waiting struct {
	Node   sign.PublicKey `json:"node"`
	Reason string         `json:"reason"`
}

// Output names one output of a sealed job.
type Output struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"` // plain SHA-256
	Bytes  uint64        `json:"bytes"`
}

// Stages of a job, as JobEvents streams them. An ended job's last stage is its state.
const (
	StageOrdered   = "ordered"
	StageQueued    = "queued"
	StagePlaced    = "placed"
	StageRunning   = "running"
	StageAgreed    = "agreed"
	StageSealed    = JobSealed
	StageFailed    = JobFailed
	StageCancelled = JobCancelled
	StageExpired   = JobExpired
	StageHeartbeat = "heartbeat" // nothing new: the stream is alive
)

// JobEvent is one stage that a job reached.
type JobEvent struct {
	Job    digest.Digest `json:"job"`
	Stage  string        `json:"stage"`
	Round  uint32        `json:"round,omitempty"`
	Height uint64        `json:"height,omitempty"`
	TimeMs uint64        `json:"time_ms,omitempty"` // agreed time
	Detail string        `json:"detail,omitempty"`  // for people: peers chosen, reasons
}

// Ended reports whether the stream ends with this event.
func (e *JobEvent) Ended() bool { return Ended(e.Stage) }

// PlanRequest asks a peer to prepare a SQL job. Zero numbers mean the peer's defaults, which the answer's work shows.
type PlanRequest struct {
	SQL         string         `json:"sql"`
	Datasets    []string       `json:"datasets"` // name, name@version or name@sha256:...
	R           uint32         `json:"r,omitempty"`
	Q           uint32         `json:"q,omitempty"`
	MemoryBytes uint64         `json:"memory_bytes,omitempty"`
	OutputBytes uint64         `json:"output_bytes,omitempty"`
	CPUMs       uint64         `json:"cpu_ms,omitempty"`
	WallMs      uint64         `json:"wall_ms,omitempty"`
	Seed        *digest.Digest `json:"seed,omitempty"`     // nil: derived from the query and data sets, so that equal jobs are equal
	EpochNs     uint64         `json:"epoch_ns,omitempty"` // start of the virtual clock
	Fresh       bool           `json:"fresh,omitempty"`    // do not look for a sealed job with the same work
	Explain     bool           `json:"explain,omitempty"`  // answer with the engine's plan as well
}

// NativeRequest asks a peer to prepare a job that runs a program in an image. Zero numbers mean defaults, which the
// answer's work shows.
type NativeRequest struct {
	Image   string         `json:"image"`  // name, name@version or name@sha256:...
	Policy  digest.Digest  `json:"policy"` // one of a mode that traces: not sealed
	Args    []string       `json:"args"`   // the program and its arguments
	Env     []string       `json:"env,omitempty"`
	Stdin   []byte         `json:"stdin,omitempty"`
	Workdir string         `json:"workdir,omitempty"` // "": /work
	Inputs  []NativeInput  `json:"inputs,omitempty"`
	Outs    []string       `json:"outs,omitempty"` // folders in /out that are there when the program starts
	Limits  Limits         `json:"limits"`
	R       uint32         `json:"r,omitempty"`
	Q       uint32         `json:"q,omitempty"`
	Seed    *digest.Digest `json:"seed,omitempty"`     // nil: derived from the work, so that equal jobs are equal
	EpochNs uint64         `json:"epoch_ns,omitempty"` // start of the virtual clock
	Fresh   bool           `json:"fresh,omitempty"`    // do not look for a sealed job with the same work
}

// NativeInput is what a program finds at /in/NAME: the folder of a data set's files, or one blob that peers hold.
type NativeInput struct {
	Name string `json:"name"`
	Ref  string `json:"ref"` // name, name@version or name@sha256:... of a data set; or the blob's digest, sha256: before it or not
}

// Limits bound a job of kind "native"; 0 means the policy's default.
type Limits struct {
	MemoryBytes uint64 `json:"memory_bytes,omitempty"`
	OutputBytes uint64 `json:"output_bytes,omitempty"`
	Files       uint32 `json:"files,omitempty"`     // open at once
	Processes   uint32 `json:"processes,omitempty"` // threads and processes alive at once
	CPUMs       uint64 `json:"cpu_ms,omitempty"`
	WallMs      uint64 `json:"wall_ms,omitempty"`
	Calls       uint64 `json:"calls,omitempty"`      // system calls that the cage answers
	VirtualMs   uint64 `json:"virtual_ms,omitempty"` // of the virtual clock
	Spawned     uint32 `json:"spawned,omitempty"`    // threads and processes ever
}

// Plan is a checked job, ready to be signed. The client verifies what it can: that Work carries its SQL, limits and
// the manifests that it expects.
type Plan struct {
	Work       []byte            `json:"work"` // canonical CBOR of receipt.Work
	WorkDigest digest.Digest     `json:"work_digest"`
	R          uint32            `json:"r"`
	Q          uint32            `json:"q"`
	Datasets   []ResolvedDataset `json:"datasets"`
	Image      *ResolvedImage    `json:"image,omitempty"` // of a job of kind "native"
	Warnings   []string          `json:"warnings,omitempty"`
	Explain    string            `json:"explain,omitempty"` // the engine's plan, as text
	Reuse      *digest.Digest    `json:"reuse,omitempty"`   // a sealed job with the same work
	Chain      Chain             `json:"chain"`
	TimeMs     uint64            `json:"time_ms"` // agreed time at the head: expiry counts from here
}

// ResolvedDataset says what a reference meant when the job was planned.
type ResolvedDataset struct {
	Ref      string        `json:"ref"`
	Name     string        `json:"name"`
	Version  uint64        `json:"version"`
	Manifest digest.Digest `json:"manifest"`
}

// ResolvedImage is the same for an image.
type ResolvedImage struct {
	Ref     string        `json:"ref"`
	Name    string        `json:"name"`
	Version uint64        `json:"version"`
	Digest  digest.Digest `json:"digest"`
}

// Publication is one version of a data set or an image, and who holds its bytes.
type Publication struct {
	Name     string           `json:"name"`
	Version  uint64           `json:"version"`
	Owner    sign.PublicKey   `json:"owner"`
	Height   uint64           `json:"height"` // block that published it
	TimeMs   uint64           `json:"time_ms"`
	Bytes    uint64           `json:"bytes"`
	Wanted   uint32           `json:"holders_wanted"`
	Holders  []sign.PublicKey `json:"holders"`  // peers that attested the bytes
	Complete bool             `json:"complete"` // as many hold it as are wanted, or as there are
}

// Dataset is one version of a data set.
type Dataset struct {
	Publication
	Manifest digest.Digest `json:"manifest"`
	Files    int           `json:"files"`
	Rows     uint64        `json:"rows"`
}

// Image is one version of an image: the root file system of jobs of kind "native", as one archive.
type Image struct {
	Publication
	Digest digest.Digest `json:"digest"` // plain SHA-256 of the archive
}

// ImageDetail is an image with the versions of the same name, rising.
type ImageDetail struct {
	Image
	Versions []uint64 `json:"versions"`
}

// DatasetDetail is a data set with what its manifest says.
type DatasetDetail struct {
	Dataset
	Versions []uint64      `json:"versions"` // of the same name, rising
	Format   string        `json:"format"`
	Columns  []Column      `json:"columns"`
	FileList []DatasetFile `json:"file_list"`
	Encoded  []byte        `json:"manifest_bytes"` // canonical bytes, whose SHA-256 is Manifest
}

// Column is one column of a schema.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // the engine's name for it: "BIGINT", "VARCHAR"
}

// DatasetFile is one file of a data set.
type DatasetFile struct {
	Path   string        `json:"path"`
	Digest digest.Digest `json:"digest"`
	Bytes  uint64        `json:"bytes"`
	Rows   uint64        `json:"rows,omitempty"`
}

// SniffRequest asks a peer to look at uploaded files and propose a manifest. The files are blobs that the peer holds.
type SniffRequest struct {
	Name    string            `json:"name"`
	Format  string            `json:"format,omitempty"` // "csv", "parquet", "ndjson"; "" goes by the file names
	Files   []DatasetFile     `json:"files"`
	Options map[string]string `json:"options,omitempty"` // of the format: "delim", "header", ...
}

// SniffResult is the proposed manifest. The client checks that it names the files it uploaded, uploads the manifest's
// bytes as a blob, and signs PublishDataset.
type SniffResult struct {
	Format   string            `json:"format"`
	Columns  []Column          `json:"columns"`
	Options  map[string]string `json:"options,omitempty"`
	Rows     uint64            `json:"rows"`
	Manifest []byte            `json:"manifest"` // canonical bytes
	Digest   digest.Digest     `json:"digest"`   // plain SHA-256 of Manifest
	Warnings []string          `json:"warnings,omitempty"`
}

// BlobStored answers an upload.
type BlobStored struct {
	Digest  digest.Digest `json:"digest"`
	Bytes   uint64        `json:"bytes"`
	Existed bool          `json:"existed"`
}

// Receipt and TrustFile are the documents of package receipt, as the API serves them.
type (
	Receipt   = receipt.Receipt
	TrustFile = receipt.TrustFile
)
