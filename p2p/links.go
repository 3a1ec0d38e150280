package p2p

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/metanode/metanode/internal/sign"
)

const (
	linkQueueFrames  = 1024
	linkQueueBytes   = 2 * MaxFrame
	linkWriteTimeout = 10 * time.Second
	linkFirstWait    = 50 * time.Millisecond
	linkLongestWait  = 2 * time.Second
	maxLinks         = 512
	linkOpen         = 1 // the byte by which the reader of a link says that it reads
)

// LinkConfig bounds a set of links.
type LinkConfig struct {
	// Allow says which peers may hold a link with this one, either way. Nil allows every member of the network.
	Allow func(sign.PublicKey) bool
	// MaxBytes bounds a message; 0 means MaxFrame.
	MaxBytes int
}

// Links are long-lived outbound streams, one a peer, for messages that should arrive within microseconds. Messages of
// one link arrive in order while it is up. A link that breaks loses what it held and is opened again.
type Links struct {
	p      *Host
	id     protocol.ID
	cfg    LinkConfig
	handle func(from sign.PublicKey, msg []byte)

	mu  sync.Mutex
	out map[sign.PublicKey]*link
	in  map[peer.ID]network.Stream // the one inbound stream a peer may have: a new one replaces the old
}

// Links serves the protocol and returns the set, which is empty until Keep or Send names peers. handle is called by one
// goroutine a peer, in order; while it runs that peer's next messages wait. It owns msg.
func (p *Host) Links(proto string, cfg LinkConfig, handle func(from sign.PublicKey, msg []byte)) *Links {
	if cfg.MaxBytes <= 0 || cfg.MaxBytes > MaxFrame {
		cfg.MaxBytes = MaxFrame
	}
	l := &Links{p: p, id: p.proto("link/" + proto), cfg: cfg, handle: handle, out: map[sign.PublicKey]*link{}, in: map[peer.ID]network.Stream{}}
	p.mu.Lock()
	p.links = append(p.links, l)
	p.mu.Unlock()
	p.h.SetStreamHandler(l.id, l.serve)
	return l
}

// Send queues msg for the peer and reports whether the link is up; when it is not, msg is dropped, the link is opened
// for the next time, and the caller uses gossip. When the queue is full the oldest message is dropped. The caller does
// not change msg afterwards.
func (l *Links) Send(to sign.PublicKey, msg []byte) bool {
	if len(msg) > l.cfg.MaxBytes {
		return false
	}
	k := l.get(to)
	return k != nil && k.put(msg)
}

// Keep makes the set of links exactly these peers (this host's own key is skipped), opens what is missing and closes
// the others.
func (l *Links) Keep(peers []sign.PublicKey) {
	want := map[sign.PublicKey]bool{}
	for _, k := range peers {
		want[k] = true
		l.get(k)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for to, k := range l.out {
		if !want[to] {
			k.end()
			delete(l.out, to)
		}
	}
}

// Up is the peers whose link is open now, in order of their keys.
func (l *Links) Up() []sign.PublicKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []sign.PublicKey
	for _, k := range l.out {
		if k.isUp() {
			out = append(out, k.to)
		}
	}
	slices.SortFunc(out, func(a, b sign.PublicKey) int { return slices.Compare(a[:], b[:]) })
	return out
}

func (l *Links) allowed(k sign.PublicKey) bool { return l.cfg.Allow == nil || l.cfg.Allow(k) }

// get is the peer's link, started if it may have one.
func (l *Links) get(to sign.PublicKey) *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.out[to]; k != nil {
		return k
	}
	if to == l.p.self || len(l.out) >= maxLinks || !l.allowed(to) {
		return nil
	}
	k := &link{l: l, id: PeerID(to), to: to, more: make(chan struct{}, 1), retry: make(chan struct{}, 1)}
	ctx, end := context.WithCancel(l.p.life)
	k.end = end
	if !l.p.group.spawn(func() { defer end(); k.run(ctx) }) {
		end()
		return nil
	}
	l.out[to] = k
	return k
}

// poke tells a link that its peer has just connected.
func (l *Links) poke(id peer.ID) {
	to, _ := PublicKey(id)
	l.mu.Lock()
	k := l.out[to]
	l.mu.Unlock()
	if k != nil {
		select {
		case k.retry <- struct{}{}:
		default:
		}
	}
}

// serve reads one inbound link until it ends.
func (l *Links) serve(s network.Stream) {
	id := s.Conn().RemotePeer()
	from, ok := PublicKey(id)
	if !ok || !l.allowed(from) {
		l.p.stats.linkRefused.add(1)
		_ = s.Reset()
		return
	}
	if !l.p.group.enter() {
		_ = s.Reset()
		return
	}
	defer l.p.group.leave()
	l.mu.Lock()
	old := l.in[id]
	l.in[id] = s
	l.mu.Unlock()
	if old != nil {
		_ = old.Reset()
	}
	defer func() {
		l.mu.Lock()
		if l.in[id] == s {
			delete(l.in, id)
		}
		l.mu.Unlock()
		_ = s.Reset()
	}()
	_ = s.SetWriteDeadline(time.Now().Add(linkWriteTimeout))
	if _, err := s.Write([]byte{linkOpen}); err != nil {
		return
	}
	r := bufio.NewReaderSize(s, 16<<10)
	mem := held{scope: s.Scope()}
	defer mem.drop()
	for {
		b, err := l.p.nextFrame(s, r, l.cfg.MaxBytes, 0, &mem)
		if err != nil {
			if errors.Is(err, errFrameTooLarge) {
				l.p.penalise(id, PenaltyMajor, "link frame too large")
			}
			return
		}
		if !l.allowed(from) { // it may have left the validators since
			l.p.stats.linkRefused.add(1)
			return
		}
		l.handle(from, b)
		mem.drop()
	}
}

// link is one outbound stream and the queue in front of it.
type link struct {
	l     *Links
	id    peer.ID
	to    sign.PublicKey
	end   context.CancelFunc
	more  chan struct{} // the queue is not empty
	retry chan struct{} // the peer has connected: try now

	mu    sync.Mutex
	up    bool
	queue [][]byte // at most linkQueueFrames and linkQueueBytes
	bytes int
}

func (k *link) isUp() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.up
}

func (k *link) put(msg []byte) bool {
	k.mu.Lock()
	if !k.up {
		k.mu.Unlock()
		return false
	}
	for len(k.queue) > 0 && (len(k.queue) >= linkQueueFrames || k.bytes+len(msg) > linkQueueBytes) {
		k.bytes -= len(k.queue[0])
		k.queue[0] = nil
		k.queue = k.queue[1:]
		k.l.p.stats.linkDropped.add(1)
	}
	k.queue = append(k.queue, msg)
	k.bytes += len(msg)
	k.mu.Unlock()
	select {
	case k.more <- struct{}{}:
	default:
	}
	return true
}

// take empties the queue; spare becomes the next one.
func (k *link) take(spare [][]byte) [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	q := k.queue
	k.queue, k.bytes = spare[:0], 0
	return q
}

func (k *link) setUp(up bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.up = up
	k.queue, k.bytes = nil, 0
}

// run opens the stream again and again, with jittered waits.
func (k *link) run(ctx context.Context) {
	wait := linkFirstWait
	for ctx.Err() == nil {
		if s := k.open(ctx); s != nil {
			began := time.Now()
			k.setUp(true)
			k.write(ctx, s)
			k.setUp(false)
			if time.Since(began) > linkLongestWait {
				wait = linkFirstWait
			}
		}
		t := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-ctx.Done():
		case <-k.retry:
			wait = linkFirstWait
		case <-t.C:
			wait = min(2*wait, linkLongestWait)
		}
		t.Stop()
	}
}

// open returns a stream that the other side has agreed to read.
func (k *link) open(ctx context.Context) network.Stream {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := k.l.p.openStream(ctx, k.id, k.l.id)
	if err != nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	var hello [1]byte
	if _, err := io.ReadFull(s, hello[:]); err != nil || hello[0] != linkOpen || !stop() {
		_ = s.Reset()
		return nil
	}
	return s
}

// write sends the queue until the stream breaks. It flushes whenever the queue is empty, so that messages that come
// together share a packet and one that comes alone leaves at once.
func (k *link) write(ctx context.Context, s network.Stream) {
	defer s.Reset()
	broken := make(chan struct{})
	if !k.l.p.group.spawn(func() { // the reader never writes: whatever a read returns, the link is over
		defer close(broken)
		var one [1]byte
		_, _ = io.ReadFull(s, one[:])
	}) {
		return
	}
	defer func() { _ = s.Reset(); <-broken }()
	w := bufio.NewWriterSize(s, 16<<10)
	var batch [][]byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-broken:
			return
		case <-k.more:
		}
		_ = s.SetWriteDeadline(time.Now().Add(linkWriteTimeout))
		for {
			batch = k.take(batch)
			if len(batch) == 0 {
				break
			}
			for i, m := range batch {
				if err := writeFrame(w, m); err != nil {
					return
				}
				batch[i] = nil
			}
		}
		if err := w.Flush(); err != nil {
			return
		}
	}
}
