package native

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/metanode/metanode/cage"
	"golang.org/x/sys/unix"
)

// streams are what a program reads and writes, and where its outputs are kept.
type streams struct {
	out            string   // folder of the caller's for the outputs
	stdin          *os.File // cannot be written
	stdout, stderr *os.File // in memory: a full disk must not look like something the program did
	outDir         *os.File // the program's /out, once composed; nil if it has none
}

// open makes all but outDir.
func (s *streams) open(spec *cage.Spec, out string) error {
	if err := os.MkdirAll(out, 0o700); err != nil {
		return fmt.Errorf("make the folder for outputs: %w", err)
	}
	s.out = out
	var err error
	if s.stdin, err = readOnly("stdin", spec.Stdin); err == nil {
		if s.stdout, err = memory(cage.OutputStdout, nil); err == nil {
			s.stderr, err = memory(cage.OutputStderr, nil)
		}
	}
	if err != nil {
		s.close()
		return fmt.Errorf("prepare a run: %w", err)
	}
	return nil
}

// readOnly is a file in memory that holds b and cannot be written through.
func readOnly(name string, b []byte) (*os.File, error) {
	f, err := memory(name, b)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	ro, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("open a memory file again: %w", err)
	}
	return ro, nil
}

func (s *streams) close() { closeFiles(s.stdin, s.stdout, s.stderr, s.outDir) }

func closeFiles(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

// errUnusable means that something in /out cannot be an output: a program failure.
var errUnusable = errors.New("unusable output")

// collect hashes the outputs in a fixed order, stdout, stderr, files by name, and cuts them off where limit bytes are used
// up.
func (s *streams) collect(res *cage.Result, limit uint64) error {
	var names []string
	var err error
	if s.outDir != nil {
		names, err = listOutputs(int(s.outDir.Fd()))
	}
	if errors.Is(err, errUnusable) {
		res.Killed, names, err = cage.KilledFiles, nil, nil
	}
	if err != nil {
		return err
	}
	left := limit
	for _, stream := range []struct {
		name string
		f    *os.File
	}{{cage.OutputStdout, s.stdout}, {cage.OutputStderr, s.stderr}} {
		if _, err := stream.f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		o, over, err := s.takeTo(stream.f, stream.name, &left)
		if err != nil {
			return err
		}
		res.Outputs = append(res.Outputs, o)
		if over {
			res.Killed = cage.KilledOutput
		}
	}
	for _, name := range names {
		o, over, err := s.takeFile(name, &left)
		if err != nil {
			return err
		}
		res.Outputs = append(res.Outputs, o)
		if over {
			res.Killed = cage.KilledOutput
		}
	}
	return nil
}

func (s *streams) takeFile(name string, left *uint64) (cage.Output, bool, error) {
	fd, err := openBeneath(int(s.outDir.Fd()), name, unix.O_RDONLY)
	if err != nil {
		return cage.Output{}, false, err
	}
	src := os.NewFile(uintptr(fd), name)
	defer src.Close()
	return s.takeTo(src, cage.OutputPrefix+name, left)
}

// takeTo hashes at most *left bytes of src, from where it stands, into the output of a name in the folder out, and
// reports whether there were more.
func (s *streams) takeTo(src *os.File, name string, left *uint64) (cage.Output, bool, error) {
	o := cage.Output{Name: name}
	st, err := src.Stat()
	if err != nil {
		return o, false, err
	}
	o.Bytes = min(uint64(st.Size()), *left)
	to := filepath.Join(s.out, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return o, false, err
	}
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return o, false, err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, dst), io.LimitReader(src, int64(o.Bytes)))
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	if err == nil && uint64(n) != o.Bytes {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return o, false, fmt.Errorf("keep output %q, %d of %d bytes: %w", name, n, o.Bytes, err)
	}
	*left -= o.Bytes
	h.Sum(o.Digest[:0])
	return o, uint64(st.Size()) > o.Bytes, nil
}

// openBeneath opens name below dir and follows no link.
func openBeneath(dir int, name string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(dir, name, &how)
	if err == unix.EACCES { // made with no permission for its owner
		if err := unix.Fchmodat(dir, name, 0o700, 0); err != nil {
			return -1, fmt.Errorf("open output %q: %w", name, err)
		}
		fd, err = unix.Openat2(dir, name, &how)
	}
	if err != nil {
		return -1, fmt.Errorf("open output %q: %w", name, err)
	}
	return fd, nil
}

// listOutputs gives the paths of the regular files below dir, sorted.
func listOutputs(dir int) ([]string, error) {
	var names []string
	var walk func(prefix string, depth int) error
	walk = func(prefix string, depth int) error {
		fd, err := openBeneath(dir, path.Join(".", prefix), unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		d := os.NewFile(uintptr(fd), prefix)
		defer d.Close()
		entries, err := d.ReadDir(-1) // the tmpfs bounds their number
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := path.Join(prefix, e.Name())
			switch {
			case !utf8.ValidString(name) || len(name) > cage.MaxPathBytes || depth > 32:
				return errUnusable
			case e.IsDir():
				if err := walk(name, depth+1); err != nil {
					return err
				}
			case e.Type().IsRegular():
				names = append(names, name)
			default:
				return errUnusable
			}
			if len(names) > cage.MaxOutputFiles {
				return errUnusable
			}
		}
		return nil
	}
	if err := walk("", 0); err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}
