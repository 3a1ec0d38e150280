package root

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Reader reads an archive and refuses all that Writer would not have written. Not for concurrent use.
type Reader struct {
	r     io.Reader
	order order
	left  uint64 // of the file under way
	pad   int
	err   error
}

// NewReader reads the archive that r holds from where it stands to its end.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next gives the next entry; a File's bytes are then read with Read. io.EOF: the archive has ended, and was right to its
// last byte. Any other error is refused input, or r's own.
func (r *Reader) Next() (Entry, error) {
	if r.err != nil {
		return Entry{}, r.err
	}
	e, err := r.next()
	if err == nil {
		err = r.order.add(&e)
	}
	if err != nil {
		if err != io.EOF {
			err = fmt.Errorf("root archive, behind %.80q: %w", r.order.last, err)
		}
		r.err = err
		return Entry{}, err
	}
	r.left, r.pad = e.Size, int((block-e.Size%block)%block)
	return e, nil
}

// Read reads of the file that Next has given; io.EOF at its end.
func (r *Reader) Read(b []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.r.Read(b[:min(uint64(len(b)), r.left)])
	r.left -= uint64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	} else if err == io.EOF {
		err = nil
	}
	if err != nil {
		r.err = err
	}
	return n, err
}

var errCut = errors.New("the archive is cut off")

func (r *Reader) block() ([]byte, error) {
	b := make([]byte, block)
	_, err := io.ReadFull(r.r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errCut
	}
	return b, err
}

func (r *Reader) next() (Entry, error) {
	if _, err := io.Copy(io.Discard, r); err != nil { // what the caller did not read
		return Entry{}, err
	}
	padding := make([]byte, r.pad)
	if _, err := io.ReadFull(r.r, padding); err != nil {
		return Entry{}, errCut
	}
	if !zero(padding) {
		return Entry{}, errors.New("bytes between a file's end and the next header")
	}
	b, err := r.block()
	if err != nil {
		return Entry{}, err
	}
	if zero(b) {
		return Entry{}, r.end()
	}
	var records []byte
	all := b
	if b[156] == 'x' {
		if records, err = r.records(b); err != nil {
			return Entry{}, err
		}
		all = pad(append(all, records...))
		if b, err = r.block(); err != nil {
			return Entry{}, err
		}
		all = append(all, b...)
	}
	e, err := parse(b, records)
	if err != nil {
		return e, err
	}
	if err := e.check(); err != nil {
		return e, err
	}
	if !bytes.Equal(headers(&e), all) {
		return e, fmt.Errorf("the header of %.80q is spelled another way than this archive's form wants; pack the root again", e.Path)
	}
	return e, nil
}

// end checks what follows the first block of zero bytes.
func (r *Reader) end() error {
	b, err := r.block()
	if err != nil {
		return err
	}
	if !zero(b) {
		return errors.New("the archive's end is one block of zero bytes; want two")
	}
	switch n, err := io.ReadFull(r.r, b[:1]); {
	case n > 0:
		return errors.New("bytes after the archive's end")
	case err != io.EOF:
		return err
	}
	return io.EOF
}

// records reads the text behind a PAX header.
func (r *Reader) records(head []byte) ([]byte, error) {
	n, err := octal(head[124:135])
	if err != nil || n == 0 || n > 2*MaxPathBytes+256 {
		return nil, fmt.Errorf("a PAX header with records of %d bytes", n)
	}
	b := make([]byte, (n+block-1)/block*block)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, errCut
	}
	if !zero(b[n:]) {
		return nil, errors.New("bytes between PAX records and the next header")
	}
	return b[:n], nil
}

// parse takes an entry out of its header and records. Whether they are spelled as they must be, the caller finds out by
// spelling the entry again.
func parse(b, records []byte) (Entry, error) {
	cut := func(from, to int) string {
		s, _, _ := strings.Cut(string(b[from:to]), "\x00")
		return s
	}
	mode, err := octal(b[100:107])
	if err != nil {
		return Entry{}, err
	}
	size, err := octal(b[124:135])
	if err != nil {
		return Entry{}, err
	}
	name, to := cut(0, nameBytes), cut(157, 157+nameBytes)
	for len(records) > 0 {
		count, _, _ := strings.Cut(string(records[:min(8, len(records))]), " ")
		n, err := strconv.Atoi(count)
		if err != nil || n <= len(count) || n > len(records) {
			return Entry{}, errors.New("a PAX record without its length")
		}
		key, value, _ := strings.Cut(string(records[len(count)+1:n]), "=")
		value = strings.TrimSuffix(value, "\n")
		switch key {
		case "linkpath":
			to = value
		case "path":
			name = value
		case "size":
			if size, err = strconv.ParseUint(value, 10, 64); err != nil {
				return Entry{}, fmt.Errorf("size in a PAX record: %w", err)
			}
		default:
			return Entry{}, fmt.Errorf("a PAX record %.40q; none such is used here", key)
		}
		records = records[n:]
	}
	e := Entry{Path: name, Kind: Kind(b[156]), Mode: uint32(mode), Size: size, To: to}
	if e.Kind == Folder {
		e.Path = strings.TrimSuffix(e.Path, "/")
	}
	return e, nil
}

func octal(b []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(b), 8, 64)
	if err != nil {
		return 0, fmt.Errorf("number %.20q in a header: want octal digits", b)
	}
	return n, nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
