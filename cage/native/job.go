package native

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"

	"github.com/metanode/metanode/cage"
	"golang.org/x/sys/unix"
)

// job is one sealed run's open files.
type job struct {
	spec        *cage.Spec
	job, mounts *os.File
	streams
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
	j := &job{spec: spec}
	if err := j.open(spec, out); err != nil {
		return nil, err
	}
	if j.job, err = memory("job", encodeJob(spec, filter, flags)); err == nil {
		j.mounts, err = memory("mounts", mounts)
	}
	if err != nil {
		j.close()
		return nil, fmt.Errorf("prepare a run: %w", err)
	}
	return j, nil
}

func (j *job) close() {
	j.streams.close()
	closeFiles(j.job, j.mounts)
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
		p, err := inputPath(&in, files)
		if err != nil {
			return nil, err
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
	if err := j.collect(&res, j.spec.Limits.OutputBytes); err != nil {
		return cage.Result{}, fmt.Errorf("collect outputs: %w", err)
	}
	res.Finish(j.spec)
	return res, nil
}

func (j *job) noCPU() error {
	return &cage.ErrNoResult{Reason: cage.ReasonCPU, Detail: fmt.Sprintf("used up its limit of %d ms of processor time", j.spec.Limits.CPUMs)}
}
