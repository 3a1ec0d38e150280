package cage

import (
	"fmt"
	"slices"

	"github.com/metanode/metanode/internal/digest"
)

// PolicyVersion is the version of the file format and of what its words mean.
const PolicyVersion = 1

// Policy is the rules of a cage: which system calls a program may make, and what it may find out about the world. A file
// of it (ParsePolicy) is an OCI seccomp profile, the LinuxSeccomp of the runtime specification, to which a name, a mode
// and a section on determinism are added. An engine compiles the filter from it (Filter), so that its digest in a spec
// names the filter. The zero Policy is none; a Policy comes from ParsePolicy, Policies or PolicyNamed.
type Policy struct {
	Name        string
	Mode        string // one of the modes of a Spec
	Default     Action // for a call that no rule decides; ActionAllow in all modes but sealed
	Calls       []Call // sorted by Name; of the same name, the first that applies decides
	Startup     []Call // sealed: tried before Calls for a program that is executed in the cage rather than forked
	Determinism Determinism
}

// Action is what becomes of a system call.
type Action string

// The actions, in the words of the OCI runtime specification.
const (
	ActionAllow Action = "SCMP_ACT_ALLOW" // in strict and relaxed mode: it is answered as the tracer's tables say
	ActionErrno Action = "SCMP_ACT_ERRNO" // it is not made, and answers Call.Errno
	ActionKill  Action = "SCMP_ACT_KILL_PROCESS"
)

// Call is the rule for one system call.
type Call struct {
	Name   string // of the x86-64 system call
	Action Action
	Errno  uint32 // 1 to 4095 with ActionErrno, else 0
	When   []Arg  // all must hold for the rule to apply; at most one an argument
}

// Arg is a condition on one argument of a system call, as an unsigned number of 64 bits.
type Arg struct {
	Index uint32 // 0 to 5
	Op    Op
	Value uint64 // what is compared with; of OpMaskedEqual, what the bits under Mask must be
	Mask  uint64 // 0 but for OpMaskedEqual
}

// Op is how an argument is compared.
type Op string

// The comparisons, in the words of the OCI runtime specification. In a file, the mask of OpMaskedEqual is "value" and
// what it is compared with "valueTwo".
const (
	OpNotEqual     Op = "SCMP_CMP_NE"
	OpLess         Op = "SCMP_CMP_LT"
	OpLessEqual    Op = "SCMP_CMP_LE"
	OpEqual        Op = "SCMP_CMP_EQ"
	OpGreaterEqual Op = "SCMP_CMP_GE"
	OpGreater      Op = "SCMP_CMP_GT"
	OpMaskedEqual  Op = "SCMP_CMP_MASKED_EQ"
)

// Determinism says where a program has from what differs between machines and moments.
type Determinism struct {
	Clock     string // "virtual": the cage's, from the spec's epoch on; "image": the program brings its own (sealed)
	RNG       string // "seeded": the cage's, from the spec's seed; "image": the program brings its own (sealed)
	CPUClass  string // the class that programs are shown: CPUx86_64v2
	Net       string // "none": a loopback of its own and nothing behind it
	Scheduler string // "serial": one thread at a time, in an order that is the cage's; "host": as the machine has it (relaxed)
	Processes bool   // may it start threads and processes
	Writable  bool   // has it writable folders, and with them outputs other than stdout and stderr
	Defaults  Bounds // of limits that whoever makes a spec did not choose; 0: DefaultLimits
	Max       Bounds // of limits that a spec may have; 0: what Spec.Check allows
}

// Bounds are numbers for the members of Limits, by the names that policy files give them. 0 means that none is set.
type Bounds struct {
	MemoryBytes uint64 `json:"memory_bytes,omitempty"`
	OutputBytes uint64 `json:"output_bytes,omitempty"`
	Files       uint64 `json:"files,omitempty"`
	Processes   uint64 `json:"processes,omitempty"`
	CPUMs       uint64 `json:"cpu_ms,omitempty"`
	WallMs      uint64 `json:"wall_ms,omitempty"`
	Calls       uint64 `json:"calls,omitempty"`
	VirtualMs   uint64 `json:"virtual_ms,omitempty"`
	Spawned     uint64 `json:"spawned,omitempty"`
}

// Digest names the policy: that of its canonical form, under a tag.
func (p *Policy) Digest() digest.Digest { return digest.Sum("docklock/policy/1", p.Marshal()) }

// Limits are those that a spec under p gets where nobody says otherwise. A sealed policy has no defaults of its own.
func (p *Policy) Limits() Limits {
	l := DefaultLimits()
	b := boundsOf(&l)
	for i, f := range b.list() {
		if d := *p.Determinism.Defaults.list()[i].v; d > 0 {
			*f.v = d
		}
		if most := *p.Determinism.Max.list()[i].v; most > 0 {
			*f.v = min(*f.v, most)
		}
	}
	return Limits{
		MemoryBytes: b.MemoryBytes, OutputBytes: b.OutputBytes, Files: uint32(b.Files), Processes: uint32(b.Processes),
		CPUMs: b.CPUMs, WallMs: b.WallMs, Calls: b.Calls, VirtualMs: b.VirtualMs, Spawned: uint32(b.Spawned),
	}
}

func boundsOf(l *Limits) Bounds {
	return Bounds{
		MemoryBytes: l.MemoryBytes, OutputBytes: l.OutputBytes, Files: uint64(l.Files), Processes: uint64(l.Processes),
		CPUMs: l.CPUMs, WallMs: l.WallMs, Calls: l.Calls, VirtualMs: l.VirtualMs, Spawned: uint64(l.Spawned),
	}
}

// Admit refuses a spec that p does not allow, though Spec.Check may: one of another mode or CPU class, with limits over
// p's, or with writable places where p has none.
func (p *Policy) Admit(s *Spec) error {
	switch d := &p.Determinism; {
	case s.Mode != p.Mode:
		return fmt.Errorf("policy %s is for mode %q, and the spec is of mode %q", p.Name, p.Mode, s.Mode)
	case s.CPUClass != d.CPUClass:
		return fmt.Errorf("policy %s is for CPU class %q, and the spec is of %q", p.Name, d.CPUClass, s.CPUClass)
	case !d.Writable && len(s.Outs) > 0:
		return fmt.Errorf("policy %s has no writable folders, so there can be no output %q: write to standard output, or use policy %s", p.Name, s.Outs[0], PolicyStrict)
	}
	if !p.Determinism.Writable {
		for i := range s.Inputs {
			if in := &s.Inputs[i]; in.Place != PlaceIn {
				return fmt.Errorf("policy %s has no writable folders, so there can be no copy at %s: make it an input, or use policy %s", p.Name, in.At(), PolicyStrict)
			}
		}
	}
	asked := boundsOf(&s.Limits)
	for i, f := range p.Determinism.Max.list() {
		if v := *asked.list()[i].v; *f.v > 0 && v > *f.v {
			return fmt.Errorf("policy %s allows at most %d for the limit %s, and the spec asks for %d", p.Name, *f.v, f.name, v)
		}
	}
	return nil
}

// clone is a copy that shares nothing with p.
func (p *Policy) clone() *Policy {
	c := *p
	c.Calls, c.Startup = cloneCalls(p.Calls), cloneCalls(p.Startup)
	return &c
}

func cloneCalls(list []Call) []Call {
	list = slices.Clone(list)
	for i := range list {
		list[i].When = slices.Clone(list[i].When)
	}
	return list
}
