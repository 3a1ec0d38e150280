package canon

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"
)

type pair struct {
	_ struct{} `cbor:",toarray"`
	A uint64
	B []byte
}

type keyed struct {
	X uint64            `cbor:"1,keyasint"`
	M map[string]uint64 `cbor:"2,keyasint"`
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOneSpellingOnly(t *testing.T) {
	var p pair
	if err := Unmarshal(unhex(t, "82 01 41 ff"), &p); err != nil || p.A != 1 || !bytes.Equal(p.B, []byte{255}) {
		t.Fatalf("%+v, %v", p, err)
	}
	for name, s := range map[string]string{
		"trailing byte":         "82 01 41 ff 00",
		"long integer":          "82 18 01 41 ff",
		"long length":           "82 01 58 01 ff",
		"indefinite array":      "9f 01 41 ff ff",
		"indefinite bytes":      "82 01 5f 41 ff ff",
		"tag":                   "82 c1 01 41 ff",
		"element too many":      "83 01 41 ff 00",
		"element too few":       "81 01",
		"null for bytes":        "82 01 f6",
		"text for bytes":        "82 01 61 61",
		"float for integer":     "82 f9 3c 00 41 ff",
		"negative for unsigned": "82 20 41 ff",
		"cut short":             "82 01 41",
		"nothing":               "",
		"a huge length":         "82 01 5b 7f ff ff ff ff ff ff ff",
		"a huge array":          "9b 7f ff ff ff ff ff ff ff",
	} {
		var p pair
		if err := Unmarshal(unhex(t, s), &p); err == nil {
			t.Errorf("%s was accepted as %+v", name, p)
		}
	}
}

func TestMapsAreSortedAndUnique(t *testing.T) {
	k := keyed{X: 1, M: map[string]uint64{"b": 2, "a": 1, "aa": 3}}
	want := unhex(t, "a2 01 01 02 a3 61 61 01 61 62 02 62 61 61 03")
	if got := Must(&k); !bytes.Equal(got, want) {
		t.Fatalf("encoded %x", got)
	}
	for name, s := range map[string]string{
		"unsorted":      "a2 01 01 02 a2 61 62 02 61 61 01",
		"duplicate":     "a2 01 01 02 a2 61 61 02 61 61 01",
		"keys swapped":  "a2 02 a0 01 01",
		"unknown key":   "a3 01 01 02 a0 03 01",
		"duplicate key": "a2 01 01 01 01",
	} {
		var k keyed
		if err := Unmarshal(unhex(t, s), &k); err == nil {
			t.Errorf("%s was accepted as %+v", name, k)
		}
	}
	var back keyed
	if err := Unmarshal(unhex(t, "a2 01 01 02 a2 61 62 02 61 61 01"), &back); !errors.Is(err, ErrNotCanonical) {
		t.Errorf("unsorted map: %v, want ErrNotCanonical", err)
	}
}

func TestNilSliceIsEmpty(t *testing.T) {
	if a, b := Must(&pair{}), Must(&pair{B: []byte{}}); !bytes.Equal(a, b) {
		t.Fatalf("nil %x, empty %x", a, b)
	}
}

func TestNotANumberIsRefused(t *testing.T) {
	if _, err := Marshal(math.NaN()); err == nil {
		t.Fatal("NaN was encoded")
	}
	if _, err := Marshal(math.Inf(1)); err == nil {
		t.Fatal("infinity was encoded")
	}
}

func TestDecodedValueDoesNotAliasInput(t *testing.T) {
	raw := unhex(t, "82 01 41 ff")
	var p pair
	if err := Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	raw[3] = 0
	if p.B[0] != 255 {
		t.Fatal("the value changed with the input")
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add(Must(&pair{A: 7, B: []byte("x")}))
	f.Add(Must(&keyed{X: 1, M: map[string]uint64{"a": 1}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p pair
		if Unmarshal(raw, &p) == nil && !bytes.Equal(Must(&p), raw) {
			t.Fatal("another spelling of a pair")
		}
		var k keyed
		if Unmarshal(raw, &k) == nil && !bytes.Equal(Must(&k), raw) {
			t.Fatal("another spelling of a map")
		}
	})
}

func TestOwnBytesMayBeTrusted(t *testing.T) {
	var p pair
	if err := UnmarshalOwn(Must(&pair{A: 7, B: []byte{1}}), &p); err != nil || p.A != 7 {
		t.Fatalf("%+v, %v", p, err)
	}
	for name, s := range map[string]string{"cut short": "82 01 41", "element too many": "83 01 41 ff 00", "trailing byte": "82 01 41 ff 00", "indefinite array": "9f 01 41 ff ff"} {
		if err := UnmarshalOwn(unhex(t, s), &p); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
