package configs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
)

// MaxGenesisBytes bounds a genesis file.
const MaxGenesisBytes = 4 << 20

// ReadGenesis reads and checks the document that a chain begins with, and gives its bytes as well: the chain's id is
// their digest. An error of a missing file is os.ErrNotExist.
func ReadGenesis(path string) (*consensus.Genesis, []byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("genesis file %s: %w; get it from whoever runs the network, or begin one with: bpi init --new-chain", path, os.ErrNotExist)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read genesis: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxGenesisBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read genesis %s: %w", path, err)
	}
	g, err := ParseGenesis(raw)
	var other *consensus.VersionError
	if errors.As(err, &other) {
		return nil, nil, fmt.Errorf("read genesis %s: %w", path, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read genesis %s: %w; get the file again from whoever runs the network", path, err)
	}
	return g, raw, nil
}

// ParseGenesis reads and checks the document that a chain begins with.
func ParseGenesis(raw []byte) (*consensus.Genesis, error) {
	if len(raw) > MaxGenesisBytes {
		return nil, fmt.Errorf("over %d bytes", MaxGenesisBytes)
	}
	var g consensus.Genesis
	if err := canon.Unmarshal(raw, &g); err != nil {
		return nil, err
	}
	if err := g.Check(); err != nil {
		return nil, err
	}
	return &g, nil
}

// Differences are the settings for new chains in which c is not what the chain has: there the chain's count, and a person
// may think otherwise. A setting left at its default says nothing.
func (c *Config) Differences(g *consensus.Genesis) []string {
	var out []string
	differ := func(key string, here, standard, chain any) {
		if here != chain && here != standard {
			out = append(out, fmt.Sprintf("%s is %v in the configuration and %v on this chain: the chain's holds; it was fixed when the chain began", key, here, chain))
		}
	}
	d := Default().Consensus
	differ("consensus.block_time_ms", c.Consensus.BlockTimeMs, d.BlockTimeMs, g.BlockTimeMs)
	differ("consensus.max_transactions_per_block", c.Consensus.MaxTransactionsPerBlock, d.MaxTransactionsPerBlock, g.MaxTxsPerBlock)
	differ("consensus.signature_scheme", c.Consensus.SignatureScheme, d.SignatureScheme, g.Scheme.String())
	differ("consensus.validator_count", c.Consensus.ValidatorCount, d.ValidatorCount, len(g.Validators))
	var app enc.Genesis
	if canon.Unmarshal(g.App, &app) == nil { // of another application it says nothing
		differ("storage.result_ttl, in milliseconds,", uint64(c.Storage.ResultTTL.Milliseconds()), uint64(Default().Storage.ResultTTL.Milliseconds()), app.Params.ResultTTLMs)
	}
	return out
}
