package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/mempool"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// backend is the node as its API sees it. It implements api.Backend.
type backend struct{ n *Node }

// fastAccept is how long an accepted command may take to be ordered before it is made durable in the outbox instead.
const fastAccept = 150 * time.Millisecond

// SubmitCommand implements api.Commands. What it answers for is ordered, or on this node's disk and sent again until it
// is ordered or expires.
func (b *backend) SubmitCommand(ctx context.Context, tx []byte) (api.CommandAccepted, error) {
	n := b.n
	cmd, err := enc.DecodeCommand(tx)
	if err != nil {
		return api.CommandAccepted{}, api.Malformed("send the canonical encoding of a signed command", "malformed command of %d bytes: %v", len(tx), err)
	}
	id := cmd.ID()
	if _, ok := n.ledger.command(ctx, id); ok {
		return api.CommandAccepted{}, api.Replay("", "command %s was ordered already", id.Short())
	}
	// A duplicate is promised as the first was: that one's promise may not be on the disk yet.
	if err := n.driver.Submit(tx); err != nil && !errors.Is(err, mempool.ErrDuplicate) {
		return api.CommandAccepted{}, b.commandError(cmd, err)
	}
	timer := time.NewTimer(fastAccept)
	defer timer.Stop()
	for {
		_, changed := n.ledger.watch()
		if _, ok := n.ledger.command(ctx, id); ok {
			return api.CommandAccepted{ID: id, State: api.CommandOrdered}, nil
		}
		select {
		case <-changed:
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		if err := n.outbox.add(context.WithoutCancel(ctx), id, tx, cmd.Body.ExpiresMs, n.ledger.nowMs()); err != nil {
			if errors.Is(err, errOutboxFull) {
				return api.CommandAccepted{}, api.MempoolFull(time.Second, "%v: the chain orders nothing at present", err)
			}
			return api.CommandAccepted{}, err
		}
		return api.CommandAccepted{ID: id, State: api.CommandQueued}, nil
	}
}

// commandError says in the API's terms why the mempool refused.
func (b *backend) commandError(cmd *enc.Command, err error) error {
	switch {
	case errors.Is(err, mempool.ErrFull):
		return api.MempoolFull(time.Second, "%v", err)
	case errors.Is(err, mempool.ErrRate):
		return api.RateLimited(time.Second, "%v", err)
	case errors.Is(err, mempool.ErrTooLarge):
		return api.TooLarge("", "%v", err)
	case errors.Is(err, mempool.ErrExpired):
		return api.Expired("sign it again", "%v", err)
	case cmd.Body.ChainID != b.n.genesis.ChainID():
		return api.WrongChain("sign it for this chain", "%v", err)
	case cmd.Body.ExpiresMs <= b.n.ledger.nowMs():
		return api.Expired("sign it again", "%v", err)
	case !sign.Verify(cmd.Signer, cmd.Body.SigningBytes(), cmd.Sig):
		return api.BadSignature("", "%v", err)
	}
	return api.Malformed("", "%v", err)
}

// CommandStatus implements api.Commands.
func (b *backend) CommandStatus(ctx context.Context, id digest.Digest, wait time.Duration) (api.CommandStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		_, changed := b.n.ledger.watch()
		if at, ok := b.n.ledger.command(context.WithoutCancel(ctx), id); ok {
			events, err := b.eventsOf(context.WithoutCancel(ctx), at.Height)
			if err != nil {
				return api.CommandStatus{}, err
			}
			return api.CommandStatus{ID: id, State: api.CommandOrdered, Height: at.Height, Events: events[at.From:at.To]}, nil
		}
		select {
		case <-changed:
			continue
		case <-ctx.Done():
		}
		if b.n.outbox.has(id) {
			return api.CommandStatus{ID: id, State: api.CommandQueued, Events: []api.Event{}}, nil
		}
		return api.CommandStatus{}, api.NotFound("send it again: a command is ordered only once", "command %s is not known to this peer", id.Short())
	}
}

func (b *backend) chain() api.Chain {
	g := b.n.genesis
	return api.Chain{ID: b.n.ledger.chain, Name: g.DisplayName(), Protocol: g.Version}
}

func (b *backend) head() api.Head {
	h := b.n.ledger.head.Load()
	return api.Head{
		Height: uint64(h.header.Height), Block: h.id, TimeMs: h.header.TimestampMs, View: uint64(h.header.View), Epoch: uint64(h.header.Epoch),
	}
}

// Status implements api.ChainReader.
func (b *backend) Status(context.Context) (api.Status, error) {
	n := b.n
	s := api.Status{
		Peer: n.host.ID().String(), Key: n.host.Self(), Name: n.name(), Version: n.opts.Version,
		UptimeMs: uint64(time.Since(n.started).Milliseconds()), Addresses: n.host.Addrs(), Chain: b.chain(),
		Roles: n.roles(n.host.Self()), NotReady: n.notReady(), Head: b.head(), Peers: len(n.host.Peers()),
		Mempool: n.pool.Len(), Outbox: n.outbox.size(), Draining: n.register.draining.Load(), DriftMs: n.driftMs.Load(),
		API: n.address("API"), Gateway: n.address("gateway"),
	}
	s.Ready = len(s.NotReady) == 0
	if n.executes && n.missing == "" {
		s.Slots = n.cfg.Cage.SlotCount()
	}
	st := n.runner.Stats()
	s.Executing = int(st.Started - st.Finished - st.Failed)
	for _, w := range n.walls {
		s.Walls = append(s.Walls, api.Wall{Name: w.Name, OK: w.Given, Detail: w.Why})
	}
	if engine, size, ok := n.ledger.head.Load().state.Engine(enc.KindSQL); ok {
		s.Engine = &api.EngineStatus{Digest: engine, Bytes: size, Present: n.store.Has(engine)}
	}
	if n.missing != "" {
		s.Warnings = append(s.Warnings, "this node executes nothing: "+n.missing)
	} else if err := n.cage.ReadyFor(cage.ModeStrict); err != nil && n.executes {
		s.Warnings = append(s.Warnings, "this node runs queries and no programs in images: "+err.Error())
	}
	s.Private, s.Refused = n.cfg.P2P.Private, n.host.Stats().Refused
	s.Warnings = append(append(s.Warnings, n.cfg.Warnings()...), n.meshWarnings()...)
	if d := n.driftMs.Load(); time.Duration(max(d, -d))*time.Millisecond > driftLimit {
		s.Warnings = append(s.Warnings, fmt.Sprintf("this machine's clock is %d ms ahead of its peers'", d))
	}
	return s, nil
}

func (n *Node) name() string {
	if n.opts.Name != "" {
		return n.opts.Name
	}
	return n.nameOf(n.host.Self())
}

// nameOf is the name of a node's validator: in the set in force, or else in genesis.
func (n *Node) nameOf(peer sign.PublicKey) string {
	_, set := n.driver.Epoch()
	for _, list := range [][]consensus.Validator{set.All(), n.genesis.Validators} {
		for _, v := range list {
			if v.Peer == peer {
				return v.Name
			}
		}
	}
	return ""
}

// roles lists what a node is on this chain.
func (n *Node) roles(peer sign.PublicKey) []string {
	roles := []string{}
	if self := peer == n.host.Self(); self && n.driver.Validates() || !self && n.mesh.isValidator(peer) {
		roles = append(roles, "validator")
	}
	if x, ok := n.ledger.head.Load().state.Node(peer); ok && (peer != n.host.Self() || n.executes) && (x.Slots > 0 || !x.Registered) {
		roles = append(roles, "executor")
	}
	if peer == n.host.Self() && n.cfg.Gateway.Enabled {
		roles = append(roles, "gateway")
	}
	return roles
}

// Peers implements api.ChainReader.
func (b *backend) Peers(context.Context) ([]api.Peer, error) {
	list := []api.Peer{}
	for _, p := range b.n.host.Peers() {
		direction := "out"
		if p.Direction == "inbound" {
			direction = "in"
		}
		list = append(list, api.Peer{
			ID: p.ID, Key: p.Key, Name: b.n.nameOf(p.Key), Connected: true, Direction: direction, Addresses: p.Addrs, Listens: p.Listens,
			Roles: b.n.roles(p.Key), LatencyMs: float64(p.Latency.Microseconds()) / 1000,
		})
	}
	return list, nil
}

// ChainStatus implements api.ChainReader.
func (b *backend) ChainStatus(context.Context) (api.ChainStatus, error) {
	s := api.ChainStatus{Chain: b.chain(), Head: b.head(), Base: b.n.ledger.base.Load(), Snapshots: []api.Snapshot{}}
	for _, x := range b.n.snaps.folder.List() {
		s.Snapshots = append(s.Snapshots, api.Snapshot{
			Height: uint64(x.Height()), Block: x.Block.ID(), ID: x.ID(), Bytes: x.Bytes(), Chunks: x.Chunks(),
		})
	}
	return s, nil
}

// Genesis implements api.ChainReader.
func (b *backend) Genesis(context.Context) ([]byte, error) { return canon.Marshal(b.n.genesis) }

// Executors implements api.ChainReader.
func (b *backend) Executors(context.Context) ([]api.Executor, error) {
	head := b.n.ledger.head.Load()
	list := []api.Executor{}
	for _, x := range head.state.Nodes() {
		list = append(list, api.Executor{
			Peer: p2p.PeerID(x.Peer).String(), Key: x.Peer, Name: b.n.nameOf(x.Peer), Operator: x.Operator, Registered: x.Registered,
			Engines: x.Engines, Policies: x.Policies, CPUClass: x.CPUClass, Slots: x.Slots, UsedSlots: x.UsedSlots,
			Memory: x.Memory, UsedMemory: x.UsedMemory, Labels: x.Labels, Draining: x.Draining, Reason: x.Reason,
			Suspect: x.Suspect, Strikes: x.StrikesAt(head.header.TimestampMs), SeenMs: x.SeenMs,
		})
	}
	return list, nil
}

// Drain implements api.Admin.
func (b *backend) Drain(_ context.Context, on bool) (api.DrainStatus, error) {
	b.n.register.drain(on)
	st := b.n.runner.Stats()
	return api.DrainStatus{Draining: on, Executing: int(st.Started - st.Finished - st.Failed)}, nil
}

// PutBlob implements api.Blobs.
func (b *backend) PutBlob(ctx context.Context, d digest.Digest, bytes uint64, r io.Reader) (api.BlobStored, error) {
	if b.n.store.Has(d) {
		return api.BlobStored{Digest: d, Bytes: bytes, Existed: true}, nil
	}
	if err := b.n.store.PutExpect(ctx, r, d, bytes); err != nil {
		return api.BlobStored{}, blobError(err)
	}
	return api.BlobStored{Digest: d, Bytes: bytes}, nil
}

// StatBlob implements api.Blobs.
func (b *backend) StatBlob(_ context.Context, d digest.Digest) (uint64, error) {
	size, ok := b.n.store.Size(d)
	if !ok {
		return 0, api.NotFound("", "blob %s is not here", d)
	}
	return size, nil
}

// OpenBlob implements api.Blobs.
func (b *backend) OpenBlob(ctx context.Context, d digest.Digest) (io.ReadCloser, uint64, error) {
	size, ok := b.n.store.Size(d)
	if !ok {
		_, bytes, known := b.n.ledger.head.Load().state.BlobManifest(d)
		if !known {
			return nil, 0, api.NotFound("", "blob %s is neither here nor part of a data set", d)
		}
		if err := b.n.blobs.fetch(ctx, enc.BlobRef{Digest: d, Bytes: bytes}); err != nil {
			return nil, 0, api.Unavailable("", "blob %s: %v", d.Short(), err)
		}
		size = bytes
	}
	f, err := b.n.store.Open(ctx, d)
	return f, size, err
}

// peerName is a node key in people's terms.
func (n *Node) peerName(k sign.PublicKey) string {
	if name := n.nameOf(k); name != "" {
		return name
	}
	return p2p.PeerID(k).String()
}
