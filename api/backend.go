package api

import (
	"context"
	"io"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

// Backend is what the API needs of a node. All methods are called from many goroutines. An *Error goes to the caller
// as it is; any other error is the node's own trouble (500), and a context's end is the caller's.
type Backend interface {
	Commands
	ChainReader
	Jobs
	Datasets
	Images
	Blobs
	Services
	DAGs
	Admin
}

// Commands takes commands in.
type Commands interface {
	// SubmitCommand takes a transaction of at most enc.MaxCommandBytes; it copies tx if it keeps it. When it returns
	// without error the command is in the mempool, fsynced in the outbox, or ordered. Errors: the Err constructors
	// Malformed, BadSignature, Replay, Expired, WrongChain, RateLimited, MempoolFull.
	SubmitCommand(ctx context.Context, tx []byte) (CommandAccepted, error)
	// CommandStatus waits up to wait for the command to be ordered or expire, and answers with what is so then. A
	// command that the node never saw is NotFound.
	CommandStatus(ctx context.Context, id digest.Digest, wait time.Duration) (CommandStatus, error)
}

// ChainReader tells about the node and its chain.
type ChainReader interface {
	Status(ctx context.Context) (Status, error)
	Peers(ctx context.Context) ([]Peer, error)
	ChainStatus(ctx context.Context) (ChainStatus, error)
	Block(ctx context.Context, height uint64) (Block, error)
	Validators(ctx context.Context) (Validators, error)
	// Executors lists the peers admitted to execute, by key.
	Executors(ctx context.Context) ([]Executor, error)
	// Genesis is the canonical genesis document.
	Genesis(ctx context.Context) ([]byte, error)
	// Trust is the trust file of the validators of an epoch, LatestEpoch for those in force; NotFound for one to come.
	Trust(ctx context.Context, epoch uint64) (*TrustFile, error)
	// Evidence lists what was proved against validators, by key.
	Evidence(ctx context.Context) ([]Evidence, error)
	// Events calls emit for each event of q in order, and returns the first error of emit. It returns nil at the end of
	// the range; with q.Follow only when ctx ends.
	Events(ctx context.Context, q EventQuery, emit func(Event) error) error
	// WriteAudit writes an audit file (receipt.AuditWriter, receipt.AuditCSV) to w. An error before the first write is
	// answered as such; a later one breaks the connection off, so that nobody takes a part for the whole.
	WriteAudit(ctx context.Context, q AuditQuery, w io.Writer) error
}

// Jobs tells about jobs. A ref is a job's id or an unambiguous prefix of at least four digits; NotFound and Ambiguous
// say which it is not.
type Jobs interface {
	Jobs(ctx context.Context, q JobQuery) (JobList, error)
	Job(ctx context.Context, ref string) (Job, error)
	// JobEvents calls emit for every stage reached so far and then as they come; it returns nil after the stage that
	// ends the job. It returns the first error of emit. Heartbeats are the handler's business.
	JobEvents(ctx context.Context, ref string, emit func(JobEvent) error) error
	// JobOutput opens an output of a sealed job; NotSealed before the seal, Gone when no holder keeps it any more.
	JobOutput(ctx context.Context, ref, name string) (Output, io.ReadCloser, error)
	// Receipt assembles a sealed job's receipt, with the handovers from epoch since on; NotSealed before.
	Receipt(ctx context.Context, ref string, since uint64) (*Receipt, error)
	// PlanSQL resolves, checks and prepares; the engine's refusals are BadSQL errors.
	PlanSQL(ctx context.Context, req PlanRequest) (Plan, error)
	// PlanNative resolves and prepares a program's job.
	PlanNative(ctx context.Context, req NativeRequest) (Plan, error)
}

// Datasets tells about data sets. A ref is name, name@version or name@sha256:digest.
type Datasets interface {
	Datasets(ctx context.Context) ([]Dataset, error)
	Dataset(ctx context.Context, ref string) (DatasetDetail, error)
	SniffDataset(ctx context.Context, req SniffRequest) (SniffResult, error)
}

// Images tells about images. A ref is name, name@version or name@sha256:digest.
type Images interface {
	Images(ctx context.Context) ([]Image, error)
	Image(ctx context.Context, ref string) (ImageDetail, error)
}

// Blobs stores and gives bytes by digest.
type Blobs interface {
	// PutBlob reads exactly bytes from r, checks them against d, and returns once they are durable. Errors: QuotaFull,
	// Malformed for other bytes than announced.
	PutBlob(ctx context.Context, d digest.Digest, bytes uint64, r io.Reader) (BlobStored, error)
	// StatBlob is the size of a blob that the node holds; NotFound otherwise.
	StatBlob(ctx context.Context, d digest.Digest) (uint64, error)
	// OpenBlob opens a blob that the node holds, and may fetch one from its peers; the caller closes it.
	OpenBlob(ctx context.Context, d digest.Digest) (io.ReadCloser, uint64, error)
}

// DAGs is the same store by CID. Errors: Malformed for a CID that is none, NotFound for one that is not here.
type DAGs interface {
	DAGs(ctx context.Context) (DAGList, error)
	// DAG is one that is here, or being fetched.
	DAG(ctx context.Context, cid string) (DAG, error)
	// FetchDAG fetches one from the node's peers; Unavailable if they do not have it.
	FetchDAG(ctx context.Context, cid string) (DAG, error)
	// PinDAG keeps one; UnpinDAG takes that back.
	PinDAG(ctx context.Context, cid string) (DAG, error)
	UnpinDAG(ctx context.Context, cid string) (DAG, error)
	// MissingBlocks tells which blocks an upload must bring. What is here may be gone by then, if nothing names it.
	MissingBlocks(ctx context.Context, asked BlocksAsked) (BlocksMissing, error)
	// ImportDAGs stores what a CAR file names, with the blocks that are here already, and returns once it is
	// durable. Errors: QuotaFull, Malformed, NotFound for a DAG of which a block is neither in the file nor here.
	ImportDAGs(ctx context.Context, car io.Reader) ([]DAG, error)
	// ExportDAG writes a CAR file.
	ExportDAG(ctx context.Context, cid string, repeats bool, w io.Writer) error
}

// Admin is for callers that may administer the node: on its unix socket, or listed in Options.Admins.
type Admin interface {
	// Collect removes every blob that is neither pinned nor in use.
	Collect(ctx context.Context) (Collected, error)
	Drain(ctx context.Context, on bool) (DrainStatus, error)
	// Network tells of the mesh. With check, peers are asked first whether they reach this node.
	Network(ctx context.Context, check bool) (Network, error)
	// Revoke takes a signed revocation in; it is durable when it returns. Malformed says why it is not taken.
	Revoke(ctx context.Context, revocation []byte) (RevocationTaken, error)
}
