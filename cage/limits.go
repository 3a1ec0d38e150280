package cage

import "fmt"

// Limits bound a run. CPUMs and WallMs end in ErrNoResult, since no other machine need reach them; all others end in a
// result, the same on every machine. In relaxed mode, where threads race, Calls, VirtualMs and Spawned depend on the
// race too.
type Limits struct {
	_           struct{} `cbor:",toarray"`
	MemoryBytes uint64   // address space of a process; allocating past it fails inside the program. Also what /tmp may hold
	OutputBytes uint64   // stdout, stderr and files in /out together; no file at all grows past this or MemoryBytes, the larger
	Files       uint32   // open file descriptors of a process
	Processes   uint32   // threads and processes alive at once; a sealed program is one process, whatever this is
	CPUMs       uint64   // processor time in ms, rounded up to whole seconds
	WallMs      uint64   // from the program's start
	Calls       uint64   // system calls that the cage answered or looked at; sealed: 0
	VirtualMs   uint64   // of the virtual clock, sleeping included; sealed: 0
	Spawned     uint32   // threads and processes ever started; sealed: 0
}

// Bounds of what a spec may ask for.
const (
	maxLimitMs = 1000 * 86400 * 7
	MaxCalls   = 1 << 30
	// MaxVirtualMs lets a program sleep for a hundred years: with MaxEpochNs, its clock stays within 63 bits.
	MaxVirtualMs = 1000 * 86400 * 365 * 100
	MaxSpawned   = 1 << 20
)

// DefaultLimits are what a run in strict or relaxed mode gets where nobody says otherwise: enough for a compiler or a
// script over some gigabytes, and little enough that a program gone wrong ends within two minutes. A program may sleep
// for 30 days, which take no time.
func DefaultLimits() Limits {
	return Limits{
		MemoryBytes: 1 << 30, OutputBytes: 64 << 20, Files: 1024, Processes: 256, CPUMs: 60_000, WallMs: 120_000,
		Calls: 100_000_000, VirtualMs: 1000 * 86400 * 30, Spawned: 65_536,
	}
}

func (l *Limits) check(mode string) error {
	type bound struct {
		name        string
		v, min, max uint64
	}
	bounds := []bound{
		{"memory bytes", l.MemoryBytes, 1 << 20, MaxMemoryBytes},
		{"output bytes", l.OutputBytes, 1, MaxOutputBytes},
		{"files", uint64(l.Files), 8, 1 << 16},
		{"processes", uint64(l.Processes), 1, 1 << 16},
		{"CPU ms", l.CPUMs, 1, maxLimitMs},
		{"wall ms", l.WallMs, 1, maxLimitMs},
	}
	if mode == ModeSealed {
		bounds = append(bounds, bound{"calls", l.Calls, 0, 0}, bound{"virtual ms", l.VirtualMs, 0, 0},
			bound{"spawned", uint64(l.Spawned), 0, 0})
	} else {
		bounds = append(bounds, bound{"calls", l.Calls, 1, MaxCalls}, bound{"virtual ms", l.VirtualMs, 1, MaxVirtualMs},
			bound{"spawned", uint64(l.Spawned), 1, MaxSpawned})
	}
	for _, b := range bounds {
		switch {
		case b.max == 0 && b.v != 0:
			return fmt.Errorf("cage spec: limit %s is %d; mode %q has no such limit: leave it 0", b.name, b.v, mode)
		case b.v < b.min || b.v > b.max:
			return fmt.Errorf("cage spec: limit %s is %d; want %d to %d", b.name, b.v, b.min, b.max)
		}
	}
	return nil
}
