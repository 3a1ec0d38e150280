package sim

import (
	"fmt"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// cast is a chain's validators and what all nodes know of it. Its verifier remembers valid signatures, so each is
// checked once however many nodes hear it; that changes no verdict, so runs one after the other may share a cast.
type cast struct {
	keys     []sign.PrivateKey
	genesis  *consensus.Genesis
	root     *consensus.Block
	verifier *consensus.Verifier
}

func newCast(validators int) (*cast, error) {
	c := &cast{genesis: &consensus.Genesis{
		Version: consensus.ProtocolVersion, Name: "sim", TimestampMs: 1, BlockTimeMs: 1000,
		MaxTxsPerBlock: 100, MaxTimestampAhead: 500,
	}}
	for i := range validators {
		s := digest.Sum("sim/key", []byte{byte(i), byte(i >> 8)})
		k := sign.FromSeed(s[:])
		c.keys = append(c.keys, k)
		c.genesis.Validators = append(c.genesis.Validators, consensus.Validator{Key: k.Public(), Weight: 1, Name: fmt.Sprint(i)})
	}
	var err error
	if c.root, err = c.genesis.Block(digest.Sum("sim/state")); err != nil {
		return nil, err
	}
	c.verifier, err = consensus.NewVerifier(c.genesis, c.root.ID())
	return c, err
}
