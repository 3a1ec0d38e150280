package cagetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/metanode/metanode/cage"
	"github.com/metanode/metanode/internal/digest"
)

// strictCase is one program of the strict suite with its arguments, and how it must end.
type strictCase struct {
	name   string
	argv   []string // the program is a path in the suite's root
	code   int32
	killed string
	reason cage.Reason // "" or how it ends without a result
	limits func(*cage.Limits)
}

func (c *strictCase) folder() string { return strings.ReplaceAll(c.name, "/", "-") }

// file is the one whose absence leaves the case out, relative to the root.
func (c *strictCase) file() string {
	for _, a := range c.argv {
		if strings.HasPrefix(a, "/opt/strict/") {
			return a[1:]
		}
	}
	return c.argv[0][1:]
}

// strictCases has everything that a program might see and that is another each time outside of a cage. Those in
// alsoStatic run statically linked too: without a loader, with a vDSO found another way, and with other places in memory.
var strictCases = func() []strictCase {
	var list []strictCase
	add := func(name, program string, args ...string) {
		list = append(list, strictCase{name: name, argv: append([]string{"/opt/strict/dynamic/" + program}, args...)})
		if slices.Contains(alsoStatic, program) {
			list = append(list, strictCase{name: name + "/static", argv: append([]string{"/opt/strict/static/" + program}, args...)})
		}
	}
	for _, p := range []string{"aslr", "clocks", "cpuid", "fallbacks", "ids", "info", "kills", "maths", "memory", "procdump", "random", "stops", "tree", "tsc", "usage"} {
		add(p, p)
	}
	add("auxv", "auxv", "one", "two words")
	add("files", "files", "/in/data/hello.txt", "/work/given", "/data", "/opt/strict")
	add("readdir", "readdir", "/work", "/dev/shm", "/data")
	for program, parts := range map[string]string{
		"procs": "race pipe sleepsort", "threads": "mutex racy condvar sync", "timers": "chld alarm itimer timerfd posix poll", "spin": "tsc yield",
	} {
		for _, part := range strings.Fields(parts) {
			add(program+"-"+part, program, part)
		}
	}
	for _, what := range []string{"goroutines", "select", "maps", "gc", "time", "exec", "random"} {
		list = append(list, strictCase{name: "go-" + what, argv: []string{"/opt/strict/static/gosrc", what}})
	}
	for _, name := range []string{"jobs", "tools"} {
		list = append(list, strictCase{name: "sh-" + name, argv: []string{"/usr/bin/sh", "/opt/strict/" + name + ".sh"}})
	}
	for _, what := range []string{"thread", "loop"} {
		list = append(list, strictCase{name: "spin-" + what, argv: []string{"/opt/strict/dynamic/spin", what}, reason: cage.ReasonSpin,
			limits: func(l *cage.Limits) { l.CPUMs = 1000 }})
	}
	slices.SortFunc(list, func(a, b strictCase) int { return strings.Compare(a.name, b.name) })
	return list
}()

var alsoStatic = []string{"aslr", "auxv", "clocks", "cpuid", "fallbacks", "maths", "memory", "random", "threads", "tree", "tsc"}

// strictEpochNs is long before any run of the suite, so that a glimpse of the machine's clock shows.
const strictEpochNs = 1600000000123456789

// spec is the run of c over files.
func (c *strictCase) spec(t testing.TB, files *passFiles) cage.Spec {
	t.Helper()
	policy, ok := cage.PolicyNamed(cage.PolicyStrict)
	if !ok {
		t.Fatalf("there is no policy %q", cage.PolicyStrict)
	}
	limits := cage.DefaultLimits()
	limits.CPUMs, limits.WallMs = 30_000, 60_000
	if c.limits != nil {
		c.limits(&limits)
	}
	spec := cage.Spec{
		Version: cage.Version, Engine: cage.EngineNative, Mode: cage.ModeStrict, Image: files.root, Argv: c.argv,
		Env: []string{"EXTRA=given"}, Stdin: []byte("what is read\n"), Seed: digest.Of([]byte("strict")), EpochNs: strictEpochNs,
		Limits: limits, CPUClass: cage.CPUx86_64v2, Policy: policy.Digest(), Workdir: cage.DefaultWorkdir, Outs: []string{"result"},
	}
	for _, in := range strictInputs {
		b := []byte(in.content)
		spec.Inputs = append(spec.Inputs, cage.Input{Path: in.path, Place: in.place, Digest: digest.Of(b), Bytes: uint64(len(b))})
	}
	return spec
}

// strictInputs are given to every run, sorted as a spec wants them.
var strictInputs = []struct{ path, place, content string }{
	{"data/hello.txt", cage.PlaceIn, "hello"},
	{"data/other.txt", cage.PlaceIn, "another"},
	{"given", cage.PlaceWork, "may be written"},
}
