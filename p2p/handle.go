package p2p

import (
	"bufio"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/metanode/metanode/internal/sign"
)

// Limits bound what one peer, and all together, may ask of a handler. A zero field takes the default beside it.
type Limits struct {
	RequestBytes  int           // 64 KiB, at most MaxFrame
	ResponseBytes int           // MaxFrame - 1
	PerPeer       int           // requests of one peer at once: 8
	Total         int           // requests of all peers at once: 64
	PerSecond     float64       // requests of one peer a second, with a burst of twice that: 200
	Timeout       time.Duration // the handler's context ends after: 20 s
}

func (l Limits) withDefaults() Limits {
	if l.RequestBytes <= 0 {
		l.RequestBytes = 64 << 10
	}
	if l.ResponseBytes <= 0 {
		l.ResponseBytes = MaxFrame - 1
	}
	if l.PerPeer <= 0 {
		l.PerPeer = 8
	}
	if l.Total <= 0 {
		l.Total = 64
	}
	if l.PerSecond <= 0 {
		l.PerSecond = 200
	}
	if l.Timeout <= 0 {
		l.Timeout = 20 * time.Second
	}
	l.RequestBytes = min(l.RequestBytes, MaxFrame)
	l.ResponseBytes = min(l.ResponseBytes, MaxFrame-1)
	return l
}

// HandlerFunc answers one request. It owns req; the answer must not change after it returns. An error goes to the
// caller as a RemoteError (in words: say nothing that a stranger must not read). It may be called for several requests
// at once, and twice for the same one.
type HandlerFunc func(ctx context.Context, from sign.PublicKey, req []byte) ([]byte, error)

// Handle serves a request/response protocol until the Host closes.
func (p *Host) Handle(proto string, limits Limits, handle HandlerFunc) {
	limits = limits.withDefaults()
	srv := &server{p: p, proto: proto, limits: limits, handle: handle, total: make(chan struct{}, limits.Total), quotas: map[peer.ID]*quota{}}
	p.h.SetStreamHandler(p.proto("rpc/"+proto), srv.serve)
}

// server is one protocol's handler and what its peers have used up.
type server struct {
	p      *Host
	proto  string
	limits Limits
	handle HandlerFunc
	total  chan struct{}

	mu     sync.Mutex
	quotas map[peer.ID]*quota // of peers with an open stream, so bounded by connections
}

// quota is one peer's share.
type quota struct {
	streams int // open streams; the quota is forgotten with the last
	running int
	rate    *rate.Limiter
}

// maxIdleStreams is how many streams beyond its running requests a peer may hold open.
const maxIdleStreams = 2 * poolIdle

func (v *server) join(id peer.ID) *quota {
	v.mu.Lock()
	defer v.mu.Unlock()
	q := v.quotas[id]
	if q == nil {
		q = &quota{rate: rate.NewLimiter(rate.Limit(v.limits.PerSecond), max(1, int(2*v.limits.PerSecond)))}
		v.quotas[id] = q
	}
	if q.streams >= v.limits.PerPeer+maxIdleStreams {
		return nil
	}
	q.streams++
	return q
}

func (v *server) leave(id peer.ID, q *quota) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if q.streams--; q.streams == 0 && q.rate.Tokens() >= float64(q.rate.Burst()) {
		delete(v.quotas, id)
	}
	// One that is still in debt stays, so that a new stream does not wipe the slate; it goes with the next quiet one.
	if len(v.quotas) > 4096 {
		for k, o := range v.quotas {
			if o.streams == 0 && o.rate.Tokens() >= float64(o.rate.Burst()) {
				delete(v.quotas, k)
			}
		}
	}
}

// begin takes one request's place, or says that there is none.
func (v *server) begin(q *quota) bool {
	if !q.rate.Allow() {
		return false
	}
	v.mu.Lock()
	if q.running >= v.limits.PerPeer {
		v.mu.Unlock()
		return false
	}
	q.running++
	v.mu.Unlock()
	select {
	case v.total <- struct{}{}:
		return true
	default:
		v.mu.Lock()
		q.running--
		v.mu.Unlock()
		return false
	}
}

func (v *server) finish(q *quota) {
	<-v.total
	v.mu.Lock()
	q.running--
	v.mu.Unlock()
}

// serve answers the requests of one stream, one after another.
func (v *server) serve(s network.Stream) {
	id := s.Conn().RemotePeer()
	from, ok := PublicKey(id)
	if !ok || !v.p.group.enter() {
		_ = s.Reset()
		return
	}
	defer v.p.group.leave()
	q := v.join(id)
	if q == nil {
		v.p.stats.busy.add(1)
		_ = s.Reset()
		return
	}
	defer v.leave(id, q)
	defer s.Reset()
	r := bufio.NewReaderSize(s, 4<<10)
	mem := held{scope: s.Scope()}
	defer mem.drop()
	for {
		req, err := v.p.nextFrame(s, r, v.limits.RequestBytes, requestIdle, &mem)
		if err != nil {
			if errors.Is(err, errFrameTooLarge) {
				v.p.penalise(id, PenaltyMajor, "request too large on "+v.proto)
			} else if errors.Is(err, io.EOF) {
				_ = s.Close()
			}
			return
		}
		resp := v.answer(q, from, req)
		mem.drop() // the request is answered
		if err := mem.room(len(resp)); err != nil {
			v.p.stats.busy.add(1)
			resp = refusal(&RemoteError{CodeBusy, "too many large answers at once; read those under way first"})
		}
		_ = s.SetWriteDeadline(time.Now().Add(v.limits.Timeout))
		if err := writeFrame(s, resp); err != nil {
			v.p.slow(id, err, "an answer that is not read on "+v.proto)
			return
		}
		mem.drop()
	}
}

// answer makes the response frame.
func (v *server) answer(q *quota, from sign.PublicKey, req []byte) []byte {
	if !v.begin(q) {
		v.p.stats.busy.add(1)
		return refusal(&RemoteError{CodeBusy, "too many requests; try again later"})
	}
	defer v.finish(q)
	ctx, cancel := context.WithTimeout(v.p.life, v.limits.Timeout)
	defer cancel()
	body, err := v.handle(ctx, from, req)
	if err != nil {
		var remote *RemoteError
		if !errors.As(err, &remote) || remote.Code == statusOK {
			remote = &RemoteError{CodeRefused, err.Error()}
		}
		return refusal(remote)
	}
	if len(body) > v.limits.ResponseBytes {
		return refusal(&RemoteError{CodeTooLarge, "the answer is too large for this protocol; ask for less"})
	}
	resp := make([]byte, 0, 1+len(body))
	return append(append(resp, statusOK), body...)
}

func refusal(e *RemoteError) []byte {
	m := clip(e.Message, maxRemoteMessage)
	return append([]byte{byte(e.Code)}, m[:min(len(m), maxRemoteMessage)]...)
}
