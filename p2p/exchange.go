package p2p

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/client"
	bsnetwork "github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/p2p/blob"
)

// Blobs travel as blocks over Bitswap under its public name, so that any client of it can fetch and serve them; which
// block is the top of the file with a digest is asked with a protocol of this network, blob/2 (see exchange_name.go).
const (
	blobFetches    = 16               // DAGs fetched at once; more wait
	blobWindows    = 4                // requests of one fetch under way
	blobWindow     = 8                // blocks asked for in one request; all under way fit into what a file's digest waits with
	blobTogether   = 8                // blocks made durable together
	blobStall      = 20 * time.Second // without a block for so long, a fetch gives up
	blobGrace      = 2 * time.Minute  // a fetch may take so long, and besides
	blobSlowest    = 32 << 10         // a second for so many bytes
	blobPatience   = 3 * time.Second  // at least so long a block is waited for before another peer is asked for it, too
	blobAsks       = 16               // questions for names under way; more wait
	blobPending    = 1024             // blocks that one peer may wait for; the rest of its wish list is dropped
	blobUnsent     = 4 << 20          // bytes under way to one peer
	blobSenders    = 128              // messages with blocks under way to all: who does not read holds no more than a few of them
	blobRemembered = 1 << 16          // blocks asked for that are remembered, to tell answers from gifts
)

// ErrNoProvider means that no peer asked gave the blob; the text says who was tried and what each answered.
var ErrNoProvider = errors.New("no peer gave the blob")

// Exchange serves the blobs of a store to other peers and fetches theirs. It ends with its Host.
type Exchange struct {
	p     *Host
	store *blob.Store
	swap  *bitswap.Bitswap
	slots chan struct{} // of fetches
	asks  chan struct{} // of questions for names
	asked *asked
	turns *turns
	alive *bsnetwork.ConnectEventManager

	mu      sync.Mutex
	flights map[string]*flight // by what is fetched
}

// flight is one fetch in progress, shared by all who want the same.
type flight struct {
	done chan struct{}
	err  error // set before done is closed

	mu    sync.Mutex
	state Progress
}

// Progress is how far a fetch is.
type Progress struct {
	Bytes uint64 // of blocks that are here
	Total uint64 // of all blocks, by the word of the node at the top; 0 before that is here
}

// NewExchange starts to serve the store's blobs.
func NewExchange(p *Host, store *blob.Store) *Exchange {
	x := &Exchange{p: p, store: store, slots: make(chan struct{}, blobFetches), asks: make(chan struct{}, blobAsks), asked: newAsked(blobRemembered), turns: newTurns(), alive: bsnetwork.NewConnectEventManager(), flights: map[string]*flight{}}
	ctx, cancel := context.WithCancel(p.life)
	patience := client.DefaultDontHaveTimeoutConfig()
	patience.MinTimeout = blobPatience
	x.swap = bitswap.New(ctx, &watched{bsnet.NewFromIpfsHost(p.as("Bitswap", network.MessageSizeMax), bsnet.WithConnectEventManager(x.alive)), x}, nil, store.Blocks(),
		bitswap.MaxQueuedWantlistEntriesPerPeer(blobPending),
		bitswap.MaxOutstandingBytesPerPeer(blobUnsent),
		bitswap.MaxCidSize(maxCID),
		bitswap.TaskWorkerCount(blobSenders),
		bitswap.EngineTaskWorkerCount(8),
		bitswap.EngineBlockstoreWorkerCount(16),
		bitswap.WithTaskComparator(x.turns.first),
		bitswap.WithoutDuplicatedBlockStats(),
		bitswap.WithClientOption(client.WithDontHaveTimeoutConfig(patience)),
		bitswap.WithPeerBlockRequestFilter(func(id peer.ID, _ blob.CID) bool { return p.gate.trades(id) }),
	)
	p.group.spawn(func() {
		defer cancel()
		<-p.life.Done()
		_ = x.swap.Close() // it has nothing to say
	})
	x.serveNames()
	x.watchPeers()
	return x
}

// share runs fetch unless the same is under way already; then it waits for that. A caller whose context ends lets the
// others go on.
func (x *Exchange) share(ctx context.Context, what string, here func() bool, fetch func(ctx context.Context, f *flight) error) error {
	for {
		if here() {
			return nil
		}
		x.mu.Lock()
		f := x.flights[what]
		lead := f == nil
		if lead {
			f = &flight{done: make(chan struct{})}
			x.flights[what] = f
		}
		x.mu.Unlock()
		if lead {
			f.err = x.lead(ctx, here, f, fetch)
			x.mu.Lock()
			delete(x.flights, what)
			x.mu.Unlock()
			close(f.done)
			return f.err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.done:
		}
		if f.err == nil || !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return f.err
		}
		// The one who fetched gave up; this caller has not.
	}
}

// lead fetches for all who wait, and ends with the Host at the latest.
func (x *Exchange) lead(ctx context.Context, here func() bool, f *flight, fetch func(context.Context, *flight) error) error {
	if here() { // it came between the two looks
		return nil
	}
	if !x.p.group.enter() {
		return errors.New("the mesh is closed")
	}
	defer x.p.group.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(x.p.life, cancel)()
	return fetch(ctx, f)
}

// Progress tells how far the fetch of a DAG is; false if none is under way.
func (x *Exchange) Progress(c blob.CID) (Progress, bool) {
	x.mu.Lock()
	f := x.flights[c.KeyString()]
	x.mu.Unlock()
	if f == nil {
		return Progress{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, true
}

func (f *flight) add(bytes uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.Bytes += bytes
}

func (f *flight) total(bytes uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.Total = bytes
}
