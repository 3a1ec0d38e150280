package cage_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/metanode/metanode/cage"
)

// evaluate runs a seccomp filter over a call, as the kernel does, and gives its answer.
func evaluate(t *testing.T, filter []byte, nr, arch uint32, args [6]uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.LittleEndian.PutUint32(data, nr)
	binary.LittleEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; ; pc++ {
		if pc*8 >= len(filter) {
			t.Fatalf("the filter jumps behind its end, to %d", pc)
		}
		in := filter[8*pc:]
		k := binary.LittleEndian.Uint32(in[4:])
		jump := func(yes bool) {
			if yes {
				pc += int(in[2])
			} else {
				pc += int(in[3])
			}
		}
		switch code := binary.LittleEndian.Uint16(in); code {
		case 0x20:
			acc = binary.LittleEndian.Uint32(data[k:])
		case 0x54:
			acc &= k
		case 0x15:
			jump(acc == k)
		case 0x25:
			jump(acc > k)
		case 0x35:
			jump(acc >= k)
		case 0x06:
			return k
		default:
			t.Fatalf("instruction %#x", code)
		}
	}
}

// decide is what the rules say, without a filter.
func decide(p *cage.Policy, name string, args [6]uint64) uint32 {
	answer := map[cage.Action]uint32{cage.ActionAllow: 0x7fff0000, cage.ActionErrno: 0x00050000, cage.ActionKill: 0x80000000}
	for _, c := range p.Calls {
		applies := c.Name == name
		for _, a := range c.When {
			v := args[a.Index]
			applies = applies && map[cage.Op]bool{
				cage.OpNotEqual: v != a.Value, cage.OpLess: v < a.Value, cage.OpLessEqual: v <= a.Value, cage.OpEqual: v == a.Value,
				cage.OpGreaterEqual: v >= a.Value, cage.OpGreater: v > a.Value, cage.OpMaskedEqual: v&a.Mask == a.Value,
			}[a.Op]
		}
		if applies {
			return answer[c.Action] | c.Errno
		}
	}
	return answer[p.Default]
}

// TestFilterDoesWhatTheRulesSay compares filters with the rules that they were made of, on calls near the rules' values.
func TestFilterDoesWhatTheRulesSay(t *testing.T) {
	const x86_64 = 0xc000003e
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	halves := []uint32{0, 1, 2, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff}
	number := func() uint64 {
		return uint64(halves[rnd.IntN(len(halves))])<<32 | uint64(halves[rnd.IntN(len(halves))])
	}
	names := []string{"read", "socket", "ptrace", "listns"}
	ops := []cage.Op{cage.OpNotEqual, cage.OpLess, cage.OpLessEqual, cage.OpEqual, cage.OpGreaterEqual, cage.OpGreater, cage.OpMaskedEqual}
	actions := []cage.Action{cage.ActionAllow, cage.ActionErrno, cage.ActionKill}
	for range 300 {
		p := &cage.Policy{Name: "drawn", Default: actions[rnd.IntN(3)]}
		for range rnd.IntN(6) {
			c := cage.Call{Name: names[rnd.IntN(len(names))], Action: actions[rnd.IntN(3)]}
			if c.Action == cage.ActionErrno {
				c.Errno = 1 + rnd.Uint32N(4095)
			}
			for index := range uint32(6) {
				if rnd.IntN(3) > 0 {
					continue
				}
				a := cage.Arg{Index: index, Op: ops[rnd.IntN(len(ops))], Value: number()}
				if a.Op == cage.OpMaskedEqual {
					a.Mask = number()
					a.Value &= a.Mask
				}
				c.When = append(c.When, a)
			}
			p.Calls = append(p.Calls, c)
		}
		filter, err := p.Filter(false)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			var args [6]uint64
			for i := range args {
				args[i] = number()
			}
			name := names[rnd.IntN(len(names))]
			nr, _ := cage.CallNumber(name)
			if got, want := evaluate(t, filter, nr, x86_64, args), decide(p, name, args); got != want {
				t.Fatalf("%s(%#x): the filter says %#x, the rules %#x\n%+v", name, args, got, want, p.Calls)
			}
			if got := evaluate(t, filter, nr, 0x40000003, args); got != 0x80000000 {
				t.Fatalf("a call of i386 gets %#x", got)
			}
			if got := evaluate(t, filter, nr|0x40000000, x86_64, args); got != 0x80000000 {
				t.Fatalf("a call of x32 gets %#x", got)
			}
		}
	}
}

func TestCallNumbersAreTheKernels(t *testing.T) {
	for name, want := range map[string]uint32{
		"read": 0, "openat": 257, "rseq": 334, "uprobe": 336, "pidfd_send_signal": 424, "clone3": 435, "faccessat2": 439, "mseal": 462,
	} {
		if n, ok := cage.CallNumber(name); !ok || n != want || cage.CallName(uint64(want)) != name {
			t.Errorf("%s is %d, want %d; %d is %q", name, n, want, want, cage.CallName(uint64(want)))
		}
	}
	for _, n := range []uint64{337, 423, 5000, 1 << 63} {
		if name := cage.CallName(n); name != "" {
			t.Errorf("%d is %s", n, name)
		}
	}
}
