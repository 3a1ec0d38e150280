package consensus

import (
	"errors"

	"github.com/metanode/metanode/internal/sign"
)

// ErrUnknownParent is wrapped when a block comes before its parent: fetch the parent, then try again.
var ErrUnknownParent = errors.New("parent is not in the tree")

// ErrBroken is wrapped when an invariant of the protocol is violated: the node must stop.
var ErrBroken = errors.New("consensus invariant broken")

// Config is what a replica is born with.
type Config struct {
	Key      sign.PrivateKey // validator key; the zero key only follows
	Verifier *Verifier       // used from within Step only
}

// Recovery is what the shell kept.
type Recovery struct {
	Safety SafetyData // FreshSafety for a first start
	Root   *Block     // last committed block; the genesis block for a first start
	RootQC QC         // a certificate that commits Root or a descendant; GenesisQC for a first start
	Recent []Header   // headers of the blocks up to and without Root, in height order: the last LeaderWindow views, as far as they reach
	Blocks []*Block   // Output.Store above Root, in any order, executed again
}
