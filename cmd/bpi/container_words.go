package main

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metanode/metanode/cage"
)

// signalName is SIGSEGV for 11, or "" for what is no signal.
func signalName(n int) string { return unix.SignalName(unix.Signal(n)) }

// killedText says why the cage ended a program, and what to do about it. policy is a name or a file.
func killedText(killed string, s *cage.Spec, policy string) string {
	l := &s.Limits
	switch killed {
	case cage.KilledSeccomp:
		return fmt.Sprintf("it made a system call for which policy %s kills; see: bpi policy show %s", policy, policy)
	case cage.KilledOutput:
		return fmt.Sprintf("it wrote more than the limit of %s; raise it: --limit out=SIZE", size(l.OutputBytes))
	case cage.KilledFiles:
		return fmt.Sprintf("what it left in /out cannot be outputs: more than %d files, a link or a device, or a name that is not UTF-8", cage.MaxOutputFiles)
	case cage.KilledCalls:
		return fmt.Sprintf("it made more than %d system calls; raise the limit: --limit calls=NUMBER", l.Calls)
	case cage.KilledTime:
		return fmt.Sprintf("its clock went on for more than %s; raise the limit: --limit time=TIME", time.Duration(l.VirtualMs)*time.Millisecond)
	case cage.KilledProcesses:
		return fmt.Sprintf("it started more than %d processes and threads; raise the limit: --limit started=NUMBER", l.Spawned)
	case cage.KilledDeadlock:
		return "all of its threads wait for something that can no longer come"
	case cage.KilledMemory:
		return fmt.Sprintf("it took more memory than %s; raise the limit: --limit mem=SIZE", size(l.MemoryBytes))
	}
	return killed
}

// recordingJSON is what programs are told of a recording, but for its outputs.
func recordingJSON(rec *cage.Recording) map[string]any {
	s := &rec.Spec
	return map[string]any{
		"policy": rec.PolicyName(), "policy_digest": s.Policy, "mode": s.Mode, "cpu_class": s.CPUClass, "spec": s.Digest(), "image": s.Image,
		"argv": s.Argv, "env": notNil(s.Env), "workdir": s.Workdir, "seed": s.Seed, "epoch": epochText(s), "limits": limitsJSON(&s.Limits),
		"inputs": len(s.Inputs), "exit_code": rec.Result.ExitCode, "killed": rec.Result.Killed, "cannot_start": rec.Start, "witness": rec.Result.Witness,
		"events": rec.Count, "calls": rec.Totals.Calls, "virtual_ns": rec.Totals.VirtualNs, "started": rec.Totals.Spawned,
	}
}

func limitsJSON(l *cage.Limits) map[string]uint64 {
	return map[string]uint64{
		"memory_bytes": l.MemoryBytes, "output_bytes": l.OutputBytes, "files": uint64(l.Files), "processes": uint64(l.Processes), "cpu_ms": l.CPUMs,
		"wall_ms": l.WallMs, "calls": l.Calls, "virtual_ms": l.VirtualMs, "spawned": uint64(l.Spawned),
	}
}

func epochText(s *cage.Spec) string {
	return time.Unix(0, int64(s.EpochNs)).UTC().Format(time.RFC3339Nano)
}

func limitsText(l *cage.Limits) string {
	ms := func(n uint64) time.Duration { return time.Duration(n) * time.Millisecond }
	return fmt.Sprintf("cpu %s, wall %s, time %s, memory %s, output %s, files %d, processes %d, started %d, calls %d",
		ms(l.CPUMs), ms(l.WallMs), ms(l.VirtualMs), size(l.MemoryBytes), size(l.OutputBytes), l.Files, l.Processes, l.Spawned, l.Calls)
}

// virtual is the time that passed on the program's clock.
func virtual(rec *cage.Recording) time.Duration { return time.Duration(rec.Totals.VirtualNs) }

// quoteArgs shows arguments so that a shell would read them again as they were.
func quoteArgs(args []string) string {
	var parts []string
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$`|&;<>()*?[]{}~#!") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		parts = append(parts, a)
	}
	return strings.Join(parts, " ")
}
