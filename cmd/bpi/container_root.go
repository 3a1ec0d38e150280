package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/metanode/metanode/cage/native"
	"github.com/metanode/metanode/internal/digest"
)

// localRoot is what a local run has as its root.
type localRoot struct {
	digest  digest.Digest
	dir     string // "/", or a folder that is the unpacked root
	archive string // "" unless the engine must unpack it first
	origin  string // where it is from: "/", the folder that was given, or originImage and a reference
}

// folderRoot is the root in a folder, named by the digest of its archive. The cage shows the unpacked archive rather than
// the folder, so that a run in it is the same wherever the archive is unpacked. It is unpacked once; until then the
// archive is written into the folder of the run.
func folderRoot(ctx context.Context, dir string, l *localCage) (*localRoot, error) {
	top, err := filepath.Abs(dir)
	if err == nil {
		top, err = filepath.EvalSymlinks(top)
	}
	if err != nil {
		return nil, fmt.Errorf("root %s: %w", dir, err)
	}
	info, err := os.Stat(top)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("root %s is no folder; give one that holds bin, lib, usr and so on", dir)
	}
	unnoted := func(string) {} // what no archive holds is no part of a root, here as there
	packed, err := native.PackRoot(ctx, top, io.Discard, unnoted)
	if err != nil {
		return nil, err
	}
	if r := l.unpacked(packed.Digest, top); r != nil {
		return r, nil
	}
	r := &localRoot{digest: packed.Digest, archive: filepath.Join(l.run, "root.tar"), origin: top}
	f, err := os.OpenFile(r.archive, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<18)
	if _, err := native.PackRoot(ctx, top, w, unnoted); err != nil {
		return nil, err
	}
	return r, w.Flush()
}

// unpacked is the root of a digest if it is unpacked here already, else nil.
func (l *localCage) unpacked(d digest.Digest, origin string) *localRoot {
	if dir := filepath.Join(l.roots(), d.String()); isFolder(dir) {
		return &localRoot{digest: d, dir: dir, origin: origin}
	}
	return nil
}

// originImage begins the origin of a root that was published: the rest is its name and digest.
const originImage = "image "

// imageRoot is a published image, fetched from a peer unless it is here already.
func imageRoot(ctx context.Context, e *env, ref string, l *localCage) (*localRoot, error) {
	if name, hex, ok := strings.Cut(ref, "@sha256:"); ok { // then no peer need be asked what it is
		d, err := digest.Parse(hex)
		if err != nil {
			return nil, usageError(fmt.Errorf("image %.80s: %w", name, err))
		}
		if r := l.unpacked(d, originImage+ref); r != nil {
			return r, nil
		}
	}
	var r *localRoot
	return r, e.withNode(ctx, func(n *conn) error {
		d, err := n.Image(ctx, ref)
		if err != nil {
			return err
		}
		origin := originImage + d.Name + "@sha256:" + d.Digest.String()
		if r = l.unpacked(d.Digest, origin); r != nil {
			return nil
		}
		e.say("fetching image %s, %s", d.Name, size(d.Bytes))
		r = &localRoot{digest: d.Digest, archive: filepath.Join(l.run, "root.tar"), origin: origin}
		return download(ctx, e, n, d.Digest, d.Bytes, r.archive)
	})
}

func isFolder(p string) bool {
	info, err := os.Lstat(p)
	return err == nil && info.IsDir()
}
