package analytics

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/digest"
)

func seedRequest() *Request {
	return &Request{Version: 1, Action: ActionQuery, SQL: "select 1", TimeZone: "UTC", MemoryBytes: 64 << 20, Tables: []Table{{
		Name: "users", Format: "csv", Columns: []Column{{Name: "a", Type: "DECIMAL(4,2)"}}, Dialect: Dialect{Delim: ","},
		Keys: []Column{{Name: "k", Type: "BIGINT"}}, Parts: []Part{{Files: 2, Values: []string{"1"}}},
	}}}
}

func seedManifest() *Manifest {
	return &Manifest{Version: 1, Format: "csv", Columns: []Column{{Name: "a", Type: "BIGINT"}}, Dialect: Dialect{Delim: ","}, Keys: []Column{},
		Files: []File{{Path: "a.csv", Digest: digest.Of([]byte("a")), Bytes: 3, Rows: 1, Values: []string{}}}, Rows: 1}
}

func FuzzDecodeRequest(f *testing.F) {
	b, err := seedRequest().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte{0x86})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("a request has two spellings (%v)", err)
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	b := seedManifest().Encode()
	f.Add(b)
	f.Add(b[1:])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b)
		if err != nil {
			return
		}
		if !bytes.Equal(m.Encode(), b) {
			t.Error("a manifest has two spellings")
		}
		table := m.Table("x")
		if _, err := table.validate(); err != nil {
			t.Errorf("a valid manifest gives an invalid table: %v", err)
		}
	})
}

func FuzzDecodeStream(f *testing.F) {
	f.Add(countStream)
	f.Add([]byte("BPIR\x01\x01\x00\x00\x00\x00\x00\x00\x00\x1d\x20\x05\x0f\x01\x01\x01\x00\x00\x00\x00"))
	f.Add([]byte("BPIR\x01\xff\xff\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(bytes.NewReader(b), 1<<20)
		if err != nil {
			return
		}
		if _, err := r.MarshalJSON(); err != nil {
			t.Errorf("a result without JSON: %v", err)
		}
		if err := r.WriteTable(io.Discard, 10); err != nil {
			t.Error(err)
		}
		if err := r.WriteCSV(io.Discard); err != nil {
			t.Error(err)
		}
		if _, err := MultisetDigest(bytes.NewReader(b), 1<<20); err != nil {
			t.Error(err)
		}
	})
}

// FuzzParseAnswers reads the answers of the worker's other actions, which come from a cage that may have been taken over.
func FuzzParseAnswers(f *testing.F) {
	f.Add(countStream, 1)
	f.Add([]byte("BPIR\x01\x03\x00\x00\x00\x00\x00"), 0)
	f.Fuzz(func(t *testing.T, b []byte, files int) {
		if c, err := ParseCheck(b); err == nil {
			Warnings(c, nil)
		}
		if s, err := ParseSniff(b, files); err == nil && len(s.Rows) != files {
			t.Errorf("rows of %d files, want %d", len(s.Rows), files)
		}
		if _, err := ParseExplain(b); err != nil {
			if _, err := Decode(bytes.NewReader(b), 16<<20); err == nil {
				t.Errorf("a stream that reads is no plan: %v", err)
			}
		}
	})
}

func FuzzParseFailure(f *testing.F) {
	f.Add(10, []byte(`{"kind":"syntax","message":"m","position":3}`), "select 1")
	f.Add(139, []byte("Segmentation fault"), "")
	f.Fuzz(func(t *testing.T, code int, stderr []byte, sql string) {
		if x := ParseFailure(code, stderr); x != nil {
			x.Explain(sql)
		} else if code != 0 {
			t.Error("a failure is lost")
		}
	})
}

func FuzzResolveRef(f *testing.F) {
	for _, s := range []string{"users", "users@3", "users@sha256:" + strings.Repeat("ab", 32), "a@", "@1", "users@03"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ResolveRef(s); err == nil && r.String() != s {
			t.Errorf("%q reads as %q", s, r)
		}
	})
}

func FuzzGatewayBody(f *testing.F) {
	f.Add([]byte(`{"dataset":"users","query":"select 1"}`))
	f.Add([]byte(`{"datasets":["a","b@2"],"query":"x","r":3,"q":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if body, err := parseBody(b); err == nil && body == nil {
			t.Error("neither body nor error")
		}
	})
}

func TestDecodeRefusesEveryCutAndTail(t *testing.T) {
	if _, err := Decode(bytes.NewReader(countStream), 0); err != nil {
		t.Fatal(err)
	}
	for n := range countStream {
		if _, err := Decode(bytes.NewReader(countStream[:n]), 0); !errors.Is(err, ErrStream) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if _, err := Decode(bytes.NewReader(append(slices.Clone(countStream), 0)), 0); !errors.Is(err, ErrStream) {
		t.Errorf("a tail: %v", err)
	}
	wrong := slices.Clone(countStream)
	wrong[len(wrong)-8]++
	if _, err := Decode(bytes.NewReader(wrong), 0); !errors.Is(err, ErrStream) {
		t.Errorf("a wrong count: %v", err)
	}
	if _, err := Decode(bytes.NewReader(countStream), 20); !errors.Is(err, ErrStream) {
		t.Errorf("over the limit: %v", err)
	}
}

func TestDecodeAllocatesOnlyWhatArrives(t *testing.T) {
	// One VARCHAR of which the length says 4 GiB.
	b := []byte("BPIR\x01\x01\x00\x00\x00\x01\x00\x00\x00n\x0f\x01\x01\xff\xff\xff\xffx")
	if n := testing.AllocsPerRun(1, func() { Decode(bytes.NewReader(b), 1<<40) }); n > 100 {
		t.Errorf("%v allocations", n)
	}
	if _, err := Decode(bytes.NewReader(b), 1<<40); !errors.Is(err, ErrStream) {
		t.Errorf("%v", err)
	}
}

func TestRequestBounds(t *testing.T) {
	for name, change := range map[string]func(*Request){
		"version": func(r *Request) { r.Version = 2 }, "action": func(r *Request) { r.Action = "copy" }, "empty": func(r *Request) { r.SQL = " " },
		"nul": func(r *Request) { r.SQL = "a\x00" }, "long": func(r *Request) { r.SQL = strings.Repeat("x", MaxSQLBytes+1) },
		"zone": func(r *Request) { r.TimeZone = "" }, "memory": func(r *Request) { r.MemoryBytes = 1 }, "name": func(r *Request) { r.Tables[0].Name = "A" },
		"format": func(r *Request) { r.Tables[0].Format = "duckdb" }, "type": func(r *Request) { r.Tables[0].Columns[0].Type = "INT); DROP" },
		"type comma": func(r *Request) { r.Tables[0].Columns[0].Type = "INT, x INT" }, "type close": func(r *Request) { r.Tables[0].Columns[0].Type = "INT) (" },
		"same column": func(r *Request) { r.Tables[0].Keys[0].Name = "A" }, "values": func(r *Request) { r.Tables[0].Parts[0].Values = nil },
		"no files": func(r *Request) { r.Tables[0].Parts = nil }, "files": func(r *Request) { r.Tables[0].Parts[0].Files = MaxFiles + 1 },
		"twice": func(r *Request) { r.Tables = append(r.Tables, r.Tables[0]) },
	} {
		r := seedRequest()
		change(r)
		if _, err := r.Encode(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestExplainMarksThePlace(t *testing.T) {
	at := 16
	f := &Failure{Message: "no such column", Position: &at}
	if got, want := f.Explain("select 1,\n  abc xyz\nfrom t"), "no such column\n    abc xyz\n        ^"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
