package cage

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// String is Text for a first and a second recording.
func (d Difference) String() string { return d.Text("first", "second") }

// Text tells the difference in lines, with the names given to the two sides, events counted from 1. It is empty without
// a difference.
func (d Difference) Text(a, b string) string {
	t := &twoSided{a: a + ":", b: b + ":"}
	t.fields("The specs differ: these were not the same run.", d.Spec)
	if d.Event != nil {
		t.event(d.Event)
	}
	t.fields("The results differ.", d.Result)
	return t.String()
}

// twoSided writes what two sides say below each other.
type twoSided struct {
	strings.Builder
	a, b string
}

func (t *twoSided) line(indent int, side, text string) {
	fmt.Fprintf(t, "%*s%-*s %s\n", indent, "", max(len(t.a), len(t.b)), side, text)
}

func (t *twoSided) fields(title string, list []FieldDifference) {
	if len(list) == 0 {
		return
	}
	t.WriteString(title + "\n")
	for _, f := range list {
		t.WriteString("  " + f.What + "\n")
		t.line(4, t.a, f.A)
		t.line(4, t.b, f.B)
	}
}

func (t *twoSided) event(d *EventDifference) {
	switch {
	case d.Maybe:
		fmt.Fprintf(t, "Events 1 to %d are the same. Of events %d to %d, not all are kept: they may differ.\n", d.First, d.First+1, d.Last+1)
		return
	case d.First != d.Last:
		fmt.Fprintf(t, "The first event that differs is among events %d to %d, which are not all kept.\n", d.First+1, d.Last+1)
	default:
		fmt.Fprintf(t, "The first event that differs is event %d.\n", d.First+1)
	}
	if d.Before != nil {
		t.line(2, "both:", onThread(d.Before)+" (event before)")
	}
	a, b := sideWords(d.A, d.AEnded, d.First), sideWords(d.B, d.BEnded, d.First)
	if a == b && d.A != nil && d.B != nil { // the words leave out some flags, and the end of long texts
		a += " [" + hex.EncodeToString(d.A.Payload) + "]"
		b += " [" + hex.EncodeToString(d.B.Payload) + "]"
	}
	t.line(2, t.a, a)
	t.line(2, t.b, b)
}

func sideWords(e *Event, ended bool, at uint64) string {
	switch {
	case e != nil:
		return onThread(e)
	case ended:
		return "had ended after " + count(at, "event")
	}
	return "not kept"
}

func onThread(e *Event) string {
	if e.Tid == 0 { // of no thread: a limit
		return e.String()
	}
	return fmt.Sprintf("thread %d: %s", e.Tid, e)
}
