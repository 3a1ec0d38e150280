package analytics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/receipt"
)

// memoryStore keeps the blobs of a test. meddle, if set, runs while a file is being read.
type memoryStore struct {
	blobs  map[digest.Digest][]byte
	meddle func()
}

func (s *memoryStore) Put(_ context.Context, r io.Reader) (digest.Digest, error) {
	if s.meddle != nil {
		s.meddle()
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return digest.Digest{}, err
	}
	d := digest.Of(b)
	if s.blobs == nil {
		s.blobs = map[digest.Digest][]byte{}
	}
	s.blobs[d] = b
	return d, nil
}

// layOut puts blobs where a worker finds its inputs.
func (s *memoryStore) layOut(t testing.TB, path string, d digest.Digest) {
	t.Helper()
	b, ok := s.blobs[d]
	if !ok {
		t.Fatalf("no blob %s", d.Short())
	}
	write(t, path, string(b))
}

// plainSniffer runs the worker without a cage.
type plainSniffer struct {
	t     testing.TB
	store *memoryStore
}

func (s plainSniffer) Sniff(_ context.Context, req []byte, files []LocalFile) (stdout, stderr []byte, exit int, err error) {
	in := s.t.TempDir()
	for _, f := range files {
		s.store.layOut(s.t, filepath.Join(in, f.Input), f.Digest)
	}
	a := askBytes(s.t, in, req)
	return a.stdout, []byte(strings.ReplaceAll(a.stderr, in, "/in")), a.code, nil
}

// runWork runs a job's work as an executor would, but for the cage.
func runWork(t testing.TB, store *memoryStore, w *receipt.Work) answer {
	t.Helper()
	in := t.TempDir()
	for _, i := range w.Inputs {
		store.layOut(t, filepath.Join(in, i.Path), i.Digest)
	}
	return askBytes(t, in, w.Stdin)
}

func addAll(t testing.TB, plan AddPlan) (*Manifest, *memoryStore) {
	t.Helper()
	store := &memoryStore{}
	m, err := plan.Add(t.Context(), store, plainSniffer{t, store})
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeManifest(m.Encode())
	if err != nil || again.Digest() != m.Digest() {
		t.Fatalf("the manifest does not come back: %v", err)
	}
	return m, store
}

func query(t testing.TB, m *Manifest, store *memoryStore, sql string) string {
	t.Helper()
	w, err := Job(JobSpec{Engine: digest.Of([]byte("engine")), SQL: sql, Datasets: []Dataset{{Table: "d", Origin: "d@1", Manifest: m}}})
	if err != nil {
		t.Fatal(err)
	}
	r := rowsOf(t, runWork(t, store, w))
	out := ""
	for _, row := range r.Rows {
		for i, v := range row {
			out += Text(&r.Columns[i].Type, v) + " "
		}
	}
	return strings.TrimSpace(out)
}

func TestAddAndQueryEachFormat(t *testing.T) {
	for _, c := range []struct{ path, columns, rows, sql, want string }{
		{"../examples/data/users.csv", "id BIGINT, name VARCHAR, email VARCHAR, country VARCHAR, plan VARCHAR, age BIGINT, signup_date DATE, last_login TIMESTAMP, sessions BIGINT, spent DOUBLE", "1000",
			"select count(*), count(age), max(id) from d", "1000 962 1000"},
		{"../examples/data/events.ndjson", "user_id BIGINT, at TIMESTAMP, kind VARCHAR, device STRUCT(os VARCHAR, app VARCHAR), tags VARCHAR[]", "300",
			"select count(*), count(distinct device.os), max(len(tags)) from d", "300 5 2"},
		{"../examples/data/orders.parquet", "order_id BIGINT, user_id BIGINT, ordered_at TIMESTAMP, amount DECIMAL(9,2), items INTEGER", "5000",
			"select count(*), typeof(sum(amount)) from d", "5000 DECIMAL(38,2)"},
		{"testdata/items.parquet", "id BIGINT, name VARCHAR, price DECIMAL(9,2), day DATE", "20", "select sum(price), count(day) from d", "237.50 13"},
	} {
		m, store := addAll(t, AddPlan{Path: c.path})
		var columns []string
		for _, col := range m.Columns {
			columns = append(columns, col.Name+" "+strings.ReplaceAll(col.Type, `"`, ""))
		}
		if got := strings.Join(columns, ", "); got != c.columns {
			t.Errorf("%s: columns %s, want %s", c.path, got, c.columns)
		}
		if fmt.Sprint(m.Rows) != c.rows {
			t.Errorf("%s: %d rows, want %s", c.path, m.Rows, c.rows)
		}
		if got := query(t, m, store, c.sql); got != c.want {
			t.Errorf("%s: %s gives %s, want %s", c.path, c.sql, got, c.want)
		}
	}
}

func TestAddHivePartitions(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/year=2023/country=SE/a.csv", "x;y\n1;2,5\n2;a\n")
	write(t, dir+"/year=2024/country=GB/a.csv", "x;y\n3;b\n")
	write(t, dir+"/year=2024/country=GB/b.csv", "x;y\n4;c\n")
	write(t, dir+"/year=2024/country="+hiveNull+"/a.csv", "x;y\n5;d\n")
	write(t, dir+"/_SUCCESS", "")
	write(t, dir+"/.hidden", "no")
	m, store := addAll(t, AddPlan{Path: dir})
	if got := fmt.Sprint(m.Keys); got != "[{{} year BIGINT} {{} country VARCHAR}]" {
		t.Errorf("keys %s", got)
	}
	if got := query(t, m, store, "select year, coalesce(country, '-'), sum(x), max(y) from d group by all order by 1, 2"); got != "2023 SE 3 a 2024 - 5 d 2024 GB 7 c" {
		t.Errorf("got %s", got)
	}
	if got := query(t, m, store, "select count(*) from d where year = 2024 and country = 'GB'"); got != "2" {
		t.Errorf("got %s", got)
	}
}

func TestManyPartitionsNestShallowly(t *testing.T) {
	dir := t.TempDir()
	for i := range 300 {
		write(t, fmt.Sprintf("%s/p=%d/a.csv", dir, i), fmt.Sprintf("x\n%d\n", i))
	}
	m, store := addAll(t, AddPlan{Path: dir})
	if got := query(t, m, store, "select count(*), sum(x), sum(p) from d"); got != "300 44850 44850" {
		t.Errorf("got %s", got)
	}
}

func TestAddRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/empty.csv", "")
	write(t, dir+"/x.duckdb", "DUCK")
	write(t, dir+"/x.xlsx", "PK")
	write(t, dir+"/mixed/a.csv", "x\n1\n")
	write(t, dir+"/mixed/b.ndjson", "{}\n")
	write(t, dir+"/keys/k=1/a.csv", "x\n1\n")
	write(t, dir+"/keys/a.csv", "x\n1\n")
	write(t, dir+"/none/_x", "")
	write(t, dir+"/bad.parquet", "this is not parquet at all")
	write(t, dir+"/types/a.csv", "x\n1\n2\n")
	write(t, dir+"/types/b.csv", "x\n1\nnope\n")
	for path, want := range map[string]string{
		"empty.csv": "is empty", "x.duckdb": "database file", "x.xlsx": "does not show in its name", "mixed": "one format",
		"keys": "partition folders", "none": "holds no files", "missing.csv": "no such file", "bad.parquet": "bad.parquet",
		"types": "types/b.csv",
	} {
		store := &memoryStore{}
		_, err := AddPlan{Path: filepath.Join(dir, path)}.Add(t.Context(), store, plainSniffer{t, store})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want an error with %q", path, err, want)
		}
	}
	if _, err := (AddPlan{Path: dir + "/x.duckdb", Format: "csv"}).Add(t.Context(), &memoryStore{}, nil); err == nil || !strings.Contains(err.Error(), "database file") {
		t.Errorf("a database file under another format: %v", err)
	}
}

func TestAddNoticesAChangingFile(t *testing.T) {
	for name, meddle := range map[string]func(path string){
		"grows":    func(p string) { write(t, p, "x\n1\n2\n3\n") },
		"replaced": func(p string) { write(t, p+".new", "x\n9\n"); os.Rename(p+".new", p) },
		"removed":  func(p string) { os.Remove(p) },
	} {
		path := filepath.Join(t.TempDir(), "a.csv")
		write(t, path, "x\n1\n")
		store := &memoryStore{meddle: func() { meddle(path) }}
		if _, err := (AddPlan{Path: path}).Add(t.Context(), store, plainSniffer{t, store}); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v, want ErrChanged", name, err)
		}
	}
}

func TestJobIsAFunctionOfItsSpec(t *testing.T) {
	m := &Manifest{Version: 1, Format: "csv", Columns: []Column{{Name: "x", Type: "BIGINT"}}, Dialect: Dialect{Delim: ",", Header: true}, Keys: []Column{},
		Files: []File{}, Rows: 0}
	for i := range 12 {
		m.Files = append(m.Files, File{Path: fmt.Sprintf("%02d.csv", i), Digest: digest.Of([]byte{byte(i)}), Bytes: 4, Rows: 1, Values: []string{}})
		m.Rows++
	}
	spec := JobSpec{Engine: digest.Of([]byte("e")), SQL: "select 1", Datasets: []Dataset{{Table: "b", Origin: "b@1", Manifest: m}, {Table: "a", Origin: "a@2", Manifest: m}}}
	w1, err := Job(spec)
	if err != nil {
		t.Fatal(err)
	}
	spec.Datasets[0], spec.Datasets[1] = spec.Datasets[1], spec.Datasets[0]
	w2, err := Job(spec)
	if err != nil {
		t.Fatal(err)
	}
	if w1.Digest() != w2.Digest() || ReuseKey(w1) != ReuseKey(w2) {
		t.Error("the order of the datasets changes the work")
	}
	for i := 1; i < len(w1.Inputs); i++ {
		if w1.Inputs[i-1].Path >= w1.Inputs[i].Path {
			t.Errorf("inputs out of order: %s, %s", w1.Inputs[i-1].Path, w1.Inputs[i].Path)
		}
	}
	spec.SQL = "select 2"
	if w3, err := Job(spec); err != nil || w3.Seed == w1.Seed {
		t.Errorf("another query has the same seed (%v)", err)
	}
	spec.Datasets = append(spec.Datasets, spec.Datasets[0])
	if _, err := Job(spec); err == nil {
		t.Error("a dataset named twice is taken")
	}
	if req, err := DecodeRequest(w1.Stdin); err != nil || req.Tables[0].Parts[0].Files != 12 {
		t.Errorf("stdin does not decode to the request: %v", err)
	}
}

func TestCheckWarns(t *testing.T) {
	in, users := usersTable(t)
	a := ask(t, in, Request{Action: ActionCheck, SQL: "select name, sum(score), random(), now() from users group by all limit 3", Tables: []Table{users}})
	if a.code != 0 {
		t.Fatal(a.stderr)
	}
	c, err := ParseCheck(a.stdout)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.Columns[1]); !strings.Contains(got, "DOUBLE") {
		t.Errorf("columns %v", c.Columns)
	}
	w := strings.Join(Warnings(c, []Table{users}), "\n")
	for _, want := range []string{"LIMIT without ORDER BY", "random", "virtual clock", "sum over a DOUBLE"} {
		if !strings.Contains(w, want) {
			t.Errorf("no warning of %q in:\n%s", want, w)
		}
	}
	a = ask(t, in, Request{Action: ActionCheck, SQL: "select id from users order by id limit 3", Tables: []Table{users}})
	if c, err := ParseCheck(a.stdout); err != nil || len(Warnings(c, []Table{users})) != 0 {
		t.Errorf("warnings for a plain query: %v %v", c, err)
	}
	for _, sql := range []string{"selec", "from nobody", "from glob('*')"} {
		if a := ask(t, in, Request{Action: ActionCheck, SQL: sql, Tables: []Table{users}}); a.code == 0 {
			t.Errorf("check of %s passes", sql)
		}
	}
}

func TestMultisetDigestIgnoresOrderOnly(t *testing.T) {
	in, _ := usersTable(t)
	sum := func(sql string) digest.Digest {
		a := ask(t, in, Request{SQL: sql})
		d, err := MultisetDigest(bytes.NewReader(a.stdout), 0)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	up, down, other := sum("select * from range(9) t(a) order by a"), sum("select * from range(9) t(a) order by a desc"), sum("select * from range(10) t(a)")
	if up != down || up == other {
		t.Errorf("up %s, down %s, other %s", up.Short(), down.Short(), other.Short())
	}
}
