package merkle

import (
	"bytes"
	"fmt"
	"testing"
)

func TestFrontierRootEqualsTreeRoot(t *testing.T) {
	var f Frontier
	var entries [][]byte
	for i := range 300 {
		if f.Root() != Root(entries) {
			t.Fatalf("%d entries: frontier root differs from the tree's", i)
		}
		if f.Count() != uint64(i) {
			t.Fatalf("count %d after %d appends", f.Count(), i)
		}
		back, err := DecodeFrontier(f.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if back.Root() != f.Root() || back.Count() != f.Count() {
			t.Fatalf("%d entries: decoded frontier differs", i)
		}
		fork := f.Clone()
		fork.Append([]byte("another branch"))
		e := fmt.Appendf(nil, "entry %d", i)
		entries = append(entries, e)
		f.Append(e)
	}
}

func TestFrontierRefusesWrongPeaks(t *testing.T) {
	var f Frontier
	f.Append([]byte("a"))
	raw := f.Encode()
	raw[1] = 3 // claims three entries, holds one peak
	if _, err := DecodeFrontier(raw); err == nil {
		t.Fatal("a frontier of three entries with one peak was accepted")
	}
	if _, err := DecodeFrontier(make([]byte, maxFrontierBytes+1)); err == nil {
		t.Fatal("an oversized frontier was accepted")
	}
}

func FuzzDecodeFrontier(f *testing.F) {
	var fr Frontier
	for i := range 5 {
		f.Add(fr.Encode())
		fr.Append([]byte{byte(i)})
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		fr, err := DecodeFrontier(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(fr.Encode(), raw) {
			t.Fatal("decoded frontier has another spelling")
		}
		fr.Root()
		if fr.Count() < 1<<63 {
			fr.Append([]byte("x"))
			fr.Root()
		}
	})
}
