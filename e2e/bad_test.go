package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
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
	for sql, thing := range map[string]string{
		"SELECT 1; SELECT 2": "2 statements", "COPY users TO '/tmp/x.csv'": "COPY", "ATTACH '/tmp/x.db'": "ATTACH", "INSTALL httpfs": "INSTALL",
		"LOAD httpfs": "LOAD", "PRAGMA version": "PRAGMA", "CREATE TABLE x AS SELECT 1": "CREATE", "INSERT INTO users VALUES (1)": "INSERT",
		"SET memory_limit = '1TB'": "SET", "SELECT * FROM read_csv('/etc/passwd')": "read_csv", "SELECT * FROM '/etc/passwd'": "/etc/passwd",
		"SELECT * FROM read_text('/in/users/0.csv')": "read_text", "SELECT * FROM glob('/*')": "glob", "SELECT getenv('HOME')": "getenv",
	} {
		n.refused(1, []string{"refused", thing, "one SELECT"}, submit(sql)...)
	}
	n.refused(3, []string{"Could not convert", "^"}, submit("SELECT CAST(name AS INTEGER) FROM users")...)
	n.refused(1, []string{"no_such", "^", "correct the query"}, submit("SELECT no_such FROM users")...)
	n.refused(2, []string{"--query"}, submit("")...)
	n.refused(2, nil, "analytics", "submit", "--no-such-flag")
	n.refused(2, []string{"quorum"}, submit("SELECT 1", "--replicas", "4", "--quorum", "2")...)
	n.refused(4, []string{"job wait"}, submit("SELECT COUNT(*) FROM users", "--fresh", "--replicas", "7", "--quorum", "4", "--timeout", "2s")...)
	n.refused(4, []string{n.peers[0].Socket, "in the time given"}, submit("SELECT COUNT(*) FROM users", "--fresh", "--timeout", "1ms")...)
	n.refused(1, []string{"ffff", "not known", "bpi job list"}, "job", "describe", "ffff")
	n.refused(1, []string{"users", "version 9", "newest is 1"}, "dataset", "show", "users@9")
	n.refused(6, []string{"/etc/passwd"}, "receipt", "verify", "/etc/passwd", "--trust", "/etc/passwd")
	n.refused(1, []string{"127.0.0.1:1", "is the node running"}, "--api", "http://127.0.0.1:1", "chain", "status")
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

	wrong := write("config.toml", "role = \"auto\"\n[p2p]\nlisten_prot = 1\n")
	n.refused(1, []string{wrong, "line 3", `"p2p.listen_prot"`, `"p2p.listen_port"`, "--print-config"}, "node", "start", "--config", wrong)
	n.refused(1, []string{"in use by process", "data_dir"}, "node", "start", "--config", filepath.Join(n.peers[0].Dir, "config.toml"))
	if head := n.height(n.peers[0]); head == 0 {
		t.Error("the network did not survive this")
	}
}

// TestFileThatChangesIsNotAdded writes to a file all the while that it is added.
func TestFileThatChangesIsNotAdded(t *testing.T) {
	n := up(t, 4)
	dir := home(t)
	path := filepath.Join(dir, "moving.csv")
	var text strings.Builder
	text.WriteString("n\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "%d\n", 10_000+i)
	}
	for name, meddle := range map[string]func(i int) error{
		"grows": func(int) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("7\n")
			return errors.Join(err, f.Close())
		},
		"is rewritten at its length": func(i int) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", 20_000+i%10_000), 2)
			return errors.Join(err, f.Close())
		},
		"is replaced": func(i int) error {
			if err := os.WriteFile(path+".new", []byte(text.String()), 0o600); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n.t = t
			if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			stop, first, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			go func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						done <- nil
						return
					default:
					}
					if err := meddle(i); err != nil {
						done <- err
						return
					}
					if i == 0 {
						close(first)
					}
				}
			}()
			select {
			case <-first:
				n.refused(1, []string{path, "changed while it was added", "nothing is published", "add it again"}, "dataset", "add", path, "--name", "moving")
			case err := <-done:
				t.Fatal(err)
			}
			close(stop)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			n.refused(1, []string{"not registered"}, "dataset", "show", "moving")
		})
	}
	n.t = t
	if out := n.must("dataset", "add", path, "--name", "moving"); !strings.Contains(out, "moving") { // it stands still now
		t.Errorf("dataset add: %s", out)
	}
}

// TestEqualJobIsAnsweredByItsReceipt asks twice: the second answer is the first one's, unless the caller says --fresh.
func TestEqualJobIsAnsweredByItsReceipt(t *testing.T) {
	n := up(t, 4)
	n.users()
	ask := func(home string, p *peer, more ...string) (job string, r result) {
		t.Helper()
		args := []string{"--api", "unix://" + p.Socket, "--json", "analytics", "submit", "--dataset", "users", "--query", "SELECT COUNT(*) AS c FROM users"}
		r = n.runWith(home, append(args, more...)...)
		var v struct{ Job, State string }
		if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || r.code != 0 || v.State != "sealed" {
			t.Fatalf("exit code %d, %v\n%s%s", r.code, err, r.stdout, r.stderr)
		}
		return v.Job, r
	}
	first, r := ask(n.home, n.peers[0])
	if strings.Contains(r.stderr, "sealed already") {
		t.Errorf("the first of its kind was not executed:\n%s", r.stderr)
	}
	for _, p := range n.peers {
		eventually(t, 10*time.Second, p.Name+" knows the seal", func() bool {
			j, err := n.client(p).Job(t.Context(), first)
			return err == nil && j.State == api.JobSealed
		})
		again, r := ask(n.home, p)
		if again != first || !strings.Contains(r.stderr, "sealed already") || !strings.Contains(r.stderr, "--fresh") {
			t.Errorf("%s: an equal job is %.12s, want %.12s, and to be told so:\n%s", p.Name, again, first, r.stderr)
		}
	}
	fresh, _ := ask(n.home, n.peers[0], "--fresh")
	if fresh == first {
		t.Error("--fresh gave the old job")
	}
	n.must("receipt", "verify", "--job-id", fresh)

	// The data set's name leads elsewhere now, so nothing old answers.
	path := filepath.Join(home(t), "users.csv")
	if err := os.WriteFile(path, []byte("id,name\n1,Ada\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.must("dataset", "add", path, "--name", "users")
	if newer, r := ask(n.home, n.peers[0]); newer == first || newer == fresh || !strings.Contains(r.stdout, "1") || strings.Contains(r.stdout, "1000") {
		t.Errorf("over a new version: job %.12s\n%s", newer, r.stdout)
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
