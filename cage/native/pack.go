package native

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/metanode/metanode/cage/root"
	"github.com/metanode/metanode/internal/digest"
)

// Packed names an archive that PackRoot has written.
type Packed struct {
	Digest  digest.Digest // plain SHA-256
	Bytes   uint64
	Entries int
}

// maxUnreadable bounds the files that one error names.
const maxUnreadable = 10

// PackRoot writes what is below the folder dir to w as a root archive, the same bytes for the same tree. What an archive
// does not hold is left out, and note is told, once for each: device nodes, sockets, FIFOs, and other file systems that
// are mounted below dir; bits that let a program run as its owner are dropped with a note. A file that cannot be read, or
// changes while it is read, is an error that names it. Symbolic links are taken as they are and never followed.
func PackRoot(ctx context.Context, dir string, w io.Writer, note func(string)) (Packed, error) {
	top, err := os.OpenRoot(dir)
	if err != nil {
		return Packed{}, fmt.Errorf("root folder: %w", err)
	}
	defer top.Close()
	p := &packer{ctx: ctx, top: top, note: note}
	if err := p.walk(); err != nil {
		return Packed{}, fmt.Errorf("root folder %s: %w", dir, err)
	}
	slices.SortFunc(p.list, func(a, b packing) int { return strings.Compare(a.entry.Path, b.entry.Path) })
	h := sha256.New()
	count := &counter{w: io.MultiWriter(h, w)}
	if err := p.write(root.NewWriter(count)); err != nil {
		return Packed{}, fmt.Errorf("pack %s: %w", dir, err)
	}
	out := Packed{Bytes: count.n, Entries: len(p.list)}
	h.Sum(out.Digest[:0])
	return out, nil
}

type packer struct {
	ctx        context.Context // of the one call
	top        *os.Root
	note       func(string)
	device     uint64 // of the top folder's file system
	list       []packing
	unreadable []string
	more       int
}

// packing is an entry and, of a file, what it was when it was listed.
type packing struct {
	entry root.Entry
	info  fs.FileInfo
}

type counter struct {
	w io.Writer
	n uint64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += uint64(n)
	return n, err
}

func (p *packer) walk() error {
	info, err := p.top.Lstat(".")
	if err != nil {
		return err
	}
	p.device = deviceOf(info)
	if err := fs.WalkDir(p.top.FS(), ".", p.visit); err != nil {
		return err
	}
	if len(p.unreadable) > 0 {
		names := strings.Join(p.unreadable, ", ")
		if p.more > 0 {
			names += fmt.Sprintf(" and %d more", p.more)
		}
		return fmt.Errorf("%s cannot be read; pack as a user who may, or make them readable", names)
	}
	if len(p.list) == 0 {
		return errors.New("there is nothing in it")
	}
	return nil
}

func (p *packer) visit(name string, d fs.DirEntry, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		p.refuse(name)
		return nil
	}
	if err != nil {
		return err
	}
	if name == "." {
		return p.ctx.Err()
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	e := root.Entry{Path: name, Mode: uint32(info.Mode().Perm()) | 0o400}
	switch info.Mode().Type() {
	case 0:
		e.Kind, e.Size = root.File, uint64(info.Size())
		if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			p.note(name + ": its setuid and setgid bits are dropped: a program runs as whoever starts it")
		}
		if err := p.readable(name); err != nil {
			return err
		}
	case fs.ModeDir:
		e.Kind = root.Folder
		if deviceOf(info) != p.device {
			p.note(name + ": what is in it is left out, for it is another file system")
			p.list = append(p.list, packing{entry: e})
			return fs.SkipDir
		}
	case fs.ModeSymlink:
		e.Kind, e.Mode = root.Link, 0o777
		if e.To, err = p.top.Readlink(name); err != nil {
			return err
		}
	default:
		p.note(name + ": left out, for it is " + kindOf(info.Mode()))
		return nil
	}
	p.list = append(p.list, packing{entry: e, info: info})
	return nil
}

func (p *packer) refuse(name string) {
	if len(p.unreadable) < maxUnreadable {
		p.unreadable = append(p.unreadable, name)
	} else {
		p.more++
	}
}

// readable looks whether a file can be opened, so that all that cannot be are named at once, before anything is written.
func (p *packer) readable(name string) error {
	f, err := p.open(name)
	if errors.Is(err, fs.ErrPermission) {
		p.refuse(name)
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// open does not wait for the other end of what has become a FIFO.
func (p *packer) open(name string) (*os.File, error) {
	return p.top.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

func (p *packer) write(w *root.Writer) error {
	for i := range p.list {
		if err := p.add(w, &p.list[i]); err != nil {
			return err
		}
	}
	return w.Close()
}

func (p *packer) add(w *root.Writer, x *packing) error {
	if err := w.Add(x.entry); err != nil || x.entry.Kind != root.File {
		return err
	}
	f, err := p.open(x.entry.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(now, x.info) || now.Size() != x.info.Size() || !now.ModTime().Equal(x.info.ModTime()) {
		return fmt.Errorf("%s changed while the root was packed; pack again when nothing writes to it", x.entry.Path)
	}
	_, err = io.Copy(w, untilDone{p.ctx, f})
	return err
}

// untilDone reads until its context ends.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(b)
}

func deviceOf(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Dev
	}
	return 0
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeDevice != 0:
		return "a device node"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return path.Base(m.Type().String()) + ", which no archive holds"
}
