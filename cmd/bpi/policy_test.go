package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metanode/metanode/cage"
)

func TestPolicyListAndShow(t *testing.T) {
	code, out, errs := bpi(t, t.TempDir(), "--json", "policy", "list")
	var list []struct{ Name, Mode, Digest, About string }
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != len(cage.Policies()) {
		t.Fatalf("exit code %d, %v, %q", code, err, errs)
	}
	for _, p := range list {
		if p.About == "" || p.Mode == "" {
			t.Errorf("policy list says too little of %+v", p)
		}
		for _, ref := range []string{p.Name, p.Digest, "sha256:" + p.Digest} {
			if code, out, _ := bpi(t, t.TempDir(), "policy", "show", ref); code != 0 || !strings.Contains(out, p.Digest) || !strings.Contains(out, p.Name) {
				t.Errorf("policy show %s: exit code %d\n%s", ref, code, out)
			}
		}
		// What show writes as JSON is a file of the same policy.
		_, text, _ := bpi(t, t.TempDir(), "--json", "policy", "show", p.Name)
		path := filepath.Join(t.TempDir(), "p.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, errs := bpi(t, t.TempDir(), "policy", "check", path); code != 0 || !strings.Contains(out, p.Digest) || !strings.Contains(errs, "has the rules of "+p.Name) {
			t.Errorf("policy check of %s shown: exit code %d\n%s%s", p.Name, code, out, errs)
		}
	}
	_, out, _ = bpi(t, t.TempDir(), "policy", "show", "sealed")
	for _, want := range []string{"kill the program", "error ENOSYS", "arg1 & 0xffffffff = 0x5401", "before the program begins"} {
		if !strings.Contains(out, want) {
			t.Errorf("policy show sealed lacks %q:\n%s", want, out)
		}
	}
}

func TestPolicyCheckOfAFile(t *testing.T) {
	strict, _ := cage.PolicyNamed(cage.PolicyStrict)
	text := string(strict.Marshal())
	dir := t.TempDir()
	write := func(name, old, new string) string {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("%q is not in the policy", old)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Replace(text, old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const rules = `"syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97}]`
	pretender := write("pretender.json", `"syscalls": []`, rules)
	text = strings.Replace(text, `"strict-determinism"`, `"no-sockets"`, 1)
	good := write("good.json", `"syscalls": []`, rules)
	code, out, errs := bpi(t, dir, "policy", "check", good)
	if code != 0 || !strings.Contains(out, "call socket") || !strings.Contains(out, "error 97") || !strings.Contains(errs, "different from strict-determinism") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	code, out, _ = bpi(t, dir, "--json", "policy", "check", good)
	var v struct {
		Policy, Digest, Base string
		Differences          []cage.FieldDifference
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || v.Base != "strict-determinism" || len(v.Differences) != 1 || v.Digest == strict.Digest().String() {
		t.Errorf("exit code %d, %v\n%s", code, err, out)
	}
	for path, want := range map[string]string{
		write("unknown", `"syscalls": []`, `"syscalls": [{"names": ["sokcet"], "action": "SCMP_ACT_ERRNO"}]`): `/unknown:7:27: there is no system call "sokcet"; did you mean "socket"?`,
		write("twice.json", `"version": 1,`, "\"version\": 1,\n\"version\": 1,"):                              `/twice.json:4:1: "version" stands here a second time`,
		write("cut.json", "}\n}", "}"):     "/cut.json:17:1: the end of the file where a comma",
		pretender:                          "calls itself strict-determinism, which is a policy of this program with other rules; give it a name of its own",
		filepath.Join(dir, "nothing.json"): "there is no such file; begin one with: bpi --json policy show",
		dir + "/":                          dir,
	} {
		if code, out, errs := bpi(t, dir, "policy", "check", path); code != exitFailure || out != "" || !strings.Contains(errs, want) {
			t.Errorf("policy check %s: exit code %d, %q; want %q", path, code, errs, want)
		}
	}
	// A file is meant by a bare name too, where there is no policy of that name.
	t.Chdir(dir)
	if code, _, errs := bpi(t, dir, "policy", "check", "unknown"); code != exitFailure || !strings.Contains(errs, "unknown:7:27: ") {
		t.Errorf("a bare file name: exit code %d, %q", code, errs)
	}
}
