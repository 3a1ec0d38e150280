package digest

import (
	"encoding/json"
	"testing"
)

func TestOfIsPlainSHA256(t *testing.T) {
	if got := Of([]byte("abc")).String(); got != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Fatalf("digest of abc is %s", got)
	}
}

func TestSumSeparatesPartsAndTags(t *testing.T) {
	b := func(s string) []byte { return []byte(s) }
	all := map[Digest]string{}
	for name, d := range map[string]Digest{
		"tag":            Sum("t"),
		"tag, empty":     Sum("t", nil),
		"tag, two empty": Sum("t", nil, nil),
		"ab":             Sum("t", b("ab")),
		"a b":            Sum("t", b("a"), b("b")),
		"ab empty":       Sum("t", b("ab"), nil),
		"longer tag":     Sum("ta", b("b")),
		"other tag":      Sum("u", b("ab")),
		"tag with zero":  Sum("t\x00", b("ab")),
	} {
		if other, dup := all[d]; dup {
			t.Errorf("%q hashes like %q", name, other)
		}
		all[d] = name
	}
}

func TestParseReadsOneSpelling(t *testing.T) {
	d := Of([]byte("x"))
	for _, s := range []string{d.String(), "sha256:" + d.String()} {
		if got, err := Parse(s); err != nil || got != d {
			t.Errorf("parse %q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "sha256:", d.String()[1:], d.String() + "0", "SHA256:" + d.String(),
		"A" + d.String()[1:], "g" + d.String()[1:], "sha256:sha256:" + d.String()} {
		if got, err := Parse(s); err == nil {
			t.Errorf("%q was accepted as %v", s, got)
		}
	}
}

func TestJSONShowsHexadecimal(t *testing.T) {
	d := Of([]byte("x"))
	raw, err := json.Marshal(map[string]Digest{"d": d})
	if err != nil || string(raw) != `{"d":"`+d.String()+`"}` {
		t.Fatalf("%s, %v", raw, err)
	}
	var back map[string]Digest
	if err := json.Unmarshal(raw, &back); err != nil || back["d"] != d {
		t.Fatalf("%v, %v", back, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Of(nil).String())
	f.Add("sha256:" + Of(nil).String())
	f.Fuzz(func(t *testing.T, s string) {
		d, err := Parse(s)
		if err == nil && d.String() != s && "sha256:"+d.String() != s {
			t.Fatalf("%q was read as %v", s, d)
		}
	})
}
