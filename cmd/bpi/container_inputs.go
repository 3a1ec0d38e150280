package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

// localInput is a file of this machine that a program sees.
type localInput struct {
	input cage.Input
	path  string // absolute
	stat  fs.FileInfo
}

// still reports whether the file is the one that was hashed, and nobody has written to it since.
func (in *localInput) still() bool {
	now, err := os.Stat(in.path)
	return err == nil && os.SameFile(now, in.stat) && now.Size() == in.stat.Size() && now.ModTime().Equal(in.stat.ModTime())
}

// localInputs are the inputs of one run. As cage.Files it gives an engine their paths, and the archive of the root if
// there is one.
type localInputs struct {
	list    []localInput
	skip    map[string]bool // absolute paths that are no inputs although they lie in one: where outputs go
	empty   int             // folders without a file, which a cage does not show
	byBytes map[digest.Digest]string
	root    *localRoot
}

// Path gives the file of a digest.
func (l *localInputs) Path(d digest.Digest) (string, error) {
	if p, ok := l.byBytes[d]; ok {
		return p, nil
	}
	if l.root != nil && l.root.digest == d && l.root.archive != "" {
		return l.root.archive, nil
	}
	return "", fmt.Errorf("no file with the bytes %s was given", d.Short())
}

// Root gives the folder of the run's root.
func (l *localInputs) Root(d digest.Digest) (string, bool) {
	if l.root == nil || l.root.digest != d || l.root.archive != "" {
		return "", false
	}
	return l.root.dir, true
}

// add takes a file, or all files below a folder, as inputs at a place and below a name there; "" is the place itself.
func (l *localInputs) add(where, name, source string) error {
	top, err := filepath.Abs(source)
	if err == nil {
		top, err = filepath.EvalSymlinks(top)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("input %s: there is no file or folder %s", orElse(name, cage.DefaultWorkdir), source)
	}
	if err != nil {
		return fmt.Errorf("input %s: %w", orElse(name, cage.DefaultWorkdir), err)
	}
	info, err := os.Stat(top)
	if err != nil {
		return fmt.Errorf("input %s: %w", name, err)
	}
	if !info.IsDir() {
		if name == "" {
			return fmt.Errorf("%s is no folder; give the folder that is to be at %s", source, cage.DefaultWorkdir)
		}
		return l.file(where, name, top)
	}
	before := len(l.list)
	if err := l.folder(where, name, top, top); err != nil {
		return err
	}
	if len(l.list) == before && name != "" {
		return fmt.Errorf("input %s: there is no file in the folder %s", name, source)
	}
	return nil
}

func (l *localInputs) folder(where, name, dir, top string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("input %s: %w", orElse(name, cage.DefaultWorkdir), err)
	}
	if len(entries) == 0 && dir != top {
		l.empty++
	}
	for _, e := range entries {
		p, at := filepath.Join(dir, e.Name()), path.Join(name, e.Name())
		if l.skip[p] {
			continue
		}
		switch {
		case e.IsDir():
			err = l.folder(where, at, p, top)
		case e.Type() == fs.ModeSymlink:
			err = l.link(where, at, p, top)
		default:
			err = l.file(where, at, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link takes the file to which a symbolic link in a folder leads, if it is in that folder too.
func (l *localInputs) link(where, name, p, top string) error {
	to, err := filepath.EvalSymlinks(p)
	if err != nil {
		return fmt.Errorf("input %s: the link %s leads nowhere; remove it or repair it", name, p)
	}
	if rel, err := filepath.Rel(top, to); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return fmt.Errorf("input %s: the link %s leads out of the folder, to %s; put the file itself there", name, p, to)
	}
	if info, err := os.Stat(to); err != nil || info.IsDir() {
		return fmt.Errorf("input %s: the link %s leads to a folder; an input is a file: put the folder itself there", name, p)
	}
	return l.file(where, name, to)
}

func (l *localInputs) file(where, name, p string) error {
	info, err := os.Stat(p)
	if err != nil {
		return fmt.Errorf("input %s: %w", name, err)
	}
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("input %s: %s is no regular file (%s); leave it out", name, p, info.Mode().Type())
	case !utf8.ValidString(name):
		return fmt.Errorf("input %q: its name is not UTF-8; rename the file", name)
	case len(name) > cage.MaxPathBytes:
		return fmt.Errorf("input %.80s…: its path is longer than %d bytes", name, cage.MaxPathBytes)
	case len(l.list) == cage.MaxInputs:
		return fmt.Errorf("more than %d files as inputs, %s the first over it; give fewer, or one archive of them: tar -cf inputs.tar FOLDER, --in inputs.tar", cage.MaxInputs, p)
	}
	l.list = append(l.list, localInput{
		input: cage.Input{Path: name, Bytes: uint64(info.Size()), Place: where, Exec: info.Mode().Perm()&0o111 != 0},
		path:  p, stat: info,
	})
	return nil
}

// hash reads all files, and gives the spec's inputs in its order.
func (l *localInputs) hash(ctx context.Context) ([]cage.Input, error) {
	slices.SortFunc(l.list, func(a, b localInput) int {
		if c := strings.Compare(a.input.Place, b.input.Place); c != 0 {
			return c
		}
		return strings.Compare(a.input.Path, b.input.Path)
	})
	l.byBytes = map[digest.Digest]string{}
	var list []cage.Input
	for i := range l.list {
		in := &l.list[i]
		sum, n, err := hashFile(ctx, in.path)
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", in.input.At(), err)
		}
		if n != in.input.Bytes || !in.still() {
			return nil, in.changed()
		}
		in.input.Digest = sum
		l.byBytes[sum] = in.path
		list = append(list, in.input)
	}
	return list, nil
}

func (in *localInput) changed() error {
	return fmt.Errorf("input %s: %s changed while it was used; run again when nothing writes to it", in.input.At(), in.path)
}

// unchanged is nil if no input has been written to since it was hashed.
func (l *localInputs) unchanged() error {
	for i := range l.list {
		if !l.list[i].still() {
			return l.list[i].changed()
		}
	}
	return nil
}

func hashFile(ctx context.Context, p string) (digest.Digest, uint64, error) {
	var d digest.Digest
	f, err := os.Open(p)
	if err != nil {
		return d, 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, interruptible{ctx, f})
	h.Sum(d[:0])
	return d, uint64(n), err
}

// interruptible reads until its context ends.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (r interruptible) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}
