package node

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/p2p/blob"
)

// carOf packs a file or folder as a CAR file.
func carOf(t *testing.T, at string) (blob.Built, []byte) {
	t.Helper()
	built, err := blob.BuildTree(t.Context(), at, func(context.Context, ipld.Node) error { return nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := blob.NewCARWriter(&b, built.Root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blob.BuildTree(t.Context(), at, w.Put, nil); err != nil {
		t.Fatal(err)
	}
	return built, b.Bytes()
}

func TestDAGsOfANode(t *testing.T) {
	cfg := testConfig(t)
	cfg.Storage.BlobQuotaBytes = 4 << 20
	n, err := New(cfg, Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	b, ctx := &backend{n}, t.Context()
	dir := t.TempDir()
	text := []byte("all is well\n")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "text"), text, 0o600), os.Mkdir(filepath.Join(dir, "sub"), 0o700)); err != nil {
		t.Fatal(err)
	}
	folder, car := carOf(t, dir)
	list, err := b.ImportDAGs(ctx, bytes.NewReader(car))
	if err != nil || len(list) != 1 || list[0].CID != folder.Root.String() || list[0].Kind != "folder" || !list[0].Whole || len(list[0].Pins) != 0 {
		t.Fatalf("%+v, %v", list, err)
	}
	cid := list[0].CID
	if d, err := b.PinDAG(ctx, cid); err != nil || !slices.Equal(d.Pins, []string{"user"}) {
		t.Errorf("pinned: %+v, %v", d, err)
	}
	file, raw := carOf(t, filepath.Join(dir, "text"))
	list, err = b.ImportDAGs(ctx, bytes.NewReader(raw))
	if err != nil || list[0].SHA256 != digest.Of(text).String() || list[0].Bytes != uint64(len(text)) {
		t.Fatalf("%+v, %v", list, err)
	}
	if size, err := b.StatBlob(ctx, digest.Of(text)); err != nil || size != uint64(len(text)) {
		t.Errorf("by its digest it has %d bytes, %v", size, err)
	}
	var out bytes.Buffer
	if err := b.ExportDAG(ctx, cid, false, &out); err != nil || out.Len() != len(car) {
		t.Errorf("%d bytes of %d came out, %v", out.Len(), len(car), err)
	}

	// The pinned folder has the file's block, so it goes as a name alone.
	if done, err := b.Collect(ctx); err != nil || done.Usage.Blobs != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := b.DAG(ctx, file.Root.String()); !errors.Is(err, &api.Error{Code: api.CodeNotFound}) {
		t.Errorf("what nobody pinned: %v", err)
	}
	if d, err := b.UnpinDAG(ctx, cid); err != nil || len(d.Pins) != 0 {
		t.Errorf("unpinned: %+v, %v", d, err)
	}
	if l, err := b.DAGs(ctx); err != nil || len(l.DAGs) != 1 || l.Usage.QuotaBytes != 4<<20 {
		t.Errorf("%+v, %v", l, err)
	}

	// What does not fit, is damaged or is none is refused in words.
	if err := os.WriteFile(filepath.Join(dir, "large"), bytes.Repeat([]byte("0123456789"), 1<<19), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 5 { // blocks that differ
		f, err := os.OpenFile(filepath.Join(dir, "large"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte{byte(i)}, int64(i)<<20)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	_, large := carOf(t, filepath.Join(dir, "large"))
	_, err = b.ImportDAGs(ctx, bytes.NewReader(large))
	var e *api.Error
	if !errors.As(err, &e) || e.Code != api.CodeQuotaFull || !strings.Contains(err.Error(), "raise storage.blob_quota_bytes") {
		t.Errorf("more than the quota: %v", err)
	}
	car[len(car)-1] ^= 1
	for name, raw := range map[string][]byte{"damaged": car, "cut": car[:len(car)-3], "none": []byte("hello"), "empty": nil} {
		if _, err := b.ImportDAGs(ctx, bytes.NewReader(raw)); !errors.Is(err, &api.Error{Code: api.CodeMalformed}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []string{"", "x", "bafkqaaa", "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR/a"} {
		if _, err := b.DAG(ctx, c); !errors.Is(err, &api.Error{Code: api.CodeMalformed}) {
			t.Errorf("CID %q: %v", c, err)
		}
	}
}
