package receipt_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/sign"
	"github.com/metanode/metanode/receipt"
)

var update = flag.Bool("update", false, "rewrite golden files")

func testKey(n byte) sign.PrivateKey { return sign.FromSeed(bytes.Repeat([]byte{n}, 32)) }

func testOutputs() map[string][]byte {
	return map[string][]byte{"result": []byte("\x01\x02\x03"), "stdout": []byte("3\n"), "stderr": {}}
}

func testOutcome() receipt.Outcome {
	o := receipt.Outcome{ExitCode: 0, Witness: digest.Of([]byte("witness")), Outputs: []receipt.Output{}}
	for _, name := range []string{"result", "stderr", "stdout"} {
		b := testOutputs()[name]
		o.Outputs = append(o.Outputs, receipt.Output{Name: name, Digest: digest.Of(b), Bytes: uint64(len(b))})
	}
	return o
}

func testWork() receipt.Work {
	return receipt.Work{
		Kind: "native", Engine: digest.Of([]byte("engine")), Policy: digest.Of([]byte("policy")), CPUClass: "x86-64-v2",
		Args: []string{"a\"b\\c\n", "<é&\U0001f600>\x7f"}, Env: []string{"TZ=UTC"},
		Stdin: []byte("SELECT COUNT(*) FROM users"),
		Inputs: []receipt.Input{
			{Path: "users/0.csv", Digest: digest.Of([]byte("csv")), Bytes: 1<<63 + 1, Origin: "dataset:users@3"},
			{Path: "users/1.csv", Digest: digest.Of([]byte("csv2")), Bytes: 7, Origin: "dataset:users@3"},
		},
		Seed: digest.Of([]byte("seed")), EpochNs: 1700000000123456789,
		Limits:  receipt.Limits{MemoryBytes: 1 << 30, OutputBytes: 1 << 26, Files: 64, Processes: 1, CPUMs: 60000, WallMs: 120000, Calls: 1 << 40, VirtualMs: 86400000, Spawned: 100},
		Workdir: "/work", Outs: []string{"a b", "logs"},
	}
}

func testStatement() receipt.Statement {
	job := digest.Of([]byte("job"))
	w, o := testWork(), testOutcome()
	return receipt.NewStatement(digest.Of([]byte("chain")), job, 2, &w, &o, receipt.KeyedOutput(job, 2, testOutputs()))
}

// The bytes that executors sign are a format: this file changes only with a new predicate type.
func TestPayloadKeepsItsForm(t *testing.T) {
	got := testStatement().Payload()
	if *update {
		if err := os.WriteFile("testdata/statement.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/statement.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("payload changed:\n%s\nwant\n%s", got, want)
	}
}

func TestStatementComesBackFromItsPayload(t *testing.T) {
	s := testStatement()
	back, err := receipt.ParseStatement(s.Payload())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, s) || back.Digest() != s.Digest() {
		t.Errorf("parsed %+v\nwant %+v", back, s)
	}
	if w := s.Work; back.Work.Digest() != w.Digest() {
		t.Error("work digest changed on the way")
	}
}

func TestPayloadIsPlainJSONForOthers(t *testing.T) {
	p := testStatement().Payload()
	for _, c := range p {
		if c < 0x20 || c > 0x7e {
			t.Fatalf("payload holds byte %#x", c)
		}
	}
	var v struct {
		Type      string `json:"_type"`
		Predicate struct {
			JobDefinition struct {
				ExternalParameters struct{ Args []string }
			}
		}
	}
	if err := json.Unmarshal(p, &v); err != nil {
		t.Fatal(err)
	}
	if got := v.Predicate.JobDefinition.ExternalParameters.Args; !reflect.DeepEqual(got, testWork().Args) {
		t.Errorf("args %q, want %q", got, testWork().Args)
	}
}

func TestParseStatementRefusesOtherSpellings(t *testing.T) {
	p := string(testStatement().Payload())
	replace := func(old, new string) string {
		if !strings.Contains(p, old) {
			t.Fatalf("payload does not contain %q", old)
		}
		return strings.Replace(p, old, new, 1)
	}
	for name, bad := range map[string]string{
		"white space":     replace(`,"predicate"`, `, "predicate"`),
		"trailing":        p + "\n",
		"second value":    p + "{}",
		"short escape":    replace(`\u000a`, `\n`),
		"upper escape":    replace(`\u000a`, `\u000A`),
		"raw character":   replace(`\u00e9`, `é`),
		"duplicate key":   replace(`"round":2`, `"round":2,"round":2`),
		"unknown key":     replace(`"round":2`, `"round":2,"extra":0`),
		"case of key":     replace(`"round":2`, `"Round":2`),
		"exponent":        replace(`"round":2`, `"round":2e0`),
		"leading zero":    replace(`"cpuMs":"60000"`, `"cpuMs":"060000"`),
		"calls":           replace(`"calls":"1099511627776"`, `"calls":1099511627776`),
		"spawned":         replace(`"spawned":100`, `"spawned":"100"`),
		"no outs":         replace(`"outs":["a b","logs"]`, `"outs":null`),
		"no workdir":      replace(`"workdir":"/work",`, ``),
		"stdin digest":    replace(digest.Of(testWork().Stdin).String(), digest.Of(nil).String()),
		"engine's name":   replace(`"name":"engine"`, `"name":"Engine"`),
		"input's name":    replace(`"name":"in/users/0.csv"`, `"name":"ix/users/0.csv"`),
		"base64":          replace(`"content":"U0VM`, `"content":"U0\nVM`),
		"predicate type":  replace(receipt.PredicateType, "https://slsa.dev/provenance/v1"),
		"no dependencies": replace(p[strings.Index(p, `"resolvedDependencies":[`)+24:strings.Index(p, `]},"runDetails"`)], ""),
		"no stdout":       replace(`"name":"stdout"`, `"name":"stdouu"`),
		"killed":          replace(`"killed":""`, `"killed":"boredom"`),
		"digest case":     strings.Replace(p, digest.Of([]byte("engine")).String(), strings.ToUpper(digest.Of([]byte("engine")).String()), 1),
	} {
		if _, err := receipt.ParseStatement([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := receipt.ParseStatement([]byte(replace(`,"predicate"`, `, "predicate"`))); !errors.Is(err, receipt.ErrStatementForm) {
		t.Errorf("white space: %v, want ErrStatementForm", err)
	}
	if _, err := receipt.ParseStatement(make([]byte, receipt.MaxStatementBytes+1)); err == nil {
		t.Error("oversized payload accepted")
	}
}

// The vector of DSSE's protocol.md.
func TestPAEFollowsDSSE(t *testing.T) {
	got := receipt.PAE("http://example.com/HelloWorld", []byte("hello world"))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; string(got) != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSignatureOfStatementPassesBothVerifiers(t *testing.T) {
	s, k := testStatement(), testKey(1)
	sig := k.Sign(s.SigningBytes())
	pub := k.Public()
	if !sign.VerifyBoth(pub, s.SigningBytes(), sig) || !ed25519.Verify(pub[:], s.SigningBytes(), sig[:]) {
		t.Error("signature refused")
	}
}

func TestKeyedOutputBindsJobRoundNamesAndBytes(t *testing.T) {
	job := digest.Of([]byte("job"))
	base := receipt.KeyedOutput(job, 1, testOutputs())
	seen := map[digest.Digest]string{base: "base"}
	add := func(name string, d digest.Digest) {
		if other, dup := seen[d]; dup {
			t.Errorf("%s hashes like %s", name, other)
		}
		seen[d] = name
	}
	add("job", receipt.KeyedOutput(digest.Of([]byte("other")), 1, testOutputs()))
	add("round", receipt.KeyedOutput(job, 2, testOutputs()))
	add("bytes", receipt.KeyedOutput(job, 1, map[string][]byte{"result": []byte("\x01\x02\x04"), "stdout": []byte("3\n"), "stderr": {}}))
	add("moved", receipt.KeyedOutput(job, 1, map[string][]byte{"result": []byte("\x01\x02\x03"), "stdout": {}, "stderr": []byte("3\n")}))
	add("fewer", receipt.KeyedOutput(job, 1, map[string][]byte{"result": []byte("\x01\x02\x03"), "stdout": []byte("3\n")}))
}

func TestKeyedHasherRefusesWrongOrderAndLength(t *testing.T) {
	k := receipt.NewKeyedHasher(digest.Digest{}, 1)
	if err := k.Begin("b", 2); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Write([]byte("xyz")); err == nil {
		t.Error("more bytes than announced accepted")
	}
	if err := k.Begin("c", 0); err == nil {
		t.Error("next output accepted while bytes are missing")
	}
	if _, err := k.Sum(); err == nil {
		t.Error("sum of an incomplete output")
	}
	if _, err := k.Write([]byte("xy")); err != nil {
		t.Fatal(err)
	}
	if err := k.Begin("a", 0); err == nil {
		t.Error("unsorted name accepted")
	}
	if err := k.Begin("b", 0); err == nil {
		t.Error("repeated name accepted")
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add(testStatement().Payload())
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"https://metanode.dev/receipt/v1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := receipt.ParseStatement(b)
		if err == nil && !bytes.Equal(s.Payload(), b) {
			t.Errorf("accepted bytes that are not its payload")
		}
	})
}
