package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/consensus"
	"github.com/metanode/metanode/enc"
	"github.com/metanode/metanode/internal/canon"
	"github.com/metanode/metanode/internal/digest"
	"github.com/metanode/metanode/internal/keyfile"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// bpi runs one command line in a home of its own and gives its exit code and output.
func bpi(t *testing.T, home string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	for _, k := range []string{"BPI_API", "BPI_PEER", "BPI_JSON", "BPI_TIMEOUT", "BPI_ENGINE"} {
		t.Setenv(k, "")
		os.Unsetenv(k)
	}
	t.Setenv("BPI_HOME", home)
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"bpi"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestHelpIsGolden(t *testing.T) {
	var all bytes.Buffer
	app := newApp(&all, &all)
	var walk func(path []string, list []*cli.Command)
	walk = func(path []string, list []*cli.Command) {
		for _, c := range list {
			p := append(append([]string{}, path...), c.Name)
			all.WriteString(strings.Join(p, " "))
			if c.ArgsUsage != "" {
				all.WriteString(" " + c.ArgsUsage)
			}
			all.WriteString(": " + c.Usage + "\n")
			for _, f := range c.Flags {
				all.WriteString("    " + strings.ReplaceAll(f.String(), "\t", "  ") + "\n")
			}
			walk(p, c.Subcommands)
		}
	}
	walk([]string{"bpi"}, app.Commands)
	for _, f := range app.Flags {
		all.WriteString("    " + strings.ReplaceAll(f.String(), "\t", "  ") + "\n")
	}
	path := filepath.Join("testdata", "help.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, all.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(all.Bytes(), want) {
		t.Errorf("the commands differ from testdata/help.txt; read the difference, then: go test ./cmd/bpi -update\n%s", all.String())
	}
}

func TestArrangeLetsFlagsStandAnywhere(t *testing.T) {
	app := newApp(&bytes.Buffer{}, &bytes.Buffer{})
	tests := []struct{ in, want string }{
		{"bpi dataset add f.csv --name users", "bpi dataset add --name users f.csv"},
		{"bpi receipt verify r.json --trust trust.json", "bpi receipt verify --trust trust.json r.json"},
		{"bpi job list --json --limit 3", "bpi --json job list --limit 3"},
		{"bpi --peer X job list", "bpi --peer X job list"},
		{"bpi job get J --output=stderr --timeout 3s", "bpi --timeout 3s job get --output=stderr J"},
		{"bpi job get list", "bpi job get list"},
		{"bpi key show -- -odd", "bpi key show -- -odd"},
		{"bpi container run ls -l --json", "bpi container run ls -l --json"},
		{"bpi container run --json --seed S -- git log -- --json", "bpi --json container run --seed S git log -- --json"},
		{"bpi container run -- -odd --json", "bpi container run -- -odd --json"},
		{"bpi job list --no-such x", "bpi job list --no-such x"},
		{"bpi", "bpi"},
	}
	for _, tt := range tests {
		if got := arrange(app, strings.Fields(tt.in)); !reflect.DeepEqual(got, strings.Fields(tt.want)) {
			t.Errorf("%s\n got %s\nwant %s", tt.in, strings.Join(got, " "), tt.want)
		}
	}
}

func TestUsageErrorsExitWithTwo(t *testing.T) {
	home := t.TempDir()
	for _, line := range []string{
		"nosuch", "job nosuch", "job list --nosuch", "job describe", "job list extra", "job list --limit 0",
		"analytics submit", "analytics submit --query x --format xml", "analytics submit --query x --dataset No",
		"receipt verify", "receipt verify a --job-id b", "security export-audit --format xml", "key new king",
		"devnet up --nodes 0", "init", "completion tcsh", "--timeout -1s job list", "chain block x",
		"analytics submit --query x --replicas 4 --quorum 2", "--api unix://relative job list",
	} {
		if code, out, errs := bpi(t, home, strings.Fields(line)...); code != exitUsage || out != "" || !strings.HasPrefix(errs, "bpi: ") {
			t.Errorf("bpi %s: exit code %d, stdout %q, stderr %q; want 2 and a message", line, code, out, errs)
		}
	}
}

func TestNoNodeSaysWhatToDo(t *testing.T) {
	code, _, errs := bpi(t, t.TempDir(), "job", "list")
	if code != exitFailure || !strings.Contains(errs, "bpi devnet up") || !strings.Contains(errs, "--peer") {
		t.Errorf("exit code %d, %q", code, errs)
	}
	code, _, errs = bpi(t, t.TempDir(), "--api", "unix:///nowhere/api.sock", "job", "list")
	if code != exitFailure || !strings.Contains(errs, "is the node running?") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

func TestKeyCommands(t *testing.T) {
	home := t.TempDir()
	code, public, errs := bpi(t, home, "key", "new", "client")
	if code != 0 || len(public) != 65 {
		t.Fatalf("exit code %d, %q, %q", code, public, errs)
	}
	if code, _, errs := bpi(t, home, "key", "new", "client"); code != exitFailure || !strings.Contains(errs, "never overwritten") {
		t.Errorf("second new: exit code %d, %q", code, errs)
	}
	if code, out, _ := bpi(t, home, "key", "show", "client"); code != 0 || out != public {
		t.Errorf("show: exit code %d, %q, want %q", code, out, public)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if code, _, errs := bpi(t, home, "key", "backup", "client", copied); code != 0 {
		t.Fatalf("backup: exit code %d, %q", code, errs)
	}
	if _, k, err := keyfile.Inspect(copied); err != nil || k.String()+"\n" != public {
		t.Errorf("backup holds %s, %v", k, err)
	}
	if _, out, _ := bpi(t, home, "key", "show", "--json"); !strings.Contains(out, `"role": "client"`) || strings.Contains(out, "seed") {
		t.Errorf("show --json: %q", out)
	}
}

func TestProcessIsKnownByItsStart(t *testing.T) {
	p, err := processOf(os.Getpid())
	if err != nil || !p.alive() {
		t.Fatalf("%+v: %v", p, err)
	}
	p.Start++
	if p.alive() {
		t.Error("a process with another start time passes for this one")
	}
	if err := p.end(time.Second); err != nil {
		t.Errorf("ending a process that is gone: %v", err)
	}
}

// eventsOf answers GET /v1/chain/events: a line each, of the heights asked for.
type eventsOf []api.Event

func (list eventsOf) serve(w http.ResponseWriter, r *http.Request) {
	from, _ := strconv.ParseUint(r.URL.Query().Get("from"), 10, 64)
	to, _ := strconv.ParseUint(r.URL.Query().Get("to"), 10, 64)
	for _, ev := range list {
		if ev.Height >= from && (to == 0 || ev.Height <= to) {
			json.NewEncoder(w).Encode(ev)
		}
	}
}

// fakeNode answers some routes as a node does.
func fakeNode(t *testing.T, routes map[string]any) string {
	mux := http.NewServeMux()
	for pattern, answer := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if e, ok := answer.(*api.Error); ok {
				w.WriteHeader(e.Status)
				json.NewEncoder(w).Encode(map[string]any{"error": api.Problem{Code: e.Code, Message: e.Message, Next: e.Next, SQL: e.SQL}})
				return
			}
			if list, ok := answer.(eventsOf); ok {
				list.serve(w, r)
				return
			}
			json.NewEncoder(w).Encode(answer)
		})
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

func TestJobList(t *testing.T) {
	id := digest.Of([]byte("job"))
	url := fakeNode(t, map[string]any{"GET /v1/jobs": api.JobList{Jobs: []api.JobSummary{
		{ID: id, State: api.JobSealed, Kind: "sql", Note: "SELECT 'a\x1b[31m'", TimeMs: 1000, EndedMs: 1042},
	}}})
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "job", "list")
	if code != 0 || !strings.Contains(out, id.Short()) || !strings.Contains(out, "42ms") || strings.Contains(out, "\x1b") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	code, out, _ = bpi(t, t.TempDir(), "job", "list", "--id-only", "--api", url)
	if code != 0 || out != id.String()+"\n" {
		t.Errorf("--id-only: exit code %d, %q", code, out)
	}
	var l api.JobList
	code, out, _ = bpi(t, t.TempDir(), "job", "list", "--json", "--api", url)
	if err := json.Unmarshal([]byte(out), &l); code != 0 || err != nil || len(l.Jobs) != 1 {
		t.Errorf("--json: exit code %d, %q, %v", code, out, err)
	}
}

func TestRefusedQueryShowsThePlace(t *testing.T) {
	url := fakeNode(t, map[string]any{"POST /v1/sql/plan": api.BadSQL(api.SQLProblem{Kind: "syntax", Message: "syntax error at or near \"selec\"", Position: 0}, "")})
	code, out, errs := bpi(t, t.TempDir(), "--api", url, "analytics", "submit", "--query", "selec 1")
	if code != exitFailure || out != "" || !strings.Contains(errs, "syntax error") || !strings.Contains(errs, "selec 1\n  ^") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}

func TestPlanForAnotherQueryIsNotSigned(t *testing.T) {
	url := fakeNode(t, map[string]any{"POST /v1/sql/plan": api.Plan{Work: []byte{0x80}}})
	code, _, errs := bpi(t, t.TempDir(), "--api", url, "analytics", "submit", "--query", "SELECT 1")
	if code != exitFailure || !strings.Contains(errs, "no job") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

func TestErrorCarriesTheNextStep(t *testing.T) {
	url := fakeNode(t, map[string]any{"GET /v1/datasets/{ref}": api.NotFound("add it with: bpi dataset add FILE --name nope", "dataset %q is not registered on chain devnet-7f", "nope")})
	code, _, errs := bpi(t, t.TempDir(), "--api", url, "dataset", "show", "nope")
	want := "bpi: dataset \"nope\" is not registered on chain devnet-7f; add it with: bpi dataset add FILE --name nope\n"
	if code != exitFailure || errs != want {
		t.Errorf("exit code %d, %q, want %q", code, errs, want)
	}
}

func TestJobEndsHaveTheirExitCodes(t *testing.T) {
	id := digest.Of([]byte("job"))
	tests := []struct {
		stage, detail string
		code          int
	}{
		{api.StageSealed, "", 0},
		{api.StageFailed, "nondeterministic", exitNoAgreement},
		{api.StageFailed, "no_quorum", exitNoAgreement},
		{api.StageFailed, "no_result: wall clock", exitTimeout},
		{api.StageFailed, "unavailable: inputs", exitTimeout},
		{api.StageExpired, "", exitTimeout},
		{api.StageCancelled, "", exitFailure},
	}
	for _, tt := range tests {
		err := jobEnd(id, api.JobEvent{Stage: tt.stage, Detail: tt.detail})
		code := 0
		if err != nil {
			code = exitCode(err)
		}
		if code != tt.code {
			t.Errorf("%s %s: exit code %d, want %d", tt.stage, tt.detail, code, tt.code)
		}
	}
}

func TestVerifyRefusesWhatIsNoReceipt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := bpi(t, t.TempDir(), "receipt", "verify", path); code != exitInvalid || !strings.Contains(errs, "receipt") {
		t.Errorf("exit code %d, %q", code, errs)
	}
}

func TestCommandIsSignedForTheChain(t *testing.T) {
	e := &env{home: t.TempDir(), out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	key, err := e.clientKey()
	if err != nil {
		t.Fatal(err)
	}
	chain := digest.Of([]byte("chain"))
	now := uint64(time.Now().UnixMilli())
	c, err := signCommand(key, chain, now, enc.KindCancelJob, &enc.CancelJob{Job: digest.Of([]byte("j"))})
	if err != nil {
		t.Fatal(err)
	}
	back, err := enc.DecodeCommand(c.Encode())
	if err != nil || back.Body.ChainID != chain || back.Signer != key.Public() {
		t.Fatalf("%+v, %v", back, err)
	}
	if left := back.Body.ExpiresMs - now; left == 0 || left > enc.MaxExpiryMs {
		t.Errorf("expires in %d ms", left)
	}
	if agreedNow(5) != 5 {
		t.Error("a clock far from the chain's is believed")
	}
}

func TestGenesisPassesItsOwnChecks(t *testing.T) {
	f := founder{name: "a"}
	f.node[0], f.validator[0], f.operator[0] = 1, 2, 3
	g, err := newGenesis("n", configs.Devnet(), []founder{f}, engineFile{digest: digest.Of(nil), bytes: 1}, time.UnixMilli(1))
	if err != nil {
		t.Fatal(err)
	}
	var back consensus.Genesis
	if err := canon.Unmarshal(canon.Must(g), &back); err != nil {
		t.Fatal(err)
	}
	if back.ChainID() != g.ChainID() {
		t.Error("the genesis document changes its id when it is read back")
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{"/a/b.c": "/a/b.c", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
