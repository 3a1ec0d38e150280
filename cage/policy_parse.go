package cage

import (
	"fmt"
	"slices"
	"strings"
)

// MaxPolicyBytes bounds a policy file.
const MaxPolicyBytes = 256 << 10

// maxPolicyRules bounds the rules of a policy; the kernel's limit of 4,096 instructions for a filter is tighter.
const maxPolicyRules = 4096

// madeByCage are the calls that the cage's tracer makes in the program's name, or without which no program starts or
// ends. A rule on one of them in strict or relaxed mode would break the cage rather than the program.
var madeByCage = []string{
	"arch_prctl", "execve", "execveat", "exit", "exit_group", "mmap", "mprotect", "munmap", "prctl", "restart_syscall",
	"rt_sigreturn", "seccomp",
}

// ParsePolicy reads a policy file. The error is a *PolicyError with the place, the cause and what would be right. What it
// accepts, Marshal writes in one way only, whatever the spelling of b.
func ParsePolicy(b []byte) (*Policy, error) {
	t := &policyText{b: b}
	if len(b) > MaxPolicyBytes {
		return nil, t.fail(0, "a policy of %d bytes; want at most %d", len(b), MaxPolicyBytes)
	}
	v, err := t.all()
	if err != nil {
		return nil, err
	}
	r := &policyReader{t: t}
	p := r.policy(v)
	if r.err != nil {
		return nil, r.err
	}
	if _, err := p.Filter(true); err != nil {
		return nil, t.fail(0, "%v", err)
	}
	return p, nil
}

// policyReader makes a Policy of a JSON value. The first error stays; after it the other methods give zero values.
type policyReader struct {
	t   *policyText
	err error
}

func (r *policyReader) fail(at int, format string, args ...any) {
	if r.err == nil {
		r.err = r.t.fail(at, format, args...)
	}
}

// object gives the members of v by name, after refusing those that are not known and complaining of those that are
// missing. what names v in errors. A name with a question mark may be missing.
func (r *policyReader) object(v jsonValue, what string, names ...string) map[string]jsonValue {
	if v.kind != jsonObject {
		r.fail(v.at, "%s is %s; want an object", what, v.kind)
		return nil
	}
	known := map[string]jsonValue{}
	plain := make([]string, len(names))
	for i, n := range names {
		plain[i] = strings.TrimSuffix(n, "?")
	}
	for _, m := range v.members {
		if !slices.Contains(plain, m.name) {
			r.fail(m.at, "%s has no member %q%s", what, m.name, insteadOf(m.name, plain))
		}
		known[m.name] = m.value
	}
	for _, n := range names {
		if _, ok := known[n]; !ok && !strings.HasSuffix(n, "?") {
			r.fail(v.at, "%s lacks the member %q", what, n)
		}
	}
	return known
}

// insteadOf says what to write for a member that policies do not have.
func insteadOf(name string, known []string) string {
	switch name {
	case "defaultErrnoRet":
		return ": the default action is no error in any mode; leave it out"
	case "flags", "listenerPath", "listenerMetadata":
		return ": the cage sets up the filter itself; leave it out"
	case "comment", "includes", "excludes", "minKernel", "archMap":
		return ": it is not of the OCI runtime specification, and a rule applies always or not at all; leave it out"
	}
	if s := nearest(name, known); s != "" {
		return fmt.Sprintf("; did you mean %q?", s)
	}
	return "; it has: " + strings.Join(known, ", ")
}

func (r *policyReader) string(v jsonValue, what string) string {
	if v.kind != jsonString && r.err == nil {
		r.fail(v.at, "%s is %s; want a string", what, v.kind)
	}
	return v.text
}

func (r *policyReader) word(v jsonValue, what string, allowed ...string) string {
	s := r.string(v, what)
	if r.err == nil && !slices.Contains(allowed, s) {
		want := strings.Join(allowed, " or ")
		if len(allowed) > 2 {
			want = strings.Join(allowed[:len(allowed)-1], ", ") + " or " + allowed[len(allowed)-1]
		}
		r.fail(v.at, "%s %q is not known; want %s", what, s, want)
	}
	return s
}

func (r *policyReader) bool(v jsonValue, what string) bool {
	if v.kind != jsonBool && r.err == nil {
		r.fail(v.at, "%s is %s; want true or false", what, v.kind)
	}
	return v.yes
}

func (r *policyReader) number(v jsonValue, what string, lo, hi uint64) uint64 {
	switch {
	case r.err != nil:
	case v.kind != jsonNumber:
		r.fail(v.at, "%s is %s; want a number", what, v.kind)
	case v.number < lo || v.number > hi:
		r.fail(v.at, "%s is %d; want %d to %d", what, v.number, lo, hi)
	}
	return v.number
}

func (r *policyReader) list(v jsonValue, what string) []jsonValue {
	if v.kind != jsonList && r.err == nil {
		r.fail(v.at, "%s is %s; want a list", what, v.kind)
	}
	return v.items
}

func (r *policyReader) policy(v jsonValue) *Policy {
	m := r.object(v, "the policy", "name", "version", "mode", "defaultAction", "architectures?", "syscalls?", "startup?", "determinism")
	if r.err != nil {
		return nil
	}
	p := &Policy{Name: r.string(m["name"], "name")}
	if r.err == nil && !plainName(p.Name) {
		r.fail(m["name"].at, "name %.70q: want 1 to 64 of a-z, 0-9 and -, beginning with a letter", p.Name)
	}
	r.number(m["version"], "version", PolicyVersion, PolicyVersion)
	p.Mode = r.word(m["mode"], "mode", ModeStrict, ModeRelaxed, ModeSealed)
	p.Default = r.action(m["defaultAction"])
	switch at := m["defaultAction"].at; {
	case r.err != nil:
	case p.Mode == ModeSealed && p.Default != ActionKill:
		r.fail(at, "the default action of a sealed policy is %s: nothing is traced, so a call that no rule names must kill; want %s", p.Default, ActionKill)
	case p.Mode != ModeSealed && p.Default != ActionAllow:
		r.fail(at, "the default action of a %s policy is %s: the cage answers every call that it knows and no other, and rules take some of them away; want %s", p.Mode, p.Default, ActionAllow)
	}
	if a, ok := m["architectures"]; ok {
		list := r.list(a, "architectures")
		if r.err == nil && (len(list) != 1 || r.string(list[0], "architecture") != "SCMP_ARCH_X86_64") {
			r.fail(a.at, `architectures: want ["SCMP_ARCH_X86_64"]; calls of any other table kill`)
		}
	}
	p.Calls = r.calls(p.Mode, m["syscalls"], "syscalls")
	if s, ok := m["startup"]; ok {
		p.Startup = r.calls(p.Mode, s, "startup")
		if r.err == nil && p.Mode != ModeSealed {
			r.fail(s.at, "startup is for sealed policies: in mode %s every program is started in the same way; leave it out", p.Mode)
		}
	}
	p.Determinism = r.determinism(p.Mode, m["determinism"])
	return p
}

func plainName(s string) bool {
	for i, c := range s {
		if !(c >= 'a' && c <= 'z' || i > 0 && (c >= '0' && c <= '9' || c == '-')) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func (r *policyReader) action(v jsonValue) Action {
	s := r.string(v, "action")
	if r.err != nil {
		return ""
	}
	switch a := Action(s); a {
	case ActionAllow, ActionErrno, ActionKill:
		return a
	case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD":
		r.fail(v.at, "action %s ends one thread and leaves the others in a state of their own; want %s", s, ActionKill)
	case "SCMP_ACT_LOG":
		r.fail(v.at, "action %s: the host's log is none of the cage's; want %s", s, ActionAllow)
	case "SCMP_ACT_TRAP", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY":
		r.fail(v.at, "action %s: signals and tracing of calls are the cage's own; want %s, %s or %s", s, ActionAllow, ActionErrno, ActionKill)
	default:
		r.fail(v.at, "action %.40q is not known; want %s, %s or %s", s, ActionAllow, ActionErrno, ActionKill)
	}
	return ""
}

// calls reads a list of rules, sorted by name.
func (r *policyReader) calls(mode string, v jsonValue, what string) []Call {
	if v.kind == "" { // not there
		return nil
	}
	var out []Call
	decided := map[string]int{} // names of which a rule without conditions was seen, and where
	for _, item := range r.list(v, what) {
		m := r.object(item, "a rule", "names", "action", "errnoRet?", "args?")
		if r.err != nil {
			return nil
		}
		c := Call{Action: r.action(m["action"]), When: r.args(m["args"])}
		if e, ok := m["errnoRet"]; ok {
			c.Errno = uint32(r.number(e, "errnoRet", 1, 4095))
			if r.err == nil && c.Action != ActionErrno {
				r.fail(e.at, "errnoRet goes with %s only, and this action is %s", ActionErrno, c.Action)
			}
		} else if c.Action == ActionErrno {
			c.Errno = 1 // EPERM, as in the OCI runtime specification
		}
		names := r.list(m["names"], "names")
		if r.err == nil && len(names) == 0 {
			r.fail(m["names"].at, "a rule for no system call; want at least one name")
		}
		for _, n := range names {
			c.Name = r.string(n, "a name of a system call")
			r.callName(mode, c.Name, n.at)
			if at, ok := decided[c.Name]; ok && r.err == nil {
				r.fail(n.at, "this rule for %s is never reached: the one on line %d decides every call of it", c.Name, r.t.fail(at, "").Line)
			}
			if len(c.When) == 0 {
				decided[c.Name] = n.at
			}
			if len(out) == maxPolicyRules {
				r.fail(n.at, "more than %d rules", maxPolicyRules)
			}
			if r.err != nil {
				return nil
			}
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b Call) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (r *policyReader) callName(mode, name string, at int) {
	if r.err != nil {
		return
	}
	if _, ok := CallNumber(name); !ok {
		hint := "want the name of an x86-64 system call, as in syscalls(2)"
		if s := nearestCall(name); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		r.fail(at, "there is no system call %.40q; %s", name, hint)
	}
	if mode != ModeSealed && slices.Contains(madeByCage, name) {
		r.fail(at, "no rule can be made for %s in mode %s: the cage makes this call itself in the program's name; leave it out", name, mode)
	}
}

// args reads the conditions of a rule, sorted by argument.
func (r *policyReader) args(v jsonValue) []Arg {
	if v.kind == "" {
		return nil
	}
	var out []Arg
	const all = ^uint64(0)
	for _, item := range r.list(v, "args") {
		m := r.object(item, "a condition", "index", "value", "valueTwo?", "op")
		if r.err != nil {
			return nil
		}
		a := Arg{
			Index: uint32(r.number(m["index"], "index", 0, 5)),
			Op: Op(r.word(m["op"], "op", string(OpNotEqual), string(OpLess), string(OpLessEqual), string(OpEqual), string(OpGreaterEqual),
				string(OpGreater), string(OpMaskedEqual))),
			Value: r.number(m["value"], "value", 0, all),
		}
		two, given := m["valueTwo"]
		second := uint64(0)
		if given {
			second = r.number(two, "valueTwo", 0, all)
		}
		switch {
		case r.err != nil:
		case a.Op == OpMaskedEqual && a.Value == 0:
			r.fail(m["value"].at, "%s compares the bits under the mask in value, and this mask is 0: leave the condition out", a.Op)
		case a.Op == OpMaskedEqual && second&^a.Value != 0:
			r.fail(two.at, "valueTwo %d has bits outside of the mask %d in value, so that the rule never applies", second, a.Value)
		case a.Op == OpMaskedEqual:
			a.Mask, a.Value = a.Value, second
		case second != 0:
			r.fail(two.at, "valueTwo goes with %s only", OpMaskedEqual)
		case a.Op == OpLess && a.Value == 0, a.Op == OpGreater && a.Value == all:
			r.fail(item.at, "no argument is %s %d, so that the rule never applies", map[Op]string{OpLess: "less than", OpGreater: "more than"}[a.Op], a.Value)
		case a.Op == OpGreaterEqual && a.Value == 0, a.Op == OpLessEqual && a.Value == all:
			r.fail(item.at, "this condition holds of every argument: leave it out")
		}
		if slices.ContainsFunc(out, func(b Arg) bool { return b.Index == a.Index }) {
			r.fail(item.at, "a second condition on argument %d: all conditions of a rule must hold; for one or the other, write a rule for each", a.Index)
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Arg) int { return int(a.Index) - int(b.Index) })
	return out
}

func (r *policyReader) determinism(mode string, v jsonValue) Determinism {
	m := r.object(v, "determinism", "clock", "rng", "cpu_class", "net", "scheduler", "processes", "writable", "limits?")
	if r.err != nil {
		return Determinism{}
	}
	clock, rng, scheduler := "virtual", "seeded", "serial"
	switch mode {
	case ModeSealed:
		clock, rng = "image", "image"
	case ModeRelaxed:
		scheduler = "host"
	}
	in := " in mode " + mode
	d := Determinism{
		Clock:     r.word(m["clock"], "clock"+in, clock),
		RNG:       r.word(m["rng"], "rng"+in, rng),
		CPUClass:  r.word(m["cpu_class"], "cpu_class", CPUx86_64v2),
		Net:       r.word(m["net"], "net", "none"),
		Scheduler: r.word(m["scheduler"], "scheduler"+in, scheduler),
		Processes: r.bool(m["processes"], "processes"),
		Writable:  r.bool(m["writable"], "writable"),
	}
	if r.err == nil && mode == ModeSealed && (d.Processes || !d.Writable) {
		r.fail(v.at, "a sealed program is one process, and has its /tmp and /out: want processes false and writable true")
	}
	limits, ok := m["limits"]
	if !ok {
		return d
	}
	l := r.object(limits, "limits", "default?", "max?")
	if b, ok := l["default"]; ok {
		d.Defaults = r.bounds(b, "default")
	}
	if b, ok := l["max"]; ok {
		d.Max = r.bounds(b, "max")
	}
	for i, most := range d.Max.list() {
		if v := d.Defaults.list()[i].v; r.err == nil && *most.v > 0 && *v > *most.v {
			r.fail(l["default"].at, "the default of %s, %d, is over the most that a spec may have, %d", most.name, *v, *most.v)
		}
	}
	return d
}

func (r *policyReader) bounds(v jsonValue, what string) (b Bounds) {
	names := make([]string, 0, 9)
	for _, f := range b.list() {
		names = append(names, f.name+"?")
	}
	m := r.object(v, "the limits "+what, names...)
	for _, f := range b.list() {
		if n, ok := m[f.name]; ok {
			*f.v = r.number(n, f.name, 1, f.most)
		}
	}
	return b
}

// bound is one member of Bounds by its name in files.
type bound struct {
	name string
	v    *uint64
	most uint64 // that a spec may ask for
}

// list gives the members in the order of files.
func (b *Bounds) list() []bound {
	return []bound{
		{"memory_bytes", &b.MemoryBytes, MaxMemoryBytes}, {"output_bytes", &b.OutputBytes, MaxOutputBytes}, {"files", &b.Files, 1 << 16},
		{"processes", &b.Processes, 1 << 16}, {"cpu_ms", &b.CPUMs, maxLimitMs}, {"wall_ms", &b.WallMs, maxLimitMs},
		{"calls", &b.Calls, MaxCalls}, {"virtual_ms", &b.VirtualMs, MaxVirtualMs}, {"spawned", &b.Spawned, MaxSpawned},
	}
}
