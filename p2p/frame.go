package p2p

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxFrame is the most bytes one frame may ever carry; protocols set lower bounds of their own.
const MaxFrame = 8 << 20

// frameStep is how much memory a frame's claimed length may take before its bytes arrive.
const frameStep = 64 << 10

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
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n > limitBytes || n < 0 {
		return nil, fmt.Errorf("%w: %d bytes claimed, at most %d", errFrameTooLarge, n, limitBytes)
	}
	if n <= frameStep {
		b := make([]byte, n)
		return b, noEOF(readFull(r, b))
	}
	b := make([]byte, 0, frameStep)
	for len(b) < n {
		if len(b) == cap(b) {
			grown := make([]byte, len(b), min(n, 2*cap(b)))
			copy(grown, b)
			b = grown
		}
		m, err := io.ReadFull(r, b[len(b):min(cap(b), n)])
		b = b[:len(b)+m]
		if err != nil {
			return nil, noEOF(err)
		}
	}
	return b, nil
}

func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	return err
}

// noEOF keeps io.EOF for the end between frames.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
