package p2p

import (
	"context"
	"sync"
	"time"

	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	kadrecords "github.com/libp2p/go-libp2p-kad-dht/records"
	record "github.com/libp2p/go-libp2p-record"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/metanode/metanode/p2p/registry"
)

// What this node's part of the DHT keeps for others, and for how long.
const (
	providerValidity = time.Hour
	providerAddrs    = 30 * time.Minute
	maxProviders     = 20_000  // provider records: about 5 MB
	maxValues        = 4096    // descriptions: at most 16 MB
	maxDHTMessage    = 1 << 20 // the largest honest one names twenty peers with their addresses

	dhtWritesPerSecond = 20 // records that one peer may hand over, with a burst of ten times that
	maxDHTWriters      = 4096
)

// recordOptions let the DHT hold who provides a service or a blob, and the descriptions that peers signed of themselves,
// nothing else. Strangers write here, so that what they can fill is bounded.
func (p *Host) recordOptions() []dht.Option {
	return []dht.Option{
		dht.ProviderDatastore(newBoundedStore(maxProviders)),
		dht.ProviderManagerOpts(kadrecords.ProvideValidity(providerValidity), kadrecords.ProviderAddrTTL(providerAddrs), kadrecords.CleanupInterval(providerAddrs)),
		dht.ValueDatastore(newBoundedStore(maxValues)),
		dht.Validator(record.NamespacedValidator{registry.Namespace: registry.Validator{Network: p.cfg.Network, Now: time.Now}}),
		dht.MaxRecordAge(registry.MaxLifetime), dht.ValueGCInterval(registry.MaxLifetime),
		dht.OnRequestHook((&dhtGuard{p: p, writers: map[peer.ID]*rate.Limiter{}}).request),
	}
}

// dhtGuard bounds how many records one peer hands over.
type dhtGuard struct {
	p       *Host
	mu      sync.Mutex
	writers map[peer.ID]*rate.Limiter // mu; at most maxDHTWriters
}

func (g *dhtGuard) request(_ context.Context, s network.Stream, req *pb.Message) {
	if t := req.GetType(); t != pb.Message_ADD_PROVIDER && t != pb.Message_PUT_VALUE {
		return
	}
	id := s.Conn().RemotePeer()
	if g.allow(id) {
		return
	}
	// The library goes on with the request that it has read; the next one needs a new stream, and the peer a better score.
	g.p.stats.busy.add(1)
	g.p.penalise(id, PenaltyMinor, "too many DHT records")
	_ = s.Reset()
}

func (g *dhtGuard) allow(id peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.writers[id]
	if l == nil {
		if len(g.writers) >= maxDHTWriters {
			for k, o := range g.writers { // one in debt stays while there is another to forget
				if o.Tokens() >= dhtWritesPerSecond*10 {
					delete(g.writers, k)
				}
			}
		}
		if len(g.writers) >= maxDHTWriters {
			return false
		}
		l = rate.NewLimiter(dhtWritesPerSecond, dhtWritesPerSecond*10)
		g.writers[id] = l
	}
	return l.Allow()
}

// boundedStore is a datastore in memory that never holds more than limit entries: a new one takes the place of any other
// then. A flood can push out what others need, which they write again; it cannot fill the memory, nor keep them out.
type boundedStore struct {
	datastore.Batching
	limit int

	mu   sync.Mutex
	keys map[datastore.Key]struct{} // mu
}

func newBoundedStore(limit int) *boundedStore {
	return &boundedStore{Batching: dssync.MutexWrap(datastore.NewMapDatastore()), limit: limit, keys: map[datastore.Key]struct{}{}}
}

// Put implements datastore.Write.
func (b *boundedStore) Put(ctx context.Context, key datastore.Key, value []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.keys[key]; !known {
		for old := range b.keys {
			if len(b.keys) < b.limit {
				break
			}
			if err := b.Batching.Delete(ctx, old); err != nil {
				return err
			}
			delete(b.keys, old)
		}
		b.keys[key] = struct{}{}
	}
	return b.Batching.Put(ctx, key, value)
}

// Delete implements datastore.Write.
func (b *boundedStore) Delete(ctx context.Context, key datastore.Key) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.keys, key)
	return b.Batching.Delete(ctx, key)
}

// Batch implements datastore.Batching over Put and Delete.
func (b *boundedStore) Batch(context.Context) (datastore.Batch, error) {
	return datastore.NewBasicBatch(b), nil
}
