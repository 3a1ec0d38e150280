package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// ground is where a test lays networks of its own: network namespaces, joined by switches and wires. Nothing of it touches
// the machine's network, and all of it ends with the test.
type ground struct {
	t      testing.TB
	prefix string
}

var grounds atomic.Uint32 // made by this process, so that each has names of its own

// newGround says why this machine has no room for one. Programs are further ones that the test needs, besides ip.
func newGround(t testing.TB, programs ...string) (*ground, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	for _, p := range append([]string{"ip"}, programs...) {
		if _, err := exec.LookPath(p); err != nil {
			return nil, fmt.Errorf("network namespaces need the command %s (of Debian's packages iproute2 and nftables): %w", p, err)
		}
	}
	return &ground{t: t, prefix: fmt.Sprintf("e2e%d-%d", os.Getpid(), grounds.Add(1))}, nil
}

// needGround skips the test where there is none.
func needGround(t testing.TB, programs ...string) *ground {
	t.Helper()
	g, err := newGround(t, programs...)
	if err != nil {
		t.Skip(err)
	}
	return g
}

// inNamespace is the command line that becomes the one given, in a network namespace unless space is "".
func inNamespace(space string, args ...string) []string {
	if space == "" {
		return args
	}
	return append([]string{"ip", "netns", "exec", space}, args...)
}

// inSpace runs one of the machine's programs.
func inSpace(space string, args ...string) error {
	args = inNamespace(space, args...)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// ip runs the machine's ip command, once for each line of arguments, until one fails.
func ip(lines ...string) error {
	for _, line := range lines {
		if err := inSpace("", append([]string{"ip"}, strings.Fields(line)...)...); err != nil {
			return err
		}
	}
	return nil
}

// space makes a network namespace with nothing but a loopback, and gives its name.
func (g *ground) space(name string) (string, error) {
	space := g.prefix + name
	g.t.Cleanup(func() { _ = ip("netns del " + space) })
	return space, ip("netns add "+space, "-n "+space+" link set lo up")
}

// ether is a switch, in a namespace.
type ether struct {
	ground *ground
	space  string
	bridge string
	wires  int
}

// ether puts a switch into a namespace that is there.
func (g *ground) ether(space, bridge string) (*ether, error) {
	return &ether{ground: g, space: space, bridge: bridge},
		ip("-n "+space+" link add "+bridge+" type bridge", "-n "+space+" link set "+bridge+" up")
}

// wire leads from a switch to a namespace, where it ends in eth0.
type wire struct {
	t     testing.TB
	at    *ether
	end   string // its name at the switch
	space string
	addr  netip.Prefix
	via   netip.Addr // the way out of the network, if there is one
}

// plug wires a namespace to a switch.
func (e *ether) plug(space string, addr netip.Prefix, via netip.Addr) (*wire, error) {
	w := &wire{t: e.ground.t, at: e, end: fmt.Sprintf("%s%d", e.bridge, e.wires), space: space, addr: addr, via: via}
	e.wires++
	err := ip("-n "+e.space+" link add "+w.end+" type veth peer name eth0 netns "+space,
		"-n "+e.space+" link set "+w.end+" master "+e.bridge+" up",
		"-n "+space+" addr add "+addr.String()+" dev eth0",
		"-n "+space+" link set eth0 up")
	if err == nil && via.IsValid() {
		err = ip("-n " + space + " route add default via " + via.String())
	}
	return w, err
}

// do runs ip for a test that cannot go on without.
func (w *wire) do(lines ...string) {
	w.t.Helper()
	if err := ip(lines...); err != nil {
		w.t.Fatal(err)
	}
}

// cut pulls the wire, and gives what plugs it in again.
func (w *wire) cut() (heal func()) {
	w.t.Helper()
	w.do("-n " + w.at.space + " link set " + w.end + " down")
	return func() { w.do("-n " + w.at.space + " link set " + w.end + " up") }
}

// move plugs the wire into another switch of the same namespace. The link stays up: whoever was there falls silent.
func (w *wire) move(to *ether) {
	w.t.Helper()
	w.do("-n " + w.at.space + " link set " + w.end + " master " + to.bridge)
}

// readdress gives the namespace another address in place of the one that it had.
func (w *wire) readdress(addr netip.Addr) {
	w.t.Helper()
	was := w.addr
	w.addr = netip.PrefixFrom(addr, was.Bits())
	w.do("-n "+w.space+" addr del "+was.String()+" dev eth0", "-n "+w.space+" addr add "+w.addr.String()+" dev eth0")
	if w.via.IsValid() {
		w.do("-n " + w.space + " route replace default via " + w.via.String())
	}
}

// shape lets no more through than a rate, as tc spells it, either way.
func (w *wire) shape(rate string) {
	w.t.Helper()
	for space, end := range map[string]string{w.at.space: w.end, w.space: "eth0"} {
		if err := inSpace(space, "tc", "qdisc", "replace", "dev", end, "root", "tbf", "rate", rate, "burst", "16kb", "latency", "300ms"); err != nil {
			w.t.Fatal(err)
		}
	}
}

// nat makes a router with one address on a switch, and gives the switch behind it, whose namespaces go out by its address
// and cannot be called from outside.
func (e *ether) nat(name string, outside netip.Prefix, inside netip.Prefix) (*ether, error) {
	space, err := e.ground.space(name)
	if err != nil {
		return nil, err
	}
	if _, err := e.plug(space, outside, netip.Addr{}); err != nil {
		return nil, err
	}
	lan, err := e.ground.ether(space, "lan")
	if err != nil {
		return nil, err
	}
	if err := ip("-n " + space + " addr add " + inside.String() + " dev lan"); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"},
		{"nft", "add table ip nat"},
		{"nft", "add chain ip nat out { type nat hook postrouting priority srcnat; }"},
		{"nft", "add rule ip nat out oifname eth0 masquerade"},
		{"nft", "add table ip filter"},
		{"nft", "add chain ip filter through { type filter hook forward priority filter; policy drop; }"},
		{"nft", "add rule ip filter through iifname lan accept"},
		{"nft", "add rule ip filter through ct state established,related accept"},
		// What is not asked for leaves no trace in the table of connections: it would take the port of a hole to be punched.
		{"nft", "add chain ip filter here { type filter hook input priority filter; }"},
		{"nft", "add rule ip filter here iifname eth0 ct state new meta l4proto tcp reject with tcp reset"},
		{"nft", "add rule ip filter here iifname eth0 ct state new drop"},
	} {
		if err := inSpace(space, args...); err != nil {
			return nil, err
		}
	}
	return lan, nil
}
