package p2p

import (
	"bufio"
	"encoding/binary"
	"errors"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// What a stranger's stream costs. A frame that has begun is waited for so long, and what has come of it is accounted to its
// peer, its protocol and the whole host with the resource manager, which refuses what would be too much of any and tells
// so (see limits.go). An answer that waits to be read likewise. A peer that keeps a stream waiting loses it and is scored:
// a little, since a link that broke looks the same, and much when it goes on.

const (
	requestIdle = 2 * time.Minute  // a stream without a request under way
	frameTime   = 20 * time.Second // from a frame's first byte to its last
)

// frameReserve is the part of a limit on memory that frames may fill, as the resource manager counts it: 80 %. The rest is
// for the windows of new streams, so that full frames never keep a peer from asking a short question.
const frameReserve = network.ReservationPriorityHigh

// held is the memory that one stream's frame or answer takes, beyond the first frameStep, which comes with the stream. It
// belongs to the goroutine that serves the stream.
type held struct {
	scope network.StreamScope
	bytes int
}

// room accounts for bytes in all; its error says that they would be too many.
func (h *held) room(bytes int) error {
	if bytes <= frameStep || bytes <= h.bytes {
		return nil
	}
	if err := h.scope.ReserveMemory(bytes-h.bytes, frameReserve); err != nil {
		return err
	}
	h.bytes = bytes
	return nil
}

// drop gives all of it back.
func (h *held) drop() {
	if h.bytes > 0 {
		h.scope.ReleaseMemory(h.bytes)
		h.bytes = 0
	}
}

// nextFrame waits for the next request or message on a stream: idle for its first byte (0 waits for ever), and as long as
// a frame may take for the rest. What it takes is held until the caller drops it.
func (p *Host) nextFrame(s network.Stream, r *bufio.Reader, limitBytes int, idle time.Duration, h *held) ([]byte, error) {
	if whole(r) { // between validators most come together, and a deadline has its price
		return readFrame(r, limitBytes)
	}
	if err := s.SetReadDeadline(after(idle)); err != nil {
		return nil, err
	}
	if _, err := r.Peek(1); err != nil {
		return nil, err
	}
	if err := s.SetReadDeadline(after(frameTime)); err != nil {
		return nil, err
	}
	b, err := readFrameWithin(r, limitBytes, h.room)
	if err != nil {
		h.drop()
		p.slow(s.Conn().RemotePeer(), err, "a frame that does not end")
	}
	return b, err
}

// whole reports whether the next frame is in the buffer.
func whole(r *bufio.Reader) bool {
	if r.Buffered() < 4 {
		return false
	}
	head, err := r.Peek(4)
	return err == nil && uint64(binary.BigEndian.Uint32(head)) <= uint64(r.Buffered()-4)
}

// after is a deadline; none for 0.
func after(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// slow counts and scores a peer that kept a stream waiting, if that is what err says.
func (p *Host) slow(id peer.ID, err error, what string) {
	if errors.Is(err, os.ErrDeadlineExceeded) || isTimeout(err) {
		p.stats.slow.add(1)
		p.penalise(id, PenaltyMinor, what)
	}
}
