package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
)

// leaf is what the tests below need to know of one command.
type leaf struct {
	args  string // that make it well formed
	local bool   // it speaks to no node
	few   string // arguments that are too few; "-": none are needed
}

// leaves are all commands. TestEveryCommandIsInTheTable keeps the table whole.
var leaves = map[string]leaf{
	"devnet up": {local: true, few: "-"}, "devnet status": {local: true, few: "-"}, "devnet down": {local: true, few: "-"},
	"init":       {args: "--print-config", local: true},
	"node start": {local: true, few: "-"}, "node status": {few: "-"}, "node peers": {few: "-"}, "node drain": {few: "-"}, "node doctor": {local: true, few: "-"},
	"analytics submit": {args: "--query 1"}, "analytics explain": {args: "--query 1"}, "analytics result": {args: "abcd"}, "analytics list": {few: "-"},
	"dataset add": {args: "errors_test.go --name x --format csv"}, "dataset list": {few: "-"}, "dataset show": {args: "x"}, "dataset get": {args: "x"}, "dataset remove": {args: "x"},
	"image add": {args: "testdata --name x"}, "image list": {few: "-"}, "image show": {args: "x"}, "image remove": {args: "x"},
	"blob add": {args: "errors_test.go"}, "blob get": {args: "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e -o nowhere"}, "blob pin": {args: "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"}, "blob unpin": {args: "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"},
	"blob list": {few: "-"}, "blob gc": {few: "-"}, "blob export": {args: "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e --car nowhere.car"}, "blob import": {args: "--car errors_test.go"},
	"job run": {args: "--image x true"}, "job list": {few: "-"}, "job plan": {args: "--query 1"}, "job describe": {args: "abcd"}, "job wait": {args: "abcd"}, "job cancel": {args: "abcd"},
	"job get": {args: "abcd"}, "job history": {args: "abcd"}, "job executions": {args: "abcd"}, "job diff": {args: "abcd"}, "job logs": {args: "abcd"},
	"container start": {args: "--name metaanalytics"}, "container list": {few: "-"}, "container run": {args: "true", local: true},
	"container verify": {args: "errors_test.go", local: true}, "container diff": {args: "errors_test.go errors_test.go", local: true, few: "one"},
	"container inspect": {args: "errors_test.go", local: true},
	"receipt get":       {args: "abcd"}, "receipt verify": {args: "--job-id abcd"}, "receipt export": {args: "abcd"},
	"security export-audit": {few: "-"}, "security verify-audit": {args: "errors_test.go", local: true},
	"chain status": {few: "-"}, "chain block": {args: "1"}, "chain validators": {few: "-"}, "chain events": {few: "-"}, "chain trust": {few: "-"}, "chain evidence": {few: "-"},
	"chain validators propose": {args: "--remove x"}, "chain validators approve": {args: "ffff"},
	"network create": {args: "x", local: true}, "network invite": {local: true, few: "-"}, "network join": {args: "x", local: true}, "network revoke": {args: "3f2a", local: true},
	"network members": {few: "-"}, "network guests": {few: "-"}, "network resources": {few: "-"}, "network doctor": {local: true, few: "-"},
	"network peers": {few: "-"}, "network services": {few: "-"}, "network send": {args: "api --data x"}, "network ping": {few: "-"},
	"policy list": {local: true, few: "-"}, "policy show": {args: "sealed", local: true}, "policy check": {args: "sealed"},
	"key new": {args: "client", local: true}, "key show": {local: true, few: "-"}, "key backup": {args: "client x", local: true, few: "client"},
	"status": {few: "-"}, "doctor": {local: true, few: "-"}, "completion": {args: "bash", local: true}, "version": {local: true, few: "-"},
}

func TestEveryCommandIsInTheTable(t *testing.T) {
	app := newApp(os.Stdout, os.Stderr)
	seen := map[string]bool{}
	var walk func(path string, list []*cli.Command)
	walk = func(path string, list []*cli.Command) {
		for _, c := range list {
			name := strings.TrimSpace(path + " " + c.Name)
			if len(c.Subcommands) > 0 {
				walk(name, c.Subcommands)
				if len(c.Flags) == 0 { // else it does something by itself, too
					continue
				}
			}
			seen[name] = true
			if _, ok := leaves[name]; !ok && c.Name != "help" {
				t.Errorf("bpi %s is in no test of errors", name)
			}
			if c.Usage == "" {
				t.Errorf("bpi %s has no help", name)
			}
		}
	}
	walk("", app.Commands)
	for name := range leaves {
		if !seen[name] {
			t.Errorf("there is no command bpi %s", name)
		}
	}
}

func TestWrongFlagsExitWithTwo(t *testing.T) {
	for name := range leaves {
		code, out, errs := bpi(t, t.TempDir(), append(strings.Fields(name), "--nosuch")...)
		if code != exitUsage || out != "" || !strings.Contains(errs, "bpi "+name+" has no flag --nosuch") || !strings.Contains(errs, "try: bpi "+name+" --help") {
			t.Errorf("bpi %s --nosuch: exit code %d, %q, %q", name, code, out, errs)
		}
	}
	for line, want := range map[string]string{
		"job list --limt 3":                                 "did you mean --limit?",
		"job list --limit":                                  "--limit: a value is missing",
		"job list --limit many":                             "\"many\"",
		"analytics submit --wall soon":                      "\"soon\"",
		"--nosuch job list":                                 "--nosuch",
		"analytics submit --detatch":                        "did you mean --detach?",
		"analytcs submit":                                   "did you mean \"analytics\"?",
		"container strat":                                   "did you mean \"start\"?",
		"receipt verify --trust t --jb":                     "has no flag --jb",
		"network ping --count 0":                            "want 1 to 1000",
		"network services --search":                         "name the service",
		"network services a b":                              "want one service",
		"network send api --data x --try 1h":                "at most 5m0s",
		"network send --data x":                             "want one service",
		"network send api":                                  "no message; give it with --data",
		"init --join bpi1 --new-chain":                      "--join stands without",
		"init --join hello":                                 "is no invitation",
		"init --join bpi1abcd":                              "copy the whole text again",
		"init --bootstrap /x --swarm-key f":                 "--swarm-key goes with --join or --genesis",
		"init --bootstrap /x --private":                     "--private goes with --genesis",
		"network create acme --sealed":                      "--sealed goes with --private",
		"network invite --expires 1ms":                      "want 1s to 8784h",
		"network create Acme":                               "want at most 32 of a-z",
		"network create a --listen-port 70000":              "want 0 to 65535",
		"network join hello":                                "is no invitation",
		"init --card --new-chain":                           "--card stands alone",
		"init --genesis g --founder f":                      "--founder goes with --new-chain",
		"init --new-chain --genesis g":                      "want either --genesis FILE",
		"init --listen-port 70000":                          "want 0 to 65535",
		"devnet up --gateway-port 70000":                    "want 0 to 65535",
		"devnet up --nodes 33":                              "want 1 to 32",
		"policy show":                                       "want one policy, have 0 arguments",
		"key backup client":                                 "want a role and a file",
		"key show a b":                                      "want one role or file",
		"chain events --from 3 --to 2":                      "the range is empty",
		"chain validators propose":                          "want at least one --add, --remove or --weight",
		"chain validators approve":                          "want one proposal",
		"chain validators prpose":                           "takes no argument",
		"chain block --watch x":                             "want a number",
		"job plan --query x --quorum 9 --replicas 3":        "a quorum of more than half",
		"analytics submit --query x --seed zz":              "64 lower-case hexadecimal digits",
		"analytics submit --query x --priority 10":          "want 0 to 9",
		"image add testdata":                                "give one with --name",
		"image add testdata --name Base":                    "image name",
		"image remove base@0":                               "after @ want a version",
		"job run true":                                      "no image; name one with --image",
		"job run --image base":                              "no program; give it after --",
		"job run --image base@x true":                       "after @ want a version",
		"job run --image base --in data true":               "want NAME=DATASET or NAME=DIGEST",
		"job run --image base --in d=./f true":              "bpi dataset add",
		"job run --image base --in d=a --in d=b true":       "another input called d",
		"job run --image base --out .. true":                "NAME is one plain name",
		"job run --image base --limit cpu=0s true":          "a limit of 0",
		"job run --image base --limit cups=1s true":         "want NAME=VALUE with a name of",
		"job run --image base --seed zz true":               "64 lower-case hexadecimal digits",
		"job run --image base --epoch soon true":            "want a moment",
		"job run --image base --priority 10 true":           "want 0 to 9",
		"job run --image base --quorum 2 --replicas 4 true": "a quorum of more than half",
		"job run --image base --policy ./p.json true":       "a file is for local runs",
		"job get 3f2a --output stderr --out a":              "want either --output or --out",
	} {
		code, out, errs := bpi(t, t.TempDir(), strings.Fields(line)...)
		if code != exitUsage || out != "" || !strings.Contains(errs, want) || !strings.HasPrefix(errs, "bpi: ") {
			t.Errorf("bpi %s: exit code %d, %q, want 2 and %q", line, code, errs, want)
		}
	}
}

func TestMissingArgumentsExitWithTwo(t *testing.T) {
	for name, l := range leaves {
		if l.few == "-" {
			// Then an argument too many is refused.
			switch name {
			case "key show", "status", "network ping", "network services":
				continue // it takes one
			}
			if code, _, errs := bpi(t, t.TempDir(), append(strings.Fields(name), "extra")...); code != exitUsage || !strings.Contains(errs, "extra") {
				t.Errorf("bpi %s extra: exit code %d, %q", name, code, errs)
			}
			continue
		}
		code, out, errs := bpi(t, t.TempDir(), append(strings.Fields(name), strings.Fields(l.few)...)...)
		if code != exitUsage || out != "" || !strings.Contains(errs, "bpi "+name) {
			t.Errorf("bpi %s %s: exit code %d, %q, %q", name, l.few, code, out, errs)
		}
	}
}

func TestAnUnreachableNodeIsNamedWithTheNextStep(t *testing.T) {
	// No TCP port 1 is listened on: binding it takes root, and it has no common use.
	for name, l := range leaves {
		if l.local {
			continue
		}
		args := append(strings.Fields(name), strings.Fields(l.args)...)
		if code, out, errs := bpi(t, t.TempDir(), append([]string{"--api", "unix:///nowhere/api.sock"}, args...)...); code != exitFailure || out != "" ||
			!strings.Contains(errs, "no node answers at unix:///nowhere/api.sock") || !strings.Contains(errs, "is the node running?") {
			t.Errorf("bpi %s: exit code %d, %q, %q", name, code, out, errs)
		}
		if name == "policy check" {
			continue // it checks this machine all the same
		}
		if code, out, errs := bpi(t, t.TempDir(), args...); code != exitFailure || out != "" || !strings.Contains(errs, "bpi devnet up") || !strings.Contains(errs, "--peer") {
			t.Errorf("bpi %s without a node: exit code %d, %q, %q", name, code, out, errs)
		}
	}
}

func TestAnUnreachablePeerIsNamed(t *testing.T) {
	const nobody = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWSfu9Nc4k9kNVtPy5Yn5wAiRtwRzcHya1V15RKr75NSoY"
	for peer, want := range map[string]struct {
		code int
		text string
	}{
		"nonsense":              {exitUsage, "want /ip4/HOST/tcp/PORT/p2p/ID"},
		"/ip4/127.0.0.1/tcp/1":  {exitUsage, "want /ip4/HOST/tcp/PORT/p2p/ID"},
		nobody:                  {exitFailure, "is the node running, and is the address right?"},
		"/ip4/300.1.1.1/tcp/1/": {exitUsage, "/ip4/300.1.1.1/tcp/1/"},
	} {
		if code, out, errs := bpi(t, t.TempDir(), "--peer", peer, "job", "list"); code != want.code || out != "" || !strings.Contains(errs, want.text) || !strings.Contains(errs, peer) {
			t.Errorf("--peer %s: exit code %d, %q", peer, code, errs)
		}
	}
}

func TestABadIDIsNamedByEveryCommandThatTakesOne(t *testing.T) {
	missing := api.NotFound("list the jobs with: bpi job list", "job %q is not known on this chain", "abcd")
	url := fakeNode(t, map[string]any{"GET /v1/jobs/{id}": missing, "GET /v1/receipts/{id}": missing})
	for name, l := range leaves {
		if l.args != "abcd" && l.args != "--job-id abcd" {
			continue
		}
		args := append([]string{"--api", url}, append(strings.Fields(name), strings.Fields(l.args)...)...)
		if code, out, errs := bpi(t, t.TempDir(), args...); code != exitFailure || out != "" || !strings.Contains(errs, `job "abcd" is not known`) || !strings.Contains(errs, "bpi job list") {
			t.Errorf("bpi %s: exit code %d, %q, %q", name, code, out, errs)
		}
	}
}

func TestBadFilesAreNamedWithTheNextStep(t *testing.T) {
	dir := t.TempDir()
	none, garbage, csv := filepath.Join(dir, "none"), filepath.Join(dir, "garbage"), filepath.Join(dir, "a.csv")
	for path, text := range map[string]string{garbage: "{\"a\": [}", csv: "height,index,when,who\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust := filepath.Join(dir, "trust.json")
	if err := os.WriteFile(trust, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line string
		code int
		want []string
	}{
		{"receipt verify " + none, exitFailure, []string{none, "bpi receipt get JOB"}},
		{"receipt verify " + garbage, exitInvalid, []string{garbage}},
		{"receipt export " + none, exitFailure, []string{none, "bpi receipt get"}},
		{"receipt export " + garbage, exitInvalid, []string{garbage}},
		{"receipt verify " + garbage + " --output stdout", exitUsage, []string{"want NAME=FILE"}},
		{"receipt verify " + garbage + " --output stdout=" + none, exitFailure, []string{none, "bpi job get"}},
		{"security verify-audit " + none, exitFailure, []string{none, "bpi security export-audit"}},
		{"security verify-audit " + garbage, exitInvalid, []string{garbage, "bpi security export-audit"}},
		{"security verify-audit " + csv, exitInvalid, []string{csv, "holds no proofs", "--format json"}},
		{"security verify-audit " + garbage + " --trust " + none, exitFailure, []string{none, "bpi chain trust"}},
		{"security verify-audit " + garbage + " --trust " + trust, exitFailure, []string{trust}},
		{"init --join @" + none, exitFailure, []string{none, "invitation"}},
		{"network invite", exitFailure, []string{"config.toml", "bpi init writes one"}},
		{"network revoke 3f2a", exitFailure, []string{"config.toml", "bpi init writes one"}},
		{"init --genesis " + none, exitFailure, []string{none, "bpi init --new-chain"}},
		{"init --genesis " + garbage, exitFailure, []string{garbage, "get the file again"}},
		{"init --new-chain --engine " + none, exitFailure, []string{none, "make build"}},
		{"node start --config " + none, exitFailure, []string{none, "bpi init writes one"}},
		{"node start --config " + garbage, exitFailure, []string{garbage, "line 1"}},
		{"devnet up --config " + none, exitFailure, []string{none, "bpi init --print-config"}},
		{"devnet up --config " + garbage, exitFailure, []string{garbage, "line 1"}},
		{"devnet up --gateway-port 0 --engine " + none, exitFailure, []string{none, "make build"}},
		{"key show " + none, exitFailure, []string{none}},
		{"key backup client " + none, exitFailure, []string{"client", "bpi key new client"}},
		{"dataset add " + none, exitFailure, []string{none, "give a file"}},
		{"dataset add " + garbage, exitFailure, []string{"garbage", ".parquet", "--format"}},
		{"doctor --config " + garbage, exitFailure, []string{}},
	} {
		code, _, errs := bpi(t, t.TempDir(), strings.Fields(tt.line)...)
		if code != tt.code {
			t.Errorf("bpi %s: exit code %d, want %d: %q", tt.line, code, tt.code, errs)
		}
		if i := slices.IndexFunc(tt.want, func(w string) bool { return !strings.Contains(errs, w) }); i >= 0 {
			t.Errorf("bpi %s: %q lacks %q", tt.line, errs, tt.want[i])
		}
	}
}

// TestEveryNodeCommandIsTriedThroughAPeer keeps e2e/peer_test.go whole: any peer is the API, for every command.
func TestEveryNodeCommandIsTriedThroughAPeer(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "e2e", "peer_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range leaves {
		if words := `"` + strings.Join(strings.Fields(name), `", "`) + `"`; !l.local && !strings.Contains(string(raw), words) {
			t.Errorf("bpi %s speaks to a node, and e2e/peer_test.go does not try it with --peer", name)
		}
	}
}
