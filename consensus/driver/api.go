package driver

import (
	"context"
	"errors"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/merkle"
	"github.com/metanode/metanode/internal/sign"
)

// Kind names a channel of messages. Each has its own gossip topic; the fast path and requests name it in each message.
type Kind string

// The kinds. KindBlocks, KindBatches and KindRange are requests, the others are messages.
const (
	KindTx           Kind = "tx"           // a transaction, as the mempool takes it
	KindBatch        Kind = "batch"        // consensus.Batch; Deliver waits for the check of its transactions
	KindProposal     Kind = "proposal"     // consensus.Proposal
	KindOutline      Kind = "outline"      // consensus.Outline
	KindVote         Kind = "vote"         // consensus.Vote
	KindTimeout      Kind = "timeout"      // consensus.Timeout
	KindCertificates Kind = "certificates" // consensus.Certificates
	KindCommitted    Kind = "committed"    // consensus.Finality of one header: a committed block's header and certificate
	KindBlocks       Kind = "blocks"       // blocks by id, with ancestors
	KindBatches      Kind = "batches"      // batches by digest
	KindRange        Kind = "range"        // committed blocks by height, with a proof for the last
)

// MessageKinds are those that come to Deliver, each a gossip topic.
func MessageKinds() []Kind {
	return []Kind{KindTx, KindBatch, KindProposal, KindOutline, KindVote, KindTimeout, KindCertificates, KindCommitted}
}

// RequestKinds are those that come to Serve.
func RequestKinds() []Kind { return []Kind{KindBlocks, KindBatches, KindRange} }

// MaxBytes is the greatest message of a kind that Deliver looks at, for the network to bound its readers with.
func (k Kind) MaxBytes() int {
	switch k {
	case KindTx:
		return consensus.MaxTxBytes
	case KindBatch:
		return consensus.MaxBatchBytes
	case KindProposal, KindOutline:
		return consensus.MaxProposalBytes
	case KindVote:
		return consensus.MaxVoteBytes
	case KindTimeout:
		return consensus.MaxTimeoutBytes
	case KindCertificates:
		return consensus.MaxCertificatesBytes
	case KindCommitted:
		return consensus.MaxQCBytes + 1024
	case KindBlocks, KindRange:
		return maxRequestBytes
	case KindBatches:
		return maxBatchesRequestBytes
	}
	return 0
}

// Verdict says what gossip does with a message.
type Verdict int

// The verdicts.
const (
	Accept Verdict = iota // sound: pass it on
	Ignore                // of no use here and now: do not pass it on, hold nothing against the sender
	Reject                // no honest node sends or relays it
)

// Path is the way a message came.
type Path int

// The paths.
const (
	Direct   Path = iota // the sender's own stream: from made the message or vouches for it
	Gossiped             // gossip: from relayed it
)

// BlockContext is what an application may know of the block that it executes.
type BlockContext struct {
	Height      consensus.Height
	TimestampMs uint64 // agreed time, above the parent's
	Parent      consensus.BlockID
	View        consensus.View
	Proposer    sign.PublicKey
}

// Execution is the outcome of a block on the state after its parent.
type Execution struct {
	StateRoot digest.Digest // of the state after the block
	EventRoot digest.Digest // RFC 6962 over the block's canonical events
	Handle    any           // the application's own, handed back by Keep
	// Next are the validators that follow if the block changes them, and nil if it does not. Such a block has an event, and
	// is the last that the present ones make.
	Next []consensus.Validator
}

// App executes blocks. The driver calls it from one goroutine only.
type App interface {
	// Execute runs txs on the state after at.Parent, which is the last committed block (the genesis block at first) or
	// one that was kept. It changes nothing that other calls can see. A transaction that is refused is part of the
	// outcome, equal on every node; an error means that this node's state is unusable, and stops the driver.
	Execute(at BlockContext, txs [][]byte) (Execution, error)
	// Keep holds an execution under the id of its block until Commit or Drop.
	Keep(id consensus.BlockID, handle any)
	// Commit makes a kept block part of the state for good. Blocks come in height order. What it writes may become
	// durable later, but never before what the Store was given earlier; one datastore for both is enough for that.
	Commit(b *consensus.Block, proof *consensus.Finality) error
	// Drop forgets a kept block that will never be committed.
	Drop(id consensus.BlockID)
	// HasWork reports whether a block on parent (the last committed block or a kept one) at nowMs would do something
	// though it held no transaction: a placement waits, or a deadline is due.
	HasWork(parent consensus.BlockID, nowMs uint64) bool
	// Height is the last block whose Commit took effect, as found after a restart; 0 with the genesis state. Blocks above
	// it are executed and committed again from the Store.
	Height() consensus.Height
}

// Network carries messages. Its methods are safe for concurrent use; the node keys are those in Validator.Peer.
type Network interface {
	// Gossip publishes to all. It does not wait for anybody. An error means that nobody will hear.
	Gossip(kind Kind, msg []byte) error
	// Send puts msg in the bounded queue to one node and returns at once: false if there is no stream to it.
	Send(to sign.PublicKey, kind Kind, msg []byte) bool
	// Request asks one node and waits for its answer, at most MaxResponseBytes.
	Request(ctx context.Context, to sign.PublicKey, kind Kind, req []byte) ([]byte, error)
	// Peers are the nodes that can be asked now.
	Peers() []sign.PublicKey
}

// Mempool holds the transactions that wait. It is safe for concurrent use; consensus/mempool.Pool is one.
type Mempool interface {
	// Add takes a transaction in that another node passed on. An error with a method Invalid() bool that is true means that
	// no node would.
	Add(tx []byte) error
	// Offer is Add for a transaction that this node is the first to have: Take gives it.
	Offer(tx []byte) error
	// Take gives offered transactions once, for a batch: at least one if Fresh counts any. They stay until they are
	// committed or expire.
	Take(maxTxs, maxBytes int) [][]byte
	// Return makes Take give transactions again, by digest.Of of their bytes.
	Return(ids []digest.Digest)
	// Fresh is how many transactions Take would give, and their bytes.
	Fresh() (txs, bytes int)
	// Reap gives transactions for a block without those that Take gave, or that skip names by digest.Of of their bytes.
	Reap(maxTxs, maxBytes int, skip func(digest.Digest) bool) [][]byte
	// Has reports whether the transaction waits.
	Has(id digest.Digest) bool
	// Committed takes out what a block held, by digest.Of of the bytes.
	Committed(ids []digest.Digest)
	// Expire drops what is too late at nowMs.
	Expire(nowMs uint64) int
	// NotEmpty receives after transactions were added.
	NotEmpty() <-chan struct{}
	// Len is how many wait.
	Len() int
}

// Committed is a final block and its proof.
type Committed struct {
	Block    *consensus.Block
	Finality *consensus.Finality // Headers[0] is Block's; the genesis block has the genesis certificate instead of a proof
	// Next are the validators that a closing block hands over to. Put takes them; Head and Block need not give them.
	Next []consensus.Validator
}

// ErrNoBlock is wrapped by Store for a block that it does not have.
var ErrNoBlock = errors.New("block is not in the store")

// ErrDamaged is wrapped by Store for what it has and cannot read as it was written.
var ErrDamaged = errors.New("what is stored there is damaged")

// Store keeps committed blocks. It is safe for concurrent use; one goroutine writes. driver/chainstore is one.
type Store interface {
	// Put appends blocks that follow the head, together or not at all. They are durable after the next Sync.
	Put(list []Committed) error
	// Sync makes durable what was put.
	Sync() error
	// Head is the last block and the history with it included; false for an empty store.
	Head() (Committed, *merkle.Frontier, bool, error)
	// Block is the block at a height, or ErrNoBlock.
	Block(h consensus.Height) (Committed, error)
	// Handover is the one that began an epoch, from 1 on, or ErrNoBlock.
	Handover(e consensus.Epoch) (*consensus.Handover, error)
	// Height is the place of a block, or ErrNoBlock.
	Height(id consensus.BlockID) (consensus.Height, error)
	// Base is the height from which on all blocks to the head are here, 0 if all are, and, if the blocks were begun with
	// a snapshot at that height, the headers before it that were kept. The genesis block is here in any case.
	Base() (consensus.Height, []consensus.Header)
}
