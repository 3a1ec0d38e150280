package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// member is a peer of a private network in a home of its own.
func (n *testnet) member(dir string) *peer {
	n.t.Helper()
	p := &peer{Name: filepath.Base(dir), Dir: dir, Socket: filepath.Join(dir, "api.sock")}
	n.peers = append(n.peers, p)
	n.restart(p)
	return p
}

// onLoopback keeps a peer that a test starts by hand on this machine, on ports of the system's choice.
func onLoopback(t *testing.T) {
	t.Helper()
	for k, v := range map[string]string{
		"BPI_P2P_LISTEN_ADDRESSES": "127.0.0.1", "BPI_P2P_LISTEN_PORT": "0", "BPI_API_LISTEN": "127.0.0.1:0", "BPI_GATEWAY_LISTEN": "127.0.0.1:0",
	} {
		t.Setenv(k, v)
	}
}

// invitation asks the founder for one.
func (n *testnet) invitation(flags ...string) (text, id string) {
	n.t.Helper()
	var got struct {
		Invitation string `json:"invitation"`
		ID         string `json:"id"`
	}
	if err := json.Unmarshal([]byte(n.must(append([]string{"--json", "network", "invite"}, flags...)...)), &got); err != nil {
		n.t.Fatal(err)
	}
	return got.Invitation, got.ID
}

// TestPrivateNetworkLetsInWhomItInvites begins a private network, lets a peer in by an invitation in a mail's form, and
// keeps out everybody else: strangers, and those whose invitation has ended or was taken back.
func TestPrivateNetworkLetsInWhomItInvites(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		name := map[bool]string{false: "private", true: "sealed"}[sealed]
		t.Run(name, func(t *testing.T) { privateNetwork(t, sealed) })
	}
}

func privateNetwork(t *testing.T, sealed bool) {
	bin(t)
	onLoopback(t)
	founder := home(t)
	n := &testnet{t: t, home: founder}
	t.Cleanup(n.down)
	create, key := []string{"network", "create", "--private", "acme"}, []string{}
	if sealed {
		create, key = append(create, "--sealed"), []string{"--swarm-key", filepath.Join(founder, "swarm.key")}
	}
	if r := n.run(create...); r.code != 0 || !strings.Contains(r.stderr, "bpi network invite") {
		t.Fatalf("create: exit code %d\n%s", r.code, r.stderr)
	}
	first := n.member(founder)
	n.users()
	s, err := n.client(first).Status(t.Context())
	if err != nil || !s.Private {
		t.Fatalf("status %+v, %v", s, err)
	}
	address := s.Addresses[0]

	// A stranger with the address learns nothing, and is told what that means.
	stranger := home(t)
	for _, args := range [][]string{{"init", "--bootstrap", address}, {"--peer", address, "job", "list"}} {
		r := n.runWith(stranger, args...)
		if r.code == 0 || !sealed && !strings.Contains(r.stderr, "private network") || sealed && !strings.Contains(r.stderr, "swarm key") || strings.Contains(r.stdout+r.stderr, "acme") {
			t.Errorf("a stranger, %v: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
	}

	// An invitation, as a mail program wraps it.
	text, id := n.invitation("--expires", "2h")
	var mail strings.Builder
	for i, c := range text {
		if i > 0 && i%60 == 0 {
			mail.WriteString("\r\n   ")
		}
		mail.WriteRune(c)
	}
	letter := filepath.Join(t.TempDir(), "letter.txt")
	if err := os.WriteFile(letter, []byte(mail.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	joiner := home(t)
	if sealed {
		if r := n.runWith(joiner, "init", "--join", "@"+letter); r.code != 2 || !strings.Contains(r.stderr, "--swarm-key") {
			t.Errorf("join without the swarm key: exit code %d\n%s", r.code, r.stderr)
		}
	}
	if r := n.runWith(joiner, append([]string{"init", "--join", "@" + letter}, key...)...); r.code != 0 || !strings.Contains(r.stderr, "joins acme-") {
		t.Fatalf("join: exit code %d\n%s", r.code, r.stderr)
	}
	second := n.member(joiner)
	eventually(t, 20*time.Second, "the joiner follows the chain", func() bool { return n.height(second) >= n.height(first) && n.height(second) > 0 })

	// It is a member in full: it asks for a job through its own node, and the command line reaches the founder from its
	// home over libp2p.
	r := n.runWith(joiner, "--api", "unix://"+second.Socket, "analytics", "submit", "--dataset", "users", "--replicas", "1", "--quorum", "1", "--query", "SELECT COUNT(*) FROM users")
	if r.code != 0 {
		t.Errorf("a job from the joiner: exit code %d\n%s", r.code, r.stderr)
	}
	for _, at := range []string{joiner, founder} {
		if r := n.runPeer(at, address, "chain", "status"); r.code != 0 || !strings.Contains(r.stdout, "acme-") || r.stderr != "" {
			t.Errorf("--peer from %s: exit code %d\n%s", filepath.Base(at), r.code, r.stderr)
		}
	}
	if r := n.runWith(joiner, "--api", "unix://"+second.Socket, "network", "ping", "-n", "1", s.Peer); r.code != 0 {
		t.Errorf("ping from the joiner: exit code %d\n%s", r.code, r.stderr)
	}
	if out := n.must("network", "members"); !strings.Contains(out, "invitation") || !strings.Contains(out, id) {
		t.Errorf("members:\n%s", out)
	}
	if out := n.must("network", "resources"); !strings.Contains(out, "outsiders were closed") || !strings.Contains(out, "invitations were taken") {
		t.Errorf("resources:\n%s", out)
	}
	if r := n.run("network", "doctor"); !strings.Contains(r.stdout, "reached from") || strings.Contains(r.stdout, "FAILED") {
		t.Errorf("doctor: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}

	// Taken back: the joiner is out at once, cannot come again, and its log says why.
	if r := n.run("network", "revoke", id[:8]); r.code != 0 || !strings.Contains(r.stderr, "1 member had entered") {
		t.Errorf("revoke: exit code %d\n%s", r.code, r.stderr)
	}
	eventually(t, 20*time.Second, "the joiner is out", func() bool {
		s, err := n.client(first).Status(t.Context())
		return err == nil && s.Peers == 0
	})
	eventually(t, 30*time.Second, "the joiner says why", func() bool {
		raw, _ := os.ReadFile(filepath.Join(joiner, "log", "node.log"))
		return bytes.Contains(raw, []byte("the invitation was revoked"))
	})
	if r := n.runWith(joiner, "--api", "unix://"+second.Socket, "network", "doctor"); r.code != 1 || !strings.Contains(r.stdout, "the invitation was revoked; ask for a new invitation") {
		t.Errorf("the joiner's doctor: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := n.runWith(home(t), append([]string{"init", "--join", text}, key...)...); r.code != 1 || !strings.Contains(r.stderr, "was revoked") || !strings.Contains(r.stderr, "ask whoever invited you") {
		t.Errorf("join with what was taken back: exit code %d\n%s", r.code, r.stderr)
	}

	// Over: the invitation says so itself, and so does a member to a peer that does not look.
	short, _ := n.invitation("--expires", "2s")
	quick := home(t)
	if r := n.runWith(quick, append([]string{"init", "--join", short, "--genesis", filepath.Join(founder, "genesis.cbor")}, key...)...); r.code != 0 {
		t.Fatalf("join before the end: exit code %d\n%s", r.code, r.stderr)
	}
	eventually(t, 20*time.Second, "the short invitation has ended", func() bool {
		r := n.runWith(home(t), append([]string{"init", "--join", short}, key...)...)
		return r.code == 1 && strings.Contains(r.stderr, "expired on") && strings.Contains(r.stderr, "ask whoever gave it to you")
	})
	n.peers = append(n.peers, &peer{Name: "late", Dir: quick, Socket: filepath.Join(quick, "api.sock")})
	n.start(n.peers[len(n.peers)-1])
	eventually(t, 30*time.Second, "the peer that comes too late says why", func() bool {
		raw, _ := os.ReadFile(filepath.Join(quick, "log", "node.log"))
		return bytes.Contains(raw, []byte("the invitation has expired")) && bytes.Contains(raw, []byte("bpi network join"))
	})

	// What was taken back stays so when the member that knows starts again, at the address that the invitation names.
	at := strings.Split(address, "/")
	t.Setenv("BPI_P2P_LISTEN_PORT", at[4])
	n.kill(first)
	n.restart(first)
	if r := n.runWith(home(t), append([]string{"init", "--join", text}, key...)...); r.code != 1 || !strings.Contains(r.stderr, "was revoked") {
		t.Errorf("after a restart: exit code %d\n%s", r.code, r.stderr)
	}
}

// TestFoundersOfAPrivateNetworkNeedNoInvitation begins one with two validators, of which neither can go on alone: the
// genesis document names both, and that lets them in.
func TestFoundersOfAPrivateNetworkNeedNoInvitation(t *testing.T) {
	bin(t)
	onLoopback(t)
	first, second := home(t), home(t)
	n := &testnet{t: t, home: first}
	t.Cleanup(n.down)
	card := filepath.Join(t.TempDir(), "card.json")
	r := n.runWith(second, "init", "--card", "--name", "berta")
	if err := os.WriteFile(card, []byte(r.stdout), 0o600); err != nil || r.code != 0 {
		t.Fatalf("card: exit code %d, %v\n%s", r.code, err, r.stderr)
	}
	if r := n.run("network", "create", "--private", "acme", "--name", "anna", "--founder", card); r.code != 0 || !strings.Contains(r.stderr, "--bootstrap MULTIADDR --private") {
		t.Fatalf("create: exit code %d\n%s", r.code, r.stderr)
	}
	a := &peer{Name: "anna", Dir: first, Socket: filepath.Join(first, "api.sock")}
	n.peers = append(n.peers, a)
	n.start(a)
	address := ""
	eventually(t, 20*time.Second, "the first founder listens", func() bool {
		s, err := n.client(a).Status(t.Context())
		if err != nil || len(s.Addresses) == 0 {
			return false
		}
		address = s.Addresses[0]
		return true
	})
	if r := n.runWith(second, "init", "--genesis", filepath.Join(first, "genesis.cbor"), "--private", "--bootstrap", address); r.code != 0 {
		t.Fatalf("join: exit code %d\n%s", r.code, r.stderr)
	}
	b := n.member(second)
	n.ready(a)
	eventually(t, 20*time.Second, "they make blocks together", func() bool { return n.height(a) > 0 && n.height(b) > 0 })
	if out := n.must("network", "members"); strings.Count(out, "chain") != 2 || strings.Contains(out, "invitation ") {
		t.Errorf("members:\n%s", out)
	}
}

// runPeer runs a command from a home against a peer's address, whatever else is known there.
func (n *testnet) runPeer(home, address string, args ...string) result {
	n.t.Helper()
	n.t.Setenv("BPI_API", "")
	other := &testnet{t: n.t, home: "-"}
	return other.runWith(home, append([]string{"--peer", address}, args...)...)
}
