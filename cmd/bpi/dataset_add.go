package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/analytics"
	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/p2p/blob"
)

// localFile is a file to be added.
type localFile struct {
	path string // on this machine
	name string // in the dataset
	stat fs.FileInfo
	sum  digest.Digest
}

// still reports whether the file is the one that was listed, and nobody has written to it since.
func (f *localFile) still() bool {
	now, err := os.Stat(f.path)
	return err == nil && os.SameFile(now, f.stat) && now.Size() == f.stat.Size() && now.ModTime().Equal(f.stat.ModTime())
}

func (f *localFile) changed() error {
	return fmt.Errorf("%s changed while it was added; nothing is published: add it again when nothing writes to it", f.path)
}

// listFiles finds the files of a dataset: one, or all below a folder but for those whose name begins with a dot or an underscore.
func listFiles(root string) ([]localFile, error) {
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("dataset: %w; give a file, or a folder of files", err)
	}
	if !info.IsDir() {
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("dataset: %s is no regular file", root)
		}
		return []localFile{{path: root, name: filepath.Base(root), stat: info}}, nil
	}
	var list []localFile
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p != root && (strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")) { // as _SUCCESS, which other tools leave
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file", p)
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if len(list) == analytics.MaxFiles {
			return fmt.Errorf("more than %d files", analytics.MaxFiles)
		}
		list = append(list, localFile{path: p, name: filepath.ToSlash(rel), stat: info})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %w", root, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("dataset: there are no files in %s", root)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list, nil
}

// upload makes a file present at the peer. A file that changed in between is refused: its name would be that of bytes
// nobody has.
func upload(ctx context.Context, e *env, n *conn, f *localFile) error {
	if f.stat.Size() == 0 {
		return fmt.Errorf("%s is empty", f.path)
	}
	s, d, err := treeSource(f.path, uint64(f.stat.Size())).send(ctx, e, n, nil)
	if !f.still() || errors.Is(err, blob.ErrChanged) {
		return f.changed()
	}
	if err != nil {
		return fmt.Errorf("upload %s: %w", f.path, err)
	}
	if f.sum = s.sum; d.SHA256 != f.sum.String() || d.Bytes != uint64(f.stat.Size()) {
		return fail(exitInvalid, "%s says that %s is another file than the one sent", n.where, f.path)
	}
	if len(s.lacks) > 0 {
		e.say("uploaded %s (%s)", f.name, size(s.Bytes))
	}
	return nil
}

func datasetAdd(c *cli.Context, e *env) error {
	root, err := argument(c, "file or folder")
	if err != nil {
		return err
	}
	name := c.String("name")
	if name == "" {
		name = datasetName(root)
	}
	if err := analytics.CheckName(name); err != nil {
		return usageError(fmt.Errorf("%w; give one with --name", err))
	}
	options := map[string]string{}
	for _, o := range c.StringSlice("option") {
		k, v, ok := strings.Cut(o, "=")
		if !ok {
			return usageError(fmt.Errorf("--option %q: want NAME=VALUE", o))
		}
		options[k] = v
	}
	files, err := listFiles(root)
	if err != nil {
		return err
	}
	if c.String("format") == "" { // before anything is sent
		for _, f := range files {
			if err := analytics.CheckFileName(f.name); err != nil {
				return fmt.Errorf("not a dataset: %w", err)
			}
		}
	}
	key, err := e.clientKey()
	if err != nil {
		return err
	}
	return e.withNode(c.Context, func(n *conn) error {
		ctx, cancel := e.bounded(c.Context, time.Hour)
		defer cancel()
		req := api.SniffRequest{Name: name, Format: c.String("format"), Options: options}
		for i := range files {
			if err := upload(ctx, e, n, &files[i]); err != nil {
				return err
			}
			req.Files = append(req.Files, api.DatasetFile{Path: files[i].name, Digest: files[i].sum, Bytes: uint64(files[i].stat.Size())})
		}
		sniffed, err := n.SniffDataset(ctx, req)
		if err != nil {
			return err
		}
		for _, w := range sniffed.Warnings {
			e.say("warning: %s", clean(w))
		}
		for i := range files { // what is published is what lies there now, all of it at once
			if !files[i].still() {
				return files[i].changed()
			}
		}
		m, err := checkManifest(&sniffed, files)
		if err != nil {
			return fmt.Errorf("%s proposed another dataset than the files given: %w; nothing is published", n.where, err)
		}
		if _, err := n.PutBlob(ctx, sniffed.Digest, uint64(len(sniffed.Manifest)), strings.NewReader(string(sniffed.Manifest))); err != nil {
			return fmt.Errorf("upload the manifest: %w", err)
		}
		if err := publish(ctx, c, e, n, key, name, m, &sniffed); err != nil {
			return err
		}
		ref := name + "@sha256:" + sniffed.Digest.String()
		var d api.DatasetDetail
		err = awaitHolders(ctx, e, "dataset", ref, c.Bool("detach"), func() (p api.Publication, err error) {
			d, err = n.Dataset(ctx, ref)
			return d.Publication, err
		})
		if err != nil {
			return err
		}
		switch {
		case c.Bool("id-only"):
			fmt.Fprintln(e.out, ref)
			return nil
		case e.json:
			return writeJSON(e.out, d)
		}
		t := newTable(e.out, "NAME", "VERSION", "ROWS", "SIZE", "FILES", "HOLDERS", "MANIFEST")
		t.row(d.Name, d.Version, d.Rows, size(d.Bytes), d.Files, len(d.Holders), d.Manifest)
		return t.flush()
	})
}

// datasetName makes a name of a file's.
func datasetName(root string) string {
	base := filepath.Base(filepath.Clean(root))
	base, _, _ = strings.Cut(base, ".")
	return strings.ToLower(base)
}

// checkManifest compares what a peer proposes with the files that were uploaded.
func checkManifest(s *api.SniffResult, files []localFile) (*analytics.Manifest, error) {
	if digest.Of(s.Manifest) != s.Digest {
		return nil, errors.New("its manifest has another digest than it says")
	}
	m, err := analytics.DecodeManifest(s.Manifest)
	if err != nil {
		return nil, err
	}
	if len(m.Files) != len(files) {
		return nil, fmt.Errorf("it has %d files, not %d", len(m.Files), len(files))
	}
	for i, f := range m.Files {
		if f.Path != files[i].name || f.Digest != files[i].sum || f.Bytes != uint64(files[i].stat.Size()) {
			return nil, fmt.Errorf("its file %q is none of those", f.Path)
		}
	}
	return m, nil
}

func publish(ctx context.Context, c *cli.Context, e *env, n *conn, key sign.PrivateKey, name string, m *analytics.Manifest, s *api.SniffResult) error {
	blobs := []enc.BlobRef{{Digest: s.Digest, Bytes: uint64(len(s.Manifest))}}
	seen := map[digest.Digest]bool{s.Digest: true}
	for _, f := range m.Files {
		if !seen[f.Digest] {
			seen[f.Digest] = true
			blobs = append(blobs, enc.BlobRef{Digest: f.Digest, Bytes: f.Bytes})
		}
	}
	sort.Slice(blobs, func(i, j int) bool { return blobs[i].Digest.Compare(blobs[j].Digest) < 0 })
	return n.publish(ctx, e, key, enc.KindPublishDataset, &enc.PublishDataset{
		Name: name, Manifest: s.Digest, Blobs: blobs, Holders: uint32(c.Uint("holders")), Rows: m.Rows,
	}, fmt.Sprintf("published %s: %d rows in %s", name, m.Rows, count(len(m.Files), "file")))
}
