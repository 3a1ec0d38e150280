package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadInputIsNamed goes through what people get wrong: the error names the thing, the cause and the next step.
func TestBadInputIsNamed(t *testing.T) {
	n := up(t, 4)
	n.users()
	submit := func(sql string, more ...string) []string {
		return append([]string{"analytics", "submit", "--dataset", "users", "--query", sql}, more...)
	}
	n.refused(1, []string{`"nope"`, "not registered", "bpi dataset add"}, "analytics", "submit", "--dataset", "nope", "--query", "SELECT 1")
	n.refused(1, []string{"syntax", "SELEC", "^"}, submit("SELEC COUNT(*) FROM users")...)
	for _, sql := range []string{
		"SELECT 1; SELECT 2", "COPY users TO '/tmp/x.csv'", "ATTACH '/tmp/x.db'", "INSTALL httpfs", "PRAGMA version",
		"SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_text('/in/users/0.csv')", "SELECT getenv('HOME')",
	} {
		n.refused(1, []string{"refused"}, submit(sql)...)
	}
	n.refused(3, []string{"Could not convert"}, submit("SELECT CAST(name AS INTEGER) FROM users")...)
	n.refused(1, []string{"no_such"}, submit("SELECT no_such FROM users")...)
	n.refused(2, nil, "analytics", "submit", "--no-such-flag")
	n.refused(2, []string{"nonsense", "/ip4/HOST"}, "--peer", "nonsense", "chain", "status")

	files := home(t)
	write := func(name, text string) string {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	n.refused(1, []string{"empty"}, "dataset", "add", write("none.csv", ""), "--name", "none")
	n.refused(1, []string{"database file"}, "dataset", "add", write("x.duckdb", "x"), "--name", "db")
	n.refused(1, []string{"no such file"}, "dataset", "add", filepath.Join(files, "missing.csv"), "--name", "missing")

	r := n.run("node", "start", "--config", write("config.toml", "[p2p]\nlisten_prot = 1\n"))
	if r.code == 0 || !strings.Contains(r.stderr, "listen_prot") || !strings.Contains(r.stderr, "listen_port") {
		t.Errorf("an unknown key: exit code %d\n%s", r.code, r.stderr)
	}
	r = n.run("node", "start", "--config", filepath.Join(n.peers[0].Dir, "config.toml"))
	if r.code == 0 || !strings.Contains(r.stderr, "in use") {
		t.Errorf("a data folder in use: exit code %d\n%s", r.code, r.stderr)
	}
	if head := n.height(n.peers[0]); head == 0 {
		t.Error("the network did not survive this")
	}
}

// TestTwoDatasetsOfOneName keeps versions apart, and owners too.
func TestTwoDatasetsOfOneName(t *testing.T) {
	n := up(t, 4)
	files := home(t)
	add := func(home, text string) result {
		path := filepath.Join(files, "numbers.csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return n.runWith(home, "--api", "unix://"+n.peers[0].Socket, "dataset", "add", path, "--name", "numbers")
	}
	for _, text := range []string{"n\n1\n2\n", "n\n1\n2\n3\n"} {
		if r := add(n.home, text); r.code != 0 {
			t.Fatalf("dataset add: %s", r.stderr)
		}
	}
	if r := add(home(t), "n\n9\n"); r.code == 0 || !strings.Contains(r.stderr, "own") {
		t.Errorf("another key took the name: exit code %d\n%s", r.code, r.stderr)
	}
	for ref, want := range map[string]string{"numbers@1": "2", "numbers@2": "3", "numbers": "3"} {
		out := n.must("analytics", "submit", "--format", "csv", "--dataset", ref, "--query", "SELECT COUNT(*) AS c FROM numbers")
		if strings.TrimSpace(out) != "c\n"+want && strings.TrimSpace(out) != "c\r\n"+want {
			t.Errorf("%s: %q, want %s rows", ref, out, want)
		}
	}
}
