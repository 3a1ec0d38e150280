package root

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// Bounds of an archive.
const (
	MaxEntries   = 1 << 20
	MaxPathBytes = 4095 // of a path, and of what a link points to
	MaxNameBytes = 255  // of one name in a path
	MaxBytes     = 1 << 37
)

// Kind is what an entry is: the type flag of tar.
type Kind byte

// The kinds of entries.
const (
	File   Kind = '0'
	Link   Kind = '2'
	Folder Kind = '5'
)

// Entry is one file, folder or link.
type Entry struct {
	Path string // below the root: clean, relative, without a slash at its end
	Kind Kind
	Mode uint32 // permission bits, 0o400 among them; a link's are 0o777
	Size uint64 // of a File
	To   string // what a Link points to; it may lead nowhere, or out of the root, where nobody follows it
}

// check refuses what no archive may hold.
func (e *Entry) check() error {
	switch {
	case e.Kind != File && e.Kind != Link && e.Kind != Folder:
		return fmt.Errorf("%.80q is neither file, folder nor link but of type %q", e.Path, byte(e.Kind))
	case !cleanPath(e.Path):
		return fmt.Errorf("path %.80q is not a clean relative path of names of at most %d bytes", e.Path, MaxNameBytes)
	case e.Mode&^0o777 != 0 || e.Mode&0o400 == 0:
		return fmt.Errorf("%.80q has mode %#o; want permission bits, and those of its owner to read", e.Path, e.Mode)
	case e.Kind == Link && (e.Mode != 0o777 || !text(e.To) || e.To == ""):
		return fmt.Errorf("link %.80q has mode %#o and points to %.80q; want 0777 and 1 to %d bytes of text", e.Path, e.Mode, e.To, MaxPathBytes)
	case e.Kind != Link && e.To != "":
		return fmt.Errorf("%.80q points to %.80q and is no link", e.Path, e.To)
	case e.Kind != File && e.Size != 0 || e.Size > MaxBytes:
		return fmt.Errorf("%.80q has %d bytes; want at most %d, and only in a file", e.Path, e.Size, uint64(MaxBytes))
	}
	return nil
}

func text(s string) bool {
	return len(s) <= MaxPathBytes && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

func cleanPath(p string) bool {
	if p == "" || !text(p) || path.IsAbs(p) || path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../") {
		return false
	}
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > MaxNameBytes {
			return false
		}
	}
	return true
}

// order checks that entries come sorted and below folders, and counts them.
type order struct {
	last    string
	folders map[string]bool
	entries int
	bytes   uint64
}

func (o *order) add(e *Entry) error {
	if err := e.check(); err != nil {
		return err
	}
	if o.folders == nil {
		o.folders = map[string]bool{".": true}
	}
	o.entries++
	o.bytes += e.Size
	switch {
	case e.Path <= o.last:
		return fmt.Errorf("%.80q comes after %.80q: out of order, or there twice", e.Path, o.last)
	case !o.folders[path.Dir(e.Path)]:
		return fmt.Errorf("%.80q is below %.80q, which is no folder of this archive", e.Path, path.Dir(e.Path))
	case o.entries > MaxEntries:
		return fmt.Errorf("more than %d entries", MaxEntries)
	case o.bytes > MaxBytes:
		return fmt.Errorf("files of more than %d bytes together", uint64(MaxBytes))
	}
	o.last = e.Path
	if e.Kind == Folder {
		o.folders[e.Path] = true
	}
	return nil
}
