package enc

import (
	"math/rand"
	"reflect"
	"testing"

	"github.com/metanode/metanode/internal/digest"
)

// An old desk, which has also looked at forks that came to nothing, lists what a new one does.
func TestDeskRemembersWhatDoesNotChange(t *testing.T) {
	r := rand.New(rand.NewSource(5))
	c := imaged(t, 5, 2)
	var desks []*Desk
	for _, n := range c.nodes {
		desks = append(desks, NewDesk(n.Public()))
	}
	listed, held := 0, 0
	for range 150 {
		at := BlockContext{Height: c.at.Height + 1, TimestampMs: c.at.TimestampMs + uint64(1+r.Intn(300)), Parent: digest.Sum("b", be64(c.at.Height))}
		var txs [][]byte
		for range r.Intn(8) {
			txs = append(txs, c.randomCommand(r))
		}
		c.s.Root()
		lost := c.s.Fork()
		run(t, lost, at, txs[:len(txs)/2])
		lost.Root()
		run(t, c.s, at, txs)
		c.at = at
		for _, d := range desks {
			for _, s := range []*State{lost, c.s} {
				fresh := NewDesk(d.Peer())
				have, want := d.Assignments(s), fresh.Assignments(s)
				if !reflect.DeepEqual(have, want) {
					t.Fatalf("height %d: the desk lists %+v, want %+v", at.Height, have, want)
				}
				holds, wantHolds := d.Holds(s, 100), fresh.Holds(s, 100)
				if !reflect.DeepEqual(holds, wantHolds) {
					t.Fatalf("height %d: the desk holds %+v, want %+v", at.Height, holds, wantHolds)
				}
				listed, held = listed+len(have), held+len(holds)
			}
		}
	}
	if listed == 0 || held == 0 {
		t.Fatalf("%d assignments and %d holds in all: nothing was tested", listed, held)
	}
	// A second look decodes nothing: the works are the same pointers.
	for _, d := range desks {
		before, after := d.Assignments(c.s), d.Assignments(c.s)
		for i := range before {
			if before[i].Work != after[i].Work {
				t.Fatal("the desk decoded again what had not changed")
			}
		}
		if len(d.jobs.kept) != len(before) || len(d.works.kept) != len(before) || len(d.jobs.asked) != 0 {
			t.Errorf("%d jobs and %d works are kept for %d assignments", len(d.jobs.kept), len(d.works.kept), len(before))
		}
	}
}
