package native

import (
	"errors"
	"testing"

	"github.com/metanode/metanode/cage"
	"golang.org/x/sys/unix"
)

func TestJudge(t *testing.T) {
	const exited, byTerm, bySys, byFsz, byKill = 42 << 8, int32(unix.SIGTERM), int32(unix.SIGSYS), int32(unix.SIGXFSZ), int32(unix.SIGKILL)
	limits := cage.DefaultLimits()
	for name, c := range map[string]struct {
		done   tracerDone
		code   int32
		killed string
	}{
		"exit 0":                {tracerDone{Kind: traceDone}, 0, ""},
		"exit 42":               {tracerDone{Kind: traceDone, Status: exited}, 42, ""},
		"a signal of its own":   {tracerDone{Kind: traceDone, Status: byTerm}, 143, ""},
		"kill of its own":       {tracerDone{Kind: traceDone, Status: byKill}, 137, ""},
		"core bit":              {tracerDone{Kind: traceDone, Status: 11 | 0x80}, 139, ""},
		"a call of the policy":  {tracerDone{Kind: traceDone, Status: bySys}, 159, cage.KilledSeccomp},
		"a file too large":      {tracerDone{Kind: traceDone, Status: byFsz}, 153, cage.KilledOutput},
		"output limit":          {tracerDone{Kind: traceDone, Reason: killedOutput, Status: byKill}, 153, cage.KilledOutput},
		"calls limit":           {tracerDone{Kind: traceDone, Reason: killedCalls, Status: byKill}, 137, cage.KilledCalls},
		"clock limit":           {tracerDone{Kind: traceDone, Reason: killedTime, Status: byKill}, 137, cage.KilledTime},
		"spawned limit":         {tracerDone{Kind: traceDone, Reason: killedProcesses, Status: byKill}, 137, cage.KilledProcesses},
		"another table's calls": {tracerDone{Kind: traceDone, Reason: killedSeccomp, Status: byKill}, 159, cage.KilledSeccomp},
		"deadlock":              {tracerDone{Kind: traceDone, Reason: killedDeadlock, Status: byKill}, 137, cage.KilledDeadlock},
	} {
		res, err := judge(&c.done, &limits)
		if err != nil || res.ExitCode != c.code || res.Killed != c.killed {
			t.Errorf("%s: got exit code %d, killed %q, %v; want %d, %q", name, res.ExitCode, res.Killed, err, c.code, c.killed)
		}
	}
	for reason, want := range map[uint32]cage.Reason{noneWall: cage.ReasonWall, noneCPU: cage.ReasonCPU, noneOOM: cage.ReasonOOM, noneSpin: cage.ReasonSpin} {
		var none *cage.ErrNoResult
		if _, err := judge(&tracerDone{Kind: traceNone, Reason: reason}, &limits); !errors.As(err, &none) || none.Reason != want {
			t.Errorf("reason %d: got %v; want no result (%s)", reason, err, want)
		}
	}
	for no, want := range map[unix.Errno]int32{unix.ENOENT: 127, unix.ENOTDIR: 127, unix.EACCES: 126, unix.ENOEXEC: 126, unix.ELIBBAD: 126, 0: 126} {
		var cannot *cage.ErrCannotStart
		_, err := judge(&tracerDone{Kind: traceBadJob, Error: int32(no), Text: [200]byte{'w', 'h', 'y'}}, &limits)
		if !errors.As(err, &cannot) || cannot.ExitCode != want || cannot.Detail[:3] != "why" {
			t.Errorf("%v: got %v; want exit code %d and the tracer's words", no, err, want)
		}
	}
}

// What follows from this machine, or from a tracer that says what it should not, is trouble and no result of any kind.
func TestJudgeTrouble(t *testing.T) {
	limits := cage.DefaultLimits()
	for name, d := range map[string]tracerDone{
		"trouble":                 {Kind: traceTrouble, Error: int32(unix.EPERM), Text: [200]byte{'x'}},
		"trouble without number":  {Kind: traceTrouble},
		"started":                 {Kind: traceStarted},
		"a killed reason unknown": {Kind: traceDone, Reason: 99},
		"no result as a result":   {Kind: traceDone, Reason: noneWall},
		"a result as no result":   {Kind: traceNone, Reason: killedOutput},
		"no reason":               {Kind: traceNone},
		"stopped":                 {Kind: traceDone, Status: 0x137f},
	} {
		var none *cage.ErrNoResult
		var cannot *cage.ErrCannotStart
		if _, err := judge(&d, &limits); err == nil || errors.As(err, &none) || errors.As(err, &cannot) {
			t.Errorf("%s: got %v; want trouble", name, err)
		}
	}
}

func TestPinsAreSpread(t *testing.T) {
	p := &pins{list: []int{3, 5, 9}, runs: make([]int, 3)}
	seen := map[uint32]int{}
	var free []func()
	for range 6 {
		cpu, f := p.take()
		seen[cpu]++
		free = append(free, f)
	}
	if seen[3] != 2 || seen[5] != 2 || seen[9] != 2 {
		t.Errorf("six runs on three processors: %v", seen)
	}
	free[1]()
	free[4]()
	for range 2 {
		if cpu, _ := p.take(); cpu != 5 {
			t.Errorf("the next run is on processor %d; 5 has none", cpu)
		}
	}
	if cpu, f := (&pins{}).take(); cpu != tracerNoCPU {
		t.Errorf("processor %d where none is known", cpu)
	} else {
		f()
	}
}
