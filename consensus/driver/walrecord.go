package driver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The write-ahead log is a folder of segments, wal-%016x.seg, each written from its beginning to its end:
//
//	segment: magic "bpiwal2\n" | salt 8 | sequence of the first record 8 | size 4 | CRC-32C of these 4
//	record:  length 4 | CRC-32C 4 | sequence 8 | payload, padded to 8 | end mark
//	end:     length 4 | CRC-32C 4 | zero sectors 4 | zero 4
//
// All numbers are big-endian. A record's checksum covers the segment's salt, the sequence and the payload; the salt is
// random, so that bytes that somebody sent us for storing can never be taken for a record. Sequences count up by one
// through all segments. A segment is filled with zeroes to its size when it is made, so that appending overwrites
// allocated blocks and one sync makes a record durable. No file is ever renamed.
//
// What a crash leaves of the last record was never acknowledged and is ignored; anything else that does not read is
// damage, and a log that is damaged is refused. The two are told apart by the end mark: a record that does not read
// though its end mark does was written to the end, and lacks nothing but whole sectors that a disk had not yet come to.
// Those still hold their zeroes, and the mark says how many the record has of its own.
const (
	walMagic      = "bpiwal2\n"
	walHeaderSize = 32
	walRecordHead = 16
	walRecordEnd  = 16
	walSector     = 512      // what a disk writes together, at the least
	walMaxRecord  = 12 << 20 // a block of the greatest size, its safety data and certificates
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentHeader is the beginning of a segment.
type segmentHeader struct {
	salt  [8]byte
	first uint64 // sequence of its first record
	size  uint32 // bytes that it was filled to
}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, walHeaderSize)
	copy(b, walMagic)
	copy(b[8:], h.salt[:])
	binary.BigEndian.PutUint64(b[16:], h.first)
	binary.BigEndian.PutUint32(b[24:], h.size)
	binary.BigEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
	return b
}

// isFirstFormat reports whether a segment begins as those of the log's first format did.
func isFirstFormat(b []byte) bool {
	return len(b) >= walHeaderSize && string(b[:8]) == "bpiwal1\n" && crc32.Checksum(b[:24], castagnoli) == binary.BigEndian.Uint32(b[24:])
}

func decodeSegmentHeader(b []byte) (h segmentHeader, ok bool) {
	if len(b) < walHeaderSize || string(b[:8]) != walMagic || crc32.Checksum(b[:28], castagnoli) != binary.BigEndian.Uint32(b[28:]) {
		return h, false
	}
	copy(h.salt[:], b[8:])
	h.first, h.size = binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint32(b[24:])
	return h, h.first > 0 && h.size >= walHeaderSize
}

// padded is the length of a record with a payload of n bytes, without its end mark.
func padded(n int) int { return walRecordHead + (n+7)&^7 }

// encodeRecord puts a record into buf, which it may replace. at is where in the segment it will stand.
func encodeRecord(buf []byte, salt [8]byte, seq uint64, payload []byte, at int64) []byte {
	n := padded(len(payload))
	buf = append(buf[:0], make([]byte, n+walRecordEnd)...)
	binary.BigEndian.PutUint32(buf, uint32(len(payload)))
	binary.BigEndian.PutUint64(buf[8:], seq)
	copy(buf[walRecordHead:], payload)
	binary.BigEndian.PutUint32(buf[4:], recordSum(salt, buf[8:walRecordHead+len(payload)]))
	binary.BigEndian.PutUint32(buf[n:], uint32(len(payload)))
	binary.BigEndian.PutUint32(buf[n+8:], uint32(zeroSectors(buf[:n], at)))
	binary.BigEndian.PutUint32(buf[n+4:], endSum(salt, seq, buf[n:]))
	return buf
}

// readRecord reads the record with sequence seq at the beginning of b. size is its whole length.
func readRecord(b []byte, salt [8]byte, seq uint64) (payload []byte, size int, ok bool) {
	if len(b) < walRecordHead {
		return nil, 0, false
	}
	n := int(binary.BigEndian.Uint32(b))
	if n == 0 || n > walMaxRecord || n > len(b)-walRecordHead || binary.BigEndian.Uint64(b[8:]) != seq {
		return nil, 0, false
	}
	if recordSum(salt, b[8:walRecordHead+n]) != binary.BigEndian.Uint32(b[4:]) {
		return nil, 0, false
	}
	return b[walRecordHead : walRecordHead+n], min(padded(n)+walRecordEnd, len(b)), true
}

// checkTail looks at what follows the last record that reads, from at on. nil means that nothing is lost: it is empty,
// or what a crash left of the record with sequence seq.
func checkTail(raw []byte, at int, salt [8]byte, seq uint64) error {
	for o := at; o+walRecordEnd <= len(raw); o += 8 {
		if later := binary.BigEndian.Uint64(raw[o+8:]); later > seq && later < seq+1<<32 {
			if _, _, ok := readRecord(raw[o:], salt, later); ok {
				return fmt.Errorf("%w: record %d does not read, record %d after it does; %s", errDamaged, seq, later, walNextStep)
			}
		}
		n := int(binary.BigEndian.Uint32(raw[o:]))
		if n == 0 || n > walMaxRecord || at+padded(n) != o || endSum(salt, seq, raw[o:]) != binary.BigEndian.Uint32(raw[o+4:]) {
			continue
		}
		if zeroSectors(raw[at:o], int64(at)) <= int(binary.BigEndian.Uint32(raw[o+8:])) {
			return fmt.Errorf("%w: record %d was written to its end and does not read; %s", errDamaged, seq, walNextStep)
		}
	}
	return nil
}

func recordSum(salt [8]byte, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(salt[:], castagnoli), castagnoli, body)
}

// endSum is the checksum of an end mark: of what it says and of whose record it ends.
func endSum(salt [8]byte, seq uint64, mark []byte) uint32 {
	b := append(salt[:], "end"...)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = append(b, mark[:4]...)
	return crc32.Checksum(append(b, mark[8:12]...), castagnoli)
}

// zeroSectors counts the sectors of the disk in which b, standing at a place of its file, has nothing but zeroes.
func zeroSectors(b []byte, at int64) (n int) {
	for len(b) > 0 {
		k := min(len(b), walSector-int(at%walSector))
		if allZero(b[:k]) {
			n++
		}
		b, at = b[k:], at+int64(k)
	}
	return n
}

var noBytes [walSector]byte

func allZero(b []byte) bool {
	for len(b) > 0 {
		k := min(len(b), len(noBytes))
		if !bytes.Equal(b[:k], noBytes[:k]) {
			return false
		}
		b = b[k:]
	}
	return true
}
