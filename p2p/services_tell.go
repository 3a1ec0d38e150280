package p2p

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/metanode/metanode/p2p/registry"
)

// How often a peer tells what it offers, and how long what it told is good for. A description outlives five messages
// that got lost, and a peer that is gone is forgotten within descriptionLife.
const (
	descriptionLife = 6 * time.Minute
	tellEvery       = 60 * time.Second
	tellGap         = time.Second // between two descriptions, however often the offers change
	provideEvery    = 20 * time.Minute
	valueEvery      = 4 * time.Minute // less than descriptionLife, so that the DHT's value is always in force
	provideRetry    = time.Second     // first wait after a failure; it doubles, up to a minute
	provideTimeout  = time.Minute
	growEvery       = 10 * time.Second // while the mesh is small, it is looked at whether others have come
	closest         = 20               // peers that keep a record: those closest to its key (Kademlia's k)
	enoughHeard     = 3                // peers of the topic that a description should have reached at least
)

// announce signs and publishes on change and every minute.
func (s *Services) announce() {
	timer := time.NewTimer(jitter(tellEvery))
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-s.p.life.Done():
			return
		case <-timer.C:
		case <-s.poke:
			if wait := tellGap - time.Since(last); wait > 0 {
				timer.Reset(wait)
				continue
			}
		}
		last = time.Now()
		if err := s.publish(s.p.life); err != nil && s.p.life.Err() == nil {
			s.p.log.Warn("this peer's services are not told; tried again", "err", err)
		}
		timer.Reset(jitter(tellEvery))
	}
}

// jitter is about d, so that peers that start together do not speak together for ever.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5) }

// sign makes a new description of this peer the current one. It is nil while there is nothing to tell: no offer was ever
// made, or the chain does not know this peer, so that others would not pass it on.
func (s *Services) sign() (*registry.Signed, error) {
	if !s.cfg.Known(s.p.self) {
		return nil, nil
	}
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own == nil && len(s.offers) == 0 {
		return nil, nil
	}
	seq := uint64(max(1, now.UnixMilli())) // so that it also grows over restarts
	if s.own != nil {
		seq = max(seq, s.own.Seq+1)
	}
	d, err := registry.Seal(s.p.cfg.Key, registry.Description{
		Network: s.p.cfg.Network, Seq: seq, ExpiresMs: uint64(now.Add(descriptionLife).UnixMilli()), Offers: s.offers,
	})
	if err != nil {
		return nil, err
	}
	if s.own == nil || !slices.EqualFunc(s.own.Offers, d.Offers, equalOffers) {
		s.unwritten = true
		nudge(s.wanted)
	}
	s.own = d
	return d, nil
}

func (s *Services) publish(ctx context.Context) error {
	d, err := s.sign()
	if err != nil || d == nil {
		return err
	}
	if _, err := s.table.Add(d); err != nil {
		return err
	}
	heard := s.topic.Peers()
	s.mu.Lock()
	s.heard = heard
	s.mu.Unlock()
	return s.topic.Publish(ctx, d.Raw)
}

// provide keeps this peer's records in the DHT: one of each service, and the value that is its description.
func (s *Services) provide() {
	next := map[string]time.Time{} // by service/major, and "" for the value; bounded by registry.MaxOffers
	retry := provideRetry
	wrote := 0 // peers that there were to write to
	for {
		// Who comes to a mesh of few is among those who keep the records, and should not have to wait for the next round.
		if n := s.p.dht.RoutingTable().Size(); wrote < closest && n > wrote {
			clear(next)
			wrote = n
		}
		wait, ok := s.provideDue(next)
		if wrote < closest {
			wait = min(wait, jitter(growEvery))
		}
		if ok {
			retry = provideRetry
		} else {
			wait, retry = min(wait, jitter(retry)), min(2*retry, time.Minute)
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.p.life.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-s.wanted:
		}
		timer.Stop()
	}
}

// provideDue writes what is due, and returns when the next is and whether all went well. Records of services that are no
// longer offered are left to expire: what counts is the description.
func (s *Services) provideDue(next map[string]time.Time) (time.Duration, bool) {
	s.mu.Lock()
	offers, own := s.offers, s.own
	if s.unwritten {
		delete(next, "")
		s.unwritten = false
	}
	s.mu.Unlock()
	due := map[string]registry.Offer{}
	for _, o := range offers {
		due[o.ID()] = o
	}
	for id := range next {
		if _, ok := due[id]; !ok && id != "" {
			delete(next, id)
		}
	}
	wait, ok := provideEvery, true
	note := func(id string, every time.Duration, write func(context.Context) error) {
		if left := time.Until(next[id]); left > 0 {
			wait = min(wait, left)
			return
		}
		ctx, cancel := context.WithTimeout(s.p.life, provideTimeout)
		defer cancel()
		if err := write(ctx); err != nil {
			if s.p.life.Err() == nil {
				s.p.log.Debug("DHT record not written; tried again", "record", id, "err", err)
			}
			ok = false
			return
		}
		again := jitter(every)
		next[id] = time.Now().Add(again)
		wait = min(wait, again)
	}
	if !s.cfg.Known(s.p.self) || own == nil {
		return tellEvery, true
	}
	for id, o := range due {
		note(id, provideEvery, func(ctx context.Context) error {
			return s.p.dht.Provide(ctx, registry.Key(s.p.cfg.Network, o.Service, o.Version.Major), true)
		})
	}
	note("", valueEvery, func(ctx context.Context) error {
		if err := own.Fresh(s.cfg.Now()); err != nil {
			return err
		}
		var dht routing.ValueStore = s.p.dht
		return dht.PutValue(ctx, registry.ValueKey(s.p.ID()), own.Raw)
	})
	return wait, ok
}
