package p2p

import (
	"net"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// Gossip scores: only misbehaviour counts. Being slow or silent is no fault in a network whose topics fall silent when
// there is no work, so the delivery rates (P3) are off. Ten rejected messages within seconds (P4: weight × n²) put a
// peer below graylist.
func topicScore() *pubsub.TopicScoreParams {
	return &pubsub.TopicScoreParams{
		SkipAtomicValidation:           true,
		TopicWeight:                    1,
		TimeInMeshQuantum:              time.Second,
		TimeInMeshWeight:               0.01,
		TimeInMeshCap:                  100,
		FirstMessageDeliveriesWeight:   0.1,
		FirstMessageDeliveriesDecay:    0.99,
		FirstMessageDeliveriesCap:      50,
		InvalidMessageDeliveriesWeight: -20,
		InvalidMessageDeliveriesDecay:  0.98,
	}
}

func (p *Host) scoreParams() *pubsub.PeerScoreParams {
	var local []*net.IPNet
	for _, s := range p.cfg.LocalSubnets {
		if _, n, err := net.ParseCIDR(s.String()); err == nil {
			local = append(local, n)
		}
	}
	return &pubsub.PeerScoreParams{
		SkipAtomicValidation:        true,
		Topics:                      map[string]*pubsub.TopicScoreParams{},
		TopicScoreCap:               20,
		AppSpecificScore:            func(id peer.ID) float64 { return -p.gate.score(id) },
		AppSpecificWeight:           10,
		IPColocationFactorWeight:    -5,
		IPColocationFactorThreshold: strangerConns,
		IPColocationFactorWhitelist: local,
		BehaviourPenaltyWeight:      -5,
		BehaviourPenaltyThreshold:   6,
		BehaviourPenaltyDecay:       0.98,
		DecayInterval:               time.Second,
		DecayToZero:                 0.01,
		RetainScore:                 10 * time.Minute,
	}
}

func scoreThresholds() *pubsub.PeerScoreThresholds {
	return &pubsub.PeerScoreThresholds{
		SkipAtomicValidation:        true,
		GossipThreshold:             -200,
		PublishThreshold:            -500,
		GraylistThreshold:           -1000,
		AcceptPXThreshold:           10,
		OpportunisticGraftThreshold: 1,
	}
}

// tracer counts what gossipsub drops without a word.
type tracer struct{ stats *counters }

var _ pubsub.RawTracer = (*tracer)(nil)

func (t *tracer) DropRPC(*pubsub.RPC, peer.ID)                         { t.stats.gossipDropped.add(1) }
func (t *tracer) UndeliverableMessage(*pubsub.Message)                 { t.stats.gossipUndelivered.add(1) }
func (t *tracer) ThrottlePeer(peer.ID)                                 { t.stats.gossipThrottled.add(1) }
func (t *tracer) OnNewOutboundStream(peer.ID, protocol.ID)             {}
func (t *tracer) OnClosedOutboundStream(peer.ID)                       {}
func (t *tracer) Join(string)                                          {}
func (t *tracer) Leave(string)                                         {}
func (t *tracer) Graft(peer.ID, string)                                {}
func (t *tracer) Prune(peer.ID, string)                                {}
func (t *tracer) ValidateMessage(*pubsub.Message)                      {}
func (t *tracer) DeliverMessage(*pubsub.Message)                       {}
func (t *tracer) DuplicateMessage(*pubsub.Message)                     {}
func (t *tracer) RecvRPC(*pubsub.RPC)                                  {}
func (t *tracer) SendRPC(*pubsub.RPC, peer.ID)                         {}
func (t *tracer) SendRPCCompleted(*pubsub.RPC, peer.ID, time.Duration) {}

// RejectMessage counts messages that never reached a validator because the queue was full.
func (t *tracer) RejectMessage(_ *pubsub.Message, reason string) {
	switch reason {
	case pubsub.RejectValidationQueueFull, pubsub.RejectValidationThrottled:
		t.stats.gossipThrottled.add(1)
	}
}
