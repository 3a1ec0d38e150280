package native

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tracer is one docklock-tracer and the cage below it. Whoever starts it calls end.
type tracer struct {
	cmd     *exec.Cmd
	control *net.UnixConn
	events  *eventReader
	words   chan word
	exited  chan struct{} // closed when the tracer has been reaped
	over    chan struct{} // closed when nothing of the cage is left
	log     tail
	kids    []int // pidfds: of the cage's init, with which ends all that is in the cage
}

// word is what a tracer says, or that it can say no more.
type word struct {
	done *tracerDone
	out  *os.File // of the program's /out, with traceStarted
	err  error
}

const eventPipeBytes = 1 << 20

// startTracer starts a tracer with the descriptors of wire.h. The files stay the caller's.
func startTracer(program, stage string, job *os.File, s *streams, cache *os.File) (*tracer, error) {
	control, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		control.Close()
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	if err := unix.SetNonblock(pipe[0], true); err != nil {
		control.Close()
		unix.Close(pipe[0])
		unix.Close(pipe[1])
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	// A larger pipe lets the program run on while the node is busy; an ordinary user may have used up what is allowed.
	_, _ = unix.FcntlInt(uintptr(pipe[0]), unix.F_SETPIPE_SZ, eventPipeBytes)
	events := os.NewFile(uintptr(pipe[1]), "events")
	defer events.Close()

	t := &tracer{
		cmd: exec.Command(program, "run", stage), control: control,
		words: make(chan word, 2), exited: make(chan struct{}), over: make(chan struct{}),
	}
	t.events = &eventReader{fd: pipe[0], stop: t.over, buf: make([]byte, 1<<16)}
	t.cmd.Env = []string{}
	t.cmd.ExtraFiles = []*os.File{theirs, job, s.stdin, s.stdout, s.stderr, events, cache}
	t.cmd.Stdout, t.cmd.Stderr = &t.log, &t.log
	t.cmd.WaitDelay = killTimeout
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel takes the end of the thread that started a process for the parent's death.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := t.cmd.Start()
		started <- err
		if err == nil {
			_ = t.cmd.Wait() // how it ended is asked of cmd.ProcessState
		}
		close(t.exited)
	}()
	if err := <-started; err != nil {
		control.Close()
		t.events.close()
		return nil, fmt.Errorf("start the cage's tracer: %w", err)
	}
	go t.listen()
	return t, nil
}

// listen hands on what the tracer says until it has said how the run ended, or its end of the socket is closed.
func (t *tracer) listen() {
	defer close(t.words)
	for range cap(t.words) {
		d, f, err := hear(t.control)
		t.words <- word{d, f, err}
		if err != nil || d.Kind != traceStarted {
			return
		}
	}
}

// read hands each event to record until the tracer's end of the pipe is closed, and says how many there were.
func (t *tracer) read(record func(kind, tid uint32, payload []byte) error) (uint64, error) {
	for n := uint64(0); ; n++ {
		e, payload, err := t.events.next()
		if err == io.EOF {
			return n, nil
		}
		if err == nil {
			err = record(e.Kind, e.Tid, payload)
		}
		if err != nil {
			return n, err
		}
	}
}

// watchKids takes hold of the tracer's children, of which the cage's init is one once the tracer has said that the
// program starts.
func (t *tracer) watchKids() {
	pid := t.cmd.Process.Pid
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		b = []byte(strings.Join(childrenOf(pid), " ")) // a kernel without that file
	}
	for _, f := range strings.Fields(string(b)) {
		kid, err := strconv.Atoi(f)
		if err != nil {
			continue
		}
		if fd, err := unix.PidfdOpen(kid, 0); err == nil { // else it has ended
			t.kids = append(t.kids, fd)
		}
	}
}

// childrenOf looks through all processes for those whose parent is pid.
func childrenOf(pid int) []string {
	var kids []string
	entries, _ := os.ReadDir("/proc") // what cannot be read is not ours
	for _, e := range entries {
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			kids = append(kids, e.Name())
		}
	}
	return kids
}

// end makes the cage end, if it has not, and returns when nothing of it is left. The tracer sees within some hundredths
// of a second that our end of the socket is closed, and ends its processes and waits for them. Killing it instead would
// leave that to the kernel and to the machine's init, which may take its time.
func (t *tracer) end() error {
	t.control.Close()
	timer := time.NewTimer(killTimeout)
	select {
	case <-t.exited:
	case <-timer.C:
		if t.kids == nil {
			t.watchKids()
		}
		_ = t.cmd.Process.Kill() // an error means that it has ended already
		<-t.exited
	}
	timer.Stop()
	for w := range t.words { // what nobody has heard
		closeFiles(w.out)
	}
	var err error
	for _, fd := range t.kids {
		if !gone(fd, killTimeout) {
			err = errors.New("a process of the cage outlives its tracer: the kernel does not end it")
		}
		unix.Close(fd)
	}
	t.kids = nil
	close(t.over)
	return err
}

// gone waits until the process of a pidfd has ended.
func gone(fd int, timeout time.Duration) bool {
	end := time.Now().Add(timeout)
	for {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, max(0, int(time.Until(end).Milliseconds())))
		if err != unix.EINTR {
			return n == 1
		}
	}
}
