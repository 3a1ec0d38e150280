package trie

import (
	"bytes"
	"fmt"
	"math/rand"
	"slices"
	"sort"
	"testing"
)

// randomKey draws short keys over a small alphabet, so that prefixes, siblings and repetitions are common.
func randomKey(r *rand.Rand) []byte {
	k := make([]byte, r.Intn(5))
	for i := range k {
		k[i] = []byte{0, 1, 'a', 'b', 0x80, 0xff}[r.Intn(6)]
	}
	return k
}

func rebuild(naive map[string]string, r *rand.Rand) *Map {
	var keys []string
	for k := range naive {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	r.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	m := new(Map)
	for _, k := range keys {
		m.Set([]byte(k), []byte(naive[k]))
	}
	return m
}

func check(t *testing.T, m *Map, naive map[string]string, r *rand.Rand) {
	t.Helper()
	if m.Len() != len(naive) {
		t.Fatalf("%d entries, want %d", m.Len(), len(naive))
	}
	var keys []string
	for k := range naive {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	i := 0
	for k, v := range m.All() {
		if i >= len(keys) || string(k) != keys[i] || string(v) != naive[keys[i]] {
			t.Fatalf("entry %d is %x=%x", i, k, v)
		}
		i++
	}
	if i != len(keys) {
		t.Fatalf("iterated over %d of %d", i, len(keys))
	}
	prefix, from := randomKey(r), randomKey(r)
	var want, got []string
	for _, k := range keys {
		if bytes.HasPrefix([]byte(k), prefix) && k >= string(from) {
			want = append(want, k)
		}
	}
	for k := range m.From(prefix, from) {
		got = append(got, string(k))
	}
	if !slices.Equal(want, got) {
		t.Fatalf("prefix %x from %x: %q, want %q", prefix, from, got, want)
	}
	if got, want := m.Root(), rebuild(naive, r).Root(); got != want {
		t.Fatalf("root %s, rebuilt %s", got.Short(), want.Short())
	}
	k := randomKey(r)
	v, ok := m.Get(k)
	if nv, nok := naive[string(k)]; ok != nok || string(v) != nv {
		t.Fatalf("get %x: %x %v", k, v, ok)
	}
	p := m.Prove(k)
	present, err := VerifyProof(m.Root(), k, v, p)
	if err != nil || present != ok {
		t.Fatalf("proof of %x: %v, %v; want %v", k, present, err, ok)
	}
	if ok {
		if _, err := VerifyProof(m.Root(), k, append([]byte("x"), v...), p); err == nil {
			t.Fatal("a proof of another value verifies")
		}
	}
	if other := randomKey(r); !bytes.Equal(other, k) && !ok {
		if has, err := VerifyProof(m.Root(), other, []byte(naive[string(other)]), p); err == nil {
			if _, there := naive[string(other)]; there != has {
				t.Fatalf("the proof for %x says of %x: %v", k, other, has)
			}
		}
	}
}

func TestMapAgreesWithNaiveMapThroughForks(t *testing.T) {
	for seed := range int64(200) {
		r := rand.New(rand.NewSource(seed))
		type version struct {
			m     *Map
			naive map[string]string
		}
		versions := []version{{new(Map), map[string]string{}}}
		for range 40 {
			from := versions[r.Intn(len(versions))]
			v := version{from.m.Fork(), map[string]string{}}
			for k, x := range from.naive {
				v.naive[k] = x
			}
			for range r.Intn(12) {
				k := randomKey(r)
				if r.Intn(3) == 0 {
					_, had := v.naive[string(k)]
					if v.m.Delete(k) != had {
						t.Fatalf("seed %d: delete %x: want %v", seed, k, had)
					}
					delete(v.naive, string(k))
				} else {
					x := fmt.Sprint(r.Intn(4))
					v.m.Set(k, []byte(x))
					v.naive[string(k)] = x
				}
				if r.Intn(8) == 0 {
					v.m.Root()
				}
			}
			replay := map[string]string{}
			for k, x := range from.naive {
				replay[k] = x
			}
			last := ""
			first := true
			for k, x := range Diff(from.m, v.m) {
				if !first && string(k) <= last {
					t.Fatalf("seed %d: diff is not in order", seed)
				}
				first, last = false, string(k)
				if old, had := from.naive[last]; x != nil && had && old == string(x) {
					t.Fatalf("seed %d: diff names %x, which did not change", seed, k)
				}
				if x == nil {
					delete(replay, last)
				} else {
					replay[last] = string(x)
				}
			}
			if got, want := rebuild(replay, r).Root(), rebuild(v.naive, r).Root(); got != want {
				t.Fatalf("seed %d: replaying the diff gives another map", seed)
			}
			versions = append(versions, v)
		}
		for _, v := range versions {
			check(t, v.m, v.naive, r)
		}
	}
}

func TestTamperedProofFails(t *testing.T) {
	m := new(Map)
	for i := range 100 {
		m.Set(fmt.Appendf(nil, "key/%d", i*7), fmt.Appendf(nil, "value %d", i))
	}
	key := []byte("key/49")
	val, _ := m.Get(key)
	p := m.Prove(key)
	if ok, err := VerifyProof(m.Root(), key, val, p); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for i := range p.Steps {
		for bit := range uint32(3) {
			q := p
			q.Steps = slices.Clone(p.Steps)
			q.Steps[i].Bit ^= 1 << bit
			if _, err := VerifyProof(m.Root(), key, val, q); err == nil {
				t.Errorf("step %d with another bit verifies", i)
			}
		}
		q := p
		q.Steps = slices.Clone(p.Steps)
		q.Steps[i].Sibling[3] ^= 1
		if _, err := VerifyProof(m.Root(), key, val, q); err == nil {
			t.Errorf("step %d with another sibling verifies", i)
		}
		q.Steps = slices.Delete(slices.Clone(p.Steps), i, i+1)
		if _, err := VerifyProof(m.Root(), key, val, q); err == nil {
			t.Errorf("proof without step %d verifies", i)
		}
	}
	if _, err := VerifyProof(m.Root(), key, nil, Proof{Empty: true}); err == nil {
		t.Error("an empty map's proof verifies for a map with entries")
	}
}

func TestRootsOfKnownMaps(t *testing.T) {
	m := new(Map)
	if got := m.Root().String(); got != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("empty: %s", got)
	}
	m.Set([]byte("a"), []byte("1"))
	m.Set([]byte("ab"), []byte("2"))
	a, ab := new(Map), new(Map)
	a.Set([]byte("a"), []byte("1"))
	ab.Set([]byte("ab"), []byte("2"))
	if got, want := m.Root(), innerHash(9, a.Root(), ab.Root()); got != want {
		t.Errorf("root %s, want %s: \"a\" and \"ab\" part at bit 9", got, want)
	}
}

func FuzzVerifyProof(f *testing.F) {
	m := new(Map)
	for i := range 20 {
		m.Set(fmt.Appendf(nil, "%d", i), []byte{byte(i)})
	}
	f.Add([]byte("7"), []byte("7"), uint32(9), false)
	f.Add([]byte(""), []byte("11"), uint32(12), true)
	f.Fuzz(func(t *testing.T, key, leaf []byte, bit uint32, empty bool) {
		p := m.Prove(key)
		val, has := m.Get(key)
		if ok, err := VerifyProof(m.Root(), key, val, p); err != nil || ok != has {
			t.Fatalf("own proof: %v %v", ok, err)
		}
		p.Leaf, p.Empty = leaf, empty
		if len(p.Steps) > 0 {
			p.Steps[0].Bit = bit
		}
		ok, err := VerifyProof(m.Root(), key, val, p)
		if err == nil && ok != has {
			t.Fatal("a changed proof says otherwise")
		}
	})
}

func BenchmarkSetAndRoot(b *testing.B) {
	m := new(Map)
	for i := range 20_000 {
		m.Set(fmt.Appendf(nil, "jobs/%032d", i), make([]byte, 500))
	}
	m.Root()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f := m.Fork()
		for k := range 50 {
			f.Set(fmt.Appendf(nil, "jobs/%032d", (i*50+k)*7919%20_000), fmt.Appendf(make([]byte, 500), "%d", i))
		}
		f.Root()
	}
}
