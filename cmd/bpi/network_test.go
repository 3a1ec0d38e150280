package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metanode/metanode/api"
	"github.com/metanode/metanode/configs"
	"github.com/metanode/metanode/p2p/invite"
)

// privateNetwork begins one in a new home.
func privateNetwork(t *testing.T, flags ...string) string {
	t.Helper()
	engine := filepath.Join(t.TempDir(), "engine")
	if err := os.WriteFile(engine, []byte("an engine"), 0o755); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	args := append([]string{"network", "create", "acme", "--private", "--engine", engine}, flags...)
	if code, out, errs := bpi(t, home, args...); code != 0 || !strings.HasPrefix(out, "12D3") || !strings.Contains(errs, "bpi network invite") {
		t.Fatalf("create: exit code %d, %q, %q", code, out, errs)
	}
	return home
}

const entrance = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"

func TestInvitationIsSignedAndJoinedWithoutANode(t *testing.T) {
	home := privateNetwork(t)
	cfg, err := configs.Load(configPath(home))
	if err != nil || !cfg.P2P.Private || cfg.Network != "acme" || !cfg.P2P.EnableQUIC {
		t.Fatalf("configuration %+v, %v", cfg.P2P, err)
	}
	code, text, errs := bpi(t, home, "network", "invite", "--expires", "2h", "--bootstrap", entrance)
	if code != 0 || !strings.Contains(errs, "bpi network revoke") || !strings.Contains(errs, "as you would send a password") {
		t.Fatalf("invite: exit code %d, %q", code, errs)
	}
	k, err := invite.ParseText(text)
	if err != nil || !slices.Equal(k.Invitation.Body.Bootstrap, []string{entrance}) || time.Until(k.Invitation.Expires()) > 2*time.Hour {
		t.Fatalf("invitation %+v, %v", k, err)
	}
	// With the document at hand, no member has to be asked.
	joiner := t.TempDir()
	code, _, errs = bpi(t, joiner, "init", "--join", text, "--genesis", filepath.Join(home, "genesis.cbor"))
	if code != 0 || !strings.Contains(errs, "joins acme-") || !strings.Contains(errs, "good until") {
		t.Fatalf("join: exit code %d, %q", code, errs)
	}
	jc, err := configs.Load(configPath(joiner))
	if err != nil || !jc.P2P.Private || !slices.Equal(jc.P2P.Bootstrap, []string{entrance}) || jc.P2P.Invitation != filepath.Join(joiner, invitationFile) {
		t.Fatalf("the joiner's configuration %+v, %v", jc.P2P, err)
	}
	if info, err := os.Stat(jc.P2P.Invitation); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the invitation's file: %v, %v", info, err)
	}
	// The joiner may not invite, and says who may.
	if code, _, errs := bpi(t, joiner, "network", "invite", "--bootstrap", entrance); code != exitFailure || !strings.Contains(errs, "may not invite") {
		t.Errorf("the joiner invites: exit code %d, %q", code, errs)
	}
	// A newer invitation takes the place of the first; one to another network does not.
	_, second, _ := bpi(t, home, "network", "invite", "--bootstrap", entrance)
	if code, _, errs := bpi(t, joiner, "network", "join", second); code != 0 || !strings.Contains(errs, "restart") {
		t.Errorf("network join: exit code %d, %q", code, errs)
	}
	if raw, _ := os.ReadFile(jc.P2P.Invitation); strings.TrimSpace(string(raw)) != strings.TrimSpace(second) {
		t.Error("the new invitation is not in the file")
	}
	_, elsewhere, _ := bpi(t, privateNetwork(t), "network", "invite", "--bootstrap", entrance)
	if code, _, errs := bpi(t, joiner, "network", "join", elsewhere); code != exitFailure || !strings.Contains(errs, "the invitation is to acme-") {
		t.Errorf("an invitation to another network: exit code %d, %q", code, errs)
	}
	if code, _, errs := bpi(t, t.TempDir(), "init", "--join", elsewhere, "--genesis", filepath.Join(home, "genesis.cbor")); code != exitFailure || !strings.Contains(errs, "do not trust") {
		t.Errorf("another network's document: exit code %d, %q", code, errs)
	}
	if code, _, errs := bpi(t, t.TempDir(), "init", "--join", text); code != exitFailure || !strings.Contains(errs, "no member that the invitation names") {
		t.Errorf("nobody there: exit code %d, %q", code, errs)
	}
}

func TestInvitationForOnePeerIsForThatPeer(t *testing.T) {
	home := privateNetwork(t)
	joiner, other := t.TempDir(), t.TempDir()
	if code, _, errs := bpi(t, joiner, "key", "new", "node"); code != 0 {
		t.Fatal(errs)
	}
	_, shown, _ := bpi(t, joiner, "--json", "key", "show", "node")
	at := strings.Index(shown, "12D3")
	if at < 0 {
		t.Fatalf("key show: %s", shown)
	}
	id := shown[at : at+52]
	code, text, errs := bpi(t, home, "network", "invite", "--for", id, "--bootstrap", entrance)
	if code != 0 || !strings.Contains(errs, "for peer "+id+" alone") {
		t.Fatalf("invite: exit code %d, %q", code, errs)
	}
	genesis := filepath.Join(home, "genesis.cbor")
	if code, _, errs := bpi(t, other, "init", "--join", text, "--genesis", genesis); code != exitFailure || !strings.Contains(errs, "for another peer") {
		t.Errorf("another peer: exit code %d, %q", code, errs)
	}
	if code, _, errs := bpi(t, joiner, "init", "--join", text, "--genesis", genesis); code != 0 {
		t.Errorf("the peer itself: exit code %d, %q", code, errs)
	}
}

func TestSealedNetworkNeedsItsKeyFile(t *testing.T) {
	home := privateNetwork(t, "--sealed")
	cfg, err := configs.Load(configPath(home))
	if err != nil || cfg.P2P.SwarmKey != filepath.Join(home, swarmKeyFile) || cfg.P2P.EnableQUIC {
		t.Fatalf("configuration %+v, %v", cfg.P2P, err)
	}
	_, text, errs := bpi(t, home, "network", "invite", "--bootstrap", entrance)
	if !strings.Contains(errs, "sealed: hand over") {
		t.Errorf("invite: %q", errs)
	}
	genesis := filepath.Join(home, "genesis.cbor")
	if code, _, errs := bpi(t, t.TempDir(), "init", "--join", text, "--genesis", genesis); code != exitUsage || !strings.Contains(errs, "--swarm-key") {
		t.Errorf("without the key: exit code %d, %q", code, errs)
	}
	joiner := t.TempDir()
	if code, _, errs := bpi(t, joiner, "init", "--join", text, "--genesis", genesis, "--swarm-key", cfg.P2P.SwarmKey); code != 0 {
		t.Fatalf("with the key: exit code %d, %q", code, errs)
	}
	theirs, err := os.ReadFile(filepath.Join(joiner, swarmKeyFile))
	ours, _ := os.ReadFile(cfg.P2P.SwarmKey)
	if err != nil || string(theirs) != string(ours) {
		t.Errorf("the joiner's key file %q, %v", theirs, err)
	}
	raw, err := os.ReadFile(configPath(joiner))
	if err != nil {
		t.Fatal(err)
	}
	bad := strings.Replace(string(raw), "enable_quic = false", "enable_quic = true", 1)
	if err := os.WriteFile(configPath(joiner), []byte(bad), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := bpi(t, joiner, "node", "start"); code != exitFailure || !strings.Contains(errs, "set enable_quic = false") {
		t.Errorf("QUIC on a sealed network: exit code %d, %q", code, errs)
	}
}

func TestResourcesAreToldInWords(t *testing.T) {
	m := api.Network{
		Private: true, MaxPeers: 50, Refused: 7,
		Connections: []api.Connections{{Direction: "inbound", Transport: "tcp", Count: 2}},
		Refusals: []api.Refusal{
			{Scope: "address 203.0.113.7", Limit: "x", Count: 3, LastMs: uint64(time.Now().UnixMilli())},
			{Scope: "system", Limit: "connections (in 3, out 0, fd 3 held)", Count: 3},
			{Scope: "peer:12D3", Limit: "streams (in 9, out 0 held)", Count: 1},
		},
		Gate: api.GateCounts{Passed: 2, Outsiders: 5, DoorRefused: 1, Banned: 4}, Losses: []api.Loss{{What: "gossip", Count: 1}},
		Holes: api.Holes{Tried: 3, Made: 2},
	}
	var all strings.Builder
	for _, line := range resourceWords(m) {
		all.WriteString(line[0] + " " + line[1] + "\n")
	}
	for _, want := range []string{
		"2 open: 2 inbound over tcp; above 50", "a connection from 203.0.113.7", "shared_networks", "of this node as a whole", "raise max_peers",
		"streams (in 9, out 0 held) of peer 12D3", "5 of outsiders were closed", "1 refused", "4 handshakes of peers that had sent garbage", "once: gossip", "3 times in place of a relayed connection a direct one was tried, and made 2 times",
	} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("the words lack %q:\n%s", want, all.String())
		}
	}
}

func TestNetworkDoctorNamesTheNextStep(t *testing.T) {
	now := time.Now()
	s := api.Status{Peers: 1, DriftMs: 900}
	m := api.Network{
		Name: "acme-1", Private: true, Sealed: true, InvitationEnds: uint64(now.Add(time.Hour).UnixMilli()), Addresses: []string{entrance},
		Bootstrap: []api.BootstrapPeer{{Address: entrance, Error: "refused the connection: is the node running?"}},
		NAT:       []api.NAT{{Transport: "TCP", Kind: "symmetric"}}, Refused: 1, Refusals: []api.Refusal{{Scope: "system"}},
		Reach: api.Reach{Asked: []api.ReachPeer{{ID: "12D3a", Observed: "192.0.2.7", Ports: []api.ReachPort{{Port: 4001, Error: "did not answer in time"}}}}},
	}
	got := map[string]finding{}
	for _, f := range meshFindings(s, m, now) {
		got[f.Check] = f
	}
	for check, want := range map[string]string{
		"network": "sealed by a swarm key", "invitation": "ends in 1h0m0s", "bootstrap": "refused the connection", "NAT, TCP": "symmetric",
		"reached from": "not at 192.0.2.7 port 4001/tcp, which did not answer in time", "reached": "no peer that was asked", "resource limits": "once",
		"clock against peers": "+900 ms",
	} {
		if f := got[check]; !strings.Contains(f.Detail, want) || check != "network" && check != "NAT, TCP" && (f.Status == "ok" || f.Next == "") {
			t.Errorf("%s: %+v, want %q", check, f, want)
		}
	}
	if _, ok := got["NAT"]; ok {
		t.Error("a NAT where the node is seen at an address of its own")
	}
	m.Reach.Asked[0].NAT, m.Addresses = true, append(m.Addresses, entrance+"/p2p-circuit/p2p/12D3x")
	for _, f := range meshFindings(s, m, now) {
		got[f.Check] = f
	}
	if f := got["NAT"]; !strings.Contains(f.Detail, "see this node at 192.0.2.7, which is no address of this machine") || !strings.Contains(f.Next, "forward listen_port") {
		t.Errorf("NAT: %+v", f)
	}
	if f := got["reached"]; f.Status != "ok" || !strings.Contains(f.Detail, "through the relay of "+entrance[strings.LastIndex(entrance, "/")+1:]) {
		t.Errorf("reached through a relay: %+v", f)
	}
	s.Peers = 0
	for _, f := range meshFindings(s, m, now) {
		got[f.Check] = f
	}
	if f := got["peers"]; f.Status != "FAILED" || !strings.Contains(f.Next, "name another peer of the network under bootstrap") {
		t.Errorf("nobody to join by: %+v", f)
	}
	m.Addresses = m.Addresses[:1]
	m.InvitationEnds, m.Reach.Asked[0].Ports[0].OK, s.DriftMs = uint64(now.Add(-time.Hour).UnixMilli()), true, 3
	for _, f := range meshFindings(s, m, now) {
		if f.Check == "reached" || f.Check == "clock against peers" && f.Status != "ok" || f.Check == "invitation" && !strings.Contains(f.Detail, "ended on") {
			t.Errorf("finding %+v", f)
		}
	}
}
