package analytics

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the golden streams anew; read the diff before you commit it")

// TestStreamsAreGolden pins the worker's bytes: a change here is a change of every receipt's digest.
func TestStreamsAreGolden(t *testing.T) {
	in, users := usersTable(t)
	for name, sql := range map[string]string{
		"rows":    "select id, name, country, score, joined from users order by id",
		"nested":  "select [1, null] l, {'a': 1.5::decimal(4,2), 'b': map {'k': true}} s, null n, 'nan'::double d",
		"empty":   "select id from users where false",
		"random":  "select random() a, uuid() b, now() c, hash(range) d from range(3)",
		"grouped": "select country, count(*), sum(score), string_agg(name, ';') from users group by all order by country",
	} {
		a := ask(t, in, Request{SQL: sql, Tables: []Table{users}})
		if a.code != 0 {
			t.Errorf("%s: exit code %d: %s", name, a.code, a.stderr)
			continue
		}
		path, got := "testdata/"+name+".golden", []byte(hex.Dump(a.stdout))
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the stream changed:\n%s\nwant\n%s", name, got, want)
		}
	}
}
