package native

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/metanode/metanode/cage"
	"golang.org/x/sys/unix"
)

// killedBy says which attestable end a reason of the tracer's is, and the exit code that stands for it: that of the
// signal which a kernel would have sent.
var killedBy = map[uint32]struct {
	killed string
	code   int32
}{
	killedOutput:    {cage.KilledOutput, 128 + int32(unix.SIGXFSZ)},
	killedCalls:     {cage.KilledCalls, 128 + int32(unix.SIGKILL)},
	killedTime:      {cage.KilledTime, 128 + int32(unix.SIGKILL)},
	killedProcesses: {cage.KilledProcesses, 128 + int32(unix.SIGKILL)},
	killedSeccomp:   {cage.KilledSeccomp, 128 + int32(unix.SIGSYS)},
	killedDeadlock:  {cage.KilledDeadlock, 128 + int32(unix.SIGKILL)},
}

// judge says what the tracer's last word means: a result, still without outputs; *cage.ErrNoResult;
// *cage.ErrCannotStart; or trouble with this machine.
func judge(d *tracerDone, limits *cage.Limits) (cage.Result, error) {
	var res cage.Result
	switch d.Kind {
	case traceDone:
		if d.Reason == 0 {
			return ended(syscall.WaitStatus(uint32(d.Status)))
		}
		k, ok := killedBy[d.Reason]
		if !ok {
			return res, fmt.Errorf("the tracer ended the cage for reason %d, which is none of its", d.Reason)
		}
		res.Killed, res.ExitCode = k.killed, k.code
		return res, nil
	case traceNone:
		return res, noResult(d, limits)
	case traceBadJob:
		return res, cannotStart(d)
	case traceTrouble:
		err := errors.New(d.text())
		if d.Error != 0 {
			err = fmt.Errorf("%s: %w", d.text(), syscall.Errno(d.Error))
		}
		return res, fmt.Errorf("build the cage around the program: %w", err)
	}
	return res, fmt.Errorf("the tracer's last word is of kind %d", d.Kind)
}

// ended is the result of a program that ended by itself, or by a signal of its own, of another program in the cage, or of
// the kernel's.
func ended(st syscall.WaitStatus) (cage.Result, error) {
	var res cage.Result
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
		}
	default:
		return res, fmt.Errorf("the program neither exited nor was killed: wait status %#x", uint32(st))
	}
	return res, nil
}

func noResult(d *tracerDone, limits *cage.Limits) error {
	switch d.Reason {
	case noneWall:
		return &cage.ErrNoResult{Reason: cage.ReasonWall, Detail: fmt.Sprintf("still running after its limit of %d ms", limits.WallMs)}
	case noneCPU:
		return &cage.ErrNoResult{Reason: cage.ReasonCPU, Detail: fmt.Sprintf("used up its limit of %d ms of processor time", limits.CPUMs)}
	case noneOOM:
		return &cage.ErrNoResult{Reason: cage.ReasonOOM, Detail: fmt.Sprintf(
			"its processes and its files in memory took more than %d bytes together, or the machine ran out of memory", limits.MemoryBytes)}
	case noneSpin:
		return &cage.ErrNoResult{Reason: cage.ReasonSpin, Detail: fmt.Sprintf(
			"a thread used up its limit of %d ms of processor time without a system call; if it waits for another thread that way, it waits for ever", limits.CPUMs)}
	}
	return fmt.Errorf("the tracer ended the cage without a result for reason %d, which is none of its", d.Reason)
}

// cannotStart tells what is wrong with the program as a shell does.
func cannotStart(d *tracerDone) error {
	e := &cage.ErrCannotStart{ExitCode: cage.ExitNotExecutable, Detail: d.text()}
	switch no := syscall.Errno(d.Error); no {
	case 0:
	case unix.ENOENT, unix.ENOTDIR:
		e.ExitCode = cage.ExitNotFound
		fallthrough
	default:
		e.Detail += ": " + no.Error()
	}
	return e
}
