package cage

import (
	"fmt"
	"sort"
	"strings"
)

// Difference is in what two recordings differ, in the order in which it is worth knowing: what was asked for, the first
// event that went another way, and what came of it.
type Difference struct {
	Spec   []FieldDifference
	Event  *EventDifference // nil: none, or the runs' events need not agree
	Result []FieldDifference
}

// FieldDifference is one fact in which two recordings differ, with what each says.
type FieldDifference struct {
	What string `json:"what"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// EventDifference says where two runs parted.
type EventDifference struct {
	// First and Last are the range, from 0, that holds the first event that differs: one event if it is known.
	First, Last uint64
	// Before is the event before First, which both have; nil if there is none or it is not kept.
	Before *Event
	// A and B are the events at First. Nil: that run had ended, or the event is not kept.
	A, B *Event
	// AEnded and BEnded say that the run had ended.
	AEnded, BEnded bool
}

// Compare says in what b differs from a, and whether it does. Both must have passed their Check.
func Compare(a, b *Recording) (Difference, bool) {
	d := Difference{Spec: specDifference(a, b), Result: resultDifference(a, b)}
	if a.Spec.Mode == ModeStrict && b.Spec.Mode == ModeStrict {
		d.Event = eventDifference(a, b)
	}
	return d, len(d.Spec) > 0 || d.Event != nil || len(d.Result) > 0
}

// eventDifference finds the stretch between two checkpoints in which the chains part by bisecting, and in it the event.
// Chains that begin at different specs never meet: then the events are all there is to compare.
func eventDifference(a, b *Recording) *EventDifference {
	if a.Count == b.Count && a.End == b.End {
		return nil
	}
	first, last := uint64(0), min(a.Count, b.Count)
	if a.Spec.Genesis() == b.Spec.Genesis() {
		stretches := int(last / CheckpointEvery)
		i := sort.Search(stretches, func(i int) bool { return a.checkpoint(uint64(i)) != b.checkpoint(uint64(i)) })
		first = uint64(i) * CheckpointEvery
		if i < stretches {
			last = first + CheckpointEvery - 1
		}
	}
	for ; first <= last; first++ {
		x, inA := a.Event(first)
		y, inB := b.Event(first)
		if inA && inB && x.equal(&y) {
			continue
		}
		d := &EventDifference{First: first, Last: first, AEnded: first >= a.Count, BEnded: first >= b.Count}
		if !inA && !d.AEnded || !inB && !d.BEnded { // not kept: all that is known is the stretch
			d.Last = last
		}
		if inA {
			d.A = &x
		}
		if inB {
			d.B = &y
		}
		if first > 0 {
			if e, ok := a.Event(first - 1); ok {
				d.Before = &e
			}
		}
		if d.AEnded && d.BEnded {
			return nil
		}
		return d
	}
	return nil
}

// String is Text for a first and a second recording.
func (d Difference) String() string { return d.Text("first", "second") }

// Text tells the difference in lines, with the names given to the two sides. Without a difference it is empty.
func (d Difference) Text(a, b string) string {
	var t strings.Builder
	for _, f := range append(append([]FieldDifference(nil), d.Spec...), d.Result...) {
		fmt.Fprintf(&t, "%s\n  %s: %s\n  %s: %s\n", f.What, a, f.A, b, f.B)
	}
	return t.String()
}
