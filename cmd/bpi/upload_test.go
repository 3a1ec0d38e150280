package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/p2p/blob"
)

// shelfNode is the part of a node that uploads need, with a store of its own.
type shelfNode struct {
	api.Backend
	store *blob.Store
	came  int    // bytes of the last CAR file
	cut   int64  // of it are read, and then the connection breaks; 0: all
	lose  func() // what happens before an import ends, once
}

func (s *shelfNode) Status(context.Context) (api.Status, error) { return api.Status{}, nil }

func (s *shelfNode) DAG(_ context.Context, text string) (api.DAG, error) {
	c, err := blob.ParseCID(text)
	if err != nil {
		return api.DAG{}, err
	}
	r, ok := s.store.Root(c)
	if !ok {
		return api.DAG{}, api.NotFound("", "not here")
	}
	return dagOf(r), nil
}

func dagOf(r blob.Root) api.DAG {
	d := api.DAG{CID: r.CID.String(), Kind: r.Kind(), Bytes: r.Bytes, Whole: true, Pins: []string{}}
	if !r.Folder {
		d.SHA256 = r.Digest.String()
	}
	return d
}

func (s *shelfNode) PinDAG(ctx context.Context, text string) (api.DAG, error) {
	return s.DAG(ctx, text)
}

func (s *shelfNode) MissingBlocks(ctx context.Context, asked api.BlocksAsked) (m api.BlocksMissing, err error) {
	m.Missing = []int{}
	for i, text := range asked.CIDs {
		c, err := blob.ParseCID(text)
		if err != nil {
			return m, err
		}
		if have, err := s.store.Blocks().Has(ctx, c); err != nil || !have {
			m.Missing = append(m.Missing, i)
		}
	}
	return m, nil
}

func (s *shelfNode) ImportDAGs(ctx context.Context, r io.Reader) ([]api.DAG, error) {
	in := &countReader{r: r}
	if s.cut > 0 {
		in.r = io.MultiReader(io.LimitReader(r, s.cut), brokenReader{})
	}
	roots, err := s.store.Import(ctx, in)
	s.came = in.n
	if s.lose != nil {
		s.lose()
		s.lose = nil
		return nil, api.NotFound("send all blocks", "a block is gone")
	}
	if err != nil {
		return nil, api.Malformed("", "%v", err)
	}
	var list []api.DAG
	for _, r := range roots {
		list = append(list, dagOf(r))
	}
	return list, nil
}

type countReader struct {
	r io.Reader
	n int
}

func (c *countReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("cable cut") }

func TestUploadThatBrokeOffSendsOnlyWhatIsLacking(t *testing.T) {
	store, err := blob.Open(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	node := &shelfNode{store: store}
	h, err := api.NewHandler(node, api.Options{Local: true})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = api.NewServer(h, nil)
	srv.Start()
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	raw := make([]byte, 20<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(raw)
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	add := func() (int, string, string) { return bpi(t, dir, "--api", srv.URL, "blob", "add", "--id-only", file) }

	node.cut = 12 << 20
	if code, out, _ := add(); code == 0 {
		t.Fatalf("an upload that broke off: exit code %d: %s", code, out)
	}
	node.cut = 0
	code, out, errs := add()
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	if node.came > 13<<20 {
		t.Errorf("after 8 MiB had been kept, %d bytes were sent of %d", node.came, len(raw))
	}
	c, err := blob.ParseCID(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	var car bytes.Buffer
	if err := store.Export(t.Context(), &car, c, false); err != nil {
		t.Fatal(err)
	}
	if r, ok := store.Root(c); !ok || r.Bytes != uint64(len(raw)) {
		t.Errorf("the node has %+v", r)
	}
	node.came = 0
	if code, _, errs := add(); code != 0 || node.came != 0 {
		t.Errorf("what the node has was sent again: exit code %d, %d bytes: %s", code, node.came, errs)
	}

	// What was there is collected while the rest comes: everything is sent.
	if err := os.WriteFile(file, append(raw, 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	node.lose = func() {
		if _, err := store.Empty(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if code, _, errs := add(); code != 0 || node.came < len(raw) {
		t.Errorf("after a collection: exit code %d, %d bytes: %s", code, node.came, errs)
	}
}
