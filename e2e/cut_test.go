package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wires is an Ethernet of its own for a testnet: a switch in one network namespace, and one for each peer, whose wire to
// the switch the test pulls and plugs in again. Nothing of it touches the machine's own network.
type wires struct {
	t      testing.TB
	prefix string
}

// ip runs the machine's ip command.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// newWires lays wires for n peers, or says why this machine has none.
func newWires(t testing.TB, n int) (*wires, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("network namespaces need the ip command: %w", err)
	}
	w := &wires{t: t, prefix: fmt.Sprintf("e2e%d", os.Getpid())}
	t.Cleanup(func() {
		for i := range n {
			_ = ip("netns", "del", w.space(i))
		}
		_ = ip("netns", "del", w.hub())
	})
	steps := [][]string{
		{"netns", "add", w.hub()},
		{"-n", w.hub(), "link", "add", "switch", "type", "bridge"},
		{"-n", w.hub(), "link", "set", "switch", "up"},
	}
	for i := range n {
		steps = append(steps,
			[]string{"netns", "add", w.space(i)},
			[]string{"-n", w.hub(), "link", "add", wire(i), "type", "veth", "peer", "name", "eth0", "netns", w.space(i)},
			[]string{"-n", w.hub(), "link", "set", wire(i), "master", "switch", "up"},
			[]string{"-n", w.space(i), "addr", "add", address(i) + "/24", "dev", "eth0"},
			[]string{"-n", w.space(i), "link", "set", "lo", "up"},
			[]string{"-n", w.space(i), "link", "set", "eth0", "up"})
	}
	for _, s := range steps {
		if err := ip(s...); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *wires) hub() string        { return w.prefix + "hub" }
func (w *wires) space(i int) string { return fmt.Sprintf("%sp%d", w.prefix, i) }
func wire(i int) string             { return fmt.Sprintf("wire%d", i) }
func address(i int) string          { return fmt.Sprintf("10.77.0.%d", i+1) }

// cut pulls the wire of a peer, and gives what plugs it in again.
func (w *wires) cut(i int) (heal func()) {
	w.t.Helper()
	if err := ip("-n", w.hub(), "link", "set", wire(i), "down"); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if err := ip("-n", w.hub(), "link", "set", wire(i), "up"); err != nil {
			w.t.Error(err)
		}
	}
}

// wired starts a chain of n founders, each on a wire of its own, as the guide tells people to. Without network namespaces
// the test is skipped.
func wired(t testing.TB, n int) (*testnet, *wires) {
	t.Helper()
	bin(t)
	w, err := newWires(t, n)
	if err != nil {
		t.Skipf("no wires to pull: %v", err)
	}
	return w.founders(n), w
}

// founders starts the chain.
func (w *wires) founders(n int) *testnet {
	t := w.t
	t.Helper()
	t.Setenv("BPI_GATEWAY_LISTEN", "127.0.0.1:0")
	t.Setenv("BPI_API_LISTEN", "127.0.0.1:0")
	net := &testnet{t: t, home: home(t)}
	t.Cleanup(net.down)
	made := func(dir string, args ...string) string {
		t.Helper()
		r := net.runWith(dir, append([]string{"init"}, args...)...)
		if r.code != 0 {
			t.Fatalf("init %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
		}
		return r.stdout
	}
	for i := range n {
		dir := net.home
		if i > 0 {
			dir = home(t)
		}
		net.peers = append(net.peers, &peer{Name: fmt.Sprintf("founder%d", i), Dir: dir, Socket: filepath.Join(dir, "api.sock"), space: w.space(i)})
	}
	begin := []string{"--new-chain", "--network", "wired", "--name", "founder0"}
	for _, p := range net.peers[1:] {
		card := filepath.Join(p.Dir, "card.json")
		if err := os.WriteFile(card, []byte(made(p.Dir, "--card", "--name", p.Name)), 0o600); err != nil {
			t.Fatal(err)
		}
		begin = append(begin, "--founder", card)
	}
	first := ""
	for i, p := range net.peers {
		t.Setenv("BPI_P2P_LISTEN_ADDRESSES", address(i))
		if i == 0 {
			first = "/ip4/" + address(0) + "/tcp/4001/p2p/" + strings.TrimSpace(made(p.Dir, begin...))
		} else {
			made(p.Dir, "--genesis", filepath.Join(net.home, "genesis.cbor"), "--bootstrap", first)
		}
		net.start(p)
	}
	t.Setenv("BPI_P2P_LISTEN_ADDRESSES", "") // for what follows, each has its own in its configuration
	os.Unsetenv("BPI_P2P_LISTEN_ADDRESSES")
	for _, p := range net.peers {
		net.ready(p)
	}
	return net
}

// TestWiresPulled cuts one of four off, and then a second: the chain goes on, then stands, and goes on when both are back.
func TestWiresPulled(t *testing.T) {
	n, w := wired(t, 4)
	nothing := cancelling(t, n.client(n.peers[0]))
	nonce := uint64(0)
	ordered := func(within time.Duration) bool {
		t.Helper()
		nonce++
		return n.orders(n.peers[0], nothing(nonce), within)
	}
	if !ordered(20 * time.Second) {
		t.Fatal("four wired peers order nothing")
	}
	heal3 := w.cut(3)
	was := n.height(n.peers[3])
	for range 3 {
		if !ordered(20 * time.Second) {
			t.Fatal("with one of four cut off nothing is ordered")
		}
	}
	if h := n.height(n.peers[3]); h > was+1 { // a block that was on its way may arrive yet
		t.Errorf("a peer without a wire went from block %d to %d", was, h)
	}
	heal2 := w.cut(2)
	if ordered(3 * time.Second) {
		t.Error("two of four ordered a command")
	}
	heal2()
	heal3()
	if !ordered(40 * time.Second) {
		t.Fatal("nothing is ordered with all wires in again")
	}
	eventually(t, 40*time.Second, "all at one height", func() bool {
		top := n.height(n.peers[0])
		for _, p := range n.peers {
			if n.height(p) < top {
				return false
			}
		}
		return top > 0
	})
}
