package driver

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sort"
	"syscall"

	"github.com/metanode/metanode/consensus"
)

// The write-ahead log is a folder of segments, wal-%016x.seg, each written from its beginning to its end:
//
//	segment: magic "bpiwal1\n" | salt 8 | sequence of the first record 8 | CRC-32C of these 4 | zero to 32
//	record:  length 4 | CRC-32C 4 | sequence 8 | payload, padded to 8
//
// All numbers are big-endian. A record's checksum covers the segment's salt, the sequence and the payload; the salt is
// random, so that bytes that somebody sent us for storing can never be taken for a record. Sequences count up by one
// through all segments. A segment is filled with zeroes when it is made, so that appending overwrites allocated blocks
// and one fdatasync makes a record durable. No file is ever renamed.
const (
	walMagic       = "bpiwal1\n"
	walHeaderSize  = 32
	walRecordHead  = 16
	walSegmentSize = 16 << 20
	walMaxRecord   = 12 << 20 // a block of the greatest size, its safety data and certificates
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged says that the log has lost something that was durable. A validator must not sign with such a log.
var errDamaged = errors.New("write-ahead log is damaged")

// walSegment is one file of the log.
type walSegment struct {
	path   string
	height consensus.Height // highest block in it; a segment without blocks has 0
}

// wal is the open log. One goroutine owns it.
type wal struct {
	dir     string
	size    int64
	seq     uint64 // of the next record
	old     []walSegment
	current walSegment
	f       *os.File
	salt    [8]byte
	at      int64
	broken  error // the first failed write: nothing is durable after it, so nothing may be appended
	buf     []byte
	next    chan prepared // the segment that is made ready ahead of need; nil if none is being made
	index   uint64        // of the next segment's file name
}

// prepared is a zero-filled file, not yet part of the log: its header is written when it becomes current.
type prepared struct {
	f    *os.File
	path string
	err  error
}

// openWAL reads the log in dir, hands every durable record's payload to replay in order (replay returns the height of
// the block in it, or 0), and starts a new segment. The payload is only valid during the call. segmentSize 0 means 16
// MiB. A torn last record, which was never acknowledged, is ignored; anything else amiss is errDamaged.
func openWAL(dir string, segmentSize int64, replay func(payload []byte) (consensus.Height, error)) (*wal, error) {
	if segmentSize == 0 {
		segmentSize = walSegmentSize
	}
	w := &wal{dir: dir, size: segmentSize, seq: 1}
	names, err := filepath.Glob(filepath.Join(dir, "wal-*.seg"))
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	started := false
	for i, name := range names {
		var index uint64
		if _, err := fmt.Sscanf(filepath.Base(name), "wal-%016x.seg", &index); err != nil {
			return nil, fmt.Errorf("data folder %s: %q is not a segment of the log; move it away", dir, filepath.Base(name))
		}
		w.index = index + 1
		first, height, n, err := w.readSegment(name, i == len(names)-1, started, replay)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if first == 0 || n == 0 { // prepared and never used, or torn before its first record
			if err := os.Remove(name); err != nil {
				return nil, err
			}
			continue
		}
		started = true
		w.old = append(w.old, walSegment{name, height})
	}
	if err := w.rotate(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// readSegment replays one file. It returns the sequence of its first record (0 if the header was never completed), its
// highest block and the number of its records, and leaves w.seq at the next sequence.
func (w *wal) readSegment(name string, last, started bool, replay func([]byte) (consensus.Height, error)) (first uint64, top consensus.Height, n int, err error) {
	raw, err := readBounded(name)
	if err != nil {
		return 0, 0, 0, err
	}
	if len(raw) < walHeaderSize || string(raw[:8]) != walMagic || crc32.Checksum(raw[:24], castagnoli) != binary.BigEndian.Uint32(raw[24:]) {
		// The header is durable before the first record is acknowledged, so a file without one holds nothing, and only
		// the newest two (current and prepared) can be like that.
		return 0, 0, 0, nil
	}
	salt := raw[8:16]
	first = binary.BigEndian.Uint64(raw[16:])
	if started && first != w.seq {
		return 0, 0, 0, fmt.Errorf("%w: record %d is missing, the segment begins with %d", errDamaged, w.seq, first)
	}
	w.seq = first
	at := walHeaderSize
	for {
		payload, size, ok := readRecord(raw[at:], salt, w.seq)
		if !ok {
			break
		}
		h, err := replay(payload)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("record %d: %w", w.seq, err)
		}
		top = max(top, h)
		w.seq++
		n++
		at += size
	}
	// Only the last record can be torn. A sound record behind an unsound one means that the disk lost what it had
	// confirmed: going on would forget votes.
	for o := at; o+walRecordHead <= len(raw); o += 8 {
		if seq := binary.BigEndian.Uint64(raw[o+8:]); seq > w.seq && seq < w.seq+1<<32 {
			if _, _, ok := readRecord(raw[o:], salt, seq); ok {
				return 0, 0, 0, fmt.Errorf("%w: record %d does not read, record %d after it does; restore the folder from the machine it was on, or ask for this validator's key to be replaced", errDamaged, w.seq, seq)
			}
		}
	}
	return first, top, n, nil
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const limit = 64 << 20
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(raw) > limit {
		err = fmt.Errorf("%w: a segment of more than %d bytes", errDamaged, limit)
	}
	return raw, err
}

// readRecord reads the record with sequence seq at the beginning of b. size is its padded length.
func readRecord(b, salt []byte, seq uint64) (payload []byte, size int, ok bool) {
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
	return b[walRecordHead : walRecordHead+n], min(padded(n), len(b)), true
}

func recordSum(salt, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(salt, castagnoli), castagnoli, body)
}

func padded(n int) int { return walRecordHead + (n+7)&^7 }

// append makes payload durable with one write and one fdatasync. height is that of the block in it, 0 without one.
// After an error the log takes nothing more: what the disk holds then is not known until the next start.
func (w *wal) append(payload []byte, height consensus.Height) error {
	if w.broken != nil {
		return w.broken
	}
	if len(payload) == 0 || len(payload) > walMaxRecord {
		return fmt.Errorf("write-ahead log: record of %d bytes: want 1 to %d", len(payload), walMaxRecord)
	}
	size := padded(len(payload))
	if w.at+int64(size) > w.size && w.at > walHeaderSize {
		if err := w.rotate(); err != nil {
			w.broken = err
			return err
		}
	}
	w.buf = append(w.buf[:0], make([]byte, size)...)
	binary.BigEndian.PutUint32(w.buf, uint32(len(payload)))
	binary.BigEndian.PutUint64(w.buf[8:], w.seq)
	copy(w.buf[walRecordHead:], payload)
	binary.BigEndian.PutUint32(w.buf[4:], recordSum(w.salt[:], w.buf[8:walRecordHead+len(payload)]))
	_, err := w.f.WriteAt(w.buf, w.at)
	if err == nil {
		err = dataSync(w.f)
	}
	if err != nil {
		w.broken = w.explain(err)
		return w.broken
	}
	w.at += int64(size)
	w.seq++
	w.current.height = max(w.current.height, height)
	return nil
}

// rotate makes the prepared segment the current one and starts to prepare another.
func (w *wal) rotate() error {
	if w.next == nil {
		w.prepare()
	}
	p := <-w.next
	w.next = nil
	if p.err != nil {
		return w.explain(p.err)
	}
	head := make([]byte, walHeaderSize)
	copy(head, walMagic)
	if _, err := rand.Read(w.salt[:]); err != nil {
		p.f.Close()
		return fmt.Errorf("write-ahead log: %w", err)
	}
	copy(head[8:], w.salt[:])
	binary.BigEndian.PutUint64(head[16:], w.seq)
	binary.BigEndian.PutUint32(head[24:], crc32.Checksum(head[:24], castagnoli))
	_, err := p.f.WriteAt(head, 0)
	if err == nil {
		err = dataSync(p.f)
	}
	if err != nil {
		p.f.Close()
		return w.explain(err)
	}
	if w.f != nil {
		w.f.Close()
		w.old = append(w.old, w.current)
	}
	w.f, w.current, w.at = p.f, walSegment{path: p.path}, walHeaderSize
	w.prepare()
	return nil
}

// prepare makes a zero-filled file in the background, so that the goroutine that votes does not wait for it.
func (w *wal) prepare() {
	path := filepath.Join(w.dir, fmt.Sprintf("wal-%016x.seg", w.index))
	w.index++
	w.next = make(chan prepared, 1)
	go func(out chan<- prepared, dir string, size int64) {
		f, err := newSegment(dir, path, size)
		out <- prepared{f, path, err}
	}(w.next, w.dir, w.size)
}

func newSegment(dir, path string, size int64) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	zero := make([]byte, 256<<10)
	for at := int64(0); at < size && err == nil; at += int64(len(zero)) {
		_, err = f.WriteAt(zero[:min(int64(len(zero)), size-at)], at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncFolder(dir)
	}
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	return f, nil
}

// release removes the segments whose blocks are all at or below height, which the chain store has made durable. The
// current segment stays: its last record is the safety data.
func (w *wal) release(height consensus.Height) error {
	if w.at == walHeaderSize {
		return nil // nothing here yet: the last safety data stand in an older segment
	}
	for len(w.old) > 0 && w.old[0].height <= height {
		if err := os.Remove(w.old[0].path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("write-ahead log: %w", err)
		}
		w.old = w.old[1:]
	}
	return nil
}

// close ends the use of the log and waits for the segment in preparation.
func (w *wal) close() {
	if w.next != nil {
		if p := <-w.next; p.f != nil {
			p.f.Close()
			os.Remove(p.path)
		}
		w.next = nil
	}
	if w.f != nil {
		w.f.Close()
		w.f = nil
	}
	if w.broken == nil {
		w.broken = errors.New("write-ahead log is closed")
	}
}

func (w *wal) explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("the disk of data folder %s is full: this node has stopped voting, nothing that it sent is lost; free some space and start it again (%w)", w.dir, err)
	}
	return fmt.Errorf("write-ahead log in %s: %w; this node has stopped voting; check the disk and start it again", w.dir, err)
}
