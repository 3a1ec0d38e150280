package native

import (
	"encoding/binary"
	"fmt"

	"github.com/metanode/metanode/cage"
	"golang.org/x/sys/unix"
)

// instruction is one of classic BPF's: struct sock_filter.
type instruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// Offsets in struct seccomp_data, and the first number of the x32 table.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
	x32Bit    = 0x40000000
)

// compile makes the seccomp filter of p, in the kernel's form. cold adds the rules for a program that starts under the
// filter. Names that this build does not know are an error: a filter that silently lacks a rule is another filter.
func compile(p *cage.Policy, cold bool) ([]byte, error) {
	rules := append([]cage.Call(nil), p.Calls...)
	if cold {
		rules = append(append([]cage.Call(nil), p.Startup...), rules...)
	}
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		jge  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		and  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		ret  = unix.BPF_RET | unix.BPF_K
	)
	prog := []instruction{
		{code: load, k: offArch},
		{code: jeq, jt: 1, k: unix.AUDIT_ARCH_X86_64},
		{code: ret, k: unix.SECCOMP_RET_KILL_PROCESS},
		{code: load, k: offNumber},
		{code: jge, jf: 1, k: x32Bit},
		{code: ret, k: unix.SECCOMP_RET_KILL_PROCESS},
	}
	for _, r := range rules {
		nr, ok := numbers[r.Name]
		if !ok {
			return nil, fmt.Errorf("policy %s: system call %q is not known to this program", p.Name, r.Name)
		}
		action := uint32(unix.SECCOMP_RET_ALLOW)
		if r.Errno != 0 {
			action = unix.SECCOMP_RET_ERRNO | r.Errno&0xffff
		}
		// Test the number; then each argument; on any mismatch go on behind this rule. Arguments overwrite the
		// accumulator, so a rule with arguments ends by loading the number again.
		body := 1 + 3*len(r.When)
		if len(r.When) > 0 {
			body++
		}
		if body > 255 {
			return nil, fmt.Errorf("policy %s: too many conditions on %q", p.Name, r.Name)
		}
		prog = append(prog, instruction{code: jeq, jf: uint8(body), k: nr})
		for i, a := range r.When {
			if a.Index > 5 {
				return nil, fmt.Errorf("policy %s: %q has no argument %d", p.Name, r.Name, a.Index)
			}
			miss := 3*(len(r.When)-1-i) + 1
			prog = append(prog,
				instruction{code: load, k: offArgs + 8*a.Index},
				instruction{code: and, k: a.Mask},
				instruction{code: jeq, jf: uint8(miss), k: a.Value})
		}
		prog = append(prog, instruction{code: ret, k: action})
		if len(r.When) > 0 {
			prog = append(prog, instruction{code: load, k: offNumber})
		}
	}
	prog = append(prog, instruction{code: ret, k: unix.SECCOMP_RET_KILL_PROCESS})
	if len(prog) > 4096 {
		return nil, fmt.Errorf("policy %s: its filter of %d instructions is over the kernel's limit of 4096", p.Name, len(prog))
	}
	var out []byte
	for _, i := range prog {
		out = binary.LittleEndian.AppendUint16(out, i.code)
		out = append(out, i.jt, i.jf)
		out = binary.LittleEndian.AppendUint32(out, i.k)
	}
	return out, nil
}
