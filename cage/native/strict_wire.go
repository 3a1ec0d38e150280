package native

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// What tracer/wire.h says; a test compares the two.
const (
	tracerMagic    = 0x314a5444
	tracerEventMax = 1 << 20
	tracerNoCPU    = 0xffffffff
	tracerJobMax   = 64 << 20 // the tracer maps no larger one

	flagRelaxed     = 1
	flagNoProcesses = 2
	flagReadOnly    = 4
	flagSkipNet     = 16
	flagSkipIPC     = 32
	flagSkipUTS     = 64

	traceDone    = 1
	traceNone    = 2
	traceTrouble = 3
	traceBadJob  = 4
	traceStarted = 5

	noneWall        = 1
	noneCPU         = 2
	noneOOM         = 3
	noneSpin        = 4
	killedOutput    = 17
	killedCalls     = 18
	killedTime      = 19
	killedProcesses = 20
	killedSeccomp   = 21
	killedDeadlock  = 22
)

// tracerJob is struct tj_job.
type tracerJob struct {
	Magic, Flags                              uint32
	Argc, Envc, Mounts, FilterLen, StringsLen uint32
	CPU                                       uint32
	EpochNs                                   uint64
	Seed                                      [32]byte
	MemoryBytes, OutputBytes, FileBytes       uint64
	CPUMs, WallMs                             uint64
	Calls, VirtualNs                          uint64
	Files, Processes, Spawned, Reserved       uint32
}

// tracerDone is struct tj_done.
type tracerDone struct {
	Magic, Kind, Reason      uint32
	Status, Error            int32
	Spawned                  uint32
	Calls, VirtualNs, Events uint64
	MemoryPeak, CPUUs, Stops uint64
	Text                     [200]byte
}

// tracerEvent is struct tj_event.
type tracerEvent struct{ PayloadLen, Kind, Tid uint32 }

const (
	tracerJobBytes   = 144
	tracerDoneBytes  = 272
	tracerEventBytes = 12
)

// mount is one line of the list from which the tracer composes the cage's root.
type mount struct {
	kind          byte
	place, source string
}

// The kinds of mounts.
const (
	mountFolder   = 'd' // empty
	mountTmpfs    = 't' // source: its size in bytes
	mountTree     = 'r' // host folder, read-only
	mountFile     = 'f' // host file, read-only
	mountCopy     = 'c' // host file, copied, mode 0644
	mountCopyExec = 'x' // the same, mode 0755
	mountLink     = 'l' // source: what it points to
)

// encode gives the bytes of TJ_JOB. It fills in what counts the rest.
func (j *tracerJob) encode(filter []byte, workdir string, argv, env []string, mounts []mount) ([]byte, error) {
	var text []byte
	add := func(list ...string) {
		for _, s := range list {
			text = append(append(text, s...), 0)
		}
	}
	add(workdir)
	add(argv...)
	add(env...)
	for _, m := range mounts {
		if strings.ContainsRune(m.place+m.source, 0) {
			return nil, fmt.Errorf("mount %q of %q holds a zero byte", m.place, m.source)
		}
		add(string(m.kind), m.place, m.source)
	}
	j.Magic = tracerMagic
	j.Argc, j.Envc, j.Mounts = uint32(len(argv)), uint32(len(env)), uint32(len(mounts))
	j.FilterLen, j.StringsLen = uint32(len(filter)/8), uint32(len(text))
	b, err := binary.Append(make([]byte, 0, tracerJobBytes+len(filter)+len(text)), binary.LittleEndian, j)
	if err != nil {
		return nil, fmt.Errorf("encode the job: %w", err)
	}
	b = append(append(b, filter...), text...)
	if len(b) > tracerJobMax {
		return nil, fmt.Errorf("arguments, environment and list of mounts take %d bytes; the limit is %d", len(b), tracerJobMax)
	}
	return b, nil
}

// decodeDone reads a tracer's word about a run.
func decodeDone(b []byte) (*tracerDone, error) {
	d := new(tracerDone)
	if len(b) != tracerDoneBytes {
		return nil, fmt.Errorf("the tracer's word has %d bytes; want %d", len(b), tracerDoneBytes)
	}
	if _, err := binary.Decode(b, binary.LittleEndian, d); err != nil {
		return nil, fmt.Errorf("the tracer's word: %w", err)
	}
	if d.Magic != tracerMagic || d.Kind < traceDone || d.Kind > traceStarted {
		return nil, fmt.Errorf("the tracer's word has magic %#x and kind %d", d.Magic, d.Kind)
	}
	return d, nil
}

// text is what the tracer says in words.
func (d *tracerDone) text() string {
	s, _, _ := strings.Cut(string(d.Text[:]), "\x00")
	return strings.ToValidUTF8(s, "?")
}

// hear reads one word of a tracer and the descriptor beside it, nil if there is none.
func hear(c *net.UnixConn) (*tracerDone, *os.File, error) {
	b := make([]byte, tracerDoneBytes+1)
	oob := make([]byte, unix.CmsgSpace(2*4))
	n, files, err := readPacket(c, b, oob)
	if err != nil {
		return nil, nil, err
	}
	d, err := decodeDone(b[:n])
	if err == nil && len(files) > 1 {
		err = fmt.Errorf("the tracer sent %d descriptors; want at most 1", len(files))
	}
	if err != nil || len(files) == 0 {
		closeAll(files)
		return d, nil, err
	}
	return d, files[0], nil
}
