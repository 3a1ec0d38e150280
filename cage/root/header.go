package root

import (
	"fmt"
	"strconv"
)

const (
	block     = 512
	nameBytes = 100
	maxOctal  = 1<<33 - 1 // of 11 octal digits
	paxName   = "pax"
)

// headers gives the blocks that stand before an entry's bytes: the one spelling of e.
func headers(e *Entry) []byte {
	name := e.Path
	if e.Kind == Folder {
		name += "/"
	}
	var records []byte
	if len(e.To) > nameBytes {
		records = append(records, record("linkpath", e.To)...)
	}
	if len(name) > nameBytes {
		records = append(records, record("path", name)...)
	}
	size := e.Size
	if size > maxOctal {
		records = append(records, record("size", strconv.FormatUint(size, 10))...)
		size = 0
	}
	var b []byte
	if len(records) > 0 {
		b = append(b, header(paxName, 'x', 0o644, uint64(len(records)), "")...)
		b = pad(append(b, records...))
	}
	return append(b, header(name, byte(e.Kind), e.Mode, size, e.To)...)
}

// header is one USTAR block. A name or link that is too long for it is cut: a PAX record has the whole.
func header(name string, kind byte, mode uint32, size uint64, to string) []byte {
	b := make([]byte, block)
	copy(b[0:nameBytes], name)
	copy(b[100:], fmt.Sprintf("%07o", mode))
	copy(b[108:], "0000000") // owner
	copy(b[116:], "0000000") // group
	copy(b[124:], fmt.Sprintf("%011o", size))
	copy(b[136:], "00000000000") // time
	copy(b[148:], "        ")
	b[156] = kind
	copy(b[157:157+nameBytes], to)
	copy(b[257:], "ustar\x0000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// record is one of PAX: its own length, which counts itself, a space, name=value and a line feed.
func record(name, value string) string {
	rest := " " + name + "=" + value + "\n"
	n := len(rest)
	for len(strconv.Itoa(n))+len(rest) != n {
		n = len(strconv.Itoa(n)) + len(rest)
	}
	return strconv.Itoa(n) + rest
}

// pad fills up the last block with zero bytes.
func pad(b []byte) []byte {
	if over := len(b) % block; over != 0 {
		b = append(b, make([]byte, block-over)...)
	}
	return b
}
