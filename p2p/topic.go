package p2p

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
)

// Verdict is what a topic's validator says of a message.
type Verdict int

const (
	// Accept delivers the message and passes it on.
	Accept Verdict = iota
	// Ignore drops the message without blame: old, early, or already known.
	Ignore
	// Reject drops the message and scores the peer that passed it on. It is for what no honest peer passes on, whatever
	// its height and clock: an honest one that forwards fifty of these at once is kept out.
	Reject
)

const (
	defaultTopicBytes = 1 << 20
	validateQueue     = 4096
	outboundQueue     = 512
	maxTopics         = 64
	maxGossipMessage  = MaxFrame + 64<<10
	deliverQueue      = 1024
)

// Topic is one stream of gossip. Messages are not signed by libp2p: their payloads are.
type Topic struct {
	p     *Host
	name  string
	t     *pubsub.Topic
	limit int
}

// TopicOption changes a topic from its default.
type TopicOption func(*Topic)

// MaxBytes bounds a message of the topic; the default is 1 MiB, the most MaxFrame.
func MaxBytes(n int) TopicOption { return func(t *Topic) { t.limit = min(n, MaxFrame) } }

// Join takes part in a topic, whose full name holds the network id. validate sees every message of another peer before
// it is delivered or passed on; from is the peer that forwarded it, which need not be its author. It is called from
// several goroutines, must not keep data past a Reject or Ignore, must not block, and its time holds up the rest.
func (p *Host) Join(name string, validate func(from sign.PublicKey, data []byte) Verdict, opts ...TopicOption) (*Topic, error) {
	if p.ps == nil {
		return nil, fmt.Errorf("p2p: join topic %s: a client host has no gossip", name)
	}
	t := &Topic{p: p, name: p.topicName(name), limit: defaultTopicBytes}
	for _, o := range opts {
		o(t)
	}
	err := p.ps.RegisterTopicValidator(t.name, func(_ context.Context, from peer.ID, m *pubsub.Message) pubsub.ValidationResult {
		if from == p.h.ID() {
			return pubsub.ValidationAccept
		}
		key, ok := PublicKey(from)
		if !ok || len(m.Data) > t.limit {
			p.stats.gossipRejects.add(1)
			p.penalise(from, PenaltyMajor, "message too large on "+name) // no honest peer passes it on
			return pubsub.ValidationReject
		}
		switch validate(key, m.Data) {
		case Accept:
			return pubsub.ValidationAccept
		case Ignore:
			p.stats.gossipIgnored.add(1)
			return pubsub.ValidationIgnore
		}
		p.stats.gossipRejects.add(1)
		p.penalise(from, PenaltyMinor, "rejected message on "+name)
		return pubsub.ValidationReject
	}, pubsub.WithValidatorInline(true))
	if err != nil {
		return nil, fmt.Errorf("p2p: join topic %s: %w", name, err)
	}
	if t.t, err = p.ps.Join(t.name); err == nil {
		err = t.t.SetScoreParams(topicScore())
	}
	if err != nil {
		return nil, fmt.Errorf("p2p: join topic %s: %w", name, err)
	}
	return t, nil
}

// Publish sends data to every peer of the topic that is known. The caller does not change data afterwards. It returns
// when the message is queued; with no peer listening it is lost without an error.
func (t *Topic) Publish(ctx context.Context, data []byte) error {
	if len(data) > t.limit {
		return fmt.Errorf("p2p: publish on %s: %d bytes, at most %d", t.name, len(data), t.limit)
	}
	if err := t.t.Publish(ctx, data); err != nil {
		var ve pubsub.ValidationError
		if errors.As(err, &ve) {
			return nil // a message already seen: it is on its way
		}
		return fmt.Errorf("p2p: publish on %s: %w", t.name, err)
	}
	t.p.stats.published.add(1)
	return nil
}

// Subscribe delivers accepted messages of other peers to handle, one at a time, from one goroutine that ends with the
// Host. The queue in front of it is bounded: when handle is too slow the newest message is dropped and counted. Own
// messages are not delivered.
func (t *Topic) Subscribe(handle func(from sign.PublicKey, data []byte)) error {
	sub, err := t.t.Subscribe(pubsub.WithBufferSize(deliverQueue))
	if err != nil {
		return fmt.Errorf("p2p: subscribe to %s: %w", t.name, err)
	}
	ok := t.p.group.spawn(func() {
		defer sub.Cancel()
		for {
			m, err := sub.Next(t.p.life)
			if err != nil {
				return
			}
			from, ok := PublicKey(m.ReceivedFrom)
			if !ok || from == t.p.self {
				continue
			}
			t.p.stats.delivered.add(1)
			handle(from, m.Data)
		}
	})
	if !ok {
		sub.Cancel()
		return fmt.Errorf("p2p: subscribe to %s: the host is closed", t.name)
	}
	return nil
}

// Peers is the number of connected peers that take part in the topic.
func (t *Topic) Peers() int { return len(t.t.ListPeers()) }

func (p *Host) topicName(name string) string { return "/bpci/" + p.cfg.Network + "/" + name }

// startGossip sets up gossipsub for payloads that carry their own signatures.
func (p *Host) startGossip() error {
	params := pubsub.DefaultGossipSubParams()
	params.HeartbeatInterval = time.Second
	params.HeartbeatInitialDelay = 100 * time.Millisecond
	p.subs = newSubscriptions(p)
	opts := []pubsub.Option{
		pubsub.WithGossipSubParams(params),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictNoSign),
		pubsub.WithNoAuthor(),
		pubsub.WithMessageIdFn(func(m *pb.Message) string {
			d := digest.Sum("bpci/msg/1", []byte(m.GetTopic()), m.GetData())
			return string(d[:])
		}),
		pubsub.WithMaxMessageSize(maxGossipMessage),
		pubsub.WithPeerOutboundQueueSize(outboundQueue),
		pubsub.WithValidateQueueSize(validateQueue),
		pubsub.WithValidateWorkers(max(2, runtime.GOMAXPROCS(0))),
		pubsub.WithFloodPublish(true),
		pubsub.WithSeenMessagesTTL(2 * time.Minute),
		pubsub.WithSubscriptionFilter(p.subs),
		pubsub.WithPeerScore(p.scoreParams(), scoreThresholds()),
		pubsub.WithRawTracer(&tracer{stats: &p.stats}),
		pubsub.WithLogger(p.log),
	}
	ps, err := pubsub.NewGossipSub(p.life, p.as("gossip", maxGossipMessage), opts...)
	if err != nil {
		return fmt.Errorf("p2p: start gossip: %w", err)
	}
	p.ps = ps
	return nil
}
