package cage

import "sort"

// Difference is in what two recordings differ, in the order in which it is worth knowing: what was asked for, the first
// event that went another way, and what came of it.
type Difference struct {
	Spec   []FieldDifference
	Event  *EventDifference // nil: none, or the runs' events need not agree since one of them was not strict
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
	// First and Last, counted from 0, are the range that holds the first event that differs: one event where it is known.
	First, Last uint64
	// Maybe says that there may be none: the specs differ, and the events from First on are not kept.
	Maybe bool
	// Before is the event before First, which both have; nil if there is none or it is not kept.
	Before *Event
	// A and B are the events at First; nil where there is none or it is not kept.
	A, B *Event
	// AEnded and BEnded say that the run has no event at First.
	AEnded, BEnded bool
}

// Compare says in what b differs from a, and whether it does. Both must have passed their Check.
func Compare(a, b *Recording) (Difference, bool) {
	d := Difference{Spec: specDifference(a, b), Result: resultDifference(a, b)}
	if a.Spec.Mode == ModeStrict && b.Spec.Mode == ModeStrict {
		d.Event = eventDifference(a, b)
	}
	if len(d.Spec) == 0 && d.Event == nil && len(d.Result) == 0 && a.Result.Witness != b.Result.Witness {
		d.Result = []FieldDifference{{"witness", a.Result.Witness.String(), b.Result.Witness.String()}}
	}
	return d, len(d.Spec) > 0 || d.Event != nil || len(d.Result) > 0
}

// eventDifference finds the stretch between two checkpoints in which the chains part by bisecting, and in it the event.
// Chains that begin at different specs never meet: then the events are all there is to compare.
func eventDifference(a, b *Recording) *EventDifference {
	same := a.Spec.Genesis() == b.Spec.Genesis()
	if same && a.Count == b.Count && a.End == b.End {
		return nil
	}
	first, last := uint64(0), min(a.Count, b.Count)
	if same {
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
		if d.AEnded && d.BEnded {
			return nil // different specs, and yet the same events
		}
		if !inA && !d.AEnded || !inB && !d.BEnded { // all that is known is the stretch
			d.Last, d.Maybe = last, !same && a.Count == b.Count
			if a.Count == b.Count {
				d.Last = min(last, a.Count-1)
			}
		}
		if inA {
			d.A = &x
		}
		if inB {
			d.B = &y
		}
		if e, ok := a.Event(first - 1); first > 0 && ok {
			d.Before = &e
		}
		return d
	}
	return nil
}
