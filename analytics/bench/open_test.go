package bench

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metanode/metanode/cage"
	"golang.org/x/sys/unix"
)

// open runs the worker with its engine open already, as the cage does, but without walls: a fork for each job. The
// program is built from the worker's sources with open/docklock.c in place of the cage's.
type open struct {
	in      string
	control *os.File
}

// newOpen builds the program and starts it. It answers from the first run on, which waits for the engine to be open.
func newOpen(t *testing.T, in string) *open {
	t.Helper()
	// A tree without the cage, so that the worker's own build script takes plain/docklock.c, which is ours there.
	root := t.TempDir()
	worker := filepath.Join(root, "analytics", "worker")
	copies := map[string]string{"../../go.mod": filepath.Join(root, "go.mod"), "../../go.sum": filepath.Join(root, "go.sum")}
	if err := os.CopyFS(worker, os.DirFS("../worker")); err != nil {
		t.Fatal(err)
	}
	copies["open/docklock.c"] = filepath.Join(worker, "plain", "docklock.c")
	for from, to := range copies {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(root, "worker-open")
	if out, err := exec.Command(filepath.Join(worker, "build.sh"), program).CombinedOutput(); err != nil {
		t.Fatalf("build the worker without walls: %v: %s", err, out)
	}

	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	cmd := exec.Command(program)
	cmd.Env = append(cage.FixedEnviron(cage.CPUx86_64v2), "DOCKLOCK_CONTROL=3")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ours.Close() // ends it
		cmd.Wait()
	})
	return &open{in, ours}
}

func (o *open) run(spec cage.Spec) ([]byte, time.Duration, error) {
	begin := time.Now()
	var streams [3]*os.File
	var fds []int
	for i := range streams {
		fd, err := unix.MemfdCreate("stream", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, 0, err
		}
		streams[i] = os.NewFile(uintptr(fd), "stream")
		defer streams[i].Close()
		fds = append(fds, fd)
	}
	if _, err := streams[0].Write(spec.Stdin); err != nil {
		return nil, 0, err
	}
	if _, err := streams[0].Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	env := strings.Join(append(spec.Environ(), "DOCKLOCK_INPUT_DIR="+o.in), "\x00") + "\x00"
	if err := unix.Sendmsg(int(o.control.Fd()), []byte(env), unix.UnixRights(fds...), nil, 0); err != nil {
		return nil, 0, err
	}
	var status [4]byte
	if _, err := io.ReadFull(o.control, status[:]); err != nil {
		return nil, 0, err
	}
	var text [2]bytes.Buffer
	for i := range text {
		if _, err := io.Copy(&text[i], io.NewSectionReader(streams[i+1], 0, 1<<30)); err != nil {
			return nil, 0, err
		}
	}
	took := time.Since(begin)
	if st := syscall.WaitStatus(binary.LittleEndian.Uint32(status[:])); st != 0 {
		return nil, 0, &failure{st.ExitStatus(), text[1].String()}
	}
	return text[0].Bytes(), took, nil
}
