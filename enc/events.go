package enc

// The kinds of event besides receipt.KindJobSealed. Reasons are part of what is replicated: changing their words
// changes the rules of the chain.
const (
	EventRefused          = "command-refused"     // decision "refused"; subject: the command
	EventJobSubmitted     = "job-submitted"       // actor: the client
	EventJobPlaced        = "job-placed"          // decision "round-1"...; body: receipt.Placement
	EventJobMoved         = "job-moved"           // a lost execution was given to another peer; body: receipt.Placement
	EventCommitted        = "execution-committed" // actor: the peer
	EventDeclined         = "execution-declined"  // actor: the peer
	EventRevealing        = "job-revealing"       // no more commits are taken
	EventRevealed         = "execution-revealed"  // actor: the peer; body: RevealedBody
	EventLost             = "execution-lost"      // body: the peer's key
	EventRoundOver        = "job-round-over"      // without a quorum; another follows
	EventJobFailed        = "job-failed"          // decision: the Fail reason
	EventJobCancelled     = "job-cancelled"       // actor: the client
	EventJobExpired       = "job-expired"         // it could not be placed in time
	EventJobForgotten     = "job-forgotten"       // its result's lifetime is over
	EventStrike           = "node-struck"         // body: the peer's key
	EventNodeRegistered   = "node-registered"     // actor: the node
	EventDataset          = "dataset-published"   // decision "accepted" or "unchanged"; subject: the manifest; body: Published
	EventImage            = "image-published"     // the same of an image; subject: the image
	EventDatasetWithdrawn = "dataset-withdrawn"   // subject: the manifest; body: Published, as it was
	EventImageWithdrawn   = "image-withdrawn"     // subject: the image; body: Published, as it was
	EventHoldersPlaced    = "holders-placed"      // subject: the manifest; body: the peers that are to hold it
	EventBlobsHeld        = "blobs-held"          // actor: the peer; subject: the manifest
	EventHeld             = "manifest-held"       // as many hold it as wanted, or as there are; body: the holders
	EventProposed         = "validators-proposed" // actor: a validator; subject: the proposal; body: ProposeValidators
	EventValidators       = "validators-changed"  // the same, now with a quorum behind it; this block closes the epoch
	EventEvidence         = "validator-convicted" // actor: the reporter; decision "removed" or "recorded"; body: Conviction
)
