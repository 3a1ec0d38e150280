package api_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/api"
)

func TestDAGsTravelBothWays(t *testing.T) {
	f := newFake()
	c, base := serve(t, f, api.Options{Local: true})
	ctx := t.Context()
	if l, err := c.DAGs(ctx); err != nil || len(l.DAGs) != 1 || l.Usage.Blobs != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	for _, ask := range []func() (api.DAG, error){
		func() (api.DAG, error) { return c.DAG(ctx, "bafy") }, func() (api.DAG, error) { return c.FetchDAG(ctx, "bafy") },
		func() (api.DAG, error) { return c.PinDAG(ctx, "bafy") }, func() (api.DAG, error) { return c.UnpinDAG(ctx, "bafy") },
	} {
		if d, err := ask(); err != nil || d.CID != "bafy" || !d.Whole {
			t.Errorf("%+v, %v", d, err)
		}
	}
	f.missing = []int{0, 2}
	if m, err := c.MissingBlocks(ctx, []string{"a", "b", "c"}); err != nil || !slices.Equal(m, f.missing) {
		t.Errorf("%v, %v", m, err)
	}
	for _, f.missing = range [][]int{{3}, {-1}, {1, 1}, {2, 0}} {
		if m, err := c.MissingBlocks(ctx, []string{"a", "b", "c"}); err == nil {
			t.Errorf("nonsense was taken: %v", m)
		}
	}
	f.told = slices.DeleteFunc(f.told, func(s string) bool { return s == "missing of 3" })
	car := bytes.Repeat([]byte("car "), 50_000)
	if list, err := c.ImportDAGs(ctx, bytes.NewReader(car), uint64(len(car))); err != nil || len(list) != 1 || !bytes.Equal(f.car, car) {
		t.Errorf("%+v, %v, %d bytes came", list, err, len(f.car))
	}
	for _, repeats := range []bool{false, true} {
		r, err := c.ExportDAG(ctx, "bafy", repeats)
		if err != nil {
			t.Fatal(err)
		}
		if have, err := io.ReadAll(r); err != nil || !bytes.Equal(have, car) {
			t.Errorf("%d bytes came back, %v", len(have), err)
		}
		r.Close()
	}
	if done, err := c.Collect(ctx); err != nil || done.FreedBytes != 9 {
		t.Errorf("%+v, %v", done, err)
	}
	want := []string{"list c", "look bafy", "fetch bafy", "pin bafy", "unpin bafy", "import c", "export false bafy", "export true bafy"}
	if !slices.Equal(f.told, want) {
		t.Errorf("the node was told %q", f.told)
	}

	short := io.LimitReader(bytes.NewReader(car), 10)
	if _, err := c.ImportDAGs(ctx, short, uint64(len(car))); err == nil {
		t.Error("a body that ends early was taken")
	}
	for name, req := range map[string]func() *http.Request{
		"of another type": func() *http.Request {
			r, _ := http.NewRequest(http.MethodPost, base+"/v1/dags", strings.NewReader("x"))
			return r
		},
		"of unknown length": func() *http.Request {
			r, _ := http.NewRequest(http.MethodPost, base+"/v1/dags", io.MultiReader(strings.NewReader("x")))
			r.Header.Set("Content-Type", "application/vnd.ipld.car")
			return r
		},
	} {
		resp, err := http.DefaultClient.Do(req())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 4 {
			t.Errorf("a body %s: %s", name, resp.Status)
		}
	}
	small, _ := serve(t, newFake(), api.Options{MaxBlobBytes: 100})
	if _, err := small.ImportDAGs(ctx, bytes.NewReader(car), uint64(len(car))); !errors.Is(err, &api.Error{Code: api.CodeTooLarge}) {
		t.Errorf("too large: %v", err)
	}
}

// TestStrangersChangeNoPins asks from a loopback address where that counts as anybody's.
func TestStrangersChangeNoPins(t *testing.T) {
	f := newFake()
	c, _ := serve(t, f, api.Options{})
	ctx := t.Context()
	for name, ask := range map[string]func() error{
		"fetch":   func() error { _, err := c.FetchDAG(ctx, "bafy"); return err },
		"pin":     func() error { _, err := c.PinDAG(ctx, "bafy"); return err },
		"unpin":   func() error { _, err := c.UnpinDAG(ctx, "bafy"); return err },
		"collect": func() error { _, err := c.Collect(ctx); return err },
	} {
		if err := ask(); !errors.Is(err, &api.Error{Code: api.CodeForbidden}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(f.told) != 0 {
		t.Errorf("the node was told %q", f.told)
	}
	if _, err := c.DAG(ctx, strings.Repeat("b", 200)); !errors.Is(err, &api.Error{Code: api.CodeMalformed}) {
		t.Errorf("a long name: %v", err)
	}
}

// TestCARThatBreaksOffIsNoWholeOne ends an export in the middle: the reader must not take it for the end.
func TestCARThatBreaksOffIsNoWholeOne(t *testing.T) {
	f := newFake()
	f.car = bytes.Repeat([]byte("x"), 100_000)
	f.carErr = errors.New("a block rotted")
	c, _ := serve(t, f, api.Options{})
	r, err := c.ExportDAG(t.Context(), "bafy", false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if have, err := io.ReadAll(r); err == nil {
		t.Errorf("%d bytes count as all", len(have))
	}
}
