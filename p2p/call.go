package p2p

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/metanode/metanode/internal/sign"
)

// Code says why a remote peer gave no answer.
type Code byte

const (
	// CodeRefused: the handler returned an error.
	CodeRefused Code = 1
	// CodeBusy: too many requests of this peer at once or a second; try again later, or another peer.
	CodeBusy Code = 2
	// CodeTooLarge: the answer does not fit the protocol's bound.
	CodeTooLarge Code = 3
	// CodeNotFound: the peer does not have what was asked for.
	CodeNotFound Code = 4
)

// RemoteError is a refusal that the remote peer sent in words. A handler returns one to choose the code.
type RemoteError struct {
	Code    Code
	Message string
}

func (e *RemoteError) Error() string { return "the peer answers: " + e.Message }

const (
	statusOK         = 0
	maxRemoteMessage = 1024
	callTimeout      = 30 * time.Second // when the caller's context has no deadline
	poolIdle         = 4                // idle streams kept a peer and protocol
	poolAge          = time.Minute      // shorter than the server's patience, requestIdle
)

type poolKey struct {
	id    peer.ID
	proto protocol.ID
}

// pool holds idle streams, the last used at the end.
type pool struct{ idle []idleStream }

type idleStream struct {
	s     network.Stream
	since time.Time
}

// Call sends a request and waits for the answer, on a stream that is kept for the next call. Answers are bounded by
// MaxFrame. A remote refusal is a *RemoteError. When a kept stream turns out to be dead the request is sent once more on
// a new one, so a handler may see a request twice. Without a deadline in ctx it gives up after 30 s.
func (p *Host) Call(ctx context.Context, to sign.PublicKey, proto string, req []byte) ([]byte, error) {
	return p.callUpTo(ctx, to, proto, req, MaxFrame)
}

// callUpTo is Call for an answer of at most limitBytes: a peer that claims more is scored before it can send it.
func (p *Host) callUpTo(ctx context.Context, to sign.PublicKey, proto string, req []byte, limitBytes int) ([]byte, error) {
	if len(req) > MaxFrame {
		return nil, fmt.Errorf("p2p: call %s: request of %d bytes, at most %d", proto, len(req), MaxFrame)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	key := poolKey{PeerID(to), p.proto("rpc/" + proto)}
	for {
		s, kept := p.takeStream(key)
		if !kept {
			var err error
			if s, err = p.openStream(ctx, key.id, key.proto); err != nil {
				return nil, fmt.Errorf("call %s: %w", proto, err)
			}
		}
		resp, err := p.exchange(ctx, s, req, limitBytes)
		if err == nil {
			p.keepStream(key, s)
			return answer(key.id, resp)
		}
		_ = s.Reset()
		if errors.Is(err, errFrameTooLarge) {
			p.penalise(key.id, PenaltyMajor, "answer too large on "+proto)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("call %s on peer %s: %w", proto, key.id, ctx.Err())
		}
		if !kept {
			return nil, fmt.Errorf("call %s on peer %s: %w", proto, key.id, err)
		}
	}
}

// exchange is one request and its answer.
func (p *Host) exchange(ctx context.Context, s network.Stream, req []byte, limitBytes int) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	buf := make([]byte, 0, 4+len(req))
	if err := writeFrame(appender{&buf}, req); err != nil {
		return nil, err
	}
	if _, err := s.Write(buf); err != nil {
		return nil, err
	}
	resp, err := readFrame(s, limitBytes)
	if err != nil {
		return nil, err
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return resp, nil
}

// appender is a bytes.Buffer without its growth.
type appender struct{ b *[]byte }

func (a appender) Write(b []byte) (int, error) {
	*a.b = append(*a.b, b...)
	return len(b), nil
}

// answer takes a response frame apart: a status byte, then the answer or the reason.
func answer(id peer.ID, resp []byte) ([]byte, error) {
	if len(resp) == 0 {
		return nil, fmt.Errorf("peer %s: empty answer: %w", id, io.ErrUnexpectedEOF)
	}
	if resp[0] == statusOK {
		return resp[1:], nil
	}
	return nil, fmt.Errorf("peer %s: %w", id, &RemoteError{Code: Code(resp[0]), Message: clip(string(resp[1:]), maxRemoteMessage)})
}

func (p *Host) takeStream(key poolKey) (network.Stream, bool) {
	var stale []network.Stream
	defer func() {
		for _, s := range stale {
			_ = s.Reset()
		}
	}()
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.pools[key]
	for q != nil && len(q.idle) > 0 {
		last := q.idle[len(q.idle)-1]
		q.idle = q.idle[:len(q.idle)-1]
		if time.Since(last.since) < poolAge && !last.s.Conn().IsClosed() {
			return last.s, true
		}
		stale = append(stale, last.s)
	}
	delete(p.pools, key)
	return nil, false
}

func (p *Host) keepStream(key poolKey, s network.Stream) {
	p.mu.Lock()
	q := p.pools[key]
	if q == nil {
		q = &pool{}
		p.pools[key] = q
	}
	full := len(q.idle) >= poolIdle
	if !full {
		q.idle = append(q.idle, idleStream{s, time.Now()})
	}
	p.mu.Unlock()
	if full {
		_ = s.Close()
	}
}

// dropPools forgets the idle streams of a peer that is gone.
func (p *Host) dropPools(id peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.pools {
		if k.id == id {
			delete(p.pools, k)
		}
	}
}
