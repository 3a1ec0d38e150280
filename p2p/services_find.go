package p2p

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/registry"
)

// A search that the table does not answer.
const (
	findTimeout  = 10 * time.Second
	findLinger   = 200 * time.Millisecond // for others after the first that was found
	findRecords  = 1024                   // provider records looked at: a stranger's costs nothing but its place here
	findAsked    = 16                     // peers asked at once, of records and of the chain each
	pullsAtFirst = 3                      // connected peers whose tables are pulled
	askTimeout   = 5 * time.Second
	maxSearches  = 8
	barrenTime   = 5 * time.Second // after a search without a result
	maxBarren    = 256
)

// Find is the providers of a service that the chain agrees with, in order of their keys: from the table, and if it has
// none by a search of at most 10 s. None is no error: the error is the context's.
func (s *Services) Find(ctx context.Context, name string, major uint32) ([]Provider, error) {
	if err := registry.CheckName(name); err != nil {
		return nil, err
	}
	if list := s.known(name, major); len(list) > 0 {
		return list, nil
	}
	s.search(ctx, name, major, func() bool { return len(s.known(name, major)) > 0 })
	return s.known(name, major), ctx.Err()
}

// search fills the table with providers of a service until enough, or until there is nobody left to ask. Three ways, the
// cheapest first: the tables of connected peers, of those first that the chain knows; the DHT's records of the service,
// which anybody may write; and the description of each peer that the chain knows, which lies in the DHT under a key of
// that peer's own and which only that peer can write.
func (s *Services) search(ctx context.Context, name string, major uint32, enough func() bool) {
	id := serviceID(name, major)
	s.mu.Lock()
	wait := time.Until(s.barren[id])
	s.mu.Unlock()
	if wait > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	defer func() {
		if enough() {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.barren) >= maxBarren {
			clear(s.barren)
		}
		s.barren[id] = time.Now().Add(barrenTime)
	}()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return
	}
	s.counters.searches.add(1)
	s.p.sift()
	peers := s.p.Peers()
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	slices.SortStableFunc(peers, func(a, b PeerInfo) int { return cmp.Compare(rank(s.cfg.Known(a.Key)), rank(s.cfg.Known(b.Key))) })
	for _, p := range peers[:min(len(peers), pullsAtFirst)] {
		pctx, stop := context.WithTimeout(ctx, askTimeout)
		_, _ = s.pull(pctx, p.Key) // a peer that has no answer is no news
		stop()
		if enough() || ctx.Err() != nil {
			return
		}
	}
	var ways sync.WaitGroup
	done := make(chan struct{})
	ways.Go(func() { s.askRecords(ctx, name, major) })
	ways.Go(func() { s.askMembers(ctx) })
	go func() { // ends with both, which end with ctx
		ways.Wait()
		close(done)
	}()
	for !enough() {
		changed := s.table.Changed()
		if enough() {
			break
		}
		select {
		case <-done:
			return
		case <-changed:
		}
	}
	select {
	case <-done:
	case <-time.After(findLinger):
	}
	cancel()
	<-done
}

// rank puts what is so first.
func rank(so bool) int {
	if so {
		return 0
	}
	return 1
}

// askRecords asks the providers that the DHT names. A record is a hint that anybody can write: what counts is what the
// peer signed, and only peers that the chain knows are asked.
func (s *Services) askRecords(ctx context.Context, name string, major uint32) {
	slots := make(chan struct{}, findAsked)
	var asks sync.WaitGroup
	defer asks.Wait()
	for info := range s.p.dht.FindProvidersAsync(ctx, registry.Key(s.p.cfg.Network, name, major), findRecords) {
		key, ok := PublicKey(info.ID)
		if !ok || key == s.p.self || !s.cfg.Known(key) || s.table.Get(key) != nil {
			continue
		}
		if len(info.Addrs) > 0 {
			s.p.h.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.TempAddrTTL)
		}
		slots <- struct{}{}
		asks.Go(func() {
			defer func() { <-slots }()
			actx, stop := context.WithTimeout(ctx, askTimeout)
			defer stop()
			if _, err := s.ask(actx, key); err != nil {
				s.p.log.Debug("a provider that the DHT names does not describe itself", "service", serviceID(name, major), "peer", info.ID, "err", err)
			}
		})
	}
}

// askMembers fetches the descriptions of peers that the chain knows from the DHT.
func (s *Services) askMembers(ctx context.Context) {
	members := slices.Clone(s.cfg.Members())
	rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	slots := make(chan struct{}, findAsked)
	var asks sync.WaitGroup
	defer asks.Wait()
	for _, key := range members {
		if key == s.p.self || s.table.Get(key) != nil || !s.cfg.Known(key) {
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		asks.Go(func() {
			defer func() { <-slots }()
			actx, stop := context.WithTimeout(ctx, askTimeout)
			defer stop()
			// The first value that is found may be of use already; a newer one may come before the search is at its end.
			values, err := s.p.dht.SearchValue(actx, registry.ValueKey(PeerID(key)))
			if err != nil {
				return
			}
			for raw := range values {
				_, _, _ = s.table.Put(raw) // the DHT's validator has looked at it; the table looks again
			}
		})
	}
}

// Addrs are the addresses at which a provider may be dialed, as far as this peer knows any.
func (s *Services) Addrs(k sign.PublicKey) []string {
	id := PeerID(k)
	if k == s.p.self {
		return s.p.Addrs()
	}
	info := peer.AddrInfo{ID: id, Addrs: s.p.h.Peerstore().Addrs(id)}
	var list []string
	for _, c := range s.p.h.Network().ConnsToPeer(id) {
		if c.Stat().Direction.String() == "Outbound" { // the other end of an inbound one is no address to dial
			list = append(list, fmt.Sprintf("%s/p2p/%s", c.RemoteMultiaddr(), id))
		}
	}
	for _, a := range info.Addrs {
		if text := fmt.Sprintf("%s/p2p/%s", a, id); !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}
