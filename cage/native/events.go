package native

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// eventReader takes a stream of struct tj_event apart. It keeps no more than one event and what came with it.
type eventReader struct {
	fd       int             // does not block
	stop     <-chan struct{} // closed when nobody is left who may write
	buf      []byte
	from, to int // what of buf is read and not yet handed on
}

// next gives an event and its payload, which is valid until the next call. io.EOF: the stream has ended.
func (r *eventReader) next() (tracerEvent, []byte, error) {
	var e tracerEvent
	if err := r.want(tracerEventBytes); err != nil {
		return e, nil, err
	}
	le := binary.LittleEndian
	b := r.buf[r.from:]
	e = tracerEvent{PayloadLen: le.Uint32(b), Kind: le.Uint32(b[4:]), Tid: le.Uint32(b[8:])}
	if e.PayloadLen > tracerEventMax {
		return e, nil, fmt.Errorf("the tracer sent an event of %d bytes; want at most %d", e.PayloadLen, tracerEventMax)
	}
	r.from += tracerEventBytes
	if err := r.want(int(e.PayloadLen)); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return e, nil, err
	}
	payload := r.buf[r.from : r.from+int(e.PayloadLen)]
	r.from += len(payload)
	return e, payload, nil
}

// want reads until n bytes are at hand.
func (r *eventReader) want(n int) error {
	if r.from == r.to {
		r.from, r.to = 0, 0
	}
	if n > len(r.buf)-r.from {
		b := r.buf
		if n > len(b) {
			b = make([]byte, n)
		}
		r.from, r.to = 0, copy(b, r.buf[r.from:r.to])
		r.buf = b
	}
	for r.to-r.from < n {
		got, err := r.read(r.buf[r.to:])
		if err == io.EOF && r.to > r.from {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		r.to += got
	}
	return nil
}

// read waits in the kernel, on this goroutine's own thread: by way of Go's poller every wait would wake two threads.
func (r *eventReader) read(b []byte) (int, error) {
	for {
		n, err := unix.Read(r.fd, b)
		switch {
		case err == unix.EAGAIN:
			p := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
			if n, _ := unix.Poll(p, 1000); n == 0 {
				select {
				case <-r.stop:
					return 0, errors.New("the pipe of events stays open though the tracer has ended")
				default:
				}
			}
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("read the tracer's events: %w", err)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// drain reads on to the end of the stream and keeps nothing.
func (r *eventReader) drain() {
	for {
		if _, err := r.read(r.buf); err != nil {
			return
		}
	}
}

func (r *eventReader) close() { unix.Close(r.fd) }
