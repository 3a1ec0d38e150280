package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// founder is a peer that a chain begins with: it validates and executes.
type founder struct {
	name      string
	node      sign.PublicKey
	validator sign.PublicKey // zero: executes only
	bls       consensus.BLSKey
	operator  sign.PublicKey
}

// member is the founder as a validator of a chain of this scheme.
func (f *founder) member(scheme consensus.Scheme) (consensus.Validator, error) {
	v := consensus.Validator{Key: f.validator, Weight: 1, Peer: f.node, Name: f.name}
	if scheme == consensus.BLS12381 {
		if f.bls.IsZero() {
			return v, fmt.Errorf("the card of %s has no bls key, and the chain's signature scheme is %s; its peer writes a card with one with: bpi init --card", f.name, scheme)
		}
		v.BLS = f.bls
	}
	return v, nil
}

// engineFile is the SQL engine that a new chain names.
type engineFile struct {
	path   string
	digest digest.Digest
	bytes  uint64
}

// defaultParams are the numbers of a new chain. No more holders of a data set are asked for than there are peers to hold it.
func defaultParams(ttl time.Duration, peers int) enc.Params {
	return enc.Params{
		LeaseMs: 10_000, CommitWindowMs: 30_000, RevealWindowMs: 15_000, MaxRounds: 4, QueueMs: 600_000,
		ResultTTLMs: uint64(ttl.Milliseconds()), ClientPerMinute: 6000, ClientOpenJobs: 1000, HoldersDefault: uint32(min(3, peers)),
	}
}

// newGenesis is the document of a chain that begins now with these peers and any client.
func newGenesis(name string, cfg configs.Config, founders []founder, engine engineFile, now time.Time) (*consensus.Genesis, error) {
	scheme, err := consensus.ParseScheme(cfg.Consensus.SignatureScheme)
	if err != nil {
		return nil, err
	}
	app := enc.Genesis{
		OpenClients: true, Clients: []sign.PublicKey{}, SQLEngine: engine.digest, SQLBytes: engine.bytes,
		Params: defaultParams(cfg.Storage.ResultTTL, len(founders)),
	}
	g := &consensus.Genesis{
		Version: consensus.ProtocolVersion, Scheme: scheme, Name: name, TimestampMs: uint64(now.UnixMilli()),
		BlockTimeMs: cfg.Consensus.BlockTimeMs, MaxTxsPerBlock: cfg.Consensus.MaxTransactionsPerBlock, MaxTimestampAhead: 500,
	}
	for _, f := range founders {
		app.Nodes = append(app.Nodes, enc.GenesisNode{Node: f.node, Operator: f.operator})
		if !f.validator.IsZero() {
			v, err := f.member(scheme)
			if err != nil {
				return nil, err
			}
			g.Validators = append(g.Validators, v)
		}
	}
	sort.Slice(app.Nodes, func(i, j int) bool { return bytes.Compare(app.Nodes[i].Node[:], app.Nodes[j].Node[:]) < 0 })
	g.App = canon.Must(&app)
	if err := g.Check(); err != nil {
		return nil, err
	}
	return g, nil
}

// findEngine looks for the SQL engine: the flag, BPI_ENGINE, then sql-worker next to this program.
func findEngine(flag string) (engineFile, error) {
	path := flag
	if path == "" {
		path = os.Getenv("BPI_ENGINE")
	}
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return engineFile{}, fmt.Errorf("find the SQL engine: %w; name it with --engine FILE", err)
		}
		path = filepath.Join(filepath.Dir(self), "sql-worker")
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return engineFile{}, fmt.Errorf("SQL engine %s: no such file; build it with make build, or name it with --engine FILE or BPI_ENGINE", path)
	}
	if err != nil {
		return engineFile{}, fmt.Errorf("SQL engine: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return engineFile{}, fmt.Errorf("SQL engine %s: %w", path, err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return engineFile{}, fmt.Errorf("SQL engine %s: %w", path, err)
	}
	e := engineFile{path: abs, bytes: uint64(n)}
	h.Sum(e.digest[:0])
	return e, nil
}

// writeNew writes a new file, mode 0600, and fsyncs it; an existing one is os.ErrExist.
func writeNew(path string, raw []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
