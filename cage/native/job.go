package native

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/metanode/metanode/cage"
	"golang.org/x/sys/unix"
)

// job is one run's open files.
type job struct {
	spec           *cage.Spec
	out            string
	job, mounts    *os.File
	stdin          *os.File
	stdout, stderr *os.File // in memory: a full disk must not look like something the program did
	outDir         *os.File // the program's /out, once composed
}

func newJob(spec *cage.Spec, policy *cage.Policy, files cage.Files, out string, cold bool, flags uint32) (*job, error) {
	filter, err := compile(policy, cold)
	if err != nil {
		return nil, err
	}
	mounts, err := encodeMounts(spec, files)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for outputs: %w", err)
	}
	j := &job{spec: spec, out: out}
	open := func(dst **os.File, f *os.File, e error) {
		if err == nil {
			*dst, err = f, e
		} else if f != nil {
			f.Close()
		}
	}
	for _, m := range []struct {
		dst  **os.File
		name string
		b    []byte
	}{{&j.stdin, "stdin", spec.Stdin}, {&j.job, "job", encodeJob(spec, filter, flags)}, {&j.mounts, "mounts", mounts}, {&j.stdout, cage.OutputStdout, nil}, {&j.stderr, cage.OutputStderr, nil}} {
		f, e := memory(m.name, m.b)
		open(m.dst, f, e)
	}
	if err != nil {
		j.close()
		return nil, fmt.Errorf("prepare a run: %w", err)
	}
	return j, nil
}

func (j *job) close() {
	for _, f := range []*os.File{j.job, j.mounts, j.stdin, j.stdout, j.stderr, j.outDir} {
		if f != nil {
			f.Close()
		}
	}
}

// encodeJob is struct dl_job with its filter and strings.
func encodeJob(s *cage.Spec, filter []byte, flags uint32) []byte {
	env := s.Environ()
	var text []byte
	for _, list := range [][]string{s.Argv, env} {
		for _, v := range list {
			text = append(append(text, v...), 0)
		}
	}
	le := binary.LittleEndian
	b := le.AppendUint32(nil, jobMagic)
	b = le.AppendUint32(b, flags)
	b = le.AppendUint32(b, uint32(len(s.Argv)))
	b = le.AppendUint32(b, uint32(len(env)))
	b = le.AppendUint64(b, s.Limits.MemoryBytes)
	// The largest file. Scratch files in /tmp may need more than outputs do; what is too much output is judged, and cut,
	// when the program has ended.
	b = le.AppendUint64(b, max(s.Limits.OutputBytes, s.Limits.MemoryBytes))
	b = le.AppendUint64(b, (s.Limits.CPUMs+999)/1000)
	b = le.AppendUint32(b, s.Limits.Files)
	b = le.AppendUint32(b, uint32(len(filter)/8))
	b = le.AppendUint32(b, uint32(len(text)))
	b = le.AppendUint32(b, 0)
	return append(append(b, filter...), text...)
}

// encodeMounts is struct dl_mounts with its paths.
func encodeMounts(s *cage.Spec, files cage.Files) ([]byte, error) {
	var text []byte
	for _, in := range s.Inputs {
		p, err := files.Path(in.Digest)
		if err != nil {
			return nil, fmt.Errorf("input %q (%s): %w", in.Path, in.Digest.Short(), err)
		}
		if !filepath.IsAbs(p) || strings.ContainsRune(p, 0) {
			return nil, fmt.Errorf("input %q: its local path %q is not absolute", in.Path, p)
		}
		st, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("input %q: %w", in.Path, err)
		}
		if uint64(st.Size()) != in.Bytes || !st.Mode().IsRegular() {
			return nil, fmt.Errorf("input %q: %s holds %d bytes, the spec says %d; fetch the blob again", in.Path, p, st.Size(), in.Bytes)
		}
		text = append(append(text, in.Path...), 0)
		text = append(append(text, p...), 0)
	}
	const page = 4096
	le := binary.LittleEndian
	b := le.AppendUint32(nil, mountsMagic)
	b = le.AppendUint32(b, uint32(len(s.Inputs)))
	b = le.AppendUint64(b, s.Limits.MemoryBytes)
	// Room for OutputBytes and one part-filled page a file: the sum is judged when the program has ended.
	b = le.AppendUint64(b, s.Limits.OutputBytes+(cage.MaxOutputFiles+1)*page)
	b = le.AppendUint32(b, 2*cage.MaxOutputFiles+2)
	b = le.AppendUint32(b, uint32(len(text)))
	return append(b, text...), nil
}

// result judges how the program ended and collects its outputs.
func (j *job) result(done *packet) (cage.Result, error) {
	res := cage.Result{}
	st := syscall.WaitStatus(uint32(done.status))
	switch {
	case st.Exited():
		res.ExitCode = int32(st.ExitStatus())
	case st.Signaled():
		res.ExitCode = 128 + int32(st.Signal())
		switch st.Signal() {
		case unix.SIGSYS:
			res.Killed = cage.KilledSeccomp
		case unix.SIGXFSZ:
			res.Killed = cage.KilledOutput
		case unix.SIGXCPU:
			return res, j.noCPU()
		case unix.SIGKILL:
			if done.cpuUs/1000 >= j.spec.Limits.CPUMs {
				return res, j.noCPU()
			}
			return res, &cage.ErrNoResult{Reason: cage.ReasonOOM, Detail: "the program was killed from outside, most likely because the machine ran out of memory"}
		}
	default:
		return res, fmt.Errorf("the program neither exited nor was killed: wait status %#x", done.status)
	}
	if err := j.collect(&res); err != nil {
		return cage.Result{}, fmt.Errorf("collect outputs: %w", err)
	}
	res.Finish(j.spec)
	return res, nil
}

func (j *job) noCPU() error {
	return &cage.ErrNoResult{Reason: cage.ReasonCPU, Detail: fmt.Sprintf("used up its limit of %d ms of processor time", j.spec.Limits.CPUMs)}
}

// errUnusable means that something in /out cannot be an output: a program failure.
var errUnusable = errors.New("unusable output")

// collect hashes the outputs in a fixed order, stdout, stderr, files by name, and cuts them off where OutputBytes are
// used up.
func (j *job) collect(res *cage.Result) error {
	names, err := listOutputs(int(j.outDir.Fd()))
	if errors.Is(err, errUnusable) {
		res.Killed, names, err = cage.KilledFiles, nil, nil
	}
	if err != nil {
		return err
	}
	left := j.spec.Limits.OutputBytes
	for _, stream := range []struct {
		name string
		f    *os.File
	}{{cage.OutputStdout, j.stdout}, {cage.OutputStderr, j.stderr}} {
		if _, err := stream.f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		o, over, err := j.takeTo(stream.f, stream.name, &left)
		if err != nil {
			return err
		}
		res.Outputs = append(res.Outputs, o)
		if over {
			res.Killed = cage.KilledOutput
		}
	}
	for _, name := range names {
		o, over, err := j.takeFile(name, &left)
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

func (j *job) takeFile(name string, left *uint64) (cage.Output, bool, error) {
	fd, err := openBeneath(int(j.outDir.Fd()), name, unix.O_RDONLY)
	if err != nil {
		return cage.Output{}, false, err
	}
	src := os.NewFile(uintptr(fd), name)
	defer src.Close()
	return j.takeTo(src, cage.OutputPrefix+name, left)
}

// takeTo hashes at most *left bytes of src, from where it stands, into the output of a name in the folder out, and
// reports whether there were more.
func (j *job) takeTo(src *os.File, name string, left *uint64) (cage.Output, bool, error) {
	o := cage.Output{Name: name}
	st, err := src.Stat()
	if err != nil {
		return o, false, err
	}
	o.Bytes = min(uint64(st.Size()), *left)
	to := filepath.Join(j.out, filepath.FromSlash(name))
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
