package cage

import (
	"fmt"
	"slices"
	"strings"
)

// Base is the shipped policy that p is best compared with: that of its name and mode, else the plain one of its mode.
func (p *Policy) Base() *Policy {
	if b, ok := PolicyNamed(p.Name); ok && b.Mode == p.Mode {
		return b
	}
	name := PolicyStrict
	switch {
	case p.Mode == ModeSealed:
		name = PolicySealed
	case p.Mode == ModeRelaxed:
		name = PolicyRelaxed
	case !p.Determinism.Processes && !p.Determinism.Writable:
		name = PolicyComputeOnly
	}
	b, _ := PolicyNamed(name)
	return b
}

// ComparePolicies lists what b makes different from a, but for the name: settings, then limits, then calls by name.
func ComparePolicies(a, b *Policy) []FieldDifference {
	var d []FieldDifference
	add := func(what, x, y string) {
		if x != y {
			d = append(d, FieldDifference{what, x, y})
		}
	}
	add("mode", a.Mode, b.Mode)
	add("default action", a.Default.words(0), b.Default.words(0))
	x, y := &a.Determinism, &b.Determinism
	add("clock", x.Clock, y.Clock)
	add("rng", x.RNG, y.RNG)
	add("cpu_class", x.CPUClass, y.CPUClass)
	add("net", x.Net, y.Net)
	add("scheduler", x.Scheduler, y.Scheduler)
	add("processes", fmt.Sprint(x.Processes), fmt.Sprint(y.Processes))
	add("writable", fmt.Sprint(x.Writable), fmt.Sprint(y.Writable))
	for _, l := range []struct {
		what string
		a, b *Bounds
	}{{"default limit ", &x.Defaults, &y.Defaults}, {"most of limit ", &x.Max, &y.Max}} {
		for i, f := range l.a.list() {
			add(l.what+f.name, boundWords(*f.v), boundWords(*l.b.list()[i].v))
		}
	}
	for _, l := range []struct {
		what string
		a, b []Call
	}{{"call ", a.Calls, b.Calls}, {"call at startup ", a.Startup, b.Startup}} {
		for _, name := range callNames(l.a, l.b) {
			add(l.what+name, ruleWords(l.a, name, a.Default), ruleWords(l.b, name, b.Default))
		}
	}
	return d
}

func boundWords(v uint64) string {
	if v == 0 {
		return "not set"
	}
	return fmt.Sprint(v)
}

// callNames are the names that any of the rules is for, sorted.
func callNames(lists ...[]Call) []string {
	var names []string
	for _, list := range lists {
		for i := range list {
			names = append(names, list[i].Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ruleWords tells in one line what becomes of a call, by the rules of its name in their order.
func ruleWords(calls []Call, name string, otherwise Action) string {
	var parts []string
	for i := range calls {
		c := &calls[i]
		if c.Name != name {
			continue
		}
		if len(c.When) == 0 {
			return strings.Join(append(parts, c.Answer()), "; else ")
		}
		parts = append(parts, c.Answer()+" if "+c.Conditions())
	}
	return strings.Join(append(parts, otherwise.words(0)), "; else ")
}

// Answer tells what becomes of a call to which the rule applies.
func (c *Call) Answer() string { return c.Action.words(c.Errno) }

func (a Action) words(errno uint32) string {
	switch a {
	case ActionAllow:
		return "allowed"
	case ActionKill:
		return "kills"
	}
	return fmt.Sprintf("error %d", errno)
}

// Conditions tells when the rule applies; "" is always.
func (c *Call) Conditions() string {
	var parts []string
	for _, a := range c.When {
		if a.Op == OpMaskedEqual {
			parts = append(parts, fmt.Sprintf("arg%d & %#x = %#x", a.Index, a.Mask, a.Value))
			continue
		}
		sign := map[Op]string{OpNotEqual: "≠", OpLess: "<", OpLessEqual: "≤", OpEqual: "=", OpGreaterEqual: "≥", OpGreater: ">"}[a.Op]
		parts = append(parts, fmt.Sprintf("arg%d %s %d", a.Index, sign, a.Value))
	}
	return strings.Join(parts, ", ")
}
