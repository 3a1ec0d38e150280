package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

var tableNames = []string{"region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"}

// generated gives the folder with the tables' Parquet files, NAME/0.parquet as the worker looks for them. It is kept in
// the user's cache under the digest of what made it.
func generated(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	var sources [][]byte
	for _, name := range []string{"gen.c", "build.sh", "tables.sql"} {
		b, err := os.ReadFile(filepath.Join("tpch", name))
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, b)
	}
	dir := filepath.Join(cache, "metanode", "tpch-"+digest.Sum("analytics/bench/tpch/1", sources...).Short())
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "tpch-new-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(fresh) })
	gen := filepath.Join(t.TempDir(), "gen")
	if out, err := exec.Command("tpch/build.sh", gen).CombinedOutput(); err != nil {
		t.Fatalf("build the generator: %v: %s", err, out)
	}
	cmd := exec.Command(gen)
	cmd.Dir, cmd.Stdin = fresh, bytes.NewReader(sources[2])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("generate the tables: %v: %s", err, out)
	}
	for _, name := range tableNames {
		if err := os.Mkdir(filepath.Join(fresh, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(fresh, name+".parquet"), filepath.Join(fresh, name, "0.parquet")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// files is a cage.Files over files that are nobody's but this run's.
type files map[digest.Digest]string

// Path implements cage.Files.
func (f files) Path(d digest.Digest) (string, error) {
	if p, ok := f[d]; ok {
		return p, nil
	}
	return "", fmt.Errorf("blob %s is not here", d.Short())
}

// add takes the file under its digest, whatever name it has.
func (f files) add(path string) (digest.Digest, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return digest.Digest{}, err
	}
	d := digest.Of(b)
	f[d] = path
	return d, nil
}

// Put implements analytics.Store: the file stays where it is.
func (f files) Put(_ context.Context, r io.Reader) (digest.Digest, error) {
	b, err := io.ReadAll(r)
	return digest.Of(b), err
}

// sniffer has the worker look into files that are added, in the cage, as node does.
type sniffer struct{ side *caged }

// Sniff implements analytics.Sniffer.
func (s sniffer) Sniff(_ context.Context, req []byte, list []analytics.LocalFile) (stdout, stderr []byte, exit int, err error) {
	w, err := analytics.SniffWork(s.side.image, cage.Sealed().Digest(), req, list)
	if err != nil {
		return nil, nil, 0, err
	}
	spec, err := specOf(w)
	if err != nil {
		return nil, nil, 0, err
	}
	stdout, _, err = s.side.run(spec)
	var failed *failure
	if errors.As(err, &failed) {
		return nil, []byte(failed.stderr), failed.exit, nil
	}
	return stdout, nil, 0, err
}

// datasets adds every table, as `bpi dataset add` does.
func datasets(t *testing.T, dir string, side *caged) map[string]analytics.Dataset {
	t.Helper()
	sets := map[string]analytics.Dataset{}
	for _, name := range tableNames {
		path := filepath.Join(dir, name, "0.parquet")
		if _, err := side.files.add(path); err != nil {
			t.Fatal(err)
		}
		m, err := analytics.AddPlan{Path: path}.Add(t.Context(), side.files, sniffer{side})
		if err != nil {
			t.Fatal(err)
		}
		sets[name] = analytics.Dataset{Table: name, Origin: name + "@1", Manifest: m}
	}
	return sets
}
