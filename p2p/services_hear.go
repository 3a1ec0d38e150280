package p2p

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"golang.org/x/time/rate"

	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/registry"
)

const (
	pageDescriptions = 64
	maxPageBytes     = pageDescriptions*(registry.MaxBytes+8) + 16
	maxPages         = registry.MaxPeers/pageDescriptions + 1
	pullTimeout      = 10 * time.Second

	askPage = 1 // first byte of a request for a page; the key after which it begins follows

	// Descriptions that are old, expired or of strangers: an honest peer passes on some now and then, and more in a large
	// network, where gossip repairs what it lost while a pull has already brought what came after.
	uselessBurst   = 32
	uselessPerPeer = 8
	uselessTime    = 2 * time.Minute // in which so many are forgiven
	// New descriptions of one author. Its own gap is tellGap.
	authorEvery = 500 * time.Millisecond
	authorBurst = 10
)

// hear is the validator of the registry's topic.
func (s *Services) hear(from sign.PublicKey, data []byte) Verdict {
	d, err := registry.Open(data, s.p.cfg.Network)
	if err != nil {
		s.counters.refused.add(1)
		return Reject // Join scores who passed it on
	}
	if old := s.table.Get(d.Peer); s.cfg.Known(d.Peer) && (old == nil || d.Newer(old)) {
		if !s.pace(d.Peer) {
			if from == d.Peer {
				s.p.penalise(PeerID(from), PenaltyMinor, "describes itself too often")
			}
			return Ignore
		}
		if out, err := s.table.Add(d); err == nil && out == registry.News {
			s.counters.news.add(1)
			return Accept
		}
	}
	s.counters.useless.add(1)
	// It is scored when that becomes a habit.
	if s.habit(from) {
		s.p.penalise(PeerID(from), PenaltyMinor, "descriptions of no use, again and again")
	}
	return Ignore
}

// pace reports whether an author may be heard with one more new description.
func (s *Services) pace(author sign.PublicKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.authors[author]
	if l == nil {
		if len(s.authors) >= registry.MaxPeers {
			for k, o := range s.authors {
				if o.Tokens() >= authorBurst {
					delete(s.authors, k)
				}
			}
		}
		if len(s.authors) >= registry.MaxPeers {
			return false
		}
		l = rate.NewLimiter(rate.Every(authorEvery), authorBurst)
		s.authors[author] = l
	}
	return l.Allow()
}

// tally counts what is forgiven in time.
type tally struct {
	n  float64
	at time.Time
}

// habit counts a description of no use against the peer that passed it on, and reports whether it has become a habit.
func (s *Services) habit(from sign.PublicKey) bool {
	allowed := float64(uselessBurst + uselessPerPeer*s.table.Len())
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.useless) >= maxRapSheets {
		clear(s.useless) // of peers that were connected once: it takes thousands of them, and they begin anew
	}
	t := s.useless[from]
	t.n = max(0, t.n-float64(now.Sub(t.at))/float64(uselessTime)*allowed) + 1
	t.at = now
	s.useless[from] = t
	return t.n > allowed
}

// follow pulls the table of a peer that has come to take part, since gossip tells nobody what was said before, and of one
// peer a minute, since gossip may lose what it says.
func (s *Services) follow(events *pubsub.TopicEventHandler) {
	defer events.Cancel()
	came := make(chan sign.PublicKey, 64) // full: the minute's pull makes up for it
	if !s.p.group.spawn(func() {
		for {
			e, err := events.NextPeerEvent(s.p.life)
			if err != nil {
				return
			}
			key, ok := PublicKey(e.Peer)
			if !ok || e.Type != pubsub.PeerJoin {
				continue
			}
			s.mu.Lock()
			few := s.heard < enoughHeard && len(s.offers) > 0
			s.mu.Unlock()
			if few {
				nudge(s.poke)
			}
			select {
			case came <- key:
			default:
			}
		}
	}) {
		return
	}
	for turn := rand.IntN(registry.MaxPeers); ; {
		timer := time.NewTimer(jitter(tellEvery))
		var from sign.PublicKey
		select {
		case <-s.p.life.Done():
			timer.Stop()
			return
		case from = <-came:
		case <-timer.C:
			s.p.sift()
			peers := s.topic.t.ListPeers()
			if len(peers) == 0 {
				continue
			}
			slices.Sort(peers)
			turn++
			key, ok := PublicKey(peers[turn%len(peers)])
			if !ok {
				continue
			}
			from = key
		}
		timer.Stop()
		ctx, cancel := context.WithTimeout(s.p.life, pullTimeout)
		if _, err := s.pull(ctx, from); err != nil && s.p.life.Err() == nil {
			s.p.log.Debug("a peer's table of services was not to be had", "peer", PeerID(from), "err", err)
		}
		cancel()
	}
}

// describe answers describeProto: an empty request with this peer's own description, others with a page of the table.
func (s *Services) describe(_ context.Context, _ sign.PublicKey, req []byte) ([]byte, error) {
	if len(req) == 0 {
		s.mu.Lock()
		d := s.own
		s.mu.Unlock()
		if d == nil || d.Fresh(s.cfg.Now()) != nil {
			return nil, &RemoteError{CodeNotFound, "this peer offers nothing at present"}
		}
		return d.Raw, nil
	}
	after, err := parsePageRequest(req)
	if err != nil {
		return nil, err
	}
	page := [][]byte{}
	for _, d := range s.table.Page(after, pageDescriptions) {
		page = append(page, d.Raw)
	}
	return canon.Marshal(page)
}

func parsePageRequest(req []byte) (after sign.PublicKey, err error) {
	if len(req) != 1+len(after) || req[0] != askPage {
		return after, errors.New("want no bytes, or byte 1 and the 32 of a key")
	}
	copy(after[:], req[1:])
	return after, nil
}

// parsePage reads a page: an array of byte strings, each a description that is yet to be opened.
func parsePage(raw []byte) ([][]byte, error) {
	if len(raw) > maxPageBytes {
		return nil, fmt.Errorf("page of %d bytes, at most %d", len(raw), maxPageBytes)
	}
	var page [][]byte
	if err := canon.Unmarshal(raw, &page); err != nil {
		return nil, err
	}
	if len(page) > pageDescriptions {
		return nil, fmt.Errorf("page of %d descriptions, at most %d", len(page), pageDescriptions)
	}
	return page, nil
}

// pull takes in what another peer's table has, and returns how much of it was news.
func (s *Services) pull(ctx context.Context, from sign.PublicKey) (news int, err error) {
	var after sign.PublicKey
	for range maxPages {
		raw, err := s.p.callUpTo(ctx, from, describeProto, append([]byte{askPage}, after[:]...), 1+maxPageBytes)
		if err != nil {
			return news, err
		}
		page, err := parsePage(raw)
		if err != nil {
			s.p.penalise(PeerID(from), PenaltyMajor, "a page of services that is none")
			return news, err
		}
		for _, raw := range page {
			d, err := registry.Open(raw, s.p.cfg.Network)
			if err != nil {
				s.p.penalise(PeerID(from), PenaltyMajor, "a description that is none")
				return news, err
			}
			if slices.Compare(d.Peer[:], after[:]) <= 0 {
				s.p.penalise(PeerID(from), PenaltyMajor, "a page of services out of order")
				return news, errors.New("page out of order")
			}
			after = d.Peer
			if out, err := s.table.Add(d); err == nil && out == registry.News {
				news++
			}
		}
		if len(page) < pageDescriptions {
			break
		}
	}
	return news, nil
}

// ask fetches a peer's own description and takes it in.
func (s *Services) ask(ctx context.Context, who sign.PublicKey) (*registry.Signed, error) {
	raw, err := s.p.callUpTo(ctx, who, describeProto, nil, 1+registry.MaxBytes)
	if err != nil {
		return nil, err
	}
	d, err := registry.Open(raw, s.p.cfg.Network)
	if err == nil && d.Peer != who {
		err = fmt.Errorf("%w: it describes another peer", registry.ErrInvalid)
	}
	if err != nil {
		s.p.penalise(PeerID(who), PenaltyMajor, "describes itself with what is no description of it")
		return nil, err
	}
	if err := d.Fresh(s.cfg.Now()); err != nil {
		s.p.penalise(PeerID(who), PenaltyMinor, "describes itself with what is not in force")
		return nil, err
	}
	switch out, err := s.table.Add(d); {
	case err != nil:
		return nil, err
	case out == registry.Stale: // gossip was faster
		return s.table.Get(who), nil
	}
	return d, nil
}
