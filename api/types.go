package api

import (
	"math"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// States of a command.
const (
	CommandPending = "pending" // in the mempool
	CommandQueued  = "queued"  // fsynced in the peer's outbox, and sent again until it expires
	CommandOrdered = "ordered" // in a committed block
	CommandExpired = "expired" // was never ordered and cannot be any more
)

// CommandAccepted answers POST /v1/commands.
type CommandAccepted struct {
	ID    digest.Digest `json:"id"`    // enc.Command.ID
	State string        `json:"state"` // CommandPending, CommandQueued or CommandOrdered
}

// CommandStatus says what became of a command.
type CommandStatus struct {
	ID     digest.Digest `json:"id"`
	State  string        `json:"state"`
	Height uint64        `json:"height,omitempty"` // block that ordered it
	Events []Event       `json:"events"`           // what executing it caused, in order
}

// Event is one line of the chain's history (receipt.Event) with its place.
type Event struct {
	Height   uint64         `json:"height"`
	Index    uint64         `json:"index"`   // in the block's event tree
	TimeMs   uint64         `json:"time_ms"` // the block's agreed time, Unix milliseconds
	Kind     string         `json:"kind"`
	Actor    sign.PublicKey `json:"actor"` // zeros: the chain itself
	Subject  digest.Digest  `json:"subject"`
	Decision string         `json:"decision"`
	Reason   string         `json:"reason,omitempty"`
	Body     []byte         `json:"body,omitempty"` // canonical CBOR of the kind's data
}

// Status is a node's view of itself and of its chain.
type Status struct {
	Peer      string         `json:"peer"` // libp2p peer id
	Key       sign.PublicKey `json:"key"`  // node key behind the peer id
	Name      string         `json:"name,omitempty"`
	Version   string         `json:"version"`
	UptimeMs  uint64         `json:"uptime_ms"`
	Addresses []string       `json:"addresses"` // multiaddrs with /p2p/
	Chain     Chain          `json:"chain"`
	API       string         `json:"api,omitempty"`     // TCP address of the API
	Gateway   string         `json:"gateway,omitempty"` // TCP address of the MetaAnalytics gateway
	Roles     []string       `json:"roles"`             // any of "validator", "executor", "gateway"; none: a follower
	Ready     bool           `json:"ready"`
	NotReady  []string       `json:"not_ready,omitempty"` // why not, for people
	Head      Head           `json:"head"`
	Peers     int            `json:"peers"`
	Mempool   int            `json:"mempool"` // commands waiting to be ordered
	Outbox    int            `json:"outbox"`  // accepted commands that are not ordered yet
	Executing int            `json:"executing"`
	Slots     int            `json:"slots"` // executions at once; 0: takes no work
	Draining  bool           `json:"draining"`
	Walls     []Wall         `json:"walls"`
	Engine    *EngineStatus  `json:"engine,omitempty"`
	DriftMs   int64          `json:"clock_drift_ms"` // own clock minus the median of the peers'
	Private   bool           `json:"private"`        // connections are kept to members
	Refused   uint64         `json:"refused"`        // by resource limits of the mesh since the start
	Warnings  []string       `json:"warnings,omitempty"`
}

// Wall is one part of the cage, and whether this machine can give it.
type Wall struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // why not, or what is used instead
}

// EngineStatus says whether the SQL engine that the chain names is at hand.
type EngineStatus struct {
	Digest  digest.Digest `json:"digest"`
	Bytes   uint64        `json:"bytes"`
	Present bool          `json:"present"`
}

// Chain names the chain.
type Chain struct {
	ID       digest.Digest `json:"id"`   // digest of the genesis document
	Name     string        `json:"name"` // "devnet-7f3a91"
	Protocol uint32        `json:"protocol"`
}

// Head is the newest final block that the node has executed.
type Head struct {
	Height uint64        `json:"height"`
	Block  digest.Digest `json:"block"`
	TimeMs uint64        `json:"time_ms"` // agreed time: a command's expiry counts from here
	View   uint64        `json:"view"`
	Epoch  uint64        `json:"epoch"`
}

// ChainStatus answers GET /v1/chain.
type ChainStatus struct {
	Chain     Chain      `json:"chain"`
	Head      Head       `json:"head"`
	Base      uint64     `json:"base"`      // first block from which on blocks and events are kept; 0: all are
	Snapshots []Snapshot `json:"snapshots"` // of the state that the node can give to others, by rising height
}

// Snapshot is a state that a new peer can begin with.
type Snapshot struct {
	Height uint64        `json:"height"`
	Block  digest.Digest `json:"block"`
	ID     digest.Digest `json:"id"` // the same on every peer that has the same chunks
	Bytes  uint64        `json:"bytes"`
	Chunks int           `json:"chunks"`
}

// Peer is one connected or remembered peer.
type Peer struct {
	ID        string         `json:"id"` // libp2p peer id
	Key       sign.PublicKey `json:"key"`
	Name      string         `json:"name,omitempty"`
	Connected bool           `json:"connected"`
	Direction string         `json:"direction,omitempty"` // "in" or "out"
	Addresses []string       `json:"addresses"`           // of the open connections
	Listens   []string       `json:"listens"`             // where it can be dialed, by its own word
	Roles     []string       `json:"roles"`
	LatencyMs float64        `json:"latency_ms,omitempty"`
}

// Executor is a peer that the chain admits to execute jobs, as it registered itself, and what stands against placing a
// job on it.
type Executor struct {
	Peer       string          `json:"peer"` // libp2p peer id
	Key        sign.PublicKey  `json:"key"`
	Name       string          `json:"name,omitempty"`
	Operator   sign.PublicKey  `json:"operator"`
	Registered bool            `json:"registered"` // false: it never said what it offers
	Engines    []digest.Digest `json:"engines"`
	Policies   []digest.Digest `json:"policies"` // whose walls its machine gives
	CPUClass   string          `json:"cpu_class"`
	Slots      uint32          `json:"slots"` // executions at once; 0: takes no work
	UsedSlots  uint32          `json:"used_slots"`
	Memory     uint64          `json:"memory_bytes"` // for executions
	UsedMemory uint64          `json:"used_memory_bytes"`
	Labels     []string        `json:"labels"`
	Draining   bool            `json:"draining"`
	Reason     string          `json:"reason,omitempty"` // why it takes no work
	Suspect    bool            `json:"suspect"`          // lost a lease and was silent since: placed last
	Strikes    uint32          `json:"strikes"`          // points for dissents from seals, after decay
	SeenMs     uint64          `json:"seen_ms"`          // agreed time of a recent command, to the minute
}

// Block is one final block.
type Block struct {
	Height       uint64         `json:"height"`
	ID           digest.Digest  `json:"id"`
	Parent       digest.Digest  `json:"parent"`
	View         uint64         `json:"view"`
	Epoch        uint64         `json:"epoch"`
	TimeMs       uint64         `json:"time_ms"`
	Proposer     sign.PublicKey `json:"proposer"`
	Transactions int            `json:"transactions"`
	Bytes        int            `json:"bytes"`
	StateRoot    digest.Digest  `json:"state_root"`
	Header       []byte         `json:"header"`                    // canonical CBOR of consensus.Header
	Finality     []byte         `json:"finality"`                  // canonical CBOR of consensus.Finality
	Next         []Validator    `json:"next_validators,omitempty"` // of a block that closes its epoch: who follows
	Events       []Event        `json:"events"`
}

// Validators is the set in force at the head.
type Validators struct {
	Epoch      uint64        `json:"epoch"`
	Digest     digest.Digest `json:"digest"`
	Scheme     string        `json:"signature_scheme"` // of votes: ed25519 or bls12-381
	Total      uint64        `json:"total_weight"`
	Quorum     uint64        `json:"quorum_weight"` // the least weight that decides: more than two thirds
	Validators []Validator   `json:"validators"`    // in set order
	Proposals  []Proposal    `json:"proposals"`     // for another set, by id
}

// Proposal is an open proposal for another validator set. When the weight behind it is a quorum it takes effect.
type Proposal struct {
	ID        digest.Digest    `json:"id"`
	Next      []Validator      `json:"next"`      // in set order
	Approvals []sign.PublicKey `json:"approvals"` // validators behind it
	Weight    uint64           `json:"weight"`    // theirs
}

// Evidence is the public proof that a validator broke the protocol.
type Evidence struct {
	ID       digest.Digest  `json:"id"`
	Key      sign.PublicKey `json:"key"`  // the validator's
	Kind     string         `json:"kind"` // "two votes in one view", ...
	Epoch    uint64         `json:"epoch"`
	View     uint64         `json:"view"`
	Height   uint64         `json:"height"` // of the block that took it
	TimeMs   uint64         `json:"time_ms"`
	Reporter sign.PublicKey `json:"reporter"`
	Removed  bool           `json:"removed"` // false: it was the only validator
	Proof    []byte         `json:"proof"`   // canonical CBOR of consensus.Evidence
}

// LatestEpoch asks for the trust file of the present epoch.
const LatestEpoch = math.MaxUint64

// Validator is one member of the set.
type Validator struct {
	Key    sign.PublicKey `json:"key"`
	Weight uint64         `json:"weight"`
	Peer   sign.PublicKey `json:"peer"` // node key
	Name   string         `json:"name,omitempty"`
	// BLS is the key for votes where the chain's signature scheme is bls12-381; otherwise there is none.
	BLS consensus.BLSKey `json:"bls,omitzero"`
}

// EventQuery selects events by block height, both ends included. To 0 means up to the head; with Follow, from there on
// as blocks become final, until the caller goes away. A Subject that is not zero leaves only the events about it.
type EventQuery struct {
	From, To uint64
	Follow   bool
	Subject  digest.Digest
}

// AuditQuery selects the blocks of an audit export, both ends included. To 0 means up to the head. Format is "json"
// or "csv".
type AuditQuery struct {
	From, To uint64
	Format   string
}

// Problem is an error body's content.
type Problem struct {
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Next    string      `json:"next,omitempty"` // what to do about it
	SQL     *SQLProblem `json:"sql,omitempty"`
}

// SQLProblem is what the engine said of a statement.
type SQLProblem struct {
	Kind     string `json:"kind"` // "syntax", "binder", "gate", ...
	Message  string `json:"message"`
	Position int    `json:"position"` // byte offset in the statement; -1 if the engine names none
}

// Drain asks a node to take no more work (On), or to take it again.
type Drain struct {
	On bool `json:"on"`
}

// DrainStatus says how far draining is.
type DrainStatus struct {
	Draining  bool `json:"draining"`
	Executing int  `json:"executing"` // executions still running
}
