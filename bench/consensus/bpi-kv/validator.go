package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/metanode/metanode/bench/consensus/load"
	"github.com/metanode/metanode/bench/consensus/rpc"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/consensus/driver/chainstore"
	"github.com/metanode/metanode/consensus/mempool"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/node"
	"github.com/metanode/metanode/p2p"
)

// maxTxsPerBlock is the protocol's ceiling; the bytes of a block bound it before.
const maxTxsPerBlock = consensus.MaxBlockTxs

// validator is one validator's parts, put together as package node does it. It implements rpc.Chain.
type validator struct {
	db     io.Closer
	store  driver.Store
	host   *p2p.Host
	mesh   node.Mesh
	driver *driver.Driver
	server *rpc.Server
	delay  *delayed // nil without a delay
	index  map[sign.PublicKey]int
}

// key is a key of a validator of this network, for one purpose.
func (o options) key(purpose string, i int) sign.PrivateKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("bpi-kv "+purpose+" "), uint64(i)))
	return sign.FromSeed(seed[:])
}

func (o options) genesis() *consensus.Genesis {
	g := &consensus.Genesis{
		Version: consensus.ProtocolVersion, Name: "kv", TimestampMs: 1, BlockTimeMs: uint64(o.blockTime.Milliseconds()),
		MaxTxsPerBlock: maxTxsPerBlock, MaxTimestampAhead: 500, App: []byte(o.net), // networks do not mix
	}
	for i := range o.n {
		g.Validators = append(g.Validators, consensus.Validator{
			Key: o.key("validator", i).Public(), Weight: 1, Peer: o.key("node", i).Public(), Name: fmt.Sprintf("v%d", i),
		})
	}
	return g
}

func newValidator(o options) (_ *validator, err error) {
	v := &validator{index: map[sign.PublicKey]int{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.close())
		}
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	genesis := o.genesis()
	set, err := consensus.NewValidatorSet(genesis.Validators)
	if err != nil {
		return nil, err
	}
	host := p2p.Config{
		Key: o.key("node", o.i), Network: genesis.DisplayName(), ListenPort: 26656, ListenAddrs: []string{o.address(o.i)},
		EnableEncryption: true, Logger: log,
	}
	for i, val := range genesis.Validators {
		v.index[val.Key] = i
		if i != o.i {
			id := p2p.PeerID(val.Peer)
			host.Protected = append(host.Protected, id)
			host.Bootstrap = append(host.Bootstrap, fmt.Sprintf("/ip4/%s/tcp/26656/p2p/%s", o.address(i), id))
		}
	}
	db, err := node.OpenDatabase(filepath.Join(o.dir, "chain"))
	if err != nil {
		return nil, err
	}
	v.db = db
	if v.store, err = chainstore.Open(db); err != nil {
		return nil, err
	}
	app, err := openApp(db)
	if err != nil {
		return nil, err
	}
	if v.host, err = p2p.New(host); err != nil {
		return nil, err
	}
	v.mesh = node.NewMesh(v.host, set)
	var network driver.Network = v.mesh
	if o.delay > 0 {
		v.delay = newDelayed(v.mesh, o.delay)
		network = v.delay
	}
	pool, err := mempool.New(mempool.Config{
		// As many transactions may wait as with CometBFT: 5000, beside the lane for nodes, which nobody uses here. A few
		// keys stand for all clients, so a client's share is the whole pool.
		MaxTxs:    6667,
		ClientTxs: 6667, ClientBytes: 64 << 20, RatePerClient: -1,
		Check: func(tx []byte) (mempool.Info, error) {
			key, _, _, err := load.Parts(tx) // the driver has verified it
			return mempool.Info{Client: key}, err
		},
	})
	if err != nil {
		return nil, err
	}
	v.server = rpc.NewServer(v)
	v.driver, err = driver.New(driver.Config{
		Dir: filepath.Join(o.dir, "consensus"), Key: o.key("validator", o.i), Genesis: genesis, GenesisStateRoot: genesisRoot,
		App: app, Check: load.CheckAll, Network: network, Mempool: pool, Store: v.store, NoFastPath: !o.fastPath, OnCommit: v.committed, Log: log,
		Penalise: func(who sign.PublicKey, reason string) { v.host.Penalise(who, p2p.PenaltyMajor, reason) },
	})
	return v, err
}

// run is the validator's life until ctx ends or a part of it fails; it closes everything.
func (v *validator) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, v.close()) }()
	if err := v.mesh.Start(v.driver); err != nil {
		return err
	}
	// The mesh outlives the driver, so that what it says last can leave.
	around, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	parts := 1
	go func() { ended <- v.host.Run(around); cancel() }()
	if v.delay != nil {
		parts++
		go func() { v.delay.run(around); ended <- nil }()
	}
	err = v.driver.Run(ctx)
	end()
	for range parts {
		err = errors.Join(err, <-ended)
	}
	return err
}

// close gives back what newValidator took, in reverse order.
func (v *validator) close() error {
	var errs []error
	if v.driver != nil {
		v.driver.Close()
	}
	if v.host != nil {
		errs = append(errs, v.host.Close())
	}
	if v.db != nil {
		errs = append(errs, v.db.Close())
		v.db = nil
	}
	return errors.Join(errs...)
}

// committed tells clients of a final block. What is committed again while the driver is being made is nothing new.
func (v *validator) committed(b *consensus.Block, _ *consensus.Finality) {
	if v.driver == nil {
		return
	}
	v.server.Committed(rpc.Event{
		Height: int64(b.Header.Height), Txs: int64(len(b.Txs)), Proposer: v.index[b.Header.Proposer], Syncs: int64(v.driver.Stats().Syncs),
	})
}

// Submit implements rpc.Chain.
func (v *validator) Submit(txs [][]byte) []error { return v.driver.SubmitAll(txs) }

// Block implements rpc.Chain.
func (v *validator) Block(height int64) ([][]byte, error) {
	c, err := v.store.Block(consensus.Height(max(0, height)))
	if err != nil {
		return nil, err
	}
	return c.Block.Txs, nil
}

// Status implements rpc.Chain.
func (v *validator) Status() rpc.Status {
	s := v.driver.Stats()
	return rpc.Status{Height: int64(s.Height), Syncs: int64(s.Syncs), Peers: len(v.host.Peers())}
}
