package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process names one running process for as long as the machine runs: a pid may be used again, a pid with its start time
// is not.
type process struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks since the machine started, field 22 of /proc/PID/stat
}

// processOf looks up a pid that is known to run.
func processOf(pid int) (process, error) {
	start, _, err := procStat(pid)
	return process{Pid: pid, Start: start}, err
}

func procStat(pid int) (start uint64, state byte, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The second field is the program's name in parentheses, which may hold anything.
	i := bytes.LastIndexByte(raw, ')')
	if i < 0 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: no program name", pid)
	}
	fields := bytes.Fields(raw[i+1:])
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return start, fields[0][0], err
}

// alive reports whether the very process still runs. One that ended and was not waited for does not.
func (p process) alive() bool {
	if p.Pid <= 0 {
		return false
	}
	start, state, err := procStat(p.Pid)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// end asks the process with SIGTERM, and after grace makes it with SIGKILL, together with its process group if it
// leads one. It returns when the process is gone; one that was gone already is no error.
func (p process) end(grace time.Duration) error {
	if !p.alive() {
		return nil
	}
	fd, err := unix.PidfdOpen(p.Pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop process %d: %w", p.Pid, err)
	}
	defer unix.Close(fd)
	if !p.alive() { // between the look and the open, the pid may have gone to another process
		return nil
	}
	for _, step := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, grace}, {unix.SIGKILL, 10 * time.Second}} {
		if err := unix.PidfdSendSignal(fd, step.signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stop process %d: %w", p.Pid, err)
		}
		if step.signal == unix.SIGKILL {
			if group, err := syscall.Getpgid(p.Pid); err == nil && group == p.Pid {
				_ = syscall.Kill(-group, syscall.SIGKILL) // what it started; the leader itself has its signal
			}
		}
		gone, err := waitPidfd(fd, step.wait)
		if err != nil {
			return fmt.Errorf("wait for process %d: %w", p.Pid, err)
		}
		if gone {
			return nil
		}
	}
	return fmt.Errorf("process %d did not end after SIGKILL; it hangs in the kernel", p.Pid)
}

// waitPidfd waits until the process behind fd has ended, at most for d.
func waitPidfd(fd int, d time.Duration) (bool, error) {
	deadline := time.Now().Add(d)
	for {
		left := max(0, int(time.Until(deadline).Milliseconds()))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, left)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0, err
	}
}
