package p2p

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxFrame is the most bytes one frame may ever carry; protocols set lower bounds of their own.
const MaxFrame = 8 << 20

// frameStep is how much memory a frame's claimed length may take before its bytes arrive, and frameGrowth how many times
// what has arrived it may take then.
const (
	frameStep   = 64 << 10
	frameGrowth = 4
)

// errFrameTooLarge means that the other side broke the protocol: its stream is reset and it is scored.
var errFrameTooLarge = errors.New("frame too large")

// writeFrame writes a 4-byte big-endian length and the bytes.
func writeFrame(w io.Writer, b []byte) error {
	if len(b) > MaxFrame {
		return fmt.Errorf("%w: %d bytes, at most %d", errFrameTooLarge, len(b), MaxFrame)
	}
	var head [4]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(b)))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

// readFrame reads one frame of at most limitBytes. The claimed length is believed only as far as bytes arrive, so that
// a stranger who claims much and sends little costs little. io.EOF means that the stream ended between two frames.
func readFrame(r io.Reader, limitBytes int) ([]byte, error) {
	return readFrameWithin(r, limitBytes, anyMemory)
}

// anyMemory is for frames of few bytes, and of those whom this host asked.
func anyMemory(int) error { return nil }

// readFrameWithin is readFrame that asks before it takes memory: room is told how many bytes the frame takes in all.
func readFrameWithin(r io.Reader, limitBytes int, room func(bytes int) error) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > limitBytes || n < 0 {
		return nil, fmt.Errorf("%w: %d bytes claimed, at most %d", errFrameTooLarge, n, limitBytes)
	}
	return readBody(r, n, room)
}

// readBody reads n bytes whose number a stranger claims.
func readBody(r io.Reader, n int, room func(bytes int) error) ([]byte, error) {
	size := min(n, frameStep)
	if err := room(size); err != nil {
		return nil, err
	}
	b := make([]byte, size)
	for have := 0; ; {
		m, err := io.ReadFull(r, b[have:])
		if have += m; err != nil {
			return nil, noEOF(err)
		}
		if have == n {
			return b, nil
		}
		size = min(n, frameGrowth*have)
		if err := room(size); err != nil {
			return nil, err
		}
		grown := make([]byte, size)
		copy(grown, b)
		b = grown
	}
}

// noEOF keeps io.EOF for the end between frames.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
