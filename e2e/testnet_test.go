package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// peer is one process of a testnet, as `bpi devnet status` describes it.
type peer struct {
	Name    string `json:"name"`
	Dir     string `json:"dir"`
	Address string `json:"address"` // multiaddr
	API     string `json:"api"`
	Gateway string `json:"gateway"`
	Socket  string `json:"socket"`
	Process struct {
		Pid int `json:"pid"`
	} `json:"process"`
	State string `json:"state"`

	again *exec.Cmd // the process that this test started in the first one's place
	space string    // the network namespace that it runs in; "" is this process's
}

// testnet is a network of real processes that ends with its test.
type testnet struct {
	t     testing.TB
	home  string
	peers []*peer
}

// bin is the program under test.
func bin(t testing.TB) string {
	t.Helper()
	b := os.Getenv("BPI_BIN")
	if b == "" {
		t.Skip("BPI_BIN is not set: run make e2e")
	}
	if os.Getenv("BPI_ENGINE") == "" {
		t.Skip("BPI_ENGINE is not set: run make e2e")
	}
	return b
}

// home makes a short folder: a unix socket's path holds 107 bytes.
func home(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// up starts a network of n peers, and flags are further ones of `bpi devnet up`.
func up(t testing.TB, n int, flags ...string) *testnet {
	t.Helper()
	bin(t)
	net := &testnet{t: t, home: home(t)}
	t.Cleanup(net.down)
	args := append([]string{"devnet", "up", "--nodes", fmt.Sprint(n), "--gateway-port", "0", "--detach"}, flags...)
	net.must(args...)
	net.refresh()
	doctor := net.must("--json", "node", "status")
	if !strings.Contains(doctor, `"executor"`) {
		t.Skipf("this machine gives no cage: %s", doctor)
	}
	return net
}

func (n *testnet) refresh() {
	n.t.Helper()
	var s struct {
		Nodes []*peer `json:"nodes"`
	}
	if err := json.Unmarshal([]byte(n.must("--json", "devnet", "status")), &s); err != nil {
		n.t.Fatalf("devnet status: %v", err)
	}
	n.peers = s.Nodes
}

// down ends what runs, and shows the logs of a test that failed.
func (n *testnet) down() {
	if n.t.Failed() {
		for _, p := range n.peers {
			raw, _ := os.ReadFile(filepath.Join(p.Dir, "log", "node.log"))
			lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
			n.t.Logf("%s log:\n%s", p.Name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
	}
	for _, p := range n.peers {
		if p.again != nil {
			_ = p.again.Process.Kill()
			_ = p.again.Wait()
		}
	}
	if _, err := os.Stat(filepath.Join(n.home, "devnet")); err == nil {
		if r := n.run("devnet", "down"); r.code != 0 {
			n.t.Errorf("devnet down: %s", r.stderr)
		}
	}
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

// run runs the program with this network's home.
func (n *testnet) run(args ...string) result { return n.runWith(n.home, args...) }

func (n *testnet) runWith(home string, args ...string) result {
	address := ""
	if home == n.home && len(n.peers) > 0 {
		address = "unix://" + n.peers[0].Socket // whatever process that peer is now
	}
	return n.runAt("", home, address, args...)
}

// inside runs the program where a peer is: in its home and its network namespace, with its API.
func (n *testnet) inside(p *peer, args ...string) result {
	return n.runAt(p.space, p.Dir, "unix://"+p.Socket, args...)
}

func (n *testnet) runAt(space, home, address string, args ...string) result {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	line := inNamespace(space, append([]string{bin(n.t)}, args...)...)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "BPI_HOME="+home, "BPI_API="+address, "BPI_PEER=")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := result{stdout: out.String(), stderr: errs.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		n.t.Fatalf("bpi %s: %v", strings.Join(args, " "), err)
	}
	return r
}

// must runs a command that has to succeed, and gives its standard output.
func (n *testnet) must(args ...string) string {
	n.t.Helper()
	r := n.run(args...)
	if r.code != 0 {
		n.t.Fatalf("bpi %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// refused runs a command that has to fail with a code and a message that holds every word.
func (n *testnet) refused(code int, words []string, args ...string) {
	n.t.Helper()
	r := n.run(args...)
	if r.code != code {
		n.t.Errorf("bpi %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.stdout, r.stderr)
	}
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			n.t.Errorf("bpi %s: the error does not say %q:\n%s", strings.Join(args, " "), w, r.stderr)
		}
	}
}

// users adds the example data set.
func (n *testnet) users() {
	n.t.Helper()
	n.must("dataset", "add", "../examples/data/users.csv", "--name", "users")
}

// job submits a query and gives the job's id at once.
func (n *testnet) job(sql string, flags ...string) string {
	n.t.Helper()
	args := append([]string{"analytics", "submit", "--fresh", "--detach", "--id-only", "--dataset", "users", "--query", sql}, flags...)
	return strings.TrimSpace(n.must(args...))
}

// client talks to one peer's API.
func (n *testnet) client(p *peer) *api.Client {
	n.t.Helper()
	c := api.NewUnixClient(p.Socket)
	n.t.Cleanup(func() { c.Close() })
	return c
}

// eventually polls until ok or the time is over.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("within %v: not %s", within, what)
		}
		time.Sleep(20 * time.Millisecond) // a poll's pause, not a synchronisation
	}
}

// ended waits for a job's end on a peer.
func (n *testnet) ended(p *peer, job string, within time.Duration) api.Job {
	n.t.Helper()
	c := n.client(p)
	var last api.Job
	eventually(n.t, within, "ended: job "+job, func() bool {
		j, err := c.Job(n.t.Context(), job)
		last = j
		return err == nil && api.Ended(j.State)
	})
	return last
}

// height is a peer's head; 0 when it does not answer.
func (n *testnet) height(p *peer) uint64 {
	s, err := n.client(p).ChainStatus(n.t.Context())
	if err != nil {
		return 0
	}
	return s.Head.Height
}

// head is a peer's last final block.
func (n *testnet) head(p *peer) api.Head {
	n.t.Helper()
	s, err := n.client(p).ChainStatus(n.t.Context())
	if err != nil {
		n.t.Fatalf("%s: %v", p.Name, err)
	}
	return s.Head
}

// regains waits until a peer that was killed is where it was: what was final there is final again, and the same. The
// certificate of the very last block may have been in memory alone; it comes back with the first votes.
func (n *testnet) regains(p *peer, was api.Head) {
	n.t.Helper()
	eventually(n.t, 20*time.Second, fmt.Sprintf("%s back at height %d", p.Name, was.Height), func() bool { return n.height(p) >= was.Height })
	b, err := n.client(p).Block(n.t.Context(), was.Height)
	if err != nil {
		n.t.Fatalf("%s: block %d: %v", p.Name, was.Height, err)
	}
	if b.ID != was.Block {
		n.t.Errorf("%s: block %d was %s and is %s", p.Name, was.Height, was.Block.Short(), b.ID.Short())
	}
}

// pid is the process that is this peer now.
func (p *peer) pid() int {
	if p.again != nil {
		return p.again.Process.Pid
	}
	return p.Process.Pid
}

// kill ends a peer with SIGKILL, as a power cut would.
func (n *testnet) kill(p *peer) {
	n.t.Helper()
	if err := syscall.Kill(p.pid(), syscall.SIGKILL); err != nil {
		n.t.Fatalf("kill %s: %v", p.Name, err)
	}
	if p.again != nil {
		_ = p.again.Wait()
		p.again = nil
		return
	}
	eventually(n.t, 10*time.Second, p.Name+" gone", func() bool { return gone(p.Process.Pid) })
}

// freeze stops a peer with SIGSTOP, and gives what lets it go on: its connections stay open, and it says nothing.
func (n *testnet) freeze(p *peer) (thaw func()) {
	n.t.Helper()
	pid := p.pid()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		n.t.Fatalf("freeze %s: %v", p.Name, err)
	}
	return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
}

// gone reports that a process has ended: its id is free or a zombie's, none of whose threads still holds its files.
func gone(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	return bytes.Contains(raw, []byte(") Z ")) && (err != nil || len(threads) <= 1)
}

// restart starts a killed peer again from its folder, and waits until it does its work.
func (n *testnet) restart(p *peer) {
	n.t.Helper()
	n.start(p)
	n.ready(p)
}

// ready waits until a peer does its work.
func (n *testnet) ready(p *peer) {
	n.t.Helper()
	c := n.client(p)
	eventually(n.t, 30*time.Second, p.Name+" ready", func() bool {
		s, err := c.Status(n.t.Context())
		return err == nil && s.Ready
	})
}

func (n *testnet) start(p *peer) {
	n.t.Helper()
	line := inNamespace(p.space, bin(n.t), "node", "start", "--config", filepath.Join(p.Dir, "config.toml"))
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "BPI_HOME="+n.home)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		n.t.Fatalf("start %s: %v", p.Name, err)
	}
	p.again = cmd
}
