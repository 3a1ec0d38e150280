package measure

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a program that is measured. Its methods are for one goroutine.
type Process struct {
	cmd    *exec.Cmd
	log    string
	done   chan struct{} // closed when it has ended
	killed bool          // by us: its end is no fault
}

// Start starts argv with its output in a file. It ends with this program, however this program ends.
func Start(log string, argv []string, env ...string) (*Process, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the child has its own
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // an interrupt at the terminal is ours alone
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	p := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }() // how it ended stands in cmd.ProcessState
	return p, nil
}

// Ended is nil while the process runs, or if it was killed from here.
func (p *Process) Ended() error {
	if p.killed {
		return nil
	}
	select {
	case <-p.done:
	default:
		return nil
	}
	raw, _ := os.ReadFile(p.log) // for the message alone
	return fmt.Errorf("it has ended (%v), saying: %s", p.cmd.ProcessState, bytes.TrimSpace(raw[max(0, len(raw)-600):]))
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Killed reports whether the process was ended from here.
func (p *Process) Killed() bool { return p.killed }

// Kill ends the process as a power cut does.
func (p *Process) Kill() {
	p.killed = true
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Interrupt asks it to end.
func (p *Process) Interrupt() {
	p.killed = true
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
}

// Stop waits for the end of an interrupted process, and ends it if that takes long.
func (p *Process) Stop() {
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	select {
	case <-p.done:
	case <-patience.C:
		p.Kill()
	}
}

// clockTick is the unit of /proc/PID/stat: USER_HZ, 100 on every Linux of x86-64.
const clockTick = 10 * time.Millisecond

// CPU is the user and system time taken so far, by all threads.
func (p *Process) CPU() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return statCPU(string(raw))
}

// statCPU reads utime and stime. The second field is a name in parentheses that may hold anything.
func statCPU(stat string) (time.Duration, error) {
	_, rest, ok := strings.Cut(stat[max(0, strings.LastIndexByte(stat, ')')):], " ")
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return 0, fmt.Errorf("read the processor time of a process: %q", stat)
	}
	var ticks int64
	for _, s := range f[11:13] { // fields 14 and 15 of the whole, counted from 1
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read the processor time of a process: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// Resident is the memory in RAM, in bytes.
func (p *Process) Resident() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(raw))
	if len(f) < 2 {
		return 0, fmt.Errorf("read the memory of a process: %q", raw)
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
