package receipt

import (
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Event is one line of the chain's history: the outcome of a command or of a deadline. A block's header commits to its
// events by an RFC 6962 root over their canonical bytes, in order.
type Event struct {
	_        struct{}       `cbor:",toarray"`
	Kind     string         // "job-submitted", "job-sealed", "command-refused", ...: enc owns the list
	Actor    sign.PublicKey // who caused it; zero for the chain itself
	Subject  digest.Digest  // the job, dataset manifest or command it is about
	Decision string         // "accepted", "refused", "placed", "sealed", "failed", ...
	Reason   string         // why, for people; may be empty
	Body     []byte         // canonical encoding of the kind's own data; may be empty
}

// Encode gives the canonical bytes, a leaf of the event tree.
func (e *Event) Encode() []byte { return canon.Must(e) }

// KindJobSealed is the kind of event whose body is a Seal, and the only one that a receipt rests on.
const KindJobSealed = "job-sealed"

// Seal is the network's agreed verdict on a job.
type Seal struct {
	_         struct{} `cbor:",toarray"`
	Job       digest.Digest
	Client    sign.PublicKey
	OnBehalf  string
	Work      digest.Digest
	Statement digest.Digest // Statement.Digest
	Round     uint32
	Placement Placement
	Agreeing  []sign.PublicKey // sorted; at least Placement.Q
	Dissent   []sign.PublicKey // sorted
	Declined  []sign.PublicKey // sorted
	Lost      []sign.PublicKey // sorted
	Outputs   []Output
	ExitCode  int32
}

// Placement says where a round ran and from which seed that followed.
type Placement struct {
	_      struct{}      `cbor:",toarray"`
	Height uint64        // block that placed the round
	Seed   digest.Digest // id of the block before it
	R, Q   uint32
	Peers  []Assigned // in placement order: every peer assigned so far in the job, this round's last
}

// Assigned is one peer of a placement.
type Assigned struct {
	_        struct{} `cbor:",toarray"`
	Peer     sign.PublicKey
	Operator sign.PublicKey
	Round    uint32 // the round that added it
}
