package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// TestEveryCommandWorksThroughAPeer runs every command that speaks to a node from a home without one, over libp2p, at a
// peer that is not the first. TestEveryNodeCommandIsTriedThroughAPeer of cmd/bpi holds the list whole.
func TestEveryCommandWorksThroughAPeer(t *testing.T) {
	n := up(t, 3)
	n.users()
	stranger := home(t)
	at := n.peers[1]
	through := func(args ...string) result {
		t.Helper()
		return n.runWith(stranger, append([]string{"--peer", at.Address}, args...)...)
	}
	must := func(args ...string) string {
		t.Helper()
		r := through(args...)
		if r.code != 0 {
			t.Fatalf("bpi --peer … %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
		}
		return r.stdout
	}
	has := func(out string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(out, w) {
				t.Errorf("the output lacks %q:\n%.2000s", w, out)
			}
		}
	}

	has(must("node", "status"), at.Name)
	has(must("node", "peers"), "connected")
	has(must("network", "peers"), n.peers[0].Name)
	has(must("network", "ping", "--count", "2"), "ms")
	// These are for who administers the peer, and say so: TestServicesOfANetworkAreFoundAndUsed is of such a key.
	for _, line := range [][]string{{"network", "resources"}, {"network", "members"}, {"network", "guests"}, {"blob", "gc"}} {
		if r := through(line...); r.code != 1 || !strings.Contains(r.stderr, "admins of [api]") {
			t.Errorf("bpi --peer … %s: exit code %d\n%s", strings.Join(line, " "), r.code, r.stderr)
		}
	}
	has(must("status"), at.Name)

	job := strings.TrimSpace(must("analytics", "submit", "--fresh", "--detach", "--id-only", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users"))
	must("job", "wait", job, "--timeout", "1m")
	has(must("analytics", "result", job), "1000")
	has(must("analytics", "list"), job[:8])
	must("analytics", "explain", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users")
	has(must("job", "list"), job[:8])
	has(must("job", "plan", "--dataset", "users", "--query", "SELECT 1"), "yes")
	has(must("job", "describe", job), job[:8])
	must("job", "get", job)
	must("job", "history", job, "--no-follow")
	must("job", "executions", job)
	through("job", "logs", job) // a query writes none: its exit code is its own test's
	must("job", "diff", job)
	has(must("status", job), "sealed")
	if r := through("job", "cancel", job); r.code == 0 || !strings.Contains(r.stderr, "cannot be cancelled") {
		t.Errorf("cancelling a job that has ended: exit code %d, %s", r.code, r.stderr)
	}
	must("receipt", "get", job)
	must("receipt", "verify", "--job-id", job)
	must("receipt", "export", job)

	csv := filepath.Join(stranger, "more.csv")
	if err := os.WriteFile(csv, []byte("a,b\n1,2\n3,4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must("dataset", "add", csv, "--name", "more")
	has(must("dataset", "list"), "more", "users")
	has(must("dataset", "show", "more"), "more")
	must("dataset", "get", "more", "--to", filepath.Join(stranger, "got"))
	must("dataset", "remove", "more")
	cid := strings.TrimSpace(must("blob", "add", "--id-only", csv))
	has(must("blob", "list"), cid[:12])
	must("blob", "get", cid, "-o", filepath.Join(stranger, "back.csv"))
	must("blob", "export", "--car", filepath.Join(stranger, "more.car"), cid)
	must("blob", "import", "--car", filepath.Join(stranger, "more.car"))
	through("blob", "pin", cid) // whether a stranger may keep it there is a test of the store's own
	through("blob", "unpin", cid)
	root := filepath.Join(stranger, "root")
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "nothing"), []byte("nothing"), 0o755); err != nil {
		t.Fatal(err)
	}
	must("image", "add", root, "--name", "base")
	has(must("image", "list"), "base")
	has(must("image", "show", "base"), "base")
	if r := through("job", "run", "--image", "base", "--replicas", "1", "--quorum", "1", "--timeout", "1m", "/bin/nothing"); r.code != 3 && r.code != 5 && r.code != 4 {
		t.Errorf("running what is no program: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	must("image", "remove", "base")
	has(must("container", "list"), "metaanalytics")
	has(must("container", "start", "--name", "metaanalytics"), "ready")
	through("policy", "check", "sealed") // it judges this machine as well
	must("security", "export-audit")
	has(must("chain", "status"), "height")
	must("chain", "block", "1")
	has(must("chain", "validators"), at.Name)
	must("chain", "events", "--to", "3")
	has(must("chain", "trust"), "validators")
	must("chain", "evidence")
	// These two need a validator's key, and say so: they reached the peer.
	for _, line := range [][]string{{"chain", "validators", "propose", "--remove", at.Name}, {"chain", "validators", "approve", strings.Repeat("f", 8)}} {
		if r := through(line...); r.code == 0 || strings.Contains(r.stderr, "no node") {
			t.Errorf("bpi --peer … %s: exit code %d\n%s", strings.Join(line, " "), r.code, r.stderr)
		}
	}
}

// TestServicesOfANetworkAreFoundAndUsed asks one peer, over libp2p and from a home without a node, for what all offer.
func TestServicesOfANetworkAreFoundAndUsed(t *testing.T) {
	n := up(t, 3)
	n.users()
	stranger := home(t)
	through := func(args ...string) result {
		t.Helper()
		return n.runWith(stranger, append([]string{"--peer", n.peers[0].Address}, args...)...)
	}
	var list []api.Service
	of := func(service string) (names []string) {
		for _, s := range list {
			if s.Service == service+"/1" {
				names = append(names, s.Name)
			}
		}
		slices.Sort(names)
		return names
	}
	eventually(t, time.Minute, "all three offer all", func() bool {
		r := through("--json", "network", "services")
		list = nil
		return r.code == 0 && json.Unmarshal([]byte(r.stdout), &list) == nil && len(of("api")) == 3 && len(of("analytics")) == 3 && len(of("sql")) == 3 && len(of("dataset")) == 3
	})
	for _, s := range list {
		if s.Service == "dataset/1" && !slices.Contains(s.Labels, "users@1") {
			t.Errorf("%s holds %v", s.Name, s.Labels)
		}
	}
	if r := through("network", "services", "sql", "--search"); r.code != 0 || strings.Count(r.stdout, "sql/1") != 3 {
		t.Errorf("services of sql: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := through("network", "send", "dataset", "--data", "users"); r.code != 0 || !strings.Contains(r.stdout, `"users"`) || !strings.Contains(r.stderr, "answered by node") {
		t.Errorf("dataset: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	query := filepath.Join(stranger, "query.json")
	if err := os.WriteFile(query, []byte(`{"dataset":"users","query":"SELECT COUNT(*) FROM users"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := through("network", "send", "analytics", "--try", "1m", "--data", "@"+query); r.code != 0 || !strings.Contains(r.stdout, `"sealed"`) || !strings.Contains(r.stdout, "1000") {
		t.Errorf("analytics: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := through("network", "send", "nobody", "--data", "x"); r.code != 1 || !strings.Contains(r.stderr, "no peer that the chain knows offers service nobody/1") {
		t.Errorf("a service of nobody: exit code %d, %s", r.code, r.stderr)
	}

	// Administering from elsewhere: without a key, with one that the node does not list, and with one that it does.
	if r := through("node", "drain", "--detach"); r.code != 1 || !strings.Contains(r.stderr, "bpi key new operator") {
		t.Errorf("drain without a key: exit code %d, %s", r.code, r.stderr)
	}
	if r := n.runWith(stranger, "key", "new", "operator"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	if r := through("node", "drain", "--detach"); r.code != 1 || !strings.Contains(r.stderr, "may not administer this node") || !strings.Contains(r.stderr, "admins of [api]") {
		t.Errorf("drain with a key that is not listed: exit code %d, %s", r.code, r.stderr)
	}
	var keys []struct{ Role, Peer string }
	if err := json.Unmarshal([]byte(n.runWith(stranger, "--json", "key", "show").stdout), &keys); err != nil || len(keys) != 1 || keys[0].Peer == "" {
		t.Fatalf("keys: %v, %v", keys, err)
	}
	last := n.peers[2]
	config := filepath.Join(last.Dir, "config.toml")
	raw, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Replace(string(raw), "admins = []", fmt.Sprintf("admins = [%q]", keys[0].Peer), 1)
	if listed == string(raw) {
		t.Fatalf("no admins in %s:\n%s", config, raw)
	}
	if err := os.WriteFile(config, []byte(listed), 0o600); err != nil {
		t.Fatal(err)
	}
	n.kill(last)
	n.restart(last)
	if r := n.runWith(stranger, "--peer", last.Address, "node", "drain", "--detach"); r.code != 0 || !strings.Contains(r.stderr, "takes no more work") {
		t.Errorf("drain with a listed key: exit code %d, %s", r.code, r.stderr)
	}
	eventually(t, time.Minute, "the drained peer has no room for queries", func() bool {
		r := through("--json", "network", "services", "sql")
		list = nil
		return r.code == 0 && json.Unmarshal([]byte(r.stdout), &list) == nil &&
			!slices.ContainsFunc(list, func(s api.Service) bool { return s.Name == last.Name && s.Capacity > 0 }) && len(list) >= 2
	})
}

// TestAPeerWithoutACageHasItsQueriesChecked submits a query to a peer that can run no engine: an executor that it finds by
// the service sql checks it, and explains it.
func TestAPeerWithoutACageHasItsQueriesChecked(t *testing.T) {
	n := up(t, 3)
	n.users()
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skipf("no way to take a wall from the peer: %v", err)
	}
	own := home(t)
	if r := n.runWith(own, "init", "--genesis", filepath.Join(n.peers[0].Dir, "genesis.cbor"), "--bootstrap", n.peers[1].Address, "--listen-port", "0"); r.code != 0 {
		t.Fatalf("init: %s", r.stderr)
	}
	p := &peer{Name: "uncaged", Dir: own, Socket: filepath.Join(own, "api.sock")}
	cmd := withoutNetNamespaces(bin(t), "node", "start")
	cmd.Env = append(os.Environ(), "BPI_HOME="+own)
	if err := cmd.Start(); err != nil {
		t.Skipf("no user namespace for the peer: %v", err)
	}
	p.again = cmd
	n.peers = append(n.peers, p)
	n.ready(p)
	eventually(t, 30*time.Second, "caught up", func() bool { h := n.height(n.peers[0]); return h > 0 && n.height(p) >= h })
	run := func(args ...string) result {
		return n.runWith(own, append([]string{"--api", "unix://" + p.Socket}, args...)...)
	}
	eventually(t, 30*time.Second, "knows who executes", func() bool {
		r := run("network", "services", "sql")
		return r.code == 0 && strings.Contains(r.stdout, "sql/1")
	})
	if r := run("analytics", "submit", "--fresh", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users"); r.code != 0 || !strings.Contains(r.stdout, "1000") || !strings.Contains(r.stderr, "checked the query") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := run("analytics", "submit", "--dataset", "users", "--query", "SELECT nothing FROM users"); r.code == 0 || !strings.Contains(r.stderr, "nothing") {
		t.Errorf("a query that no executor takes: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := run("analytics", "explain", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users"); r.code != 0 || r.stdout == "" {
		t.Errorf("explain: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}
