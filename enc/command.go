package enc

import (
	"fmt"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

// Kind says which body a command carries.
type Kind string

// The kinds of command. Services come with their own kinds.
const (
	KindSubmitJob      Kind = "submit-job"
	KindCancelJob      Kind = "cancel-job"
	KindRegisterNode   Kind = "register-node"
	KindRenewLeases    Kind = "renew-leases"
	KindCommit         Kind = "commit"
	KindDecline        Kind = "decline"
	KindReveal         Kind = "reveal"
	KindPublishDataset Kind = "publish-dataset"
	KindPublishImage   Kind = "publish-image"
	KindWithdraw       Kind = "withdraw"
	KindHoldBlobs      Kind = "hold-blobs"

	KindProposeValidators Kind = "propose-validators"
	KindReportEvidence    Kind = "report-evidence"
)

// Command is a signed request that BPI orders. Its canonical bytes are a transaction.
type Command struct {
	_      struct{} `cbor:",toarray"`
	Body   CommandBody
	Signer sign.PublicKey
	Sig    sign.Signature // over Body.SigningBytes

	verified bool // the signature was checked and is good; not encoded
}

// CommandBody is the part of a command that is signed.
type CommandBody struct {
	_         struct{} `cbor:",toarray"`
	ChainID   digest.Digest
	ExpiresMs uint64 // agreed time after which the command is refused; at most MaxExpiryMs ahead
	Nonce     [16]byte
	Kind      Kind
	Payload   []byte // canonical encoding of the kind's body
}

// MaxExpiryMs bounds how far ahead of agreed time a command may expire: one hour.
const MaxExpiryMs = 3600_000

// SigningBytes is the domain tag and the canonical encoding.
func (b *CommandBody) SigningBytes() []byte {
	return append([]byte("enc/command/1\x00"), canon.Must(b)...)
}

// CommandID names a command for replay protection: the digest of what was signed and by whom, without the signature.
type CommandID = digest.Digest

// ID is the digest of body and signer.
func (c *Command) ID() CommandID {
	return digest.Sum("enc/command-id/1", canon.Must(&c.Body), c.Signer[:])
}

// Sign makes a command of body.
func (b CommandBody) Sign(key sign.PrivateKey) Command {
	return Command{Body: b, Signer: key.Public(), Sig: key.Sign(b.SigningBytes())}
}

// Encode gives the transaction.
func (c *Command) Encode() []byte { return canon.Must(c) }

// MaxCommandBytes bounds a transaction that carries a command.
const MaxCommandBytes = 128 << 10

// DecodeCommand reads a transaction. It checks form only; the signature, chain and expiry are checked by CheckCommand
// at the mempool and again by Apply.
func DecodeCommand(tx []byte) (*Command, error) {
	if len(tx) > MaxCommandBytes {
		return nil, fmt.Errorf("command of %d bytes: over the limit of %d", len(tx), MaxCommandBytes)
	}
	var c Command
	if err := canon.Unmarshal(tx, &c); err != nil {
		return nil, err
	}
	return &c, nil
}

// SubmitJob asks for work. The job's id is JobID(work, signer, Salt).
type SubmitJob struct {
	_        struct{} `cbor:",toarray"`
	Work     receipt.Work
	Salt     [16]byte
	R        uint32 // peers per round; 1 to MaxPeersPerRound
	Q        uint32 // equal statements that seal; R/2 < Q <= R
	Priority uint32 // 0 to 9, higher first
	OnBehalf string // who asked, as the gateway that signs saw it; "" when the client signed itself; at most 128 bytes
	Note     string // for people: the query's first words, a name; at most 256 bytes
}

// CancelJob ends a job that is not sealed.
type CancelJob struct {
	_   struct{} `cbor:",toarray"`
	Job digest.Digest
}

// RegisterNode offers the signer (a node key admitted by genesis) as an executor. It is sent at start, when something
// changes, and when Draining flips.
type RegisterNode struct {
	_        struct{} `cbor:",toarray"`
	Operator sign.PublicKey
	Engines  []digest.Digest // engines at hand, sorted
	Policies []digest.Digest // policies whose walls this machine gives, sorted
	CPUClass string
	Slots    uint32 // executions at once
	Memory   uint64 // bytes for executions
	Labels   []string
	Draining bool
	Reason   string // why the node takes no work, when Slots is 0: "no user namespaces"; at most 256 bytes
}

// ExecutionRef names one execution.
type ExecutionRef struct {
	_     struct{} `cbor:",toarray"`
	Job   digest.Digest
	Round uint32
}

// RenewLeases keeps the signer's leases.
type RenewLeases struct {
	_          struct{} `cbor:",toarray"`
	Executions []ExecutionRef
}

// Commit binds the signer to a statement that it does not show yet.
type Commit struct {
	_     struct{} `cbor:",toarray"`
	Job   digest.Digest
	Round uint32
	Hash  digest.Digest // CommitHash
}

// CommitHash is H(tag ‖ job ‖ round ‖ peer ‖ statement digest ‖ salt). The peer in it makes a copied hash useless to
// another.
func CommitHash(job digest.Digest, round uint32, peer sign.PublicKey, statement digest.Digest, salt [32]byte) digest.Digest {
	return digest.Sum("enc/commit/1", job[:], canon.Must(round), peer[:], statement[:], salt[:])
}

// Decline says that the signer will not commit in this round.
type Decline struct {
	_      struct{} `cbor:",toarray"`
	Job    digest.Digest
	Round  uint32
	Reason string // one of the Decline reasons
	Detail string // at most 256 bytes
}

// Reveal opens a commit: Apply rebuilds the statement from the job and Outcome, and checks hash and signature.
type Reveal struct {
	_       struct{} `cbor:",toarray"`
	Job     digest.Digest
	Round   uint32
	Outcome receipt.Outcome
	Keyed   digest.Digest // KeyedOutput over the output bytes
	Salt    [32]byte
	Sig     sign.Signature // DSSE signature of the statement by the signer's node key
}

// PublishDataset puts a name on a manifest. The signer owns the name from its first version on: publishing again
// makes the next version, and another key's claim to the name is refused with the owner's key in the reason.
type PublishDataset struct {
	_        struct{} `cbor:",toarray"`
	Name     string   // 1 to 63 of [a-z0-9_-], first a letter
	Manifest digest.Digest
	Blobs    []BlobRef // the manifest and every file, sorted by digest
	Holders  uint32    // how many peers are to hold the bytes
	Rows     uint64    // for people
}

// PublishImage puts a name on an image: one blob, the archive of a root file system. Names of images are apart from those
// of data sets, and the same rules hold for them.
type PublishImage struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Image   digest.Digest // plain SHA-256 of the archive
	Bytes   uint64
	Holders uint32 // how many peers are to hold it
}

// Withdraw ends one version of a name of the signer's. Whoever holds its bytes for no other version need not any more, so
// a job that was ordered before and has not fetched them may find them gone. The name stays the signer's, and the number
// is not given again: what a receipt calls users@3 is never something else.
type Withdraw struct {
	_       struct{} `cbor:",toarray"`
	Catalog string   // CatalogDatasets or CatalogImages
	Name    string
	Version uint64 // at least 1
}

// BlobRef names bytes and their number.
type BlobRef struct {
	_      struct{} `cbor:",toarray"`
	Digest digest.Digest
	Bytes  uint64
}

// HoldBlobs attests that the signer has fetched, verified and pinned all bytes of the manifests.
type HoldBlobs struct {
	_         struct{} `cbor:",toarray"`
	Manifests []digest.Digest
}

// Genesis is what ENC begins with; its canonical bytes are consensus.Genesis.App.
type Genesis struct {
	_           struct{} `cbor:",toarray"`
	OpenClients bool     // whether any key may submit; else only Clients
	Clients     []sign.PublicKey
	Nodes       []GenesisNode // admitted executors
	SQLEngine   digest.Digest // the engine in force for kind "sql"
	SQLBytes    uint64        // its size
	Params      Params
}

// GenesisNode admits an executor.
type GenesisNode struct {
	_        struct{}       `cbor:",toarray"`
	Node     sign.PublicKey // libp2p identity
	Operator sign.PublicKey
}

// Params are the chain's numbers.
type Params struct {
	_               struct{} `cbor:",toarray"`
	LeaseMs         uint64   // an execution lease's length; 10000
	CommitWindowMs  uint64   // from the first commit of a round; 30000
	RevealWindowMs  uint64   // 15000
	MaxRounds       uint32   // 4
	QueueMs         uint64   // how long a job may wait to be placed; 600000
	ResultTTLMs     uint64   // 7 days
	ClientPerMinute uint32   // commands of one client key in a minute of agreed time; 6000
	ClientOpenJobs  uint32   // unfinished jobs of one client; 1000
	HoldersDefault  uint32   // 3
}
