package node

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/consensus/driver"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p"
)

// mesh carries the consensus driver's messages over BPCI: a gossip topic a kind, links between validators as the fast
// path, links from anybody for transactions that gossip did not bring to a validator, and a request protocol a kind. It
// implements driver.Network.
type mesh struct {
	host   *p2p.Host
	links  *p2p.Links // between validators
	txs    *p2p.Links // of any member, for transactions alone
	topics map[driver.Kind]*p2p.Topic
	vals   atomic.Pointer[[]sign.PublicKey] // node keys of the validators in force
}

// kindCode is the first byte of a link's message, so that one link carries every kind in order.
var kindCode = map[driver.Kind]byte{
	driver.KindTx: 1, driver.KindProposal: 2, driver.KindVote: 3, driver.KindTimeout: 4, driver.KindCertificates: 5,
	driver.KindCommitted: 6,
}

// penaltyPoints is what one message that no honest node sends costs its sender; see p2p.Host.Penalise.
const penaltyPoints = 20

func newMesh(host *p2p.Host) *mesh {
	m := &mesh{host: host, topics: map[driver.Kind]*p2p.Topic{}}
	m.vals.Store(&[]sign.PublicKey{})
	return m
}

// validators are the node keys of the validators in force. The slice is not to be changed.
func (m *mesh) validators() []sign.PublicKey { return *m.vals.Load() }

// setValidators makes the links those of a set: a validator keeps one to each other, nobody else keeps any.
func (m *mesh) setValidators(set *consensus.ValidatorSet) {
	vals := []sign.PublicKey{}
	for _, v := range set.All() {
		if !v.Peer.IsZero() {
			vals = append(vals, v.Peer)
		}
	}
	m.vals.Store(&vals)
	m.keepLinks()
}

func (m *mesh) keepLinks() {
	if m.links == nil {
		return // start does it
	}
	if m.isValidator(m.host.Self()) {
		m.links.Keep(m.validators())
	} else {
		m.links.Keep(nil)
	}
}

func (m *mesh) isValidator(k sign.PublicKey) bool { return slices.Contains(m.validators(), k) }

// start joins the topics, serves the protocols of the network and opens the links. Nothing is delivered before.
func (m *mesh) start(d *driver.Driver) error {
	kinds := make(map[byte]driver.Kind, len(kindCode))
	for kind, code := range kindCode {
		kinds[code] = kind
	}
	m.links = m.host.Links("bpi/1", p2p.LinkConfig{Allow: m.isValidator}, func(from sign.PublicKey, msg []byte) {
		if len(msg) == 0 {
			return
		}
		kind, ok := kinds[msg[0]]
		if !ok || len(msg)-1 > kind.MaxBytes() {
			m.host.Penalise(from, penaltyPoints, "a link message of no known kind, or too large")
			return
		}
		d.Deliver(from, driver.Direct, kind, msg[1:])
	})
	// Gossip passes the same bytes on only once. What a node that does not validate took in while no validator heard it
	// would wait in its outbox for ever.
	m.txs = m.host.Links("bpi/tx/1", p2p.LinkConfig{MaxBytes: driver.KindTx.MaxBytes()}, func(from sign.PublicKey, msg []byte) {
		d.Deliver(from, driver.Direct, driver.KindTx, msg)
	})
	for _, kind := range driver.MessageKinds() {
		topic, err := m.host.Join(string(kind), func(from sign.PublicKey, data []byte) p2p.Verdict {
			switch d.Deliver(from, driver.Gossiped, kind, data) {
			case driver.Accept:
				return p2p.Accept
			case driver.Reject:
				return p2p.Reject
			}
			return p2p.Ignore
		}, p2p.MaxBytes(kind.MaxBytes()))
		if err != nil {
			return fmt.Errorf("join the network's topics: %w", err)
		}
		// The validator has delivered the message already; subscribing makes this node part of the topic's mesh.
		if err := topic.Subscribe(func(sign.PublicKey, []byte) {}); err != nil {
			return fmt.Errorf("join the network's topics: %w", err)
		}
		m.topics[kind] = topic
	}
	for _, kind := range driver.RequestKinds() {
		limits := p2p.Limits{RequestBytes: kind.MaxBytes(), ResponseBytes: driver.MaxResponseBytes}
		m.host.Handle("bpi/"+string(kind)+"/1", limits, func(ctx context.Context, from sign.PublicKey, req []byte) ([]byte, error) {
			return d.Serve(ctx, from, kind, req)
		})
	}
	m.keepLinks()
	return nil
}

func (m *mesh) Gossip(kind driver.Kind, msg []byte) error {
	t := m.topics[kind]
	if t == nil {
		return fmt.Errorf("gossip %s: the topic is not joined", kind)
	}
	return t.Publish(context.Background(), msg)
}

func (m *mesh) Send(to sign.PublicKey, kind driver.Kind, msg []byte) bool {
	switch {
	case m.links == nil:
		return false // not started
	case !m.isValidator(m.host.Self()):
		return kind == driver.KindTx && m.txs.Send(to, msg)
	}
	framed := make([]byte, 1+len(msg))
	framed[0] = kindCode[kind]
	copy(framed[1:], msg)
	return m.links.Send(to, framed)
}

func (m *mesh) Request(ctx context.Context, to sign.PublicKey, kind driver.Kind, req []byte) ([]byte, error) {
	return m.host.Call(ctx, to, "bpi/"+string(kind)+"/1", req)
}

func (m *mesh) Peers() []sign.PublicKey {
	list := m.host.Peers()
	keys := make([]sign.PublicKey, 0, len(list))
	for _, p := range list {
		keys = append(keys, p.Key)
	}
	return keys
}
