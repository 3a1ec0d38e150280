package driver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/metanode/metanode/consensus"
)

const (
	walSegmentSize = 16 << 20
	walPattern     = "wal-*.seg" // of the names of segments
)

// errDamaged says that the log has lost something that was durable. A validator must not sign with such a log.
var errDamaged = errors.New("write-ahead log is damaged")

const walNextStep = "keep the folder, start this node without its validator key, so that it follows the chain, and have the key replaced: nobody knows what it has signed"

// walSegment is one file of the log.
type walSegment struct {
	path   string
	height consensus.Height // highest block in it; a segment without blocks has 0
}

// wal is the open log. One goroutine owns it.
type wal struct {
	disk    Disk
	dir     string
	size    int64
	seq     uint64 // of the next record
	old     []walSegment
	current walSegment
	f       File
	salt    [8]byte
	at      int64
	broken  error // the first failed write: nothing is durable after it, so nothing may be appended
	buf     []byte
	next    chan prepared // the segment that is made ready ahead of need; nil if none is being made
	index   uint64        // of the next segment's file name
}

// prepared is a zero-filled file, not yet part of the log: its header is written when it becomes current.
type prepared struct {
	f    File
	path string
	err  error
}

// openWAL reads the log in dir, hands every durable record's payload to replay in order (replay returns the height of
// the block in it, or 0), and starts a new segment. The payload is only valid during the call. segmentSize 0 means 16
// MiB. begun says that there was a log before. A torn last record, which was never acknowledged, is ignored; anything
// else amiss is errDamaged.
func openWAL(disk Disk, dir string, segmentSize int64, begun bool, replay func(payload []byte) (consensus.Height, error)) (*wal, error) {
	if segmentSize == 0 {
		segmentSize = walSegmentSize
	}
	w := &wal{disk: disk, dir: dir, size: segmentSize, seq: 1}
	unused, err := w.read(begun, replay)
	if err != nil {
		return nil, err
	}
	if err := w.settle(); err != nil {
		return nil, err
	}
	if err := w.rotate(); err != nil {
		w.close()
		return nil, err
	}
	// Only now: a log that was begun never goes without a segment.
	for _, name := range unused {
		if err := disk.Remove(name); err != nil {
			w.close()
			return nil, w.explain(err)
		}
	}
	return w, nil
}

// read replays all segments, and gives those that hold nothing.
func (w *wal) read(begun bool, replay func([]byte) (consensus.Height, error)) (unused []string, err error) {
	names, err := w.disk.List(w.dir, walPattern)
	if err != nil {
		return nil, err
	}
	headers := 0
	for _, name := range names {
		var index uint64
		if _, err := fmt.Sscanf(filepath.Base(name), "wal-%016x.seg", &index); err != nil {
			return nil, fmt.Errorf("data folder %s: %q is not a segment of the log; move it away", w.dir, filepath.Base(name))
		}
		w.index = index + 1
		seg, err := w.readSegment(name, replay)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		if seg.header {
			headers++
		}
		if seg.records == 0 { // prepared and never used, or torn before its first record
			unused = append(unused, name)
			continue
		}
		w.old = append(w.old, walSegment{name, seg.top})
	}
	switch {
	case begun && headers == 0:
		return nil, fmt.Errorf("%w: data folder %s has been used, and its segments are gone; put them back, or %s", errDamaged, w.dir, walNextStep)
	case len(w.old) == 0 && w.seq > 1:
		return nil, fmt.Errorf("%w: the records before %d are gone; put the segments of data folder %s back, or %s", errDamaged, w.seq, w.dir, walNextStep)
	}
	return unused, nil
}

// settle makes durable what was read. The process may have ended between writing the last record and syncing it: the
// system has it still, the disk perhaps not, and this node is about to go by it.
func (w *wal) settle() error {
	if len(w.old) == 0 {
		return nil
	}
	f, err := w.disk.Open(w.old[len(w.old)-1].path)
	if err != nil {
		return w.explain(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return w.explain(err)
	}
	return nil
}

// segmentRead is what was found in a file of the log.
type segmentRead struct {
	header  bool // it was ever current
	records int
	top     consensus.Height
}

// readSegment replays one file, and leaves w.seq at the next sequence.
func (w *wal) readSegment(name string, replay func([]byte) (consensus.Height, error)) (seg segmentRead, err error) {
	const limit = 64 << 20
	raw, err := readFile(w.disk, name, limit+1)
	if err != nil {
		return seg, err
	}
	if len(raw) > limit {
		return seg, fmt.Errorf("%w: a segment of more than %d bytes", errDamaged, limit)
	}
	h, ok := decodeSegmentHeader(raw)
	if !ok && isFirstFormat(raw) {
		return seg, &consensus.VersionError{What: "the write-ahead log", Version: 1, Next: otherFolder}
	}
	if !ok {
		// The file is whole before the header is written, and the header is durable before the first record is written:
		// a file without one is a shorter run of zeroes, or has what was written of the header and nothing else.
		if rest := raw[min(len(raw), walHeaderSize):]; !allZero(rest) || len(raw) < walHeaderSize && !allZero(raw) {
			return seg, fmt.Errorf("%w: its header does not read, and it was in use; %s", errDamaged, walNextStep)
		}
		return seg, nil
	}
	if len(raw) < int(h.size) {
		return seg, fmt.Errorf("%w: it was made with %d bytes and has %d; put the whole file back, or %s", errDamaged, h.size, len(raw), walNextStep)
	}
	if len(w.old) > 0 && h.first != w.seq {
		return seg, fmt.Errorf("%w: record %d is missing, the segment begins with %d; put the segment before it back, or %s", errDamaged, w.seq, h.first, walNextStep)
	}
	seg.header, w.seq = true, h.first
	at := walHeaderSize
	for {
		payload, size, ok := readRecord(raw[at:], h.salt, w.seq)
		if !ok {
			break
		}
		top, err := replay(payload)
		if err != nil {
			return seg, fmt.Errorf("record %d: %w", w.seq, err)
		}
		seg.top = max(seg.top, top)
		w.seq++
		seg.records++
		at += size
	}
	return seg, checkTail(raw, at, h.salt, w.seq)
}

// append makes payload durable with one write and one fdatasync. height is that of the block in it, 0 without one.
// After an error the log takes nothing more: what the disk holds then is not known until the next start.
func (w *wal) append(payload []byte, height consensus.Height) error {
	if w.broken != nil {
		return w.broken
	}
	if len(payload) == 0 || len(payload) > walMaxRecord {
		return fmt.Errorf("write-ahead log: record of %d bytes: want 1 to %d", len(payload), walMaxRecord)
	}
	size := padded(len(payload)) + walRecordEnd
	if w.at+int64(size) > w.size && w.at > walHeaderSize {
		if err := w.rotate(); err != nil {
			w.broken = err
			return err
		}
	}
	w.buf = encodeRecord(w.buf, w.salt, w.seq, payload, w.at)
	_, err := w.f.WriteAt(w.buf, w.at)
	if err == nil {
		err = w.f.Sync()
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
	if _, err := rand.Read(w.salt[:]); err != nil {
		p.f.Close()
		return fmt.Errorf("write-ahead log: %w", err)
	}
	_, err := p.f.WriteAt((&segmentHeader{salt: w.salt, first: w.seq, size: uint32(w.size)}).encode(), 0)
	if err == nil {
		err = p.f.Sync()
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
	go func(out chan<- prepared, disk Disk, size int64) {
		f, err := newSegment(disk, path, size)
		out <- prepared{f, path, err}
	}(w.next, w.disk, w.size)
}

func newSegment(disk Disk, path string, size int64) (File, error) {
	f, err := disk.Create(path)
	if err != nil {
		return nil, err
	}
	zero := make([]byte, min(256<<10, size))
	for at := int64(0); at < size && err == nil; at += int64(len(zero)) {
		_, err = f.WriteAt(zero[:min(int64(len(zero)), size-at)], at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		_ = disk.Remove(path)
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
		if err := w.disk.Remove(w.old[0].path); err != nil {
			return w.explain(err)
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
			_ = w.disk.Remove(p.path)
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
