package p2p

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// foreign is the host as the libraries see it whose protocols are not of this package: gossip, the DHT and Bitswap. They
// read messages of a varint length and that many bytes, take the memory as soon as the length is there, and wait for the
// rest for ever. Here a library is given a message when it is whole, and its peer is held to what intake.go says.
type foreign struct {
	host.Host
	p     *Host
	what  string
	limit int // of a message

	mu      sync.Mutex
	streams map[peer.ID]int // mu: open ones, so that it is bounded by connections
}

// foreignStreams is how many streams one peer may have open to one library, whatever the names of its protocol. They may
// be silent for ever: gossip and Bitswap have nothing to say while there is no work.
const foreignStreams = 32

// as is the host for a library whose messages have at most limitBytes.
func (p *Host) as(what string, limitBytes int) *foreign {
	return &foreign{Host: p.h, p: p, what: what, limit: limitBytes, streams: map[peer.ID]int{}}
}

// SetStreamHandler implements host.Host.
func (f *foreign) SetStreamHandler(id protocol.ID, handle network.StreamHandler) {
	f.Host.SetStreamHandler(id, f.wrap(handle))
}

// SetStreamHandlerMatch implements host.Host.
func (f *foreign) SetStreamHandlerMatch(id protocol.ID, match func(protocol.ID) bool, handle network.StreamHandler) {
	f.Host.SetStreamHandlerMatch(id, match, f.wrap(handle))
}

func (f *foreign) wrap(handle network.StreamHandler) network.StreamHandler {
	return func(s network.Stream) {
		from := s.Conn().RemotePeer()
		if !f.enter(from) {
			f.p.stats.busy.add(1)
			_ = s.Reset()
			return
		}
		defer f.leave(from) // a library's handler returns when it reads no more
		w := &wholeMessages{Stream: s, f: f, from: from, r: bufio.NewReaderSize(s, 4<<10), held: held{scope: s.Scope()}}
		defer w.held.drop()
		handle(w)
	}
}

func (f *foreign) enter(id peer.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams[id] >= foreignStreams {
		return false
	}
	f.streams[id]++
	return true
}

func (f *foreign) leave(id peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams[id]--; f.streams[id] == 0 {
		delete(f.streams, id)
	}
}

// wholeMessages is a stream that is read message by message. One goroutine reads, that of the library's handler.
type wholeMessages struct {
	network.Stream
	f    *foreign
	from peer.ID
	r    *bufio.Reader
	held held
	head []byte // what is left of the length of the message that came last
	body []byte // and of the message
}

// Read implements io.Reader. io.EOF comes between two messages only.
func (w *wholeMessages) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if len(w.head)+len(w.body) == 0 {
		if err := w.next(); err != nil {
			return 0, err
		}
	}
	if len(w.head) > 0 {
		n := copy(b, w.head)
		w.head = w.head[n:]
		return n, nil
	}
	n := copy(b, w.body)
	if w.body = w.body[n:]; len(w.body) == 0 {
		w.body = nil
		w.held.drop()
	}
	return n, nil
}

// next waits for a message, without end for its beginning.
func (w *wholeMessages) next() error {
	_ = w.Stream.SetReadDeadline(after(0))
	if _, err := w.r.Peek(1); err != nil {
		return err
	}
	_ = w.Stream.SetReadDeadline(after(frameTime))
	m, err := readMessage(w.r, w.f.limit, w.held.room)
	if err != nil {
		if errors.Is(err, errFrameTooLarge) {
			w.f.p.penalise(w.from, PenaltyMajor, "message too large on "+w.f.what)
		}
		w.f.p.slow(w.from, err, "a message that does not end on "+w.f.what)
		w.held.drop()
		_ = w.Stream.Reset()
		return err
	}
	w.head, w.body = binary.AppendUvarint(nil, uint64(len(m))), m
	return nil
}

// readMessage reads a varint and that many bytes.
func readMessage(r *bufio.Reader, limitBytes int, room func(bytes int) error) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, noEOF(err)
	}
	if n > uint64(limitBytes) {
		return nil, fmt.Errorf("%w: %d bytes claimed, at most %d", errFrameTooLarge, n, limitBytes)
	}
	return readBody(r, int(n), room)
}
