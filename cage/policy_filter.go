package cage

import (
	"encoding/binary"
	"fmt"
)

// instruction is one of classic BPF's: struct sock_filter. The numbers below are the kernel's.
type instruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

const (
	bpfLoad = 0x20 // BPF_LD | BPF_W | BPF_ABS
	bpfJEq  = 0x15 // BPF_JMP | BPF_JEQ | BPF_K
	bpfJGt  = 0x25
	bpfJGe  = 0x35
	bpfAnd  = 0x54 // BPF_ALU | BPF_AND | BPF_K
	bpfRet  = 0x06 // BPF_RET | BPF_K

	retKill  = 0x80000000 // SECCOMP_RET_KILL_PROCESS
	retErrno = 0x00050000 // SECCOMP_RET_ERRNO
	retAllow = 0x7fff0000 // SECCOMP_RET_ALLOW

	offNumber = 0 // in struct seccomp_data
	offArch   = 4
	offArgs   = 16

	archX86_64 = 0xc000003e // AUDIT_ARCH_X86_64
	x32Bit     = 0x40000000 // the first number of the x32 table

	maxFilter = 4096 // the kernel's limit, in instructions
)

// Filter is the seccomp filter of p, in the kernel's form: what no rule decides gets p.Default, and calls of another
// architecture's table kill. startup adds the rules for a sealed program that starts under the filter. A name that this
// program does not know is an error: a filter that silently lacks a rule is another filter.
func (p *Policy) Filter(startup bool) ([]byte, error) {
	rules := p.Calls
	if startup {
		rules = append(cloneCalls(p.Startup), p.Calls...)
	}
	prog := []instruction{
		{code: bpfLoad, k: offArch},
		{code: bpfJEq, jt: 1, k: archX86_64},
		{code: bpfRet, k: retKill},
		{code: bpfLoad, k: offNumber},
		{code: bpfJGe, jf: 1, k: x32Bit},
		{code: bpfRet, k: retKill},
	}
	for i := range rules {
		more, err := rules[i].compile()
		if err != nil {
			return nil, fmt.Errorf("policy %s: %w", p.Name, err)
		}
		prog = append(prog, more...)
	}
	last, err := answer(p.Default, 0)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", p.Name, err)
	}
	prog = append(prog, instruction{code: bpfRet, k: last})
	if len(prog) > maxFilter {
		return nil, fmt.Errorf("policy %s: its filter of %d instructions is over the kernel's limit of %d; use fewer rules with conditions", p.Name, len(prog), maxFilter)
	}
	var out []byte
	for _, i := range prog {
		out = binary.LittleEndian.AppendUint16(out, i.code)
		out = append(out, i.jt, i.jf)
		out = binary.LittleEndian.AppendUint32(out, i.k)
	}
	return out, nil
}

func answer(a Action, errno uint32) (uint32, error) {
	switch a {
	case ActionAllow:
		return retAllow, nil
	case ActionErrno:
		return retErrno | errno&0xffff, nil
	case ActionKill:
		return retKill, nil
	}
	return 0, fmt.Errorf("action %q is not known", a)
}

// compile is the part of a filter for one rule: it tests the number, then each argument, and on any mismatch goes on
// behind itself. Arguments overwrite the accumulator, so a rule with arguments ends by loading the number again.
func (c *Call) compile() ([]instruction, error) {
	nr, ok := CallNumber(c.Name)
	if !ok {
		return nil, fmt.Errorf("system call %q is not known to this program", c.Name)
	}
	ret, err := answer(c.Action, c.Errno)
	if err != nil {
		return nil, err
	}
	var tests [][]instruction
	size := 0
	for i := range c.When {
		t, err := c.When[i].compile()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
		tests = append(tests, t)
		size += len(t)
	}
	body := size + 1 // and the return
	if len(tests) > 0 {
		body++
	}
	if body > 255 { // six conditions are far from it
		return nil, fmt.Errorf("too many conditions on %q", c.Name)
	}
	prog := []instruction{{code: bpfJEq, jf: uint8(body), k: nr}}
	for _, t := range tests {
		for i, in := range t {
			// What is left of this rule behind instruction i, up to the return, which a miss steps over.
			rest := uint8(size - 1 - i)
			if in.jt == miss {
				in.jt = rest + 1
			}
			if in.jf == miss {
				in.jf = rest + 1
			}
			prog = append(prog, in)
		}
		size -= len(t)
	}
	prog = append(prog, instruction{code: bpfRet, k: ret})
	if len(tests) > 0 {
		prog = append(prog, instruction{code: bpfLoad, k: offNumber})
	}
	return prog, nil
}

// miss stands for a jump to where the rule does not apply, until its distance is known.
const miss = 255

// compile is the test of one argument; behind its last instruction the condition holds. The halves of an argument are
// compared one after the other, the high one first.
func (a *Arg) compile() ([]instruction, error) {
	if a.Index > 5 {
		return nil, fmt.Errorf("there is no argument %d", a.Index)
	}
	low, high := uint32(offArgs+8*a.Index), uint32(offArgs+8*a.Index+4)
	vlow, vhigh := uint32(a.Value), uint32(a.Value>>32)
	loadLow, loadHigh := instruction{code: bpfLoad, k: low}, instruction{code: bpfLoad, k: high}
	// ordered compares by order: with above, arguments over the value hold and those under it miss, else the other way
	// round; last decides where the high halves are equal.
	ordered := func(above bool, last instruction) []instruction {
		over, under := instruction{code: bpfJGt, jt: 3, k: vhigh}, instruction{code: bpfJEq, jf: miss, k: vhigh}
		if !above {
			over.jt, under.jf = miss, 2
		}
		return []instruction{loadHigh, over, under, loadLow, last}
	}
	switch a.Op {
	case OpEqual:
		return []instruction{loadHigh, {code: bpfJEq, jf: miss, k: vhigh}, loadLow, {code: bpfJEq, jf: miss, k: vlow}}, nil
	case OpNotEqual:
		return []instruction{loadHigh, {code: bpfJEq, jf: 2, k: vhigh}, loadLow, {code: bpfJEq, jt: miss, k: vlow}}, nil
	case OpGreater:
		return ordered(true, instruction{code: bpfJGt, jf: miss, k: vlow}), nil
	case OpGreaterEqual:
		return ordered(true, instruction{code: bpfJGe, jf: miss, k: vlow}), nil
	case OpLess:
		return ordered(false, instruction{code: bpfJGe, jt: miss, k: vlow}), nil
	case OpLessEqual:
		return ordered(false, instruction{code: bpfJGt, jt: miss, k: vlow}), nil
	case OpMaskedEqual:
		var t []instruction
		for _, half := range []struct {
			load     instruction
			mask, is uint32
		}{{loadHigh, uint32(a.Mask >> 32), vhigh}, {loadLow, uint32(a.Mask), vlow}} {
			if half.mask != 0 {
				t = append(t, half.load, instruction{code: bpfAnd, k: half.mask}, instruction{code: bpfJEq, jf: miss, k: half.is})
			}
		}
		return t, nil
	}
	return nil, fmt.Errorf("comparison %q is not known", a.Op)
}
