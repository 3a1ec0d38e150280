package trie

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"testing"

	"github.com/metanode/metanode/internal/canon"
)

// entriesOf lists a map.
func entriesOf(m *Map) (list []Entry) {
	for k, v := range m.All() {
		list = append(list, Entry{Key: k, Value: v})
	}
	return list
}

// randomMap has keys of one byte and more, inserted and partly deleted in random order.
func randomMap(r *rand.Rand) *Map {
	m := new(Map)
	for range r.Intn(200) {
		k := append([]byte{byte(r.Intn(3))}, randomKey(r)...)
		if r.Intn(4) == 0 {
			m.Delete(k)
		} else {
			m.Set(k, bytes.Repeat([]byte{byte(r.Intn(256))}, r.Intn(60)))
		}
	}
	return m
}

func TestOutlineCutsEveryMapIntoPartsUnderItsRoot(t *testing.T) {
	for seed := range int64(300) {
		r := rand.New(rand.NewSource(seed))
		m := randomMap(r)
		limit := 20 + r.Intn(400)
		o, err := m.Outline(limit)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Check(m.Root()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		all := entriesOf(m)
		naive := map[string]string{}
		for _, e := range all {
			naive[string(e.Key)] = string(e.Value)
		}
		again, err := rebuild(naive, r).Outline(limit)
		if err != nil || !bytes.Equal(canon.Must(o), canon.Must(again)) {
			t.Fatalf("seed %d: the outline depends on the order of insertion: %v", seed, err)
		}
		restored := new(Map)
		rest := all
		for _, run := range o.Runs(2 * limit) {
			n, size := 0, 0
			for _, p := range o.Parts[run[0]:run[1]] {
				n += int(p.Entries)
				size += int(p.Bytes)
				if p.Entries > 1 && int(p.Bytes) > limit {
					t.Fatalf("seed %d: a part of %d entries has %d bytes: over %d", seed, p.Entries, p.Bytes, limit)
				}
			}
			if run[1]-run[0] > 1 && size > 2*limit {
				t.Fatalf("seed %d: a run of %d bytes", seed, size)
			}
			if err := o.CheckParts(run[0], run[1], rest[:n]); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, e := range rest[:n] {
				restored.Set(e.Key, e.Value)
			}
			rest = rest[n:]
		}
		if len(rest) > 0 || restored.Root() != m.Root() {
			t.Fatalf("seed %d: the parts do not make the map: %d entries left over", seed, len(rest))
		}
	}
}

func TestOutlineIsOfTheLargestSubtrees(t *testing.T) {
	m := new(Map)
	for i := range 64 {
		m.Set([]byte{byte(i), 1}, make([]byte, 10))
	}
	one := cost([]byte{0, 1}, make([]byte, 10))
	o, err := m.Outline(int(8 * one))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Parts) != 8 || len(o.Runs(int(16*one))) != 4 || o.Bytes() != 64*one {
		t.Errorf("%d parts of %d bytes in %d runs: want 8, in 4", len(o.Parts), o.Bytes(), len(o.Runs(int(16*one))))
	}
}

func TestChangedOutlineOrPartIsRefused(t *testing.T) {
	m := new(Map)
	for i := range 100 {
		m.Set(fmt.Appendf(nil, "key/%d", i*7), fmt.Appendf(nil, "value %d", i))
	}
	o, err := m.Outline(600)
	if err != nil {
		t.Fatal(err)
	}
	all, root := entriesOf(m), m.Root()
	copied := func() *Outline {
		return &Outline{Shape: append([]uint32{}, o.Shape...), Parts: append([]Part{}, o.Parts...)}
	}
	for i := range o.Shape {
		for bit := range 5 {
			c := copied()
			c.Shape[i] ^= 1 << bit
			if err := c.Check(root); !errors.Is(err, ErrOutline) {
				t.Fatalf("node %d with bit %d changed: %v", i, bit, err)
			}
		}
	}
	for i := range o.Parts {
		c := copied()
		c.Parts[i].Hash[5] ^= 1
		if err := c.Check(root); !errors.Is(err, ErrOutline) {
			t.Fatalf("part %d with another hash: %v", i, err)
		}
	}
	c := copied()
	c.Shape, c.Parts = c.Shape[:len(c.Shape)-1], c.Parts[:len(c.Parts)-1]
	if c.Check(root) == nil || (&Outline{}).Check(root) == nil {
		t.Error("an outline without its last part was taken")
	}
	n := int(o.Parts[0].Entries)
	if err := o.CheckParts(0, 1, all[:n]); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		bad := append([]Entry{}, all[:n]...)
		bad[i].Value = append([]byte("x"), bad[i].Value[1:]...)
		if err := o.CheckParts(0, 1, bad); !errors.Is(err, ErrPart) {
			t.Errorf("entry %d with another value: %v", i, err)
		}
		bad = append(append([]Entry{}, all[:i]...), all[i+1:n]...)
		if err := o.CheckParts(0, 1, bad); !errors.Is(err, ErrPart) {
			t.Errorf("without entry %d: %v", i, err)
		}
	}
	for _, wrong := range [][]Entry{all[:n+1], nil, append(append([]Entry{}, all[1:n]...), all[0])} {
		if err := o.CheckParts(0, 1, wrong); !errors.Is(err, ErrPart) {
			t.Errorf("%d entries: %v", len(wrong), err)
		}
	}
	c = copied()
	c.Parts[0].Bytes++
	if err := c.CheckParts(0, 1, all[:n]); !errors.Is(err, ErrPart) {
		t.Errorf("a part of another size than the outline claims: %v", err)
	}
}

func FuzzOutline(f *testing.F) {
	m := randomMap(rand.New(rand.NewSource(1)))
	o, err := m.Outline(100)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(canon.Must(o))
	f.Add(canon.Must(&Outline{}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var got Outline
		if canon.Unmarshal(raw, &got) != nil {
			return
		}
		if got.Check(m.Root()) != nil {
			return
		}
		// Whatever passes is a cut of the map: its parts are subtrees, so their entries add up if sizes are honest.
		rest := entriesOf(m)
		for i := range got.Parts {
			n := min(int(got.Parts[i].Entries), len(rest))
			if got.CheckParts(i, i+1, rest[:n]) != nil {
				return // a false size, found by the part
			}
			rest = rest[n:]
		}
		if len(rest) > 0 {
			t.Fatal("an outline under the root leaves entries out")
		}
	})
}
