package cage

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/metanode/metanode/internal/digest"
)

// fields collects the facts in which two sides differ.
type fields []FieldDifference

func (f *fields) add(what, a, b string) {
	if a != b {
		*f = append(*f, FieldDifference{what, a, b})
	}
}

func (f *fields) number(what string, a, b uint64) {
	f.add(what, strconv.FormatUint(a, 10), strconv.FormatUint(b, 10))
}

func (f *fields) digest(what string, a, b digest.Digest) { f.add(what, a.String(), b.String()) }

// absent stands for what one side does not have.
const absent = "none"

// keyed adds what differs between two sorted lists, entry by entry, where key tells which entries belong together.
func keyed[T any](f *fields, a, b []T, key func(*T) string, words func(*T) string) {
	i, k := 0, 0
	for i < len(a) || k < len(b) {
		switch {
		case k == len(b) || i < len(a) && key(&a[i]) < key(&b[k]):
			f.add(key(&a[i]), words(&a[i]), absent)
			i++
		case i == len(a) || key(&b[k]) < key(&a[i]):
			f.add(key(&b[k]), absent, words(&b[k]))
			k++
		default:
			f.add(key(&a[i]), words(&a[i]), words(&b[k]))
			i, k = i+1, k+1
		}
	}
}

// specDifference goes through the specs field by field.
func specDifference(x, y *Recording) []FieldDifference {
	a, b := &x.Spec, &y.Spec
	var f fields
	f.number("version", uint64(a.Version), uint64(b.Version))
	f.add("engine", a.Engine, b.Engine)
	f.add("mode", a.Mode, b.Mode)
	f.digest("image", a.Image, b.Image)
	f.add("program and arguments", textList(a.Argv), textList(b.Argv))
	keyed(&f, a.Env, b.Env, func(v *string) string {
		name, _, _ := strings.Cut(*v, "=")
		return "environment variable " + name
	}, func(v *string) string {
		_, value, _ := strings.Cut(*v, "=")
		return strconv.Quote(value)
	})
	f.add("stdin", bytesWords(a.Stdin), bytesWords(b.Stdin))
	keyed(&f, a.Inputs, b.Inputs, func(in *Input) string { return "input " + in.At() }, func(in *Input) string {
		words := fmt.Sprintf("%s, sha256 %s", count(in.Bytes, "byte"), in.Digest)
		if in.Exec {
			words += ", may be executed"
		}
		return words
	})
	f.digest("seed", a.Seed, b.Seed)
	f.add("start of the clock", epochWords(a.EpochNs), epochWords(b.EpochNs))
	limitDifference(&f, &a.Limits, &b.Limits)
	f.add("CPU class", a.CPUClass, b.CPUClass)
	if a.Policy != b.Policy {
		f.add("policy", policyWords(x), policyWords(y))
	}
	f.add("working folder", a.Workdir, b.Workdir)
	f.add("folders for outputs", textList(a.Outs), textList(b.Outs))
	return f
}

func limitDifference(f *fields, a, b *Limits) {
	f.number("limit of memory, bytes", a.MemoryBytes, b.MemoryBytes)
	f.number("limit of output, bytes", a.OutputBytes, b.OutputBytes)
	f.number("limit of open files", uint64(a.Files), uint64(b.Files))
	f.number("limit of processes at once", uint64(a.Processes), uint64(b.Processes))
	f.number("limit of processor time, ms", a.CPUMs, b.CPUMs)
	f.number("limit of wall time, ms", a.WallMs, b.WallMs)
	f.number("limit of system calls", a.Calls, b.Calls)
	f.number("limit of virtual time, ms", a.VirtualMs, b.VirtualMs)
	f.number("limit of processes ever", uint64(a.Spawned), uint64(b.Spawned))
}

// resultDifference goes through what came of the runs. Totals are compared where they are the same on every machine.
func resultDifference(x, y *Recording) []FieldDifference {
	a, b := &x.Result, &y.Result
	var f fields
	f.add("exit code", strconv.Itoa(int(a.ExitCode)), strconv.Itoa(int(b.ExitCode)))
	f.add("ended by the cage", killedWords(a.Killed), killedWords(b.Killed))
	keyed(&f, a.Outputs, b.Outputs, func(o *Output) string { return "output " + o.Name }, func(o *Output) string {
		return fmt.Sprintf("%s, sha256 %s", count(o.Bytes, "byte"), o.Digest)
	})
	if x.Spec.Mode == ModeStrict && y.Spec.Mode == ModeStrict {
		f.number("events", x.Count, y.Count)
		f.number("system calls", x.Totals.Calls, y.Totals.Calls)
		f.add("virtual time", time.Duration(x.Totals.VirtualNs).String(), time.Duration(y.Totals.VirtualNs).String())
		f.number("threads and processes", uint64(x.Totals.Spawned), uint64(y.Totals.Spawned))
	}
	return f
}

func killedWords(killed string) string {
	if killed == "" {
		return "no"
	}
	return "limit " + killed
}

func policyWords(r *Recording) string { return fmt.Sprintf("%s %s", r.PolicyName(), r.Spec.Policy) }

func textList(list []string) string {
	if len(list) == 0 {
		return absent
	}
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = v
		if v == "" || v == absent || plain([]byte(v)) != v {
			words[i] = strconv.Quote(v)
		}
	}
	return strings.Join(words, " ")
}

func bytesWords(b []byte) string {
	return fmt.Sprintf("%s, sha256 %s", count(uint64(len(b)), "byte"), digest.Of(b))
}

func epochWords(ns uint64) string {
	return fmt.Sprintf("%d ns, %s", ns, time.Unix(int64(ns/1e9), int64(ns%1e9)).UTC().Format(time.RFC3339Nano))
}
