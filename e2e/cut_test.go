package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// wires is an Ethernet of its own for a testnet: a switch in one network namespace, and one for each peer, whose wire to
// the switch the test pulls and plugs in again.
type wires struct {
	t    testing.TB
	hub  *ether
	list []*wire
}

// newWires lays wires for n peers, or says why this machine has none.
func newWires(t testing.TB, n int) (*wires, error) {
	g, err := newGround(t)
	if err != nil {
		return nil, err
	}
	return g.lay(netip.MustParsePrefix("10.77.0.0/24"), n)
}

// lay lays wires for n peers in a subnet, of which they have the first addresses.
func (g *ground) lay(subnet netip.Prefix, n int) (*wires, error) {
	space, err := g.space("hub")
	if err != nil {
		return nil, err
	}
	hub, err := g.ether(space, "switch")
	if err != nil {
		return nil, err
	}
	w := &wires{t: g.t, hub: hub}
	addr := subnet.Addr()
	for i := range n {
		space, err := g.space(fmt.Sprintf("p%d", i))
		if err != nil {
			return nil, err
		}
		addr = addr.Next()
		end, err := hub.plug(space, netip.PrefixFrom(addr, subnet.Bits()), netip.Addr{})
		if err != nil {
			return nil, err
		}
		w.list = append(w.list, end)
	}
	return w, nil
}

func (w *wires) address(i int) string { return w.list[i].addr.Addr().String() }

// cut pulls the wire of a peer, and gives what plugs it in again.
func (w *wires) cut(i int) (heal func()) {
	w.t.Helper()
	return w.list[i].cut()
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

// founders starts the chain. configure changes the settings of its peers before they start.
func (w *wires) founders(n int, configure ...func(i int, p *peer)) *testnet {
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
			dir = net.folder(fmt.Sprintf("f%d", i))
		}
		net.peers = append(net.peers, &peer{Name: fmt.Sprintf("founder%d", i), Dir: dir, Socket: filepath.Join(dir, "api.sock"), space: w.list[i].space})
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
		if i == 0 {
			first = "/ip4/" + w.address(0) + "/tcp/4001/p2p/" + strings.TrimSpace(made(p.Dir, begin...))
		} else {
			made(p.Dir, "--genesis", filepath.Join(net.home, "genesis.cbor"), "--bootstrap", first)
		}
		for _, f := range configure {
			f(i, p)
		}
		net.start(p)
	}
	for _, p := range net.peers {
		net.ready(p)
	}
	return net
}

// set writes a setting into a peer's configuration; value is in TOML's spelling.
func (p *peer) set(t testing.TB, key, value string) {
	t.Helper()
	file := filepath.Join(p.Dir, "config.toml")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(raw), "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+" = ") })
	if at < 0 {
		t.Fatalf("no %s in %s", key, file)
	}
	lines[at] = key + " = " + value
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// folder makes a home inside of the network's own, so that it is there for as long as the network is.
func (n *testnet) folder(name string) string {
	n.t.Helper()
	dir := filepath.Join(n.home, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		n.t.Fatal(err)
	}
	return dir
}

// follower makes a peer at the end of a wire that follows the chain, by the addresses of others, and starts it.
func (n *testnet) follower(name string, w *wire, bootstrap ...string) *peer {
	n.t.Helper()
	p := n.prepare(name, w, filepath.Join(n.home, "genesis.cbor"), bootstrap)
	n.start(p)
	return p
}

// prepare makes the peer and does not start it. An empty genesis asks the others for it.
func (n *testnet) prepare(name string, w *wire, genesis string, bootstrap []string, flags ...string) *peer {
	n.t.Helper()
	dir := n.folder(name)
	p := &peer{Name: name, Dir: dir, Socket: filepath.Join(dir, "api.sock"), space: w.space}
	args := append([]string{"init"}, flags...)
	if genesis != "" {
		args = append(args, "--genesis", genesis)
	}
	for _, b := range bootstrap {
		args = append(args, "--bootstrap", b)
	}
	if r := n.inside(p, args...); r.code != 0 {
		n.t.Fatalf("init %s: exit code %d\n%s%s", name, r.code, r.stdout, r.stderr)
	}
	n.peers = append(n.peers, p)
	return p
}

// bootstrapAddress is the one under which others of its networks join by a founder.
func (w *wires) bootstrapAddress(n *testnet, i int) string {
	n.t.Helper()
	s, err := n.client(n.peers[i]).Status(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return "/ip4/" + w.address(i) + "/tcp/4001/p2p/" + s.Peer
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
