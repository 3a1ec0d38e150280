package statesync

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/internal/digest"
)

// A snapshot is a set of files of one folder, with names that begin alike: the head, one file a chunk, and an empty one
// that is made when all others are durable. A set with that mark is a snapshot, one without is not, or not yet. So no file
// is renamed, and none but the mark has to be made in order.
const (
	whoMade = "made" // here; of no use after a crash without its mark
	whoGot  = "got"  // fetched; gone on with after a crash

	headFile  = "head"
	wholeMark = "whole"
)

func chunkFile(i int) string { return fmt.Sprintf("chunk-%06d", i) }

// set names the files of one snapshot.
type set struct {
	height consensus.Height
	id     digest.Digest
	origin string // whoMade or whoGot
}

func (s set) name() string { return fmt.Sprintf("%016x-%s.%s", uint64(s.height), s.id, s.origin) }

// parseSet reads the name of a file in the folder; false if it is of no set.
func parseSet(path string) (s set, file string, ok bool) {
	name, rest, _ := strings.Cut(filepath.Base(path), ".")
	at, id, _ := strings.Cut(name, "-")
	s.origin, file, _ = strings.Cut(rest, ".")
	if _, err := fmt.Sscanf(at, "%016x", (*uint64)(&s.height)); err != nil {
		return s, "", false
	}
	var err error
	s.id, err = digest.Parse(id)
	return s, file, err == nil && filepath.Base(path) == s.name()+"."+file && (s.origin == whoMade || s.origin == whoGot)
}

func (f *Folder) path(s set, file string) string { return filepath.Join(f.dir, s.name()+"."+file) }

// sets lists what the folder holds: the files of each set, without what their names have in common.
func (f *Folder) sets() (map[set][]string, error) {
	names, err := f.disk.List(f.dir, "*")
	if err != nil {
		return nil, err
	}
	out := map[set][]string{}
	for _, n := range names {
		if s, file, ok := parseSet(n); ok {
			out[s] = append(out[s], file)
		}
	}
	return out, nil
}

// remove takes a set away, the mark before all else.
func (f *Folder) remove(s set) error {
	if err := f.disk.Remove(f.path(s, wholeMark)); err != nil {
		return err
	}
	names, err := f.disk.List(f.dir, s.name()+".*")
	for _, n := range names {
		err = errors.Join(err, f.disk.Remove(n))
	}
	return err
}

// write makes a file of these bytes, in place of what a crash or damage has left of it. It is durable on return.
func (f *Folder) write(s set, file string, b []byte) error {
	path := f.path(s, file)
	x, err := f.disk.Create(path)
	if errors.Is(err, fs.ErrExist) {
		if err = f.disk.Remove(path); err == nil {
			x, err = f.disk.Create(path)
		}
	}
	if err != nil {
		return err
	}
	if len(b) > 0 {
		if _, err = x.WriteAt(b, 0); err == nil {
			err = x.Sync()
		}
	}
	return errors.Join(err, x.Close())
}

// read reads a file of at most limit bytes.
func (f *Folder) read(s set, file string, limit int) ([]byte, error) {
	path := f.path(s, file)
	x, err := f.disk.Open(path)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	raw, err := io.ReadAll(io.LimitReader(x, int64(limit)+1))
	if err == nil && len(raw) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return raw, err
}

// complete reports whether files are all that a snapshot of so many chunks consists of.
func complete(files []string, chunks int) bool {
	for i := range chunks {
		if !slices.Contains(files, chunkFile(i)) {
			return false
		}
	}
	return slices.Contains(files, headFile) && slices.Contains(files, wholeMark)
}
