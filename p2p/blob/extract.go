package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// Extract writes the file or folder at c to a new file or folder of that name, which must not be there. Nothing is
// written outside of it, whatever names and links the DAG has. wrote, if not nil, hears of bytes as they are written. A
// tree that breaks off is left in parts beside it and removed.
func Extract(ctx context.Context, c CID, from Source, to string, wrote func(n int)) error {
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s is there already and is not overwritten; choose another place", to)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(to), ".bpi-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return err
	}
	defer root.Close()
	x := &extractor{root: root, wrote: wrote}
	if err := Unpack(ctx, c, from, x); err != nil {
		return err
	}
	for _, l := range x.links { // last, so that nothing is written through one
		if err := root.Symlink(l.target, l.at); err != nil {
			return err
		}
	}
	// A rename never falls upon what came there meanwhile: a folder would have to be empty, and a file is looked for.
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s came into being meanwhile and is not overwritten", to)
	}
	return os.Rename(filepath.Join(tmp, top), to)
}

// top is the name of the tree in the temporary folder.
const top = "top"

type extractor struct {
	root  *os.Root
	wrote func(int)
	links []symlink
}

type symlink struct{ at, target string }

// Folder implements Sink.
func (x *extractor) Folder(at string) error { return x.root.Mkdir(path.Join(top, at), 0o755) }

// Link implements Sink.
func (x *extractor) Link(at, target string) error {
	if len(x.links) >= maxLinks {
		return fmt.Errorf("%w: more than %d symbolic links", ErrDAG, maxLinks)
	}
	x.links = append(x.links, symlink{path.Join(top, at), target})
	return nil
}

// maxLinks bounds the symbolic links of a tree that are remembered until it is written.
const maxLinks = 100_000

// File implements Sink.
func (x *extractor) File(at string, _ uint64) (io.WriteCloser, error) {
	f, err := x.root.OpenFile(path.Join(top, at), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return &told{f, x.wrote}, nil
}

type told struct {
	*os.File
	wrote func(int)
}

// Write implements io.Writer.
func (t *told) Write(b []byte) (int, error) {
	n, err := t.File.Write(b)
	if t.wrote != nil && n > 0 {
		t.wrote(n)
	}
	return n, err
}
