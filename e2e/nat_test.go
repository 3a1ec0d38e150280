package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
)

// The addresses of a test's internet have to be public ones for libp2p, which takes neither private nor documentation
// addresses for reachable. No packet of them leaves the test's namespaces.
var internet = netip.MustParsePrefix("5.5.0.0/24")

// homes is a network of an address of its own behind a router.
type homes struct {
	lan     *ether
	outside netip.Addr
	gateway netip.Addr
	last    netip.Addr
}

// homes puts a router with an address on the internet.
func (w *wires) homes(name, outside, gateway string) *homes {
	w.t.Helper()
	h := &homes{outside: netip.MustParseAddr(outside), gateway: netip.MustParseAddr(gateway)}
	h.last = h.gateway
	var err error
	if h.lan, err = w.hub.nat(name, netip.PrefixFrom(h.outside, internet.Bits()), netip.PrefixFrom(h.gateway, 24)); err != nil {
		w.t.Fatal(err)
	}
	return h
}

// wire makes a namespace behind the router.
func (h *homes) wire(name string) *wire {
	t := h.lan.ground.t
	t.Helper()
	space, err := h.lan.ground.space(name)
	if err != nil {
		t.Fatal(err)
	}
	h.last = h.last.Next()
	w, err := h.lan.plug(space, netip.PrefixFrom(h.last, 24), h.gateway)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// of is how many of the peers that p is connected to come from an address.
func (n *testnet) of(p *peer, from netip.Addr) (count int) {
	list, err := n.client(p).Peers(n.t.Context())
	if err != nil {
		return 0
	}
	for _, x := range list {
		if slices.ContainsFunc(x.Addresses, func(a string) bool { return strings.HasPrefix(a, "/ip4/"+from.String()+"/") }) {
			count++
		}
	}
	return count
}

// connected reports whether one peer has a connection to another that is no relay's.
func (n *testnet) connected(p *peer, id string) bool {
	list, err := n.client(p).Peers(n.t.Context())
	return err == nil && slices.ContainsFunc(list, func(x api.Peer) bool {
		return x.ID == id && slices.ContainsFunc(x.Addresses, func(a string) bool { return !strings.Contains(a, "p2p-circuit") })
	})
}

// status is a peer's word on itself.
func (n *testnet) status(p *peer) api.Status {
	n.t.Helper()
	s, err := n.client(p).Status(n.t.Context())
	if err != nil {
		n.t.Fatalf("%s: %v", p.Name, err)
	}
	return s
}

// says demands that a command at a peer says every word.
func (n *testnet) says(p *peer, words []string, args ...string) {
	n.t.Helper()
	r := n.inside(p, args...)
	for _, w := range words {
		if !strings.Contains(r.stdout, w) {
			n.t.Errorf("%s: bpi %s does not say %q:\n%s%s", p.Name, strings.Join(args, " "), w, r.stdout, r.stderr)
		}
	}
}

// TestTwentyPeersBehindOneAddress starts twenty peers behind a router with one public address. Validators that declare
// the address take all of them in; one that does not takes as many as a stranger may have, and says so, and so does the
// peer that it refused. Each of them sees the services, works, knows what is in front of it, and is reached through a
// relay: by a command from outside, and by a peer behind another router, which ends in a direct connection.
func TestTwentyPeersBehindOneAddress(t *testing.T) {
	const crowd, allowed = 20, 8
	bin(t)
	w, err := needGround(t, "nft").lay(internet, 4)
	if err != nil {
		t.Fatal(err)
	}
	near, far := w.homes("near", "5.5.0.100", "192.168.1.1"), w.homes("far", "5.5.0.200", "192.168.2.1")
	n := w.founders(4, func(i int, p *peer) {
		if i < 3 {
			p.set(t, "shared_networks", fmt.Sprintf("[%q, %q]", "127.0.0.0/8", near.outside.String()+"/32"))
		}
		if i == 0 {
			p.set(t, "relay_service", "true")
		}
	})
	relay, strict := n.peers[0], n.peers[3]
	n.users()
	boot := []string{w.bootstrapAddress(n, 0), w.bootstrapAddress(n, 3)}
	for i := range crowd {
		p := n.prepare(fmt.Sprintf("crowd%d", i), near.wire(fmt.Sprintf("c%d", i)), filepath.Join(n.home, "genesis.cbor"), boot)
		p.set(t, "listen_port", fmt.Sprint(4100+i)) // so that the router need not change it, and hole punching works
		n.start(p)
	}
	those := n.peers[4:]
	for _, p := range those {
		n.ready(p)
	}
	eventually(t, 30*time.Second, "all of them at the peers that declare the address", func() bool {
		return !slices.ContainsFunc(n.peers[:3], func(p *peer) bool { return n.of(p, near.outside) < crowd })
	})
	for _, p := range n.peers[:3] {
		if m, err := n.client(p).Network(t.Context(), false); err != nil || m.Refused != 0 {
			t.Errorf("%s, which declares the address, refused %+v, %v", p.Name, m.Refusals, err)
		}
	}
	var out *peer // one that found no room at the strict one
	eventually(t, 30*time.Second, "one refused by the peer that does not declare the address", func() bool {
		for _, p := range those {
			if !n.connected(p, n.status(strict).Peer) {
				out = p
			}
		}
		return out != nil && n.status(strict).Refused > 0
	})
	if got := n.of(strict, near.outside); got > allowed {
		t.Errorf("%s has %d peers of one address that it does not declare, more than %d", strict.Name, got, allowed)
	}
	n.says(strict, []string{"limits refused", "bpi network resources"}, "node", "status")
	n.says(strict, []string{"a connection from " + near.outside.String(), "shared_networks in [p2p]"}, "network", "resources")
	n.says(strict, []string{"resource limits", "at 5.5.0.4 port 4001/tcp"}, "network", "doctor")

	// From inside.
	for _, p := range those {
		who := map[string]bool{}
		// What a newcomer does not hear at once comes with what everybody tells once a minute.
		eventually(t, 75*time.Second, p.Name+" knows what four peers offer", func() bool {
			list, err := n.client(p).Services(t.Context(), api.ServiceQuery{})
			before := len(who)
			for _, x := range list {
				if x.Service == "api/1" || x.Service == "sql/1" {
					who[x.Name+" "+x.Service] = true
				}
			}
			if len(who) < 8 && len(who) != before {
				t.Logf("%s at height %d knows %v", p.Name, n.height(p), slices.Sorted(maps.Keys(who)))
			}
			return err == nil && len(who) == 8
		})
	}
	inner := those[10]
	if j := n.ended(relay, n.at(inner, "analytics", "submit", "--fresh", "--detach", "--id-only", "--dataset", "users", "--query", "SELECT COUNT(*) FROM users"), 40*time.Second); j.State != api.JobSealed {
		t.Errorf("a job from behind the router is %s: %s", j.State, j.Reason)
	}
	circuit := ""
	eventually(t, 30*time.Second, "the peer behind the router has a relay", func() bool {
		for _, a := range n.status(inner).Addresses {
			if strings.HasPrefix(a, "/ip4/"+w.address(0)+"/tcp/") && strings.Contains(a, "/p2p-circuit/") {
				circuit = a
			}
		}
		return circuit != ""
	})
	behind := "peers see this node at " + near.outside.String() + ", which is no address of this machine"
	n.says(inner, []string{behind, "through the relay of " + n.status(relay).Peer, "not at " + near.outside.String() + " port"}, "network", "doctor")
	n.says(out, []string{"closed the connection before it said who it is", behind}, "network", "doctor")

	// From outside.
	if r := n.inside(n.peers[1], "network", "ping", "-n", "2", circuit); r.code != 0 || !strings.Contains(r.stderr, n.status(inner).Peer) {
		t.Errorf("ping through the relay: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	friend := n.prepare("friend", far.wire("friend"), "", []string{circuit})
	n.start(friend)
	eventually(t, 40*time.Second, "a direct connection between two routers", func() bool {
		return n.connected(friend, n.status(inner).Peer) && n.connected(inner, n.status(friend).Peer)
	})
	if m, err := n.client(inner).Network(t.Context(), false); err != nil || m.Holes.Made == 0 {
		t.Errorf("the direct connection is none that took the place of a relayed one: %+v, %v", m.Holes, err)
	}
	n.says(inner, []string{"in place of a relayed connection a direct one was tried"}, "network", "resources")
}
