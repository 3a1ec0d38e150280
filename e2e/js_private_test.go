package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/metanode/metanode/p2p"
)

// TestJavaScriptClientOfAPrivateNetwork is let in where the configuration of the members names it or by an invitation, and
// learns nothing where anything is missing: its name, the swarm key of a sealed network, or the right one.
func TestJavaScriptClientOfAPrivateNetwork(t *testing.T) {
	js := withJavaScript(t)
	key, id := js.key()
	onLoopback(t)
	t.Setenv("BPI_P2P_ALLOWED_PEERS", id)
	t.Setenv("BPI_P2P_WEBSOCKET", "true")
	t.Setenv("BPI_P2P_WEBSOCKET_PORT", "0")
	t.Setenv("BPI_GATEWAY_ENABLED", "true")
	t.Setenv("BPI_GATEWAY_OFFER", "true")
	query := filepath.Join(t.TempDir(), "query.json")
	if err := os.WriteFile(query, []byte(`{"dataset":"users","query":"SELECT COUNT(*) FROM users","r":1,"q":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.key")
	if err := os.WriteFile(wrong, fmt.Appendf(nil, "/key/swarm/psk/1.0.0/\n/base16/\n%064d\n", 7), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sealed := range []bool{false, true} {
		name := map[bool]string{false: "private", true: "sealed"}[sealed]
		t.Run(name, func(t *testing.T) {
			js := &javascript{t, js.dir}
			founder := home(t)
			n := &testnet{t: t, home: founder}
			t.Cleanup(n.down)
			create, swarm := []string{"network", "create", "--private", "acme"}, []string{}
			if sealed {
				create, swarm = append(create, "--sealed"), []string{"--swarm-key", filepath.Join(founder, "swarm.key")}
			}
			n.must(create...)
			first := n.member(founder)
			if out := n.must("--json", "node", "status"); !strings.Contains(out, `"executor"`) {
				t.Skipf("this machine gives no cage: %s", out)
			}
			status, err := n.client(first).Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			address := status.Addresses[0]
			outsiders := map[string][]string{"of no name there": swarm}
			if sealed {
				outsiders["without the swarm key"] = []string{"--key", key}
				outsiders["with another swarm key"] = []string{"--key", key, "--swarm-key", wrong}
			}
			to := []string{"--network", status.Chain.Name, "--address", address}
			js.learnsNothing(outsiders, to...)
			if sealed {
				job := n.useFromJavaScript(js, first, address, slices.Concat(swarm, []string{"--key", key, query})...)
				n.holds(js, job, id, n.trust())
			}
			n.inviteJavaScript(js, key, id, slices.Concat(swarm, to)...)

			// The way that a browser has.
			i := slices.IndexFunc(status.Addresses, func(a string) bool { return strings.Contains(a, "/ws/") })
			if i < 0 {
				t.Fatalf("no WebSocket among %v", status.Addresses)
			}
			said, err := js.client(nil, slices.Concat(swarm, []string{"--network", status.Chain.Name, "--key", key, "--address", status.Addresses[i], "dial", "identify", "api:/v1/chain"})...)
			if err != nil || !strings.Contains(said["api"].Raw, `"status":200`) {
				t.Errorf("over a WebSocket: %v, %v", said, err)
			}
		})
	}
}

// learnsNothing has clients with different flags dial a member. One with the right swarm key comes as far as to say who it
// is, and others not even there.
func (j *javascript) learnsNothing(who map[string][]string, args ...string) {
	j.t.Helper()
	var all sync.WaitGroup
	for who, flags := range who {
		all.Go(func() {
			said, err := j.client(nil, slices.Concat(flags, args, []string{"dial", "identify"})...)
			last, handshake := said["identify"]
			if !handshake {
				last = said["dial"]
			}
			if err == nil || last.Error == "" || len(last.Learnt) > 0 {
				j.t.Errorf("a client %s: %v, %v", who, said, err)
			}
			if handshake != (who == "of no name there") {
				j.t.Errorf("a client %s came as far as %v", who, said)
			}
		})
	}
	all.Wait()
}

// inviteJavaScript has clients that nobody named show invitations: one that is good, one that was taken back, and one for
// the peer id of a key.
func (n *testnet) inviteJavaScript(js *javascript, key, id string, args ...string) {
	n.t.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	show := func(what, invitation, because string, more ...string) {
		all.Go(func() {
			said, err := js.client(nil, slices.Concat(args, more, []string{"knock:" + invitation, "dial", "identify", "api:/v1/chain"})...)
			switch {
			case because != "" && (err == nil || !strings.Contains(err.Error(), because) || len(said["knock"].Learnt) > 0):
				n.t.Errorf("a client with %s: %v, %v", what, said, err)
			case because == "" && (err != nil || !strings.Contains(said["knock"].Raw, p2p.MemberVersion("acme-")) || !strings.Contains(said["api"].Raw, `"status":200`)):
				n.t.Errorf("a client with %s: %v, %v", what, said, err)
			}
		})
	}
	good, _ := n.invitation("--expires", "1h")
	gone, revoked := n.invitation("--expires", "1h")
	n.must("network", "revoke", revoked)
	named, _ := n.invitation("--expires", "1h", "--for", id)
	show("an invitation that was taken back", gone, "the invitation was revoked")
	show("an invitation for another peer", named, "the invitation is for another peer")
	show("the invitation for it", named, "", "--key", key)
	show("an invitation", good, "")
}
