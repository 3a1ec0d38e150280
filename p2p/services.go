package p2p

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/registry"
)

// ServicesConfig is what the service registry is told of the network. Nil functions know nothing and allow everything.
type ServicesConfig struct {
	// Known says whom the chain knows. Descriptions of others are neither kept nor passed on, and others have no part in the
	// DHT of this peer once it has found some of Members.
	Known func(sign.PublicKey) bool
	// Admits says whether the chain agrees that a peer provides what it offers. It filters every answer.
	Admits func(sign.PublicKey, registry.Offer) bool
	// Members are the peers that the chain knows, for a search that the DHT's records of a service do not answer.
	Members func() []sign.PublicKey
	// Now is the clock by which descriptions expire; nil means time.Now.
	Now func() time.Time
}

func (c ServicesConfig) withDefaults() ServicesConfig {
	if c.Known == nil {
		c.Known = func(sign.PublicKey) bool { return true }
	}
	if c.Admits == nil {
		c.Admits = func(sign.PublicKey, registry.Offer) bool { return true }
	}
	if c.Members == nil {
		c.Members = func() []sign.PublicKey { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Services is this peer's view of the service registry, and its own place in it. It is safe for concurrent use and ends
// with the Host.
type Services struct {
	p        *Host
	cfg      ServicesConfig
	table    *registry.Table
	topic    *Topic
	poke     chan struct{} // capacity 1: the offers, or who hears of them, have changed
	counters serviceCounters
	slots    chan struct{} // searches under way: at most maxSearches, others wait

	mu        sync.Mutex
	handlers  map[string]localService          // mu; by service/major
	offers    []registry.Offer                 // mu; what this peer wants to be known for
	own       *registry.Signed                 // mu; the newest description of this peer, or nil
	heard     int                              // mu; peers of the topic when it was last published
	authors   map[sign.PublicKey]*rate.Limiter // mu; at most registry.MaxPeers
	useless   map[sign.PublicKey]tally         // mu; at most maxRapSheets
	barren    map[string]time.Time             // mu; services that a search did not find, until when they are not searched
	failed    map[sign.PublicKey]time.Time     // mu; providers that did not answer, until when they come last
	unwritten bool                             // mu; the DHT's value does not say what own says
	wanted    chan struct{}                    // capacity 1: something to provide in the DHT
}

type localService struct {
	handle HandlerFunc
	limits Limits
}

// Provider is a peer with an offer that is in force.
type Provider struct {
	Peer      sign.PublicKey
	Offer     registry.Offer
	Seq       uint64
	ExpiresMs uint64
}

const (
	servicesTopic = "services/1"
	describeProto = "desc/1"
)

// Services takes part in the registry. A Host has one at most, and a client host none.
func (p *Host) Services(cfg ServicesConfig) (*Services, error) {
	if p.ps == nil || p.dht == nil {
		return nil, errors.New("p2p: services: a client host takes no part in the registry; ask a peer through its API")
	}
	filtered := cfg.Known != nil
	cfg = cfg.withDefaults()
	if filtered {
		p.trust.Store(&trust{known: cfg.Known, members: cfg.Members})
		p.sift()
	}
	s := newServices(p, cfg)
	var err error
	if s.topic, err = p.Join(servicesTopic, s.hear, MaxBytes(registry.MaxBytes)); err != nil {
		return nil, err
	}
	events, err := s.topic.t.EventHandler()
	if err != nil {
		return nil, fmt.Errorf("p2p: services: %w", err)
	}
	// hear has taken the message in already; subscribing makes this peer part of the topic's mesh.
	if err := s.topic.Subscribe(func(sign.PublicKey, []byte) {}); err != nil {
		events.Cancel()
		return nil, err
	}
	p.Handle(describeProto, Limits{RequestBytes: 64, ResponseBytes: maxPageBytes, PerPeer: 4, PerSecond: 20, Timeout: 5 * time.Second}, s.describe)
	if err := s.measure(); err != nil {
		events.Cancel()
		return nil, err
	}
	started := p.group.spawn(s.announce) && p.group.spawn(s.provide) && p.group.spawn(func() { s.follow(events) })
	if !started {
		return nil, errors.New("p2p: services: the host is closed")
	}
	return s, nil
}

// newServices knows nothing and takes no part yet.
func newServices(p *Host, cfg ServicesConfig) *Services {
	return &Services{
		p: p, cfg: cfg, table: registry.NewTable(p.cfg.Network, cfg.Now, cfg.Known), poke: make(chan struct{}, 1), wanted: make(chan struct{}, 1),
		slots: make(chan struct{}, maxSearches), handlers: map[string]localService{}, authors: map[sign.PublicKey]*rate.Limiter{}, useless: map[sign.PublicKey]tally{},
		failed: map[sign.PublicKey]time.Time{}, barren: map[string]time.Time{},
	}
}

func serviceID(name string, major uint32) string {
	return name + "/" + strconv.FormatUint(uint64(major), 10)
}

// Serve answers the messages of a service, within limits. It tells nobody: that is Announce's.
func (s *Services) Serve(name string, major uint32, limits Limits, handle HandlerFunc) error {
	if err := registry.CheckName(name); err != nil || major == 0 {
		return fmt.Errorf("p2p: serve %s: %w", serviceID(name, major), cmp.Or(err, errors.New("the first major version is 1")))
	}
	id := serviceID(name, major)
	limits = limits.withDefaults()
	s.mu.Lock()
	_, twice := s.handlers[id]
	s.handlers[id] = localService{handle, limits}
	s.mu.Unlock()
	if twice {
		return fmt.Errorf("p2p: serve %s: it is served already", id)
	}
	s.p.Handle("svc/"+id, limits, handle)
	return nil
}

// Announce makes the offers of this peer exactly these, each of a service that Serve answers, and tells the network. It
// may be called as often as anything could have changed: what is the same is not told again before its time.
func (s *Services) Announce(offers []registry.Offer) error {
	offers = slices.Clone(offers)
	registry.SortOffers(offers)
	// What cannot be signed is the caller's to hear of, not the loop's.
	if _, err := registry.Seal(s.p.cfg.Key, registry.Description{Network: s.p.cfg.Network, Seq: 1, ExpiresMs: 1, Offers: offers}); err != nil {
		return fmt.Errorf("p2p: announce: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range offers {
		if _, ok := s.handlers[o.ID()]; !ok {
			return fmt.Errorf("p2p: announce %s: nothing here serves it", o.ID())
		}
	}
	if slices.EqualFunc(offers, s.offers, equalOffers) {
		return nil
	}
	s.offers = offers
	nudge(s.poke)
	nudge(s.wanted)
	return nil
}

func equalOffers(a, b registry.Offer) bool {
	return a.Service == b.Service && a.Version == b.Version && a.Capacity == b.Capacity && slices.Equal(a.Labels, b.Labels)
}

// Withdraw takes back every offer and tells the network at once, as far as it listens.
func (s *Services) Withdraw(ctx context.Context) error {
	s.mu.Lock()
	s.offers = nil
	s.mu.Unlock()
	return s.publish(ctx)
}

// List is every offer in force that the chain agrees with, by service and then by peer. It asks nobody.
func (s *Services) List() []Provider {
	var list []Provider
	for _, d := range s.table.All() {
		for _, o := range d.Offers {
			list = s.admit(list, d, o)
		}
	}
	slices.SortFunc(list, func(a, b Provider) int {
		return cmp.Or(cmp.Compare(a.Offer.Service, b.Offer.Service), cmp.Compare(a.Offer.Version.Major, b.Offer.Version.Major), slices.Compare(a.Peer[:], b.Peer[:]))
	})
	return list
}

// known is the providers of a service that the table has.
func (s *Services) known(name string, major uint32) []Provider {
	var list []Provider
	for _, d := range s.table.Find(name, major) {
		if o, ok := d.Offer(name, major); ok {
			list = s.admit(list, d, o)
		}
	}
	return list
}

// admit appends an offer if the chain agrees with it.
func (s *Services) admit(list []Provider, d *registry.Signed, o registry.Offer) []Provider {
	if !s.cfg.Admits(d.Peer, o) {
		return list
	}
	return append(list, Provider{Peer: d.Peer, Offer: o, Seq: d.Seq, ExpiresMs: d.ExpiresMs})
}

// nudge wakes the reader of a channel of capacity 1.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
