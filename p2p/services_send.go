package p2p

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/multiformats/go-multistream"

	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/registry"
)

const (
	sendTries      = 8                // providers tried at most
	defaultTryTime = 10 * time.Second // one provider's, unless SendOptions says otherwise
	failedTime     = 30 * time.Second // how long a provider that did not answer comes last
	penaltyLie     = 5                // offers what it does not speak; an honest peer that has just changed its mind does so once
)

// SendOptions shape Send. The zero value of each field means its default.
type SendOptions struct {
	// TryTime bounds the time that one provider may take: 10 s.
	TryTime time.Duration
	// Skip are peers not to be tried.
	Skip []sign.PublicKey
	// Accept looks at an answer before it is taken for one: after an error the next provider is tried, and after one that
	// is ErrNonsense this one is scored.
	Accept func(from sign.PublicKey, answer []byte) error
}

// Try is one provider that did not give the answer.
type Try struct {
	Peer sign.PublicKey
	Err  error
}

// Reply is a provider's answer to a message.
type Reply struct {
	From   sign.PublicKey
	Answer []byte
	Tried  []Try // those that were tried before
}

// ErrNonsense is for an answer that no honest provider gives, whatever it knows and does not know.
var ErrNonsense = errors.New("an answer that is none")

// ErrNoService means that no peer that the chain agrees with offers a service.
var ErrNoService = errors.New("no peer of the network offers it")

// SendError says which providers were tried, and what came of each.
type SendError struct {
	Service string // name/major
	Tried   []Try
}

// Error names every peer that was tried.
func (e *SendError) Error() string {
	if len(e.Tried) == 0 {
		return fmt.Sprintf("service %s: %v; see: bpi network services", e.Service, ErrNoService)
	}
	parts := make([]string, len(e.Tried))
	for i, t := range e.Tried {
		parts[i] = t.Err.Error()
		if id := PeerID(t.Peer).String(); !strings.Contains(parts[i], id) {
			parts[i] = id + ": " + parts[i]
		}
	}
	return fmt.Sprintf("service %s: none of %d peers answered (%s)", e.Service, len(e.Tried), strings.Join(parts, "; "))
}

// Unwrap gives ErrNoService when there was nobody to try, and otherwise the causes.
func (e *SendError) Unwrap() []error {
	if len(e.Tried) == 0 {
		return []error{ErrNoService}
	}
	errs := make([]error, len(e.Tried))
	for i, t := range e.Tried {
		errs[i] = t.Err
	}
	return errs
}

// Send hands a message to a provider of the service and returns its answer. It tries this peer itself if it provides the
// service, then others in random order, those with capacity first; on trouble or a busy one it goes on with the next. A
// refusal in words (CodeRefused, CodeTooLarge) is an answer: it comes back as a *RemoteError, and nobody else is asked.
// A provider may have acted on a message whose answer got lost, so a message may be acted on twice. When nobody answers
// the error is a *SendError.
func (s *Services) Send(ctx context.Context, name string, major uint32, msg []byte, o SendOptions) (Reply, error) {
	id := serviceID(name, major)
	if err := registry.CheckName(name); err != nil {
		return Reply{}, err
	}
	if len(msg) > MaxFrame {
		return Reply{}, fmt.Errorf("service %s: message of %d bytes, at most %d", id, len(msg), MaxFrame)
	}
	var tried []Try
	for round := range 2 {
		if round == 1 {
			if len(tried) >= sendTries || ctx.Err() != nil {
				break
			}
			// Everyone that the table has failed: somebody may have come since.
			s.search(ctx, name, major, func() bool { return len(s.untried(name, major, tried, o.Skip)) > 0 })
		}
		for _, p := range s.untried(name, major, tried, o.Skip) {
			answer, err := s.try(ctx, p, id, msg, o)
			if err == nil {
				s.counters.answered.add(1)
				return Reply{From: p.Peer, Answer: answer, Tried: tried}, nil
			}
			var remote *RemoteError
			if errors.As(err, &remote) && (remote.Code == CodeRefused || remote.Code == CodeTooLarge) {
				s.counters.declined.add(1)
				return Reply{From: p.Peer, Tried: tried}, err
			}
			s.counters.tried.add(1)
			tried = append(tried, Try{p.Peer, err})
			if len(tried) >= sendTries || ctx.Err() != nil {
				break
			}
		}
	}
	s.counters.unanswered.add(1)
	return Reply{Tried: tried}, &SendError{Service: id, Tried: tried}
}

// untried is whom to try, in order: this peer, those with capacity that did not fail lately, the others.
func (s *Services) untried(name string, major uint32, tried []Try, skip []sign.PublicKey) []Provider {
	list := slices.DeleteFunc(s.known(name, major), func(p Provider) bool {
		return slices.Contains(skip, p.Peer) || slices.ContainsFunc(tried, func(t Try) bool { return t.Peer == p.Peer })
	})
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	worth := func(p Provider) int {
		switch {
		case now.Before(s.failed[p.Peer]):
			return 3
		case p.Offer.Capacity == 0:
			return 2
		case p.Peer == s.p.self:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b Provider) int { return cmp.Compare(worth(a), worth(b)) })
	return list
}

// try sends to one provider.
func (s *Services) try(ctx context.Context, p Provider, id string, msg []byte, o SendOptions) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.TryTime, defaultTryTime))
	defer cancel()
	var answer []byte
	var err error
	if p.Peer == s.p.self {
		answer, err = s.local(ctx, id, msg)
	} else {
		answer, err = s.p.Call(ctx, p.Peer, "svc/"+id, msg)
		var unknown multistream.ErrNotSupported[protocol.ID]
		if errors.As(err, &unknown) {
			s.p.penalise(PeerID(p.Peer), penaltyLie, "offers "+id+" and does not speak it")
		}
	}
	if err == nil && o.Accept != nil {
		if err = o.Accept(p.Peer, answer); errors.Is(err, ErrNonsense) {
			s.p.penalise(PeerID(p.Peer), penaltyLie, "an answer of "+id+" that is none")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if len(s.failed) >= registry.MaxPeers {
			clear(s.failed)
		}
		s.failed[p.Peer] = time.Now().Add(failedTime)
	} else {
		delete(s.failed, p.Peer)
	}
	return answer, err
}

// local answers a message of this peer's own, as if it had come from another.
func (s *Services) local(ctx context.Context, id string, msg []byte) ([]byte, error) {
	s.mu.Lock()
	h, ok := s.handlers[id]
	s.mu.Unlock()
	if !ok {
		return nil, &RemoteError{CodeNotFound, "nothing here serves " + id}
	}
	if len(msg) > h.limits.RequestBytes {
		return nil, &RemoteError{CodeTooLarge, fmt.Sprintf("message of %d bytes, at most %d", len(msg), h.limits.RequestBytes)}
	}
	answer, err := h.handle(ctx, s.p.self, slices.Clone(msg))
	var remote *RemoteError
	if err != nil && !errors.As(err, &remote) {
		err = &RemoteError{CodeRefused, err.Error()}
	}
	return answer, err
}
