package registry

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"

	"github.com/metanode/metanode/internal/sign"
)

const testNetwork = "testnet-1"

// start is the time of tests that do not look at a clock.
var start = time.UnixMilli(1_900_000_000_000)

func newKey(t testing.TB) sign.PrivateKey {
	t.Helper()
	k, err := sign.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func libp2pKey(t testing.TB, k sign.PrivateKey) crypto.PrivKey {
	t.Helper()
	p, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(k.Seed()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func describe(seq uint64, expires time.Time, services ...string) Description {
	d := Description{Network: testNetwork, Seq: seq, ExpiresMs: uint64(expires.UnixMilli())}
	for _, s := range services {
		d.Offers = append(d.Offers, Offer{Service: s, Version: Version{Major: 1}, Capacity: 4, Labels: []string{"cpu=x86-64-v2"}})
	}
	SortOffers(d.Offers)
	return d
}

func seal(t testing.TB, k sign.PrivateKey, d Description) *Signed {
	t.Helper()
	s, err := Seal(k, d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sealUnchecked signs whatever d says, as a peer does that keeps to no rule.
func sealUnchecked(t testing.TB, k sign.PrivateKey, r record.Record) []byte {
	t.Helper()
	e, err := record.Seal(r, libp2pKey(t, k))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestKeyIsTheOneOfTheSpecification holds a key as other programs have computed it, with
// printf 'bpci/svc/1|testnet-1|sql|1' | sha256sum, so that the formula cannot change unnoticed.
func TestKeyIsTheOneOfTheSpecification(t *testing.T) {
	k := Key(testNetwork, "sql", 1)
	if k.Version() != 1 || k.Type() != 0x55 {
		t.Errorf("key %s is no CIDv1 of raw bytes", k)
	}
	const want = "bafkreie4cuiv7yn5alq4qci6mszcuyos5rrwzs6p62vh4ujes73ck7k7du"
	if k.String() != want {
		t.Errorf("key %s, want %s", k, want)
	}
	seen := map[string]bool{}
	for _, n := range []string{"a", "b"} {
		for _, s := range []string{"sql", "api"} {
			for _, m := range []uint32{1, 2, 11} {
				seen[Key(n, s, m).KeyString()] = true
			}
		}
	}
	if len(seen) != 12 {
		t.Errorf("12 services have %d keys", len(seen))
	}
}

func TestSplitReadsNameAndMajorVersion(t *testing.T) {
	for text, want := range map[string]string{"sql": "sql 1", "sql/1": "sql 1", "a.b-c9/42": "a.b-c9 42"} {
		name, major, err := Split(text)
		if got := fmt.Sprintf("%s %d", name, major); err != nil || got != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "/1", "SQL", "1sql", "sql/0", "sql/01", "sql/x", "sql/1/2", "sql/-1", "sql/4294967296", strings.Repeat("a", 33), "s ql", "é"} {
		if n, m, err := Split(text); err == nil {
			t.Errorf("%q was read as %s/%d", text, n, m)
		}
	}
}

func TestDescriptionSurvivesItsSpelling(t *testing.T) {
	k := newKey(t)
	s := seal(t, k, describe(7, start.Add(time.Minute), "sql", "api", "native"))
	got, err := Open(s.Raw, testNetwork)
	if err != nil {
		t.Fatal(err)
	}
	if got.Peer != k.Public() || got.Seq != 7 || len(got.Offers) != 3 || got.Offers[0].Service != "api" {
		t.Errorf("opened as %+v", got.Description)
	}
	o, ok := got.Offer("native", 1)
	if !ok || o.Capacity != 4 || !slices.Equal(o.Labels, []string{"cpu=x86-64-v2"}) {
		t.Errorf("offer of native: %+v, %v", o, ok)
	}
	if _, ok := got.Offer("native", 2); ok {
		t.Error("an offer of another major version was found")
	}
	if _, err := Open(seal(t, k, describe(8, start, nil...)).Raw, testNetwork); err != nil {
		t.Errorf("a description without offers, which takes back: %v", err)
	}
}

// TestBadDescriptionsAreInvalid has one case for each way of being no description, whoever signs it.
func TestBadDescriptionsAreInvalid(t *testing.T) {
	k, other := newKey(t), newKey(t)
	good := describe(1, start.Add(time.Minute), "sql")
	good.Peer = k.Public()
	raw := seal(t, k, good).Raw
	change := func(f func(*Description)) []byte {
		d := good
		d.Offers = []Offer{{Service: "sql", Version: Version{Major: 1}, Labels: []string{"a", "b"}}}
		f(&d)
		return sealUnchecked(t, k, payload{&d})
	}
	many := func(n int, f func(i int) Offer) (list []Offer) {
		for i := range n {
			list = append(list, f(i))
		}
		return list
	}
	for name, raw := range map[string][]byte{
		"nothing":                 {},
		"garbage":                 []byte("bpci"),
		"cut short":               raw[:len(raw)-1],
		"a byte more":             append(bytes.Clone(raw), 0),
		"an unknown field more":   append(bytes.Clone(raw), 0x32, 1, 'x'), // field 6: skipped by protobuf, and not signed
		"one bit of it changed":   flip(raw, len(raw)/2),
		"the signature changed":   flip(raw, len(raw)-1),
		"one megabyte":            make([]byte, 1<<20),
		"a byte over the bound":   make([]byte, MaxBytes+1),
		"signed by another key":   sealUnchecked(t, other, payload{&good}),
		"of another domain":       sealUnchecked(t, k, foreign{payload{&good}, "another-domain", codec}),
		"of another payload type": sealUnchecked(t, k, foreign{payload{&good}, domain, []byte("/bpci/other/1")}),
		"another network":         change(func(d *Description) { d.Network = "testnet-2" }),
		"no network":              change(func(d *Description) { d.Network = "" }),
		"a long network":          change(func(d *Description) { d.Network = strings.Repeat("n", 65) }),
		"seq 0":                   change(func(d *Description) { d.Seq = 0 }),
		"major version 0":         change(func(d *Description) { d.Offers[0].Version.Major = 0 }),
		"a bad name":              change(func(d *Description) { d.Offers[0].Service = "S Q L" }),
		"labels out of order":     change(func(d *Description) { d.Offers[0].Labels = []string{"b", "a"} }),
		"a label twice":           change(func(d *Description) { d.Offers[0].Labels = []string{"a", "a"} }),
		"an empty label":          change(func(d *Description) { d.Offers[0].Labels = []string{""} }),
		"a long label":            change(func(d *Description) { d.Offers[0].Labels = []string{strings.Repeat("l", 65)} }),
		"a label that paints":     change(func(d *Description) { d.Offers[0].Labels = []string{"\x1b[2J"} }),
		"a service twice":         change(func(d *Description) { d.Offers = append(d.Offers, d.Offers[0]) }),
		"services out of order": change(func(d *Description) {
			d.Offers = []Offer{{Service: "b", Version: Version{Major: 1}}, {Service: "a", Version: Version{Major: 1}}}
		}),
		"too many offers": change(func(d *Description) {
			d.Offers = many(MaxOffers+1, func(i int) Offer { return Offer{Service: fmt.Sprintf("s%02d", i), Version: Version{Major: 1}} })
		}),
		"too many labels": change(func(d *Description) {
			d.Offers[0].Labels = nil
			for i := range MaxLabels + 1 {
				d.Offers[0].Labels = append(d.Offers[0].Labels, fmt.Sprintf("l%02d", i))
			}
		}),
		"labels of more than the bound": change(func(d *Description) {
			d.Offers = many(4, func(i int) Offer {
				o := Offer{Service: fmt.Sprintf("s%02d", i), Version: Version{Major: 1}}
				for j := range MaxLabels {
					o.Labels = append(o.Labels, fmt.Sprintf("%02d%s", j, strings.Repeat("l", 40)))
				}
				return o
			})
		}),
	} {
		if d, err := Open(raw, testNetwork); !errors.Is(err, ErrInvalid) || d != nil {
			t.Errorf("%s: %v, %v; want ErrInvalid", name, d, err)
		}
	}
	if _, err := Open(raw, testNetwork); err != nil {
		t.Fatalf("the description that the others were made of: %v", err)
	}
	// What one cannot open one cannot make either.
	bad := good
	bad.Seq = 0
	if _, err := Seal(k, bad); err == nil {
		t.Error("sealed a description of seq 0")
	}
}

// TestSealRefusesWhatIsTooLarge is of a description whose parts are all within bounds.
func TestSealRefusesWhatIsTooLarge(t *testing.T) {
	d := describe(1, start)
	for i := range MaxOffers {
		o := Offer{Service: fmt.Sprintf("s%02d", i), Version: Version{Major: 1}}
		for j := range MaxLabels {
			o.Labels = append(o.Labels, fmt.Sprintf("%02d%s", j, strings.Repeat("l", 60)))
		}
		d.Offers = append(d.Offers, o)
	}
	if _, err := Seal(newKey(t), d); err == nil || !strings.Contains(err.Error(), "at most 4096") {
		t.Errorf("sealed, or refused for another reason: %v", err)
	}
}

func flip(b []byte, at int) []byte {
	out := bytes.Clone(b)
	out[at] ^= 1
	return out
}

// foreign is a payload under another domain or type.
type foreign struct {
	payload
	domain string
	codec  []byte
}

func (f foreign) Domain() string { return f.domain }
func (f foreign) Codec() []byte  { return f.codec }

func TestTableKeepsTheNewestAndForgetsTheExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, other := newKey(t), newKey(t)
		table := NewTable(testNetwork, time.Now, nil)
		put := func(s *Signed) (Outcome, error) {
			out, _, err := table.Put(s.Raw)
			return out, err
		}
		now := time.Now()
		first := seal(t, k, describe(10, now.Add(5*time.Minute), "sql"))
		changed := table.Changed()
		if out, err := put(first); out != News || err != nil {
			t.Fatalf("the first: %v, %v", out, err)
		}
		select {
		case <-changed:
		default:
			t.Error("nobody was told of news")
		}
		if out, err := put(first); out != Known || err != nil {
			t.Errorf("the same again: %v, %v", out, err)
		}
		second := seal(t, k, describe(11, now.Add(6*time.Minute), "sql", "api"))
		if out, _ := put(second); out != News {
			t.Errorf("a newer one: %v", out)
		}
		if out, err := put(first); out != Stale || err != nil {
			t.Errorf("a replayed one: %v, %v", out, err)
		}
		if got := table.Find("api", 1); len(got) != 1 || got[0].Seq != 11 {
			t.Errorf("found %v", got)
		}
		if got := table.Find("api", 2); len(got) != 0 {
			t.Errorf("found %v of another major version", got)
		}
		if out, err := put(seal(t, other, describe(1, now, "sql"))); out != Refused || !errors.Is(err, ErrExpired) {
			t.Errorf("one that expires now: %v, %v", out, err)
		}
		if out, err := put(seal(t, other, describe(1, now.Add(MaxLifetime+time.Millisecond), "sql"))); out != Refused || !errors.Is(err, ErrFuture) {
			t.Errorf("one that lives too long: %v, %v", out, err)
		}
		if out, err := put(seal(t, other, describe(1, now.Add(MaxLifetime), "sql"))); out != News || err != nil {
			t.Errorf("one that lives as long as it may: %v, %v", out, err)
		}

		time.Sleep(6*time.Minute - time.Millisecond) // of the bubble's clock
		if got := table.Find("sql", 1); len(got) != 2 {
			t.Errorf("%d before the first expires, want 2", len(got))
		}
		time.Sleep(time.Millisecond)
		if got := table.Find("sql", 1); len(got) != 1 || got[0].Peer != other.Public() {
			t.Errorf("%v after the first has expired", got)
		}
		if table.Get(k.Public()) != nil || table.Get(other.Public()) == nil {
			t.Error("Get and Find do not agree")
		}
		// A replay is no way back into the table.
		if out, err := put(second); out != Refused || !errors.Is(err, ErrExpired) {
			t.Errorf("the expired one again: %v, %v", out, err)
		}
		time.Sleep(4 * time.Minute)
		if all := table.All(); len(all) != 0 {
			t.Errorf("%d after %s, want none", len(all), MaxLifetime)
		}
	})
}

func TestTableAsksWhomTheNetworkKnows(t *testing.T) {
	k, stranger := newKey(t), newKey(t)
	known := map[sign.PublicKey]bool{k.Public(): true}
	table := NewTable(testNetwork, func() time.Time { return start }, func(p sign.PublicKey) bool { return known[p] })
	if out, _, err := table.Put(seal(t, stranger, describe(1, start.Add(time.Minute), "sql")).Raw); out != Refused || !errors.Is(err, ErrStranger) {
		t.Errorf("a stranger's: %v, %v", out, err)
	}
	if out, _, err := table.Put(seal(t, k, describe(1, start.Add(time.Minute), "sql")).Raw); out != News || err != nil {
		t.Errorf("a member's: %v, %v", out, err)
	}
	delete(known, k.Public()) // the chain lets it go
	if len(table.All()) != 0 || table.Get(k.Public()) != nil || len(table.Find("sql", 1)) != 0 {
		t.Error("a peer that the network knows no more is still in answers")
	}
}

func TestTwoOfOneSeqAreKeptAlikeEverywhere(t *testing.T) {
	k := newKey(t)
	a := seal(t, k, describe(5, start.Add(time.Minute), "sql"))
	b := seal(t, k, describe(5, start.Add(time.Minute), "api"))
	var kept [2]string
	for i, order := range [][]*Signed{{a, b}, {b, a}} {
		table := NewTable(testNetwork, func() time.Time { return start }, nil)
		for _, s := range order {
			if _, _, err := table.Put(s.Raw); err != nil {
				t.Fatal(err)
			}
		}
		kept[i] = table.Get(k.Public()).Offers[0].Service
	}
	if kept[0] != kept[1] {
		t.Errorf("the order of arrival decides: %v", kept)
	}
}

func TestTableIsBounded(t *testing.T) {
	table := NewTable(testNetwork, func() time.Time { return start }, nil)
	var lastToGo sign.PublicKey
	for i := range MaxPeers + 50 {
		k := newKey(t)
		life := time.Minute + time.Duration(i)*time.Millisecond
		if out, _, err := table.Put(seal(t, k, describe(1, start.Add(life), "sql")).Raw); out != News || err != nil {
			t.Fatalf("description %d: %v, %v", i, out, err)
		}
		lastToGo = k.Public()
	}
	if n := len(table.All()); n != MaxPeers {
		t.Errorf("%d peers, want %d", n, MaxPeers)
	}
	if table.Get(lastToGo) == nil {
		t.Error("the one that expires last was dropped")
	}
	seen := 0
	var after sign.PublicKey
	for {
		page := table.Page(after, 64)
		if len(page) == 0 {
			break
		}
		seen += len(page)
		after = page[len(page)-1].Peer
	}
	if seen != MaxPeers {
		t.Errorf("pages have %d peers, want %d", seen, MaxPeers)
	}
}

func TestValidatorHasOneWriterPerKeyAndSelectsTheNewest(t *testing.T) {
	k, other := newKey(t), newKey(t)
	id, err := peer.IDFromPrivateKey(libp2pKey(t, k))
	if err != nil {
		t.Fatal(err)
	}
	v := Validator{Network: testNetwork, Now: func() time.Time { return start }}
	good := seal(t, k, describe(2, start.Add(time.Minute), "sql")).Raw
	if err := v.Validate(ValueKey(id), good); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key   string
		value []byte
	}{
		"another peer's":        {ValueKey(id), seal(t, other, describe(2, start.Add(time.Minute), "sql")).Raw},
		"signed by another key": {ValueKey(id), flip(good, len(good)-1)},
		"expired":               {ValueKey(id), seal(t, k, describe(2, start, "sql")).Raw},
		"of the far future":     {ValueKey(id), seal(t, k, describe(2, start.Add(time.Hour), "sql")).Raw},
		"one megabyte":          {ValueKey(id), make([]byte, 1<<20)},
		"another namespace":     {"/pk/" + id.String(), good},
		"a key of no peer":      {"/bpci/nobody", good},
		"a peer in other words": {"/bpci/" + peer.ToCid(id).String(), good},
	} {
		if err := v.Validate(c.key, c.value); err == nil {
			t.Errorf("%s: admitted", name)
		}
	}
	newer := seal(t, k, describe(3, start.Add(time.Minute), "api")).Raw
	if i, err := v.Select(ValueKey(id), [][]byte{good, newer, []byte("x"), good}); i != 1 || err != nil {
		t.Errorf("selected %d, %v; want the newest, 1", i, err)
	}
	if _, err := v.Select(ValueKey(id), [][]byte{[]byte("x")}); err == nil {
		t.Error("selected among values that are none")
	}
}

// FuzzOpen looks for bytes that are taken and are not the one spelling of what they say, or that break out of a bound.
func FuzzOpen(f *testing.F) {
	k := sign.FromSeed(bytes.Repeat([]byte{7}, 32))
	d := describe(1, start.Add(time.Minute), "sql", "api")
	d.Peer = k.Public()
	f.Add(seal(f, k, d).Raw)
	f.Add(seal(f, k, describe(2, start)).Raw)
	f.Add([]byte{})
	f.Add(make([]byte, MaxBytes+1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Open(raw, testNetwork)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("an error that is not ErrInvalid: %v", err)
			}
			return
		}
		if len(s.Raw) > MaxBytes || len(s.Offers) > MaxOffers || s.Network != testNetwork {
			t.Fatalf("out of bounds: %+v", s.Description)
		}
		again, err := Open(s.Raw, testNetwork)
		if err != nil || !bytes.Equal(again.Raw, raw) || again.Newer(s) || s.Newer(again) {
			t.Fatalf("opens once and not twice: %v", err)
		}
	})
}

// FuzzPayload is the part behind the signature, which a fuzzer cannot reach through it.
func FuzzPayload(f *testing.F) {
	d := describe(1, start.Add(time.Minute), "sql", "api")
	raw, err := payload{&d}.MarshalRecord()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{0x85})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > MaxBytes {
			return
		}
		var d Description
		if err := (payload{&d}).UnmarshalRecord(raw); err != nil || d.check() != nil {
			return
		}
		again, err := payload{&d}.MarshalRecord()
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("two spellings of one description: %x and %x, %v", raw, again, err)
		}
	})
}

// FuzzValidate is the DHT's way in.
func FuzzValidate(f *testing.F) {
	k := sign.FromSeed(bytes.Repeat([]byte{7}, 32))
	id, err := peer.IDFromPrivateKey(libp2pKey(f, k))
	if err != nil {
		f.Fatal(err)
	}
	v := Validator{Network: testNetwork, Now: func() time.Time { return start }}
	f.Add(ValueKey(id), seal(f, k, describe(1, start.Add(time.Minute), "sql")).Raw)
	f.Add("/bpci/", []byte{})
	f.Fuzz(func(t *testing.T, key string, raw []byte) {
		if v.Validate(key, raw) != nil {
			return
		}
		s, err := Open(raw, testNetwork)
		if err != nil || s.Fresh(start) != nil || key != ValueKey(id) && s.Peer == k.Public() {
			t.Fatalf("admitted under %q: %v", key, err)
		}
		if i, err := v.Select(key, [][]byte{raw}); i != 0 || err != nil {
			t.Fatalf("valid and not selected: %v", err)
		}
	})
}
