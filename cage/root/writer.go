package root

import (
	"errors"
	"fmt"
	"io"
)

// Writer writes an archive. Not for concurrent use.
type Writer struct {
	w     io.Writer
	order order
	left  uint64 // of the file under way
	pad   int
	err   error
}

// NewWriter begins an archive on w, which stays the caller's.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Add begins the next entry, in the order that the package states. The bytes of a File follow through Write.
func (w *Writer) Add(e Entry) error {
	if w.err == nil {
		w.err = w.add(&e)
	}
	return w.err
}

func (w *Writer) add(e *Entry) error {
	if err := w.finish(); err != nil {
		return err
	}
	if err := w.order.add(e); err != nil {
		return fmt.Errorf("root archive: %w", err)
	}
	w.left, w.pad = e.Size, int((block-e.Size%block)%block)
	_, err := w.w.Write(headers(e))
	return err
}

// Write writes bytes of the file that Add has begun. It refuses more than its size.
func (w *Writer) Write(b []byte) (int, error) {
	if w.err == nil && uint64(len(b)) > w.left {
		w.err = fmt.Errorf("root archive: %.80q has grown while it was read; pack again", w.order.last)
	}
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.w.Write(b)
	w.left -= uint64(n)
	w.err = err
	return n, err
}

// finish ends the entry under way.
func (w *Writer) finish() error {
	if w.left > 0 {
		return fmt.Errorf("root archive: %.80q has shrunk while it was read; pack again", w.order.last)
	}
	_, err := w.w.Write(make([]byte, w.pad))
	w.pad = 0
	return err
}

// Close ends the archive.
func (w *Writer) Close() error {
	if w.err == nil {
		if w.err = w.finish(); w.err == nil {
			_, w.err = w.w.Write(make([]byte, 2*block))
		}
	}
	if w.err != nil {
		return w.err
	}
	w.err = errors.New("root archive: it is closed")
	return nil
}
