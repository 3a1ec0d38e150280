package blob

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	blocks "github.com/ipfs/go-block-format"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/metanode/metanode/internal/digest"
)

// makeTree writes a folder with files of several sizes, an empty folder, links and a folder of many names.
func makeTree(t *testing.T, dir string) {
	t.Helper()
	for name, n := range map[string]int{"a": 0, "b/c": 5, "b/d": chunk + 3, "b/e/f": 2 * chunk, "z z": 1} {
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, noise(byte(n), n), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "empty"), 0o755), os.Symlink("c", filepath.Join(dir, "b", "link")), os.Mkdir(filepath.Join(dir, "many"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for i := range 2500 { // more than one node holds
		name := strings.Repeat(string('a'+rune(i%26)), 20) + string(rune('0'+i%10)) + strings.Repeat("x", i/26)[:i/26]
		if len(name) > 250 {
			name = name[:250]
		}
		if err := os.WriteFile(filepath.Join(dir, "many", name), []byte{byte(i)}, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// sameTree compares two trees, file by file.
func sameTree(t *testing.T, a, b string) {
	t.Helper()
	list := func(root string) map[string]string {
		m := map[string]string{}
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(root, p)
			switch {
			case d.IsDir():
				m[rel] = "folder"
			case d.Type()&fs.ModeSymlink != 0:
				target, err := os.Readlink(p)
				m[rel] = "link " + target
				return err
			default:
				raw, err := os.ReadFile(p)
				m[rel] = digest.Of(raw).String()
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	x, y := list(a), list(b)
	if len(x) != len(y) {
		t.Errorf("%d entries, not %d", len(y), len(x))
	}
	for p, v := range x {
		if y[p] != v {
			t.Errorf("%s: %s, want %s", p, y[p], v)
		}
	}
}

func TestFolderGoesThroughACARAndTheStoreAndBack(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "from")
	if err := os.Mkdir(from, 0o755); err != nil {
		t.Fatal(err)
	}
	makeTree(t, from)
	built, err := BuildTree(t.Context(), from, func(context.Context, ipld.Node) error { return nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	large, err := BuildTree(t.Context(), filepath.Join(from, "many"), func(_ context.Context, n ipld.Node) error {
		if links, _, err := Links(n); err != nil || len(links) > 2400 {
			t.Errorf("a node of %d links, %v", len(links), err)
		}
		return nil
	}, nil)
	if err != nil || large.Files < 2000 {
		t.Errorf("a folder of many names: %+v, %v", large, err)
	}
	if built.Root.Version() != 1 || built.Bytes < 3*chunk {
		t.Errorf("built %+v", built)
	}
	var file bytes.Buffer
	out, err := NewCARWriter(&file, built.Root)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := BuildTree(t.Context(), from, out.Put, nil); err != nil || again != built {
		t.Fatalf("the second time it is %+v, %v", again, err)
	}
	s := openStore(t, t.TempDir(), 0)
	roots, err := s.Import(t.Context(), bytes.NewReader(file.Bytes()))
	if err != nil || len(roots) != 1 || roots[0] != (Root{CID: built.Root, Bytes: built.Bytes, Folder: true}) {
		t.Fatalf("imported %+v, %v", roots, err)
	}
	for _, repeats := range []bool{true, false} {
		var car bytes.Buffer
		if err := s.Export(t.Context(), &car, built.Root, repeats); err != nil {
			t.Fatal(err)
		}
		if !repeats {
			if _, err := openStore(t, t.TempDir(), 0).Import(t.Context(), &car); err != nil {
				t.Error(err)
			}
			continue
		}
		in, err := NewCARReader(&car)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, "to")
		if err := Extract(t.Context(), in.Roots[0], in.Source(), to, nil); err != nil {
			t.Fatal(err)
		}
		sameTree(t, from, to)
		if err := Extract(t.Context(), in.Roots[0], in.Source(), to, nil); err == nil || !strings.Contains(err.Error(), "not overwritten") {
			t.Errorf("a second time: %v", err)
		}
	}
}

func TestImportRefusesWhatIsNotWholeOrDamaged(t *testing.T) {
	s := openStore(t, t.TempDir(), 0)
	var good bytes.Buffer
	src := openStore(t, t.TempDir(), 0)
	root := put(t, src, noise(1, 3<<20))
	if err := src.Export(t.Context(), &good, root.CID, false); err != nil {
		t.Fatal(err)
	}
	raw := good.Bytes()
	flipped := bytes.Clone(raw)
	flipped[len(flipped)-5] ^= 1
	for name, b := range map[string][]byte{
		"cut in a block": raw[:len(raw)-10], "without a block": raw[:len(raw)-chunk-38], "flipped": flipped, "empty": nil, "text": []byte("hello"),
	} {
		if _, err := s.Import(t.Context(), bytes.NewReader(b)); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	if len(s.List()) != 0 {
		t.Errorf("it holds %+v", s.List())
	}
	if roots, err := s.Import(t.Context(), bytes.NewReader(raw)); err != nil || roots[0] != root {
		t.Errorf("the whole: %+v, %v", roots, err)
	}
}

// madeUp is a Source of blocks that a test makes.
type madeUp map[string]blocks.Block

func (m madeUp) add(n ipld.Node) CID {
	m[n.Cid().KeyString()] = n
	return n.Cid()
}

func (m madeUp) get(_ context.Context, c CID) (blocks.Block, error) {
	b, ok := m[c.KeyString()]
	if !ok {
		return nil, ipld.ErrNotFound{Cid: c}
	}
	return b, nil
}

func (m madeUp) folder(t *testing.T, entries ...ipld.Link) CID {
	t.Helper()
	n := merkledag.NodeWithData(unixfs.FolderPBData())
	for _, e := range entries {
		if err := n.AddRawLink(e.Name, &ipld.Link{Name: e.Name, Cid: e.Cid, Size: e.Size}); err != nil {
			t.Fatal(err)
		}
	}
	return m.add(n)
}

func TestExtractStaysInItsFolder(t *testing.T) {
	m := madeUp{}
	leaf := m.add(merkledag.NewRawNode([]byte("x")))
	target := t.TempDir()
	data, err := unixfs.SymlinkData(target)
	if err != nil {
		t.Fatal(err)
	}
	link := m.add(merkledag.NodeWithData(data))
	for name, c := range map[string]CID{
		"up": m.folder(t, ipld.Link{Name: "..", Cid: leaf}), "slash": m.folder(t, ipld.Link{Name: "a/b", Cid: leaf}),
		"empty": m.folder(t, ipld.Link{Name: "", Cid: leaf}), "dot": m.folder(t, ipld.Link{Name: ".", Cid: leaf}),
		"zero":         m.folder(t, ipld.Link{Name: "a\x00", Cid: leaf}),
		"twice":        m.folder(t, ipld.Link{Name: "a", Cid: leaf}, ipld.Link{Name: "a", Cid: leaf}),
		"through":      m.folder(t, ipld.Link{Name: "l", Cid: link}, ipld.Link{Name: "l", Cid: m.folder(t, ipld.Link{Name: "f", Cid: leaf})}),
		"absent":       m.folder(t, ipld.Link{Name: "a", Cid: Of(digest.Of([]byte("nowhere")))}),
		"long name":    m.folder(t, ipld.Link{Name: strings.Repeat("n", 256), Cid: leaf}),
		"bare link up": m.folder(t, ipld.Link{Name: "..", Cid: link}),
	} {
		dir := t.TempDir()
		if err := Extract(t.Context(), c, m.get, filepath.Join(dir, "out"), nil); err == nil {
			t.Errorf("%s: it was extracted", name)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
	if left, _ := os.ReadDir(target); len(left) != 0 {
		t.Errorf("%v was written through a link", left)
	}
}

func TestDepthAndRepetitionAreBounded(t *testing.T) {
	m := madeUp{}
	c := m.add(merkledag.NewRawNode([]byte("x")))
	for range MaxDepth + 1 {
		c = m.folder(t, ipld.Link{Name: "a", Cid: c, Size: 1})
	}
	if err := Unpack(t.Context(), c, m.get, discard{}); !errors.Is(err, ErrDAG) {
		t.Errorf("a deep folder: %v", err)
	}
	s := openStore(t, t.TempDir(), 0)
	w := s.Write()
	defer w.End()
	for _, b := range m {
		if err := w.PutMany(t.Context(), []blocks.Block{b}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Complete(t.Context(), c); !errors.Is(err, ErrDAG) {
		t.Errorf("a deep folder in the store: %v", err)
	}
	// A folder that holds one below twice, and so on: 2^60 files in 61 blocks.
	m = madeUp{}
	c = m.add(merkledag.NewRawNode([]byte("x")))
	for range 60 {
		c = m.folder(t, ipld.Link{Name: "a", Cid: c}, ipld.Link{Name: "b", Cid: c})
	}
	for _, b := range m {
		if err := w.PutMany(t.Context(), []blocks.Block{b}); err != nil {
			t.Fatal(err)
		}
	}
	root, err := w.Complete(t.Context(), c)
	if err != nil || root.Bytes != 1<<60 {
		t.Errorf("a folder that repeats itself: %+v, %v", root, err)
	}
	if err := w.Keep(root); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context()); err != nil { // each block once
		t.Fatal(err)
	}
	if err := s.Export(t.Context(), io.Discard, c, false); err != nil {
		t.Fatal(err)
	}
	if err := unpack(t.Context(), c, m.get, discard{}, 1000); !errors.Is(err, ErrDAG) || !strings.Contains(err.Error(), "more than 1000 files") {
		t.Errorf("a folder that repeats itself, read file by file: %v", err)
	}
	// A file whose parts are nothing, 2^60 times.
	m = madeUp{}
	nothing := unixfs.NewFSNode(unixfs.TFile)
	for range 60 {
		data, err := nothing.GetBytes()
		if err != nil {
			t.Fatal(err)
		}
		n := merkledag.NodeWithData(data)
		if c.Defined() && len(m) > 0 {
			for range 2 {
				if err := n.AddRawLink("", &ipld.Link{Cid: c}); err != nil {
					t.Fatal(err)
				}
			}
		}
		c = m.add(n)
		if len(m) == 1 { // from here on with two parts of no bytes
			nothing.AddBlockSize(0)
			nothing.AddBlockSize(0)
		}
	}
	if err := unpack(t.Context(), c, m.get, discard{}, 1000); !errors.Is(err, ErrDAG) || !strings.Contains(err.Error(), "more than 1000 files") {
		t.Errorf("a file of nothing, 2^59 times: %v", err)
	}
}

// FuzzUnpack reads any bytes as the top of a DAG whose other blocks are there.
func FuzzUnpack(f *testing.F) {
	m := madeUp{}
	leaf := merkledag.NewRawNode([]byte("leaf"))
	m.add(leaf)
	file, err := BuildFile(context.Background(), bytes.NewReader(make([]byte, 2*chunk)), func(_ context.Context, n ipld.Node) error { m.add(n); return nil })
	if err != nil {
		f.Fatal(err)
	}
	dir := merkledag.NodeWithData(unixfs.FolderPBData())
	if err := dir.AddNodeLink("a", leaf); err != nil {
		f.Fatal(err)
	}
	f.Add(file.RawData())
	f.Add(dir.RawData())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		n := merkledag.NodeWithData(nil)
		c, err := n.CidBuilder().WithCodec(0x70).Sum(raw)
		if err != nil {
			t.Fatal(err)
		}
		b, err := blocks.NewBlockWithCid(raw, c)
		if err != nil {
			t.Fatal(err)
		}
		from := func(ctx context.Context, want CID) (blocks.Block, error) {
			if want.Equals(c) {
				return b, nil
			}
			return m.get(ctx, want)
		}
		var sink countSink
		if err := Unpack(t.Context(), c, from, &sink); err == nil && sink.open != 0 {
			t.Fatal("a file was not ended")
		}
		if links, total, err := Links(b); err == nil && total > 1<<62 && len(links) == 0 {
			t.Fatalf("no links, %d bytes", total)
		}
	})
}

// countSink checks what a Sink is promised.
type countSink struct {
	discard
	open int
}

type countFile struct {
	s          *countSink
	want, have uint64
}

func (c *countSink) File(path string, bytes uint64) (io.WriteCloser, error) {
	if path != filepath.Clean(path) && path != "" || strings.HasPrefix(path, "..") || strings.HasPrefix(path, "/") {
		return nil, fs.ErrInvalid
	}
	c.open++
	return &countFile{c, bytes, 0}, nil
}

func (f *countFile) Write(b []byte) (int, error) {
	f.have += uint64(len(b))
	if f.have > f.want {
		panic("more bytes than the file has")
	}
	return len(b), nil
}

func (f *countFile) Close() error {
	f.s.open--
	return nil
}

// FuzzReadCAR reads any bytes as a CAR file.
func FuzzReadCAR(f *testing.F) {
	var b bytes.Buffer
	leaf := merkledag.NewRawNode([]byte("leaf"))
	w, err := NewCARWriter(&b, leaf.Cid())
	if err != nil {
		f.Fatal(err)
	}
	if err := w.Put(context.Background(), leaf); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := NewCARReader(bytes.NewReader(raw))
		if err != nil {
			return
		}
		for {
			b, err := r.Next()
			if err != nil {
				return
			}
			if digest.Of(b.RawData()) != hashOf(b.Cid()) || len(b.RawData()) > MaxBlock {
				t.Fatalf("gave block %s of %d bytes", b.Cid(), len(b.RawData()))
			}
		}
	})
}
