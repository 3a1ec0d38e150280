package native

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metanode/metanode/cage"
	"golang.org/x/sys/cpu"
)

// Wall is one of the walls that a run stands behind.
type Wall struct {
	Name   string
	Strict bool // needed by the strict and relaxed modes alone
	Given  bool
	Why    string // why not, in the machine's words
	Remedy string // how to get it
}

// part is what is known of a wall before a machine is asked.
type part struct {
	name, remedy string
	strict       bool
	skip         uint32 // DL_SKIP_ flag, 0 if the cage cannot do without
	skipStrict   uint32 // TJ_SKIP_ flag; a wall with none, the strict modes cannot do without
}

// parts are all walls, in the order in which they are shown: the supervisor's, the CPU's, the tracer's.
var parts = []part{
	{name: "user namespace", remedy: "allow unprivileged user namespaces: sysctl user.max_user_namespaces=65536, and where they exist kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0; in a container, loosen its seccomp profile"},
	{name: "mount namespace", remedy: "allow CLONE_NEWNS in a user namespace: sysctl user.max_mnt_namespaces=65536"},
	{name: "pid namespace", remedy: "sysctl user.max_pid_namespaces=65536"},
	{name: "net namespace", remedy: "sysctl user.max_net_namespaces=65536", skip: 1, skipStrict: flagSkipNet},
	{name: "ipc namespace", remedy: "sysctl user.max_ipc_namespaces=65536", skip: 2, skipStrict: flagSkipIPC},
	{name: "uts namespace", remedy: "sysctl user.max_uts_namespaces=65536", skip: 4, skipStrict: flagSkipUTS},
	{name: "pivot_root", remedy: "a kernel of 5.12 or newer, and a container profile that allows mounts in user namespaces"},
	{name: "no_new_privs", remedy: "a kernel of 3.5 or newer"},
	{name: "capabilities", remedy: "a container profile that allows prctl(PR_CAPBSET_DROP)"},
	{name: "seccomp", remedy: "a kernel built with CONFIG_SECCOMP_FILTER", skip: 8},
	{name: "rlimits", remedy: "a container profile that allows setrlimit and prctl(PR_SET_TSC)"},
	{name: "memory", remedy: "a kernel that enforces RLIMIT_AS"},
	{name: cpuWall, remedy: "a CPU with SSSE3, SSE4.2, POPCNT and CMPXCHG16B"},
	{name: "cgroup namespace", strict: true, remedy: "sysctl user.max_cgroup_namespaces=65536"},
	{name: "mounts of host folders", strict: true, remedy: "a kernel of 5.12 or newer, and a container profile that allows open_tree and mount_setattr in user namespaces"},
	{name: "ptrace with seccomp", strict: true, remedy: "a kernel of 5.3 or newer with CONFIG_SECCOMP_FILTER, sysctl kernel.yama.ptrace_scope at most 2, and a container profile that allows ptrace"},
	{name: "rdtsc trapped", strict: true, remedy: "a container profile that allows prctl(PR_SET_TSC)"},
	{name: "memory through /proc", strict: true, remedy: "a /proc in which /proc/PID/mem may be written, mounted without hidepid; since kernel 6.12 also without proc_mem.force_override=never"},
}

const cpuWall = "CPU class x86-64-v2"

// Optional names the walls that Config.AllowMissing may name.
func Optional() []string {
	var names []string
	for _, p := range parts {
		if p.skip != 0 {
			names = append(names, p.name)
		}
	}
	return names
}

// skipFlags turns names of walls into the flags that leave them out, for the supervisor and for the tracer.
func skipFlags(names []string) (sealed, strict uint32, err error) {
	for _, n := range names {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == n })
		if i < 0 {
			return 0, 0, fmt.Errorf("cage: there is no wall called %q", n)
		}
		if parts[i].skip == 0 {
			return 0, 0, fmt.Errorf("cage: the native engine cannot run without the wall %q", n)
		}
		sealed |= parts[i].skip
		strict |= parts[i].skipStrict
	}
	return sealed, strict, nil
}

// probe asks the supervisor and the tracer which walls this machine gives.
func probe(supervisor, tracer, stage string) []Wall {
	var bySupervisor, byTracer map[string]string
	var why, whyStrict string
	var both sync.WaitGroup
	both.Go(func() { bySupervisor, why = ask(supervisor, stage) })
	both.Go(func() { byTracer, whyStrict = ask(tracer, stage) })
	both.Wait()
	bySupervisor[cpuWall] = "ok"
	if x := cpu.X86; !x.HasSSSE3 || !x.HasSSE42 || !x.HasPOPCNT || !x.HasCX16 {
		bySupervisor[cpuWall] = "this CPU is older"
	}
	walls := make([]Wall, 0, len(parts))
	for _, p := range parts {
		answers, w := bySupervisor, Wall{Name: p.name, Strict: p.strict, Why: why, Remedy: p.remedy}
		if p.strict {
			answers, w.Why = byTracer, whyStrict
		}
		if a, ok := answers[p.name]; ok {
			w.Given, w.Why = a == "ok", a
		}
		if w.Given {
			w.Why, w.Remedy = "", ""
		}
		walls = append(walls, w)
	}
	return walls
}

// ask has a program try its walls, and says what holds for those of which it says nothing.
func ask(program, stage string) (given map[string]string, why string) {
	given = map[string]string{}
	if program == "" {
		return given, errNotBuilt.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "probe", stage)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	why = "the machine could not be asked"
	if err != nil {
		why = fmt.Sprintf("the machine could not be asked: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if name, answer, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			given[name] = answer
		}
	}
	return given, why
}

// Probe lists the walls and whether this machine gives them, as found by New.
func (e *Engine) Probe() []Wall { return slices.Clone(e.walls) }

// missing are the walls not given that the configuration allows to be missing.
func (e *Engine) missing() []string {
	var names []string
	for _, w := range e.walls {
		if !w.Given && slices.Contains(e.cfg.AllowMissing, w.Name) {
			names = append(names, w.Name)
		}
	}
	return names
}

// Ready is nil if Run can run programs in sealed mode, and otherwise names the wall that is missing and how to get it.
func (e *Engine) Ready() error { return e.ReadyFor(cage.ModeSealed) }

// ReadyFor is Ready for any mode. The strict and relaxed modes need more than sealed does.
func (e *Engine) ReadyFor(mode string) error {
	strict := mode != cage.ModeSealed
	if e.supervisor == "" || strict && e.tracer == "" {
		return errNotBuilt
	}
	for i, w := range e.walls {
		if w.Given || w.Strict && !strict {
			continue
		}
		if allowed := slices.Contains(e.cfg.AllowMissing, w.Name); allowed && (!strict || parts[i].skipStrict != 0) {
			continue
		}
		return fmt.Errorf("this machine does not give the cage its wall %q (%s), which mode %q needs; to get it: %s", w.Name, w.Why, mode, w.Remedy)
	}
	return nil
}
