package cage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/metanode/metanode/internal/digest"
)

// EventKind says what an event is. The numbers are those of the tracer's stream.
type EventKind uint32

// The kinds of events, and what their payloads hold: integers are little-endian, 8 bytes each.
const (
	EventExec    EventKind = 1  // a program began: its path and each argument, each ended by a zero byte
	EventOpen    EventKind = 2  // flags; result, a descriptor, a negative error, or Opened; path
	EventWrite   EventKind = 3  // to descriptor 1 or 2: descriptor, number of bytes, their SHA-256
	EventRandom  EventKind = 4  // randomness given: number of bytes, purpose
	EventClone   EventKind = 5  // a thread or process began: flags, its number
	EventSignal  EventKind = 6  // a signal was delivered: its number
	EventExit    EventKind = 7  // a thread or process ended: its status
	EventLimit   EventKind = 8  // a limit was reached: which
	EventRefused EventKind = 9  // a call that the cage does not know: its number
	EventChange  EventKind = 10 // names, modes, sizes, times of files: call, result, path, zero byte, other path if any
	EventRead    EventKind = 11 // reserved
)

// Opened is the result of an EventOpen for reading whose descriptor was not waited for: it was opened.
const Opened = 1 << 32

// MaxEventBytes bounds the payload of one event.
const MaxEventBytes = 1 << 20

// Event is a fact that every machine sees in the same order: something that a thread of the caged program did or met,
// told when it was complete. There are no addresses, host numbers or times in it.
type Event struct {
	_       struct{} `cbor:",toarray"`
	Kind    EventKind
	Tid     uint32 // of the thread, as the program sees it
	Payload []byte // see the kinds
}

// NewEvent makes an event of what the tracer sent. The bytes of an EventWrite, which follow the descriptor in payload,
// are replaced by their number and digest. payload is not kept. An error means that the tracer and this package do not
// speak the same language: trouble with this machine.
func NewEvent(kind EventKind, tid uint32, payload []byte) (Event, error) {
	e := Event{Kind: kind, Tid: tid}
	if kind == EventWrite {
		if len(payload) < 8 || len(payload) > MaxEventBytes {
			return Event{}, fmt.Errorf("event of a write with a payload of %d bytes: want 8 to %d", len(payload), MaxEventBytes)
		}
		e.Payload = writePayload(binary.LittleEndian.Uint64(payload), payload[8:])
	} else {
		e.Payload = bytes.Clone(payload)
	}
	return e, e.Check()
}

func writePayload(fd uint64, b []byte) []byte {
	p := binary.LittleEndian.AppendUint64(make([]byte, 0, 16+digest.Size), fd)
	p = binary.LittleEndian.AppendUint64(p, uint64(len(b)))
	sum := sha256.Sum256(b)
	return append(p, sum[:]...)
}

// shapes says for each kind how many integers its payload begins with, and whether text follows.
var shapes = map[EventKind]struct {
	numbers int
	text    bool
}{
	EventExec: {0, true}, EventOpen: {2, true}, EventWrite: {2, true}, EventRandom: {2, false}, EventClone: {2, false},
	EventSignal: {1, false}, EventExit: {1, false}, EventLimit: {1, false}, EventRefused: {1, false}, EventChange: {2, true},
}

// Check refuses an event whose payload is not that of its kind.
func (e *Event) Check() error {
	shape, ok := shapes[e.Kind]
	n, text := len(e.Payload), []byte(nil)
	if ok && n >= 8*shape.numbers {
		text = e.Payload[8*shape.numbers:]
	}
	switch {
	case !ok:
		return fmt.Errorf("event of kind %d is not known here", e.Kind)
	case n > MaxEventBytes || n < 8*shape.numbers || !shape.text && len(text) > 0:
		return fmt.Errorf("event of kind %d has a payload of %d bytes", e.Kind, n)
	case e.Kind == EventExec && (len(text) < 2 || text[0] == 0 || text[len(text)-1] != 0),
		e.Kind == EventOpen && bytes.IndexByte(text, 0) >= 0,
		e.Kind == EventChange && bytes.IndexByte(text, 0) < 0,
		e.Kind == EventChange && bytes.Count(text, []byte{0}) > 1,
		e.Kind == EventWrite && (len(text) != digest.Size || e.number(0) != 1 && e.number(0) != 2):
		return fmt.Errorf("event of kind %d has a malformed payload", e.Kind)
	}
	return nil
}

// number is the i-th integer of a payload that Check has accepted.
func (e *Event) number(i int) uint64 { return binary.LittleEndian.Uint64(e.Payload[8*i:]) }

func (e *Event) equal(f *Event) bool {
	return e.Kind == f.Kind && e.Tid == f.Tid && bytes.Equal(e.Payload, f.Payload)
}
