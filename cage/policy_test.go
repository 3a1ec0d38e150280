package cage_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/metanode/metanode/cage"
)

// TestShippedPoliciesArePinned: jobs on the chain and recordings name these digests. A change to a policy is a new policy.
func TestShippedPoliciesArePinned(t *testing.T) {
	pinned := []struct{ name, mode, digest string }{
		{"strict-determinism", "strict", "e9eb50d874a7b58225779697658c36ebd28eaaa5f875fadd87f9aaaa825954a7"},
		{"compute-only", "strict", "76478771f8b2777f4e407fcafe7d2b2446be253ef2be5a653f84542fb0836763"},
		{"relaxed", "relaxed", "377431696e6e5acf63b368e53c6cb700ae3ab47914dbcfd8f6d55cef1f19cdf2"},
		{"sealed", "sealed", "2a07ff9d2d5d5c36b6fd85f3228a41dd468e031ce48ac7bd20ccb05c54be0664"},
	}
	list := cage.Policies()
	if len(list) != len(pinned) {
		t.Fatalf("%d policies", len(list))
	}
	for i, want := range pinned {
		p := list[i]
		if p.Name != want.name || p.Mode != want.mode || p.Digest().String() != want.digest {
			t.Errorf("%s, mode %s: the digest is %s", p.Name, p.Mode, p.Digest())
		}
		raw, err := os.ReadFile("policies/" + p.Name + ".json")
		if err != nil || !bytes.Equal(raw, p.Marshal()) {
			t.Errorf("%s: the file is not its canonical form: %v", p.Name, err)
		}
		if byName, ok := cage.PolicyNamed(want.name); !ok || !reflect.DeepEqual(byName, p) {
			t.Errorf("%s is not found by its name", want.name)
		}
		if byDigest, ok := cage.PolicyOf(p.Digest()); !ok || !reflect.DeepEqual(byDigest, p) {
			t.Errorf("%s is not found by its digest", want.name)
		}
	}
	list[3].Calls[0].Name = "spoilt"
	if cage.Sealed().Calls[0].Name == "spoilt" {
		t.Error("a caller can change the shipped policy")
	}
}

// TestSealedFilterIsPinned: the walls of sealed jobs are these very instructions.
func TestSealedFilterIsPinned(t *testing.T) {
	for startup, want := range map[bool]string{
		false: "b4d0d56499aceb78d7b34422d7fe64a60eceeeaf3e24c36e9617fcde93366138",
		true:  "e5796d8616f4b1e4965a2e8a82a20a4c121ff47b330e1b8cffd85265aa843b01",
	} {
		filter, err := cage.Sealed().Filter(startup)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(filter); hex.EncodeToString(sum[:]) != want {
			t.Errorf("startup %t: %d bytes, %x", startup, len(filter), sum)
		}
	}
}

// strictText is a small strict policy with rules in some order and spelling.
const strictText = `{
  "version": 1, "name": "no-sockets", "mode": "strict", "defaultAction": "SCMP_ACT_ALLOW",
  "syscalls": [
    {"names": ["socketpair", "socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97,
     "args": [{"index": 0, "op": "SCMP_CMP_NE", "value": 1}]},
    {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"},
    {"names": ["flock"], "action": "SCMP_ACT_ERRNO"}
  ],
  "determinism": {"clock": "virtual", "rng": "seeded", "cpu_class": "x86-64-v2", "net": "none", "scheduler": "serial",
    "processes": true, "writable": true, "limits": {"default": {"cpu_ms": 1000}, "max": {"cpu_ms": 2000, "files": 64}}}
}`

func TestPolicyHasOneCanonicalForm(t *testing.T) {
	p, err := cage.ParsePolicy([]byte(strictText))
	if err != nil {
		t.Fatal(err)
	}
	want := []cage.Call{
		{Name: "flock", Action: cage.ActionErrno, Errno: 1},
		{Name: "ptrace", Action: cage.ActionKill},
		{Name: "socket", Action: cage.ActionErrno, Errno: 97, When: []cage.Arg{{Index: 0, Op: cage.OpNotEqual, Value: 1}}},
		{Name: "socketpair", Action: cage.ActionErrno, Errno: 97, When: []cage.Arg{{Index: 0, Op: cage.OpNotEqual, Value: 1}}},
	}
	if !reflect.DeepEqual(p.Calls, want) {
		t.Errorf("rules %+v", p.Calls)
	}
	if d := p.Determinism; d.Defaults != (cage.Bounds{CPUMs: 1000}) || d.Max != (cage.Bounds{CPUMs: 2000, Files: 64}) {
		t.Errorf("limits %+v, %+v", d.Defaults, d.Max)
	}
	again, err := cage.ParsePolicy(p.Marshal())
	if err != nil || !reflect.DeepEqual(again, p) || again.Digest() != p.Digest() {
		t.Errorf("again: %v\n%s", err, p.Marshal())
	}
	// The same rules in another order, and one rule in two.
	other := strings.NewReplacer(
		`{"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"},`, ``,
		`"syscalls": [`, `"architectures": ["SCMP_ARCH_X86_64"], "syscalls": [ {"action": "SCMP_ACT_KILL_PROCESS", "names": ["ptrace"]},`,
		`"errnoRet": 97`, `"errnoRet":97 `).Replace(strictText)
	if q, err := cage.ParsePolicy([]byte(other)); err != nil || q.Digest() != p.Digest() {
		t.Errorf("another spelling: %v", err)
	}
	if q, err := cage.ParsePolicy([]byte(strings.Replace(strictText, "97", "98", 1))); err != nil || q.Digest() == p.Digest() {
		t.Errorf("another errno: %v", err)
	}
}

func TestPolicyErrorsNamePlaceAndCause(t *testing.T) {
	strict, sealed := strictText, string(cage.Sealed().Marshal())
	for _, tt := range []struct{ text, old, new, want string }{
		{"", "", "", "line 1, column 1: the file ends where a value is wanted"},
		{strict, "{", "[", "line 2, column 12: ':' where a comma or the end of the list is wanted"},
		{"[]", "", "", "line 1, column 1: the policy is a list; want an object"},
		{strict, `"no-sockets"`, `"no-sockets`, "line 2, column 39: 'm' where a comma or the end of the object is wanted"},
		{"{\n  \"name\": \"x\n}", "", "", "line 2, column 11: this string has no closing quote on its line"},
		{strict, `"no-sockets"`, `"No sockets"`, `line 2, column 25: name "No sockets": want 1 to 64 of a-z`},
		{strict, `"no-sockets"`, `7`, "line 2, column 25: name is a number; want a string"},
		{strict, `"no-sockets"`, "\"\xff\"", "line 2, column 26: this byte is not UTF-8"},
		{strict, `"no-sockets"`, `"\q"`, "line 2, column 25: this is no JSON string"},
		{strict, `"version": 1,`, ``, `line 1, column 1: the policy lacks the member "version"`},
		{strict, `"version": 1`, `"version": 2`, "line 2, column 14: version is 2; want 1 to 1"},
		{strict, `"version": 1`, `"version": 1.0`, "line 2, column 14: 1.0: want a whole number"},
		{strict, `"version": 1`, `"version": 01`, "line 2, column 14: 01: want a whole number"},
		{strict, `"version": 1`, `"version": -1`, "line 2, column 14: -1: want a whole number"},
		{strict, `"version": 1`, `"version": 99999999999999999999`, "want a whole number of at most 64 bits"},
		{strict, `"version": 1`, `"version": nul`, "line 2, column 14: 'n' where a value is wanted"},
		{strict, `"version": 1`, `"version": null`, "line 2, column 14: version is null; want a number"},
		{strict, `"version": 1`, `"version": 1, "version": 1`, `line 2, column 17: "version" stands here a second time, first on line 2`},
		{strict, `"version": 1`, `"version" 1`, `after the name "version"`},
		{strict, `"mode": "strict"`, `"mode": "open"`, `line 2, column 47: mode "open" is not known; want strict, relaxed or sealed`},
		{strict, `"mode": "strict"`, `"mood": "strict"`, `line 2, column 39: the policy has no member "mood"; did you mean "mode"?`},
		{strict, `"mode": "strict"`, `"mode": "relaxed"`, `scheduler in mode relaxed "serial" is not known; want host`},
		{strict, `"mode": "strict"`, `"mode": "sealed"`, `column 74: the default action of a sealed policy is SCMP_ACT_ALLOW`},
		{strict, `"defaultAction": "SCMP_ACT_ALLOW"`, `"defaultAction": "SCMP_ACT_ERRNO"`, "want SCMP_ACT_ALLOW"},
		{strict, `"defaultAction"`, `"defaultErrnoRet": 1, "defaultAction"`, `leave it out`},
		{strict, `"defaultAction"`, `"listenerPath": "/x", "defaultAction"`, `the cage sets up the filter itself`},
		{strict, `"defaultAction"`, `"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "defaultAction"`, "calls of any other table kill"},
		{strict, `["ptrace"]`, `["ptrase"]`, `line 6, column 16: there is no system call "ptrase"; did you mean "ptrace"?`},
		{strict, `["ptrace"]`, `["frobnicate_all"]`, `want the name of an x86-64 system call`},
		{strict, `["ptrace"]`, `["execve"]`, `no rule can be made for execve in mode strict`},
		{strict, `["ptrace"]`, `[]`, "line 6, column 15: a rule for no system call"},
		{strict, `["ptrace"]`, `"ptrace"`, "line 6, column 15: names is a string; want a list"},
		{strict, `["ptrace"]`, `["ptrace", "ptrace"]`, "this rule for ptrace is never reached: the one on line 6"},
		{strict, `["flock"]`, `["ptrace"]`, "line 7, column 16: this rule for ptrace is never reached: the one on line 6"},
		{strict, `"SCMP_ACT_KILL_PROCESS"`, `"SCMP_ACT_KILL"`, "line 6, column 37: action SCMP_ACT_KILL ends one thread"},
		{strict, `"SCMP_ACT_KILL_PROCESS"`, `"SCMP_ACT_LOG"`, "want SCMP_ACT_ALLOW"},
		{strict, `"SCMP_ACT_KILL_PROCESS"`, `"SCMP_ACT_TRACE"`, "the cage's own"},
		{strict, `"SCMP_ACT_KILL_PROCESS"`, `"kill"`, `action "kill" is not known; want SCMP_ACT_ALLOW, SCMP_ACT_ERRNO or SCMP_ACT_KILL_PROCESS`},
		{strict, `"SCMP_ACT_KILL_PROCESS"`, `"SCMP_ACT_KILL_PROCESS", "errnoRet": 1`, "errnoRet goes with SCMP_ACT_ERRNO only"},
		{strict, `"SCMP_ACT_KILL_PROCESS"`, `"SCMP_ACT_KILL_PROCESS", "comment": "x"`, `a rule has no member "comment": it is not of the OCI runtime specification`},
		{strict, `"errnoRet": 97`, `"errnoRet": 5000`, "errnoRet is 5000; want 1 to 4095"},
		{strict, `"op": "SCMP_CMP_NE"`, `"op": "!="`, `op "!=" is not known; want SCMP_CMP_NE, `},
		{strict, `"index": 0`, `"index": 6`, "index is 6; want 0 to 5"},
		{strict, `"value": 1`, `"value": 1, "valueTwo": 2`, "valueTwo goes with SCMP_CMP_MASKED_EQ only"},
		{strict, `"op": "SCMP_CMP_NE", "value": 1`, `"op": "SCMP_CMP_MASKED_EQ", "value": 1, "valueTwo": 2`, "bits outside of the mask"},
		{strict, `"op": "SCMP_CMP_NE", "value": 1`, `"op": "SCMP_CMP_MASKED_EQ", "value": 0`, "this mask is 0"},
		{strict, `"op": "SCMP_CMP_NE", "value": 1`, `"op": "SCMP_CMP_LT", "value": 0`, "never applies"},
		{strict, `"op": "SCMP_CMP_NE", "value": 1`, `"op": "SCMP_CMP_GE", "value": 0`, "holds of every argument"},
		{strict, `"value": 1}`, `"value": 1}, {"index": 0, "op": "SCMP_CMP_EQ", "value": 2}`, "a second condition on argument 0"},
		{strict, `"clock": "virtual"`, `"clock": "host"`, `line 9, column 28: clock in mode strict "host" is not known; want virtual`},
		{strict, `"net": "none"`, `"net": "host"`, `net "host" is not known; want none`},
		{strict, `"processes": true`, `"processes": 1`, "processes is a number; want true or false"},
		{strict, `"cpu_ms": 1000`, `"cpu_ms": 3000`, "the default of cpu_ms, 3000, is over the most that a spec may have, 2000"},
		{strict, `"cpu_ms": 1000`, `"cpu_ms": 0`, "cpu_ms is 0; want 1 to"},
		{strict, `"cpu_ms": 1000`, `"cpu": 1000`, `the limits default has no member "cpu"`},
		{strict, "}}}\n}", "}}}\n} x", "line 11, column 3: 'x' after the end of the policy"},
		{strict, "}}}\n}", "}}}", "the end of the file where a comma or the end of the object is wanted"},
		{sealed, `"processes": false`, `"processes": true`, "a sealed program is one process"},
		{sealed, `"clock": "image"`, `"clock": "virtual"`, "want image"},
		{strict, `"determinism"`, `"startup": [], "determinism"`, "startup is for sealed policies"},
		{strings.Repeat("[", 40), "", "", "nested deeper than 16"},
		{strings.Repeat(" ", cage.MaxPolicyBytes+1), "", "", "want at most"},
	} {
		if !strings.Contains(tt.text, tt.old) {
			t.Errorf("%q is not in the policy", tt.old)
		}
		p, err := cage.ParsePolicy([]byte(strings.Replace(tt.text, tt.old, tt.new, 1)))
		if err == nil || p != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s in place of %s: %v; want %q", tt.new, tt.old, err, tt.want)
		}
	}
}

func TestPolicyAdmits(t *testing.T) {
	bounded, err := cage.ParsePolicy([]byte(strictText))
	if err != nil {
		t.Fatal(err)
	}
	if l := bounded.Limits(); l.CPUMs != 1000 || l.Files != 64 || l.WallMs != cage.DefaultLimits().WallMs {
		t.Errorf("limits %+v", l)
	}
	strict, _ := cage.PolicyNamed(cage.PolicyStrict)
	compute, _ := cage.PolicyNamed(cage.PolicyComputeOnly)
	work := []cage.Input{{Path: "a", Place: cage.PlaceWork}}
	for _, tt := range []struct {
		p     *cage.Policy
		spoil func(*cage.Spec)
		want  string
	}{
		{strict, func(s *cage.Spec) { s.Inputs, s.Outs = work, []string{"o"} }, ""},
		{bounded, func(s *cage.Spec) { s.Limits = bounded.Limits() }, ""},
		{bounded, func(s *cage.Spec) {}, "allows at most 64 for the limit files, and the spec asks for 1024"},
		{bounded, func(s *cage.Spec) { s.Limits.Files, s.Limits.CPUMs = 64, 2001 }, "allows at most 2000 for the limit cpu_ms"},
		{strict, func(s *cage.Spec) { s.Mode = cage.ModeRelaxed }, `policy strict-determinism is for mode "strict"`},
		{strict, func(s *cage.Spec) { s.CPUClass = "x" }, "CPU class"},
		{compute, func(s *cage.Spec) {}, ""},
		{compute, func(s *cage.Spec) { s.Outs = []string{"o"} }, `there can be no output "o"`},
		{compute, func(s *cage.Spec) { s.Inputs = work }, "no copy at /work/a"},
	} {
		s := cage.Spec{Mode: cage.ModeStrict, CPUClass: cage.CPUx86_64v2, Limits: cage.DefaultLimits()}
		tt.spoil(&s)
		err := tt.p.Admit(&s)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.p.Name, err, tt.want)
		}
	}
}

func TestComparePoliciesTellsWhatIsDifferent(t *testing.T) {
	p, err := cage.ParsePolicy([]byte(strictText))
	if err != nil {
		t.Fatal(err)
	}
	base := p.Base()
	if base.Name != cage.PolicyStrict || len(cage.ComparePolicies(base, base)) > 0 {
		t.Errorf("base %s, which differs from itself", base.Name)
	}
	want := []cage.FieldDifference{
		{What: "default limit cpu_ms", A: "not set", B: "1000"},
		{What: "most of limit files", A: "not set", B: "64"},
		{What: "most of limit cpu_ms", A: "not set", B: "2000"},
		{What: "call flock", A: "allowed", B: "error 1"},
		{What: "call ptrace", A: "allowed", B: "kills"},
		{What: "call socket", A: "allowed", B: "error 97 if arg0 ≠ 1; else allowed"},
		{What: "call socketpair", A: "allowed", B: "error 97 if arg0 ≠ 1; else allowed"},
	}
	if got := cage.ComparePolicies(base, p); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	sealed := cage.Sealed()
	sealed.Name, sealed.Calls = "mine", sealed.Calls[1:]
	got := cage.ComparePolicies(sealed.Base(), sealed)
	if len(got) != 1 || got[0] != (cage.FieldDifference{What: "call access", A: "allowed", B: "kills"}) {
		t.Errorf("%+v", got)
	}
	compute := p
	compute.Determinism.Processes, compute.Determinism.Writable = false, false
	relaxed, _ := cage.PolicyNamed(cage.PolicyRelaxed)
	relaxed.Name = cage.PolicyStrict // a name of another mode
	if compute.Base().Name != cage.PolicyComputeOnly || relaxed.Base().Name != cage.PolicyRelaxed {
		t.Errorf("bases %s and %s", compute.Base().Name, relaxed.Base().Name)
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, p := range cage.Policies() {
		f.Add(p.Marshal())
	}
	f.Add([]byte(strictText))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := cage.ParsePolicy(b)
		if err != nil {
			if e, ok := err.(*cage.PolicyError); !ok || e.Line < 1 || e.Column < 1 || e.Line > 1+bytes.Count(b, []byte("\n")) {
				t.Fatalf("%#v is no place in the text", err)
			}
			return
		}
		again, err := cage.ParsePolicy(p.Marshal())
		if err != nil {
			t.Fatalf("%v\n%s", err, p.Marshal())
		}
		if !reflect.DeepEqual(p, again) || again.Digest() != p.Digest() {
			t.Fatalf("%+v became %+v", p, again)
		}
		if _, err := p.Filter(true); err != nil {
			t.Fatal(err)
		}
	})
}
