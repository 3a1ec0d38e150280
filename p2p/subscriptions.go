package p2p

import (
	"strings"
	"sync"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

// subscriptions is what peers may say that they listen to: topics of this network, and no more than so many. Gossip
// remembers each for as long as the peer is connected, so that a peer that made up topics without end would fill the
// memory.
type subscriptions struct {
	p      *Host
	prefix string

	mu sync.Mutex
	of map[peer.ID]map[string]struct{} // mu: of connected peers
}

var _ pubsub.SubscriptionFilter = (*subscriptions)(nil)

func newSubscriptions(p *Host) *subscriptions {
	return &subscriptions{p: p, prefix: p.topicName(""), of: map[peer.ID]map[string]struct{}{}}
}

// CanSubscribe implements pubsub.SubscriptionFilter.
func (f *subscriptions) CanSubscribe(topic string) bool {
	return strings.HasPrefix(topic, f.prefix) && len(topic) <= len(f.prefix)+64
}

// FilterIncomingSubscriptions implements pubsub.SubscriptionFilter. What is too much is not heard, and scored: an honest
// peer listens to the network's topics, which are few.
func (f *subscriptions) FilterIncomingSubscriptions(from peer.ID, subs []*pb.RPC_SubOpts) ([]*pb.RPC_SubOpts, error) {
	subs = pubsub.FilterSubscriptions(subs, f.CanSubscribe)
	taken, more := f.take(from, subs)
	if more {
		f.p.stats.gossipIgnored.add(1)
		f.p.penalise(from, PenaltyMinor, "listens to too many topics")
	}
	return taken, nil
}

func (f *subscriptions) take(from peer.ID, subs []*pb.RPC_SubOpts) (taken []*pb.RPC_SubOpts, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	has := f.of[from]
	for _, s := range subs {
		_, known := has[s.GetTopicid()]
		switch {
		case !s.GetSubscribe():
			delete(has, s.GetTopicid())
		case known:
		case len(has) >= maxTopics:
			more = true
			continue
		default:
			if has == nil {
				has = map[string]struct{}{}
				f.of[from] = has
			}
			has[s.GetTopicid()] = struct{}{}
		}
		taken = append(taken, s)
	}
	return taken, more
}

// forget is of a peer that is gone.
func (f *subscriptions) forget(id peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.of, id)
}
