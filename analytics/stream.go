package analytics

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"math/big"
	"slices"
	"unicode/utf8"
)

// streamMagic begins a result stream; its last byte is the version.
const streamMagic = "BPIR\x01"

// Bounds of a result stream. Values are read in steps, so that a length that lies costs no memory.
const (
	maxResultColumns = 1 << 14
	maxTypeDepth     = 40
	maxTypeNodes     = 1 << 16
	maxNameBytes     = 1 << 20
	readStep         = 64 << 10
	maxElements      = 1 << 26 // of one list
)

// ErrStream is returned, wrapped, for bytes that are not a result stream.
var ErrStream = errors.New("not a result stream")

// Value is one value of a row: nil for NULL, else
//
//	bool; int64 for integers up to BIGINT, uint64 for unsigned ones; *big.Int for HUGEINT and UHUGEINT; float32, float64;
//	DecimalValue; string for VARCHAR and BIT; []byte for BLOB; DateValue, TimeValue, TimestampValue, IntervalValue;
//	UUIDValue; []Value for LIST, ARRAY and STRUCT (in the order of its fields); []MapEntry; UnionValue.
type Value any

type (
	// DecimalValue is Unscaled / 10^scale, the scale being the type's.
	DecimalValue struct{ Unscaled *big.Int }
	// DateValue is days since 1970-01-01; the extremes of int32 are the infinities.
	DateValue int32
	// TimeValue is a time of day in microseconds (nanoseconds for TIME_NS), with its offset east of UTC in seconds for
	// TIME WITH TIME ZONE.
	TimeValue struct {
		Ticks  int64
		Offset int32
	}
	// TimestampValue is time since 1970-01-01 UTC in the unit of its kind.
	TimestampValue int64
	// IntervalValue has three parts that do not convert to each other.
	IntervalValue struct {
		Months, Days int32
		Micros       int64
	}
	// UUIDValue is in network order.
	UUIDValue [16]byte
	// MapEntry is one pair of a MAP.
	MapEntry struct{ Key, Value Value }
	// UnionValue is the member's index and its value.
	UnionValue struct {
		Tag   uint8
		Value Value
	}
)

// Reader reads a result stream row by row. It is for one goroutine.
type Reader struct {
	r       *bufio.Reader
	whole   hash.Hash // over everything read
	row     hash.Hash // over the row being read; nil between rows
	columns []Field
	rows    uint64
	err     error
	nodes   int
	budget  int64 // bytes of rows that may still be read; guards memory of callers that keep them
}

// NewReader reads the head of the stream. limitBytes bounds the bytes it will read in all; 0 is 1 GiB.
func NewReader(r io.Reader, limitBytes int64) (*Reader, error) {
	if limitBytes <= 0 {
		limitBytes = 1 << 30
	}
	d := &Reader{r: bufio.NewReaderSize(r, 32<<10), whole: sha256.New(), budget: limitBytes}
	magic, err := d.bytes(uint64(len(streamMagic)))
	if err != nil || string(magic) != streamMagic {
		return nil, fmt.Errorf("%w: it does not begin as one", ErrStream)
	}
	n, err := d.u32()
	if err != nil {
		return nil, err
	}
	if n > maxResultColumns {
		return nil, fmt.Errorf("%w: %d columns", ErrStream, n)
	}
	for range n {
		f, err := d.field(true, 0)
		if err != nil {
			return nil, err
		}
		d.columns = append(d.columns, f)
	}
	return d, nil
}

// Columns is the schema. The caller does not change it.
func (d *Reader) Columns() []Field { return d.columns }

// Rows is the number of rows read so far.
func (d *Reader) Rows() uint64 { return d.rows }

// Next gives the next row, io.EOF after the last, once the end mark, the row count and the absence of anything behind
// them have been checked.
func (d *Reader) Next() ([]Value, error) {
	if d.err != nil {
		return nil, d.err
	}
	row, err := d.next()
	if err != nil {
		d.err = err
	}
	return row, err
}

func (d *Reader) next() ([]Value, error) {
	mark, err := d.u8()
	if err != nil {
		return nil, err
	}
	switch mark {
	case 0:
		n, err := d.u64()
		if err != nil {
			return nil, err
		}
		if n != d.rows {
			return nil, fmt.Errorf("%w: it says %d rows and has %d", ErrStream, n, d.rows)
		}
		if _, err := d.r.ReadByte(); err != io.EOF {
			if err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("%w: bytes after the end", ErrStream)
		}
		return nil, io.EOF
	case 1:
	default:
		return nil, fmt.Errorf("%w: row mark %d", ErrStream, mark)
	}
	d.row = sha256.New()
	row := make([]Value, len(d.columns))
	for i := range d.columns {
		if row[i], err = d.value(&d.columns[i].Type); err != nil {
			return nil, err
		}
	}
	d.rows++
	return row, nil
}

func (d *Reader) bytes(n uint64) ([]byte, error) {
	if int64(n) < 0 || int64(n) > d.budget {
		return nil, fmt.Errorf("%w: longer than may be read", ErrStream)
	}
	d.budget -= int64(n)
	var out []byte
	for n > 0 {
		step := min(n, readStep)
		at := len(out)
		out = slices.Grow(out, int(step))[:at+int(step)]
		if _, err := io.ReadFull(d.r, out[at:]); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = fmt.Errorf("%w: cut short after %d rows", ErrStream, d.rows)
			}
			return nil, err
		}
		n -= step
	}
	d.whole.Write(out)
	if d.row != nil {
		d.row.Write(out)
	}
	return out, nil
}

func (d *Reader) u8() (uint8, error) {
	b, err := d.bytes(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

func (d *Reader) u32() (uint32, error) {
	b, err := d.bytes(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (d *Reader) u64() (uint64, error) {
	b, err := d.bytes(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (d *Reader) text(limit uint32) (string, error) {
	n, err := d.u32()
	if err != nil {
		return "", err
	}
	if n > limit {
		return "", fmt.Errorf("%w: a text of %d bytes", ErrStream, n)
	}
	b, err := d.bytes(uint64(n))
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%w: a text that is not UTF-8", ErrStream)
	}
	return string(b), nil
}

func (d *Reader) field(named bool, depth int) (f Field, err error) {
	if named {
		if f.Name, err = d.text(maxNameBytes); err != nil {
			return f, err
		}
	}
	d.nodes++
	if depth > maxTypeDepth || d.nodes > maxTypeNodes {
		return f, fmt.Errorf("%w: a type too deep or too large", ErrStream)
	}
	k, err := d.u8()
	if err != nil {
		return f, err
	}
	t := &f.Type
	t.Kind = Kind(k)
	inner, named := uint32(0), false
	switch t.Kind {
	case Decimal:
		if t.Width, err = d.u8(); err != nil {
			return f, err
		}
		if t.Scale, err = d.u8(); err != nil {
			return f, err
		}
		if t.Width < 1 || t.Width > 38 || t.Scale > t.Width {
			return f, fmt.Errorf("%w: %s", ErrStream, t)
		}
	case List:
		inner = 1
	case Map:
		inner = 2
	case Array:
		if t.Size, err = d.u32(); err != nil {
			return f, err
		}
		inner = 1
	case Struct, Union:
		if inner, err = d.u32(); err != nil {
			return f, err
		}
		named = true
		if inner == 0 || inner > maxTypeNodes || t.Kind == Union && inner > 256 {
			return f, fmt.Errorf("%w: a type of %d fields", ErrStream, inner)
		}
	default:
		if int(t.Kind) >= len(kindNames) {
			return f, fmt.Errorf("%w: type %d", ErrStream, t.Kind)
		}
	}
	for range inner {
		c, err := d.field(named, depth+1)
		if err != nil {
			return f, err
		}
		t.Fields = append(t.Fields, c)
	}
	return f, nil
}

// elements reads n values of type t, allocating only as they arrive.
func (d *Reader) elements(t *Type, n uint64) ([]Value, error) {
	if n > maxElements {
		return nil, fmt.Errorf("%w: a list of %d", ErrStream, n)
	}
	list := make([]Value, 0, min(n, 64))
	for range n {
		v, err := d.value(t)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (d *Reader) value(t *Type) (Value, error) {
	set, err := d.u8()
	if err != nil {
		return nil, err
	}
	if set > 1 || set == 1 && t.Kind == Null {
		return nil, fmt.Errorf("%w: null mark %d", ErrStream, set)
	}
	if set == 0 {
		return nil, nil
	}
	switch t.Kind {
	case Varchar, Bit:
		return d.text(math.MaxUint32)
	case Blob:
		n, err := d.u32()
		if err != nil {
			return nil, err
		}
		b, err := d.bytes(uint64(n))
		if b == nil && err == nil {
			b = []byte{}
		}
		return b, err
	case List:
		n, err := d.u32()
		if err != nil {
			return nil, err
		}
		return d.elements(&t.Fields[0].Type, uint64(n))
	case Array:
		return d.elements(&t.Fields[0].Type, uint64(t.Size))
	case Struct:
		row := make([]Value, len(t.Fields))
		for i := range t.Fields {
			if row[i], err = d.value(&t.Fields[i].Type); err != nil {
				return nil, err
			}
		}
		return row, nil
	case Map:
		n, err := d.u32()
		if err != nil {
			return nil, err
		}
		if n > maxElements {
			return nil, fmt.Errorf("%w: a map of %d", ErrStream, n)
		}
		entries := make([]MapEntry, 0, min(n, 64))
		for range n {
			k, err := d.value(&t.Fields[0].Type)
			if err != nil {
				return nil, err
			}
			v, err := d.value(&t.Fields[1].Type)
			if err != nil {
				return nil, err
			}
			entries = append(entries, MapEntry{k, v})
		}
		return entries, nil
	case Union:
		tag, err := d.u8()
		if err != nil {
			return nil, err
		}
		if int(tag) >= len(t.Fields) {
			return nil, fmt.Errorf("%w: union member %d", ErrStream, tag)
		}
		v, err := d.value(&t.Fields[tag].Type)
		return UnionValue{tag, v}, err
	}
	b, err := d.bytes(uint64(fixedBytes(t)))
	if err != nil {
		return nil, err
	}
	return fixedValue(t, b)
}
