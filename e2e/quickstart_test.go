package e2e

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestQuickStart does what the README tells a new user to do.
func TestQuickStart(t *testing.T) {
	n := up(t, 4)
	n.users()
	n.must("dataset", "add", "../examples/data/orders.parquet", "--name", "orders")
	n.must("dataset", "add", "../examples/data/events.ndjson", "--name", "events")
	if out := n.must("analytics", "submit", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users"); !strings.Contains(out, "1000") {
		t.Errorf("the answer is not 1000:\n%s", out)
	}
	for _, set := range []string{"orders", "events"} {
		if out := n.must("--json", "analytics", "submit", "--dataset", set, "--query", "SELECT COUNT(*) > 0 FROM "+set); !strings.Contains(out, "true") {
			t.Errorf("%s holds nothing:\n%s", set, out)
		}
	}

	// The gateway, as curl uses it.
	post := func(path, body string) (int, map[string]any) {
		t.Helper()
		resp, err := http.Post("http://"+n.peers[0].Gateway+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		return resp.StatusCode, v
	}
	code, answer := post("/submit", `{"dataset":"users","query":"SELECT COUNT(*) FROM users WHERE age > 40"}`)
	job, _ := answer["job"].(string)
	if code != 200 || answer["state"] != "sealed" || job == "" || answer["result"] == nil || answer["receipt"] == nil {
		t.Fatalf("POST /submit: %d %v", code, answer)
	}
	if code, answer = post("/submit?wait=false", `{"dataset":"users","query":"SELECT MAX(age) FROM users"}`); code != 202 || answer["job"] == nil {
		t.Fatalf("POST /submit?wait=false: %d %v", code, answer)
	}
	if j := n.ended(n.peers[1], answer["job"].(string), 20*time.Second); j.State != "sealed" || !strings.HasPrefix(j.OnBehalf, "http:") {
		t.Errorf("the job of the gateway: %s, on behalf of %q", j.State, j.OnBehalf)
	}
	if out := n.must("receipt", "verify", "--job-id", job); !strings.Contains(out, `signed for "http:`) {
		t.Errorf("the receipt of the gateway's job does not say for whom it signed:\n%s", out)
	}
	if code, answer = post("/submit", `{"dataset":"users","query":"SELEC 1"}`); code != 422 {
		t.Errorf("a syntax error: %d %v", code, answer)
	}

	n.must("receipt", "verify", "--job-id", job)
	files := home(t)
	write := func(name, text string) string {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	receipt := write("r.json", n.must("receipt", "get", job))
	trust := write("trust.json", n.must("chain", "trust"))
	audit := write("audit.jsonl", n.must("security", "export-audit", "--format", "json"))
	pids := []int{}
	for _, p := range n.peers {
		pids = append(pids, p.pid())
	}
	n.must("devnet", "down")
	for _, pid := range pids {
		if !gone(pid) {
			t.Errorf("process %d outlived devnet down", pid)
		}
	}
	if _, err := os.Stat(filepath.Join(n.home, "devnet")); !os.IsNotExist(err) {
		t.Errorf("the devnet's folder outlived it: %v", err)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), n.home) {
		t.Errorf("mounts were left: %v", err)
	}

	// With the network down, everything is still provable; nothing forged is.
	n.must("receipt", "verify", receipt, "--trust", trust)
	n.must("security", "verify-audit", audit, "--trust", trust)
	lines := strings.SplitAfter(string(read(t, audit)), "\n")
	for i, l := range lines {
		if strings.Contains(l, "job-sealed") {
			without := write("cut.jsonl", strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), ""))
			n.refused(6, []string{"NOT valid"}, "security", "verify-audit", without, "--trust", trust)
			break
		}
	}
	tamper(t, n, receipt, trust)
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tamper changes every value of a receipt in turn, takes every member out, and puts one in wherever there is room.
func tamper(t *testing.T, n *testnet, receipt, trust string) {
	var doc any
	if err := json.Unmarshal(read(t, receipt), &doc); err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(filepath.Dir(receipt), "forged.json")
	changed := 0
	try := func(path string) {
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(forged, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		changed++
		if r := n.run("receipt", "verify", forged, "--trust", trust); r.code != 6 || r.stderr+r.stdout == "" {
			t.Errorf("with %s changed: exit code %d\n%s%s", path, r.code, r.stdout, r.stderr)
		}
	}
	var walk func(path string, v any, set func(any))
	walk = func(path string, v any, set func(any)) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range maps.Clone(v) {
				walk(path+"."+k, x, func(y any) { v[k] = y })
				delete(v, k)
				try(path + "." + k + " taken out")
				v[k] = x
			}
			v["forged"] = true
			try(path + ".forged put in")
			delete(v, "forged")
		case []any:
			for i, x := range v {
				walk(path+"[]", x, func(y any) { v[i] = y })
			}
		case string:
			set(flip(v))
			try(path)
			set(v)
		case float64:
			set(v + 1)
			try(path)
			set(v)
		case bool:
			set(!v)
			try(path)
			set(v)
		}
	}
	walk("", doc, nil)
	t.Logf("%d receipts were forged", changed)
	if changed < 40 {
		t.Errorf("only %d receipts were forged: is this a receipt?", changed)
	}
}

// flip changes one character in the middle to another of the same alphabet.
func flip(s string) string {
	if s == "" {
		return "x"
	}
	b := []byte(s)
	i := len(b) / 2
	switch {
	case b[i] == '0':
		b[i] = '1'
	case b[i] >= '1' && b[i] <= '9':
		b[i]--
	case b[i] == 'a' || b[i] == 'A':
		b[i]++
	default:
		b[i] = 'a'
	}
	return string(b)
}

// TestEveryPeerTakesJobs reaches each peer over libp2p with no node of the caller's own.
func TestEveryPeerTakesJobs(t *testing.T) {
	n := up(t, 4)
	n.users()
	stranger := home(t)
	var first string
	for _, p := range n.peers {
		r := n.runWith(stranger, "--peer", p.Address, "--json", "analytics", "submit", "--fresh", "--format", "csv", "--dataset", "users",
			"--query", "SELECT country, COUNT(*) FROM users GROUP BY country ORDER BY 2 DESC, 1 LIMIT 5")
		if r.code != 0 {
			t.Fatalf("through %s: exit code %d\n%s", p.Name, r.code, r.stderr)
		}
		if !strings.Contains(r.stdout, "US,223") || (first != "" && r.stdout != first) {
			t.Errorf("through %s: %s", p.Name, r.stdout)
		}
		first = r.stdout
	}
}
