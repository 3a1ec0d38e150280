package sim

import (
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// cast is a chain's validators and what all nodes know of it. Its verifiers remember valid signatures, so each is
// checked once however many nodes hear it; that changes no verdict, so runs one after the other may share a cast.
type cast struct {
	keys    []sign.PrivateKey // of the first validators, and then of those who may follow
	genesis *consensus.Genesis
	root    *consensus.Block
	reigns
}

func newCast(scheme consensus.Scheme, validators, spare int) (*cast, error) {
	c := &cast{genesis: &consensus.Genesis{
		Version: consensus.ProtocolVersion, Scheme: scheme, Name: "sim", TimestampMs: 1, BlockTimeMs: 1000,
		MaxTxsPerBlock: 100, MaxTimestampAhead: 500,
	}}
	for i := range validators + spare {
		s := digest.Sum("sim/key", []byte{byte(i), byte(i >> 8)})
		k := sign.FromSeed(s[:])
		c.keys = append(c.keys, k)
		if i >= validators {
			continue
		}
		c.genesis.Validators = append(c.genesis.Validators, c.member(k, 1, i))
	}
	var err error
	if c.root, err = c.genesis.Block(digest.Sum("sim/state")); err != nil {
		return nil, err
	}
	first, err := consensus.NewVerifier(c.genesis, c.root.ID())
	c.reigns = reigns{size: validators, verifiers: []*consensus.Verifier{first}}
	return c, err
}

// member is the validator with key k.
func (c *cast) member(k sign.PrivateKey, weight uint64, name int) consensus.Validator {
	v := consensus.Validator{Key: k.Public(), Weight: weight, Name: fmt.Sprint(name)}
	if c.genesis.Scheme == consensus.BLS12381 {
		v.BLS = consensus.ProveBLS(k)
	}
	return v
}
