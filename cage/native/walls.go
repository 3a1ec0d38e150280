package native

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/cpu"
)

// Wall is one of the walls that a sealed run stands behind.
type Wall struct {
	Name   string
	Given  bool
	Why    string // why not, in the machine's words
	Remedy string // how to get it
}

// remedies say how to get a wall, and list all walls in the order of the supervisor's probe.
var remedies = []struct {
	name, remedy string
	skip         uint32 // DL_SKIP_ flag, 0 if the cage cannot do without
}{
	{"user namespace", "allow unprivileged user namespaces: sysctl user.max_user_namespaces=65536, and where they exist kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0; in a container, loosen its seccomp profile", 0},
	{"mount namespace", "allow CLONE_NEWNS in a user namespace: sysctl user.max_mnt_namespaces=65536", 0},
	{"pid namespace", "sysctl user.max_pid_namespaces=65536", 0},
	{"net namespace", "sysctl user.max_net_namespaces=65536", 1},
	{"ipc namespace", "sysctl user.max_ipc_namespaces=65536", 2},
	{"uts namespace", "sysctl user.max_uts_namespaces=65536", 4},
	{"pivot_root", "a kernel of 5.12 or newer, and a container profile that allows mounts in user namespaces", 0},
	{"no_new_privs", "a kernel of 3.5 or newer", 0},
	{"capabilities", "a container profile that allows prctl(PR_CAPBSET_DROP)", 0},
	{"seccomp", "a kernel built with CONFIG_SECCOMP_FILTER", 8},
	{"rlimits", "a container profile that allows setrlimit and prctl(PR_SET_TSC)", 0},
	{"memory", "a kernel that enforces RLIMIT_AS", 0},
	{"CPU class x86-64-v2", "a CPU with SSSE3, SSE4.2, POPCNT and CMPXCHG16B", 0},
}

// Optional names the walls that Config.AllowMissing may name.
func Optional() []string {
	var names []string
	for _, r := range remedies {
		if r.skip != 0 {
			names = append(names, r.name)
		}
	}
	return names
}

// skipFlags turns names of walls into the flags that leave them out.
func skipFlags(names []string) (uint32, error) {
	var flags uint32
	for _, n := range names {
		i := slices.IndexFunc(remedies, func(r struct {
			name, remedy string
			skip         uint32
		}) bool {
			return r.name == n
		})
		if i < 0 {
			return 0, fmt.Errorf("cage: there is no wall called %q", n)
		}
		if remedies[i].skip == 0 {
			return 0, fmt.Errorf("cage: the native engine cannot run without the wall %q", n)
		}
		flags |= remedies[i].skip
	}
	return flags, nil
}

// probe asks the supervisor which walls this machine gives.
func probe(supervisor, stage string) []Wall {
	given := map[string]string{}
	why := errNoSupervisor.Error()
	if supervisor != "" {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, supervisor, "probe", stage)
		cmd.WaitDelay = time.Second
		out, err := cmd.Output()
		why = "the supervisor could not be asked"
		if err != nil {
			why = fmt.Sprintf("the supervisor could not be asked: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			if name, answer, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
				given[name] = answer
			}
		}
	}
	given["CPU class x86-64-v2"] = "ok"
	if x := cpu.X86; !x.HasSSSE3 || !x.HasSSE42 || !x.HasPOPCNT || !x.HasCX16 {
		given["CPU class x86-64-v2"] = "this CPU is older"
	}
	walls := make([]Wall, 0, len(remedies))
	for _, r := range remedies {
		w := Wall{Name: r.name, Why: why, Remedy: r.remedy}
		if a, ok := given[r.name]; ok {
			w.Given, w.Why = a == "ok", a
		}
		if w.Given {
			w.Why, w.Remedy = "", ""
		}
		walls = append(walls, w)
	}
	return walls
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

// Ready is nil if Run can run programs, and otherwise names the wall that is missing and how to get it.
func (e *Engine) Ready() error {
	if e.supervisor == "" {
		return errNoSupervisor
	}
	for _, w := range e.walls {
		if !w.Given && !slices.Contains(e.cfg.AllowMissing, w.Name) {
			return fmt.Errorf("this machine does not give the cage its wall %q (%s); to get it: %s", w.Name, w.Why, w.Remedy)
		}
	}
	return nil
}

var errNoSupervisor = errors.New("this bpi was built without its cage supervisor; run: make build")
