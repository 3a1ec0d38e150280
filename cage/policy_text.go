package cage

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// policyRule is a rule as a file has it.
type policyRule struct {
	Names    []string    `json:"names"`
	Action   Action      `json:"action"`
	ErrnoRet uint32      `json:"errnoRet,omitempty"`
	Args     []policyArg `json:"args,omitempty"`
}

type policyArg struct {
	Index    uint32 `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo,omitempty"`
	Op       Op     `json:"op"`
}

// Marshal is the canonical form of p: JSON with a rule a line. ParsePolicy of it gives p again, and two policies with the
// same rules have the same one.
func (p *Policy) Marshal() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n  \"name\": %s,\n  \"version\": %d,\n  \"mode\": %s,\n", asJSON(p.Name), PolicyVersion, asJSON(p.Mode))
	fmt.Fprintf(&b, "  \"defaultAction\": %s,\n  \"architectures\": [\"SCMP_ARCH_X86_64\"],\n", asJSON(p.Default))
	writeRules(&b, "syscalls", p.Calls)
	if len(p.Startup) > 0 {
		writeRules(&b, "startup", p.Startup)
	}
	d := &p.Determinism
	fmt.Fprintf(&b, "  \"determinism\": {\n    \"clock\": %s,\n    \"rng\": %s,\n    \"cpu_class\": %s,\n    \"net\": %s,\n",
		asJSON(d.Clock), asJSON(d.RNG), asJSON(d.CPUClass), asJSON(d.Net))
	fmt.Fprintf(&b, "    \"scheduler\": %s,\n    \"processes\": %t,\n    \"writable\": %t", asJSON(d.Scheduler), d.Processes, d.Writable)
	var limits []string
	for _, l := range []struct {
		name string
		b    Bounds
	}{{"default", d.Defaults}, {"max", d.Max}} {
		if l.b != (Bounds{}) {
			limits = append(limits, asJSON(l.name)+": "+asJSON(l.b))
		}
	}
	if len(limits) > 0 {
		b.WriteString(",\n    \"limits\": {\n      " + strings.Join(limits, ",\n      ") + "\n    }")
	}
	b.WriteString("\n  }\n}\n")
	return []byte(b.String())
}

// writeRules writes rules under a name: first those without conditions, the calls of an action together, then each of
// the others, by name.
func writeRules(b *strings.Builder, name string, calls []Call) {
	var rules []policyRule
	for i := 0; i < len(calls); i++ {
		c := &calls[i]
		only := len(c.When) == 0 && (i == 0 || calls[i-1].Name != c.Name) && (i+1 == len(calls) || calls[i+1].Name != c.Name)
		if !only {
			continue
		}
		at := slices.IndexFunc(rules, func(r policyRule) bool { return r.Action == c.Action && r.ErrnoRet == c.Errno })
		if at < 0 {
			at = len(rules)
			rules = append(rules, policyRule{Action: c.Action, ErrnoRet: c.Errno})
		}
		rules[at].Names = append(rules[at].Names, c.Name)
	}
	slices.SortFunc(rules, func(a, b policyRule) int {
		if c := strings.Compare(string(a.Action), string(b.Action)); c != 0 {
			return c
		}
		return int(a.ErrnoRet) - int(b.ErrnoRet)
	})
	for i := range calls {
		c := &calls[i]
		if len(c.When) == 0 && !(i > 0 && calls[i-1].Name == c.Name) {
			continue
		}
		r := policyRule{Names: []string{c.Name}, Action: c.Action, ErrnoRet: c.Errno}
		for _, a := range c.When {
			arg := policyArg{Index: a.Index, Value: a.Value, Op: a.Op}
			if a.Op == OpMaskedEqual {
				arg.Value, arg.ValueTwo = a.Mask, a.Value
			}
			r.Args = append(r.Args, arg)
		}
		rules = append(rules, r)
	}
	fmt.Fprintf(b, "  %s: [", asJSON(name))
	for i, r := range rules {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n    " + asJSON(r))
	}
	if len(rules) > 0 {
		b.WriteString("\n  ")
	}
	b.WriteString("],\n")
}

// asJSON is the JSON of a value that always has one.
func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("cage: policy: %v", err)) // strings and numbers only
	}
	return string(b)
}

// nearest is the one of list that s may have been meant to be, or "".
func nearest(s string, list []string) string {
	best, distance := "", 1+len(s)/3
	for _, l := range list {
		if d := editDistance(s, l); d < distance || d == distance && best == "" && d <= 2 {
			best, distance = l, d
		}
	}
	return best
}

func nearestCall(name string) string {
	if len(name) > 64 {
		return ""
	}
	return nearest(name, append(slices.Clone(calls0), callsLate...))
}

// editDistance counts the letters to be changed, added or left out.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal, row[j] = row[j], min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
