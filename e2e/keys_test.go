package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ends waits until a peer that was started has ended by itself, and gives its exit code and what it said.
func (n *testnet) ends(p *peer, within time.Duration) (int, string) {
	n.t.Helper()
	cmd := p.again
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		p.again = nil
		var exit *exec.ExitError
		code := 0
		if errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		said := cmd.Stderr.(*bytes.Buffer).String()
		raw, _ := os.ReadFile(filepath.Join(p.Dir, "log", "node.log"))
		return code, said + string(raw)
	case <-time.After(within):
		n.t.Fatalf("%s goes on after %v", p.Name, within)
	}
	return 0, ""
}

// copyTree copies the files of a folder that is not in use.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !d.Type().IsRegular():
			return nil // a socket
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(filepath.Join(to, rel), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOneKeyTwice starts a validator's key a second time: from its folder, which is taken; on what could be another
// machine, with the key in a new folder; and from an old copy of the folder. The second one ends and says why each time,
// and the network goes on with the first.
func TestOneKeyTwice(t *testing.T) {
	n := up(t, 4)
	nothing := cancelling(t, n.client(n.peers[0]))
	nonce := uint64(0)
	work := func() {
		t.Helper()
		for range 5 {
			if nonce++; !n.orders(n.peers[0], nothing(nonce), 20*time.Second) {
				t.Fatal("nothing is ordered")
			}
		}
	}
	work()
	victim := n.peers[2]

	r := n.runWith(n.home, "node", "start", "--config", filepath.Join(victim.Dir, "config.toml"))
	if r.code != 1 || !strings.Contains(r.stderr, "in use by process") {
		t.Errorf("from the same folder: exit code %d\n%s", r.code, r.stderr)
	}

	old := home(t)
	n.kill(victim)
	copyTree(t, victim.Dir, old)
	n.restart(victim)
	work()

	t.Setenv("BPI_GATEWAY_LISTEN", "127.0.0.1:0")
	t.Setenv("BPI_API_LISTEN", "127.0.0.1:0")
	fresh := home(t)
	if r := n.runWith(fresh, "init", "--genesis", filepath.Join(victim.Dir, "genesis.cbor"), "--bootstrap", n.peers[0].Address, "--listen-port", "0"); r.code != 0 {
		t.Fatalf("init: %s", r.stderr)
	}
	key, err := os.ReadFile(filepath.Join(victim.Dir, "keys", "validator.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(fresh, "keys", "validator.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{fresh, old} {
		second := &peer{Name: "the second", Dir: dir, Socket: filepath.Join(dir, "second.sock")}
		t.Setenv("BPI_API_SOCKET", second.Socket)
		t.Setenv("BPI_P2P_LISTEN_PORT", "0")
		n.start(second)
		n.peers = append(n.peers, second) // to be ended with the test
		work()
		code, said := n.ends(second, 40*time.Second)
		n.peers = n.peers[:len(n.peers)-1]
		if code != 1 || !strings.Contains(said, "used on another machine") {
			t.Errorf("from %s: exit code %d\n%s", dir, code, said)
		}
		os.Unsetenv("BPI_API_SOCKET")
		os.Unsetenv("BPI_P2P_LISTEN_PORT")
		work()
		if gone(victim.pid()) {
			t.Fatal("the first one has ended")
		}
	}
}

// TestSpoiledFilesOfAPeer flips a bit in a stopped peer's database and then in its log: it says what to do, and doing so
// brings it back, the chain from its peers and its voice only with its own log.
func TestSpoiledFilesOfAPeer(t *testing.T) {
	n := up(t, 4)
	nothing := cancelling(t, n.client(n.peers[0]))
	for i := range 5 {
		if !n.orders(n.peers[0], nothing(uint64(i)), 20*time.Second) {
			t.Fatal("nothing is ordered")
		}
	}
	victim := n.peers[3]
	was := n.head(victim)
	n.kill(victim)
	data := filepath.Join(victim.Dir, "data")
	// flip spoils a bit in every file of a pattern, where at says; nowhere if that is negative.
	flip := func(pattern string, at func(raw []byte) int) {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(data, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("no %s in %s: %v", pattern, data, err)
		}
		for _, name := range names {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if i := at(raw); i >= 0 {
				raw[i] ^= 4
				if err := os.WriteFile(name, raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	refuses := func(words ...string) {
		t.Helper()
		n.start(victim)
		code, said := n.ends(victim, 20*time.Second)
		for _, w := range words {
			if code != 1 || !strings.Contains(said, w) {
				t.Errorf("exit code %d, and no %q in:\n%s", code, w, said)
			}
		}
	}
	flip("chain/MANIFEST-*", func(raw []byte) int { return 20 })
	refuses("move "+filepath.Join(data, "chain")+" away", "keep "+filepath.Join(data, "consensus"))
	if err := os.Rename(filepath.Join(data, "chain"), filepath.Join(data, "chain.spoiled")); err != nil {
		t.Fatal(err)
	}
	n.restart(victim)
	n.regains(victim, was)
	if !n.orders(victim, nothing(100), 20*time.Second) {
		t.Error("nothing is ordered through a peer whose chain came back")
	}

	n.kill(victim)
	flip("consensus/wal-*.seg", func(raw []byte) int { return bytes.Index(raw, []byte("bpi")) }) // of every segment's header
	refuses("write-ahead log is damaged", "without its validator key", "have the key replaced")
	t.Setenv("BPI_ROLE", "follower")
	n.restart(victim)
	n.regains(victim, was)
}
